"""A connection for tests that need no daemon."""

from __future__ import annotations

import msgspec

from netorch.state.daemons.ike import IkeConnection

PLAIN = IkeConnection(
    vni=5000,
    name="vpn-00138800000000001-1",
    version=0,
    local="198.18.0.21",
    remote="198.18.0.80",
    local_identity="198.18.0.21",
    remote_identity="198.18.0.80",
    proposals=("aes256-sha256-modp2048",),
    child_proposals=("aes256-sha256-modp2048",),
    local_traffic="0.0.0.0/0",
    remote_traffic="0.0.0.0/0",
    if_id=0x138802,
    lifetime=28800,
    child_lifetime=3600,
    rekey_margin=270,
    rekey_fuzz=100,
    replay_window=1024,
    dpd_delay=10,
    dpd_action="clear",
    initiates=False,
    secret="AAAA",
)


def changed(**changes: object) -> IkeConnection:
    """Return the connection with other fields."""
    return msgspec.structs.replace(PLAIN, **changes)
