"""The MTU inside a tunnel. EC2's table has the values without NAT traversal, which takes eight more bytes."""

from __future__ import annotations

import msgspec
import pytest

from netorch.model.outside.tunnel_mtu import PATH_MTU, inside_mss, inside_mtu
from netorch.model.outside.vpn import TunnelOptions

NAT_TRAVERSAL = 8  # bytes


@pytest.mark.parametrize(
    ("encryption", "integrity", "mtu"),
    [
        ("AES128-GCM-16", "SHA1", 1446),
        ("AES256-GCM-16", "SHA2-512", 1446),
        ("AES128", "SHA1", 1438),
        ("AES256", "SHA2-256", 1438),
        ("AES128", "SHA2-384", 1422),
        ("AES256", "SHA2-512", 1422),
    ],
)
def test_without_nat_traversal_it_is_what_ec2_says(encryption: str, integrity: str, mtu: int) -> None:
    options = TunnelOptions(phase2_encryption=(encryption,), phase2_integrity=(integrity,))
    assert inside_mtu(options, PATH_MTU + NAT_TRAVERSAL) == mtu
    assert inside_mss(options, PATH_MTU + NAT_TRAVERSAL) == mtu - 40
    assert inside_mtu(options) <= mtu


def test_of_several_options_the_one_that_leaves_least_counts() -> None:
    options = TunnelOptions(phase2_encryption=("AES256-GCM-16", "AES256"), phase2_integrity=("SHA1", "SHA2-512"))
    worst = msgspec.structs.replace(options, phase2_encryption=("AES256",), phase2_integrity=("SHA2-512",))
    assert inside_mtu(options) == inside_mtu(worst) == 1406
