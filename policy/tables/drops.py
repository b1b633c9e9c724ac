"""The chains of OVERLAY_INET that drop packets, one for each reason."""

from __future__ import annotations

from typing import Final

from netorch.state.nft import DROPPED_ESTABLISHED, vpc_drop_chain

# Whether the connection tracker has counted the packet for a connection, as far as visible.
_ESTABLISHED: Final = ("meta mark set 0x0", f"ct state established meta mark set {DROPPED_ESTABLISHED:#x}")

DROP_CHAINS: Final = "\n".join(
    vpc_drop_chain(reason, *_ESTABLISHED)
    for reason in (
        "allowance",
        "fragments",
        "unchecked",
        "unproven",
        "transit",
        "peer_source",
        "invalid",
        "no_policy",
        "acl_egress",
        "acl_ingress",
        "sg_egress",
        "sg_ingress",
    )
)
