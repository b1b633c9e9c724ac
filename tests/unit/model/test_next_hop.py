"""The next hops and MAC addresses of targets."""

from __future__ import annotations

import pytest

from netorch.model import rules
from netorch.model.routing.next_hop import clashes, gateway_mac, target_hop
from netorch.model.rules import Violation

GATEWAY = "igw-00138800012345678"


def test_they_hold_the_last_digits_of_the_id() -> None:
    assert gateway_mac(GATEWAY) == "02:4f:12:34:56:78"
    assert target_hop(GATEWAY, 4) == "242.52.86.120"
    assert target_hop(GATEWAY, 6) == "fe80::4f:1234:5678"


@pytest.mark.parametrize(
    ("gateway", "clash"),
    [
        ("igw-00138800012345678", True),
        ("igw-001388000f2345678", True),  # another MAC, the same next hop
        ("igw-00138800012345679", False),
        ("igw-001388000ffffff01", True),  # the next hop of a cable's end
    ],
)
def test_a_gateway_clashes_with_a_target_of_the_same_next_hop_and_with_cables(gateway: str, clash: bool) -> None:
    assert clashes(gateway, ["eni-00138800012345678"]) is clash


def test_no_interface_has_the_mac_of_a_gateway() -> None:
    assert isinstance(rules.mac(gateway_mac(GATEWAY)), Violation)
    assert rules.mac("02:50:00:00:00:01") == "02:50:00:00:00:01"
