"""Proposals for a tunnel: EC2's options in strongSwan's syntax."""

from __future__ import annotations

import msgspec
import pytest

from netorch.model.outside.proposals import Phase, proposals
from netorch.model.outside.vpn import TunnelOptions

GROUPS = "ecp256-ecp384-ecp521-modp2048-modp3072-modp4096-modp6144-modp8192-modp2048s256-modp2048s224-modp1024s160"
INTEGRITY = "sha256-sha384-sha512-sha1"
FUNCTIONS = "prfsha256-prfsha384-prfsha512-prfsha1"


def options(versions: str, encryption: str, integrity: str, *groups: int) -> TunnelOptions:
    """Return options with the same algorithms in both phases."""
    ciphers, hashes = tuple(encryption.split()), tuple(integrity.split())
    return TunnelOptions(
        ike_versions=tuple(versions.split()),
        phase1_encryption=ciphers,
        phase1_integrity=hashes,
        phase1_dh_groups=groups,
        phase2_encryption=ciphers,
        phase2_integrity=hashes,
        phase2_dh_groups=groups,
    )


BOTH = "ikev1 ikev2"


@pytest.mark.parametrize(
    ("given", "ike", "esp"),
    [
        (
            TunnelOptions(),
            (
                f"aes256gcm16-aes128gcm16-{FUNCTIONS}-{GROUPS}-modp1024",
                f"aes256-aes128-{INTEGRITY}-{GROUPS}-modp1024",
            ),
            (
                f"aes256gcm16-aes128gcm16-{GROUPS}-modp1536-modp1024",
                f"aes256-aes128-{INTEGRITY}-{GROUPS}-modp1536-modp1024",
            ),
        ),
        (
            options("ikev2", "AES256-GCM-16", "SHA2-256", 19),
            ("aes256gcm16-prfsha256-ecp256",),
            ("aes256gcm16-ecp256",),
        ),
        (
            options("ikev2", "AES128", "SHA1", 2),
            ("aes128-sha1-modp1024",),
            ("aes128-sha1-modp1024",),
        ),
        (
            options("ikev2", "AES128 AES256-GCM-16", "SHA1 SHA2-512", 2, 14),
            ("aes256gcm16-prfsha512-prfsha1-modp2048-modp1024", "aes128-sha512-sha1-modp2048-modp1024"),
            ("aes256gcm16-modp2048-modp1024", "aes128-sha512-sha1-modp2048-modp1024"),
        ),
        (  # if both are permitted, IKEv2 is offered
            options(BOTH, "AES128 AES256", "SHA2-256", 14),
            ("aes256-aes128-sha256-modp2048",),
            ("aes256-aes128-sha256-modp2048",),
        ),
        (
            options("ikev1", "AES128 AES256", "SHA1 SHA2-256", 2),
            ("aes256-sha256-modp1024", "aes256-sha1-modp1024", "aes128-sha256-modp1024", "aes128-sha1-modp1024"),
            ("aes256-sha256-modp1024", "aes256-sha1-modp1024", "aes128-sha256-modp1024", "aes128-sha1-modp1024"),
        ),
        (
            options("ikev1", "AES128 AES128-GCM-16", "SHA1", 2, 14),
            ("aes128-sha1-modp2048", "aes128-sha1-modp1024"),
            ("aes128gcm16-modp2048", "aes128gcm16-modp1024", "aes128-sha1-modp2048", "aes128-sha1-modp1024"),
        ),
        (  # IKEv1 has no such cipher in phase 1
            options("ikev1", "AES128-GCM-16", "SHA1", 14),
            (),
            ("aes128gcm16-modp2048",),
        ),
        (options("ikev2", "AES128", "SHA1"), (), ()),
    ],
)
def test_options_of_a_tunnel_become_proposals(given: TunnelOptions, ike: tuple[str, ...], esp: tuple[str, ...]) -> None:
    assert proposals(given, 1) == ike
    assert proposals(given, 2) == esp


@pytest.mark.parametrize("phase", [1, 2])
def test_the_order_of_options_changes_nothing(phase: Phase) -> None:
    there = TunnelOptions()
    back = {name: value[::-1] for name, value in msgspec.structs.asdict(there).items() if isinstance(value, tuple)}
    assert proposals(msgspec.structs.replace(there, **back), phase) == proposals(there, phase)


@pytest.mark.parametrize("phase", [1, 2])
def test_each_option_has_a_word_of_its_own(phase: Phase) -> None:
    for name in ("encryption", "integrity", "dh_groups"):
        field = f"phase{phase}_{name}"
        words = {
            proposals(msgspec.structs.replace(TunnelOptions(), **{field: (one,)}), phase)
            for one in getattr(TunnelOptions(), field)
        }
        assert len(words) == len(getattr(TunnelOptions(), field))


def test_ikev1_has_no_more_proposals_than_its_payload_counts() -> None:
    all_there_is = msgspec.structs.replace(TunnelOptions(), ike_versions=("ikev1",))
    assert 0 < len(proposals(all_there_is, 1)) < 256  # RFC 2408 section 3.6: a transform's number has eight bits
    assert 0 < len(proposals(all_there_is, 2)) < 256
