"""Why packets are refused: the counters of a host's nftables tables, in words."""

from __future__ import annotations

from typing import Final

import msgspec


class DropReason(msgspec.Struct, frozen=True):
    """What a counter means. `code` is what a flow log says in `reject-reason`; nothing where no customer is told."""

    text: str
    code: str = ""


# Counts no refusal of its own, but those of a flood that were not told one by one. Told of a packet: its VPC has such.
SUPPRESSED: Final = "suppressed"
VIOLATIONS: Final = ("unverified", "unknown_vtep")  # no honest host sends such packets

DROP_REASONS: Final[dict[str, DropReason]] = {
    "spoofed": DropReason("an instance used a MAC or IP address that is not its own"),
    "unverified": DropReason("a host sent for an address that is not mapped to it: a mapping violation"),
    "unknown_vtep": DropReason("somebody sent VXLAN packets who carries nothing of that VPC, or none that were well-formed"),
    "no_zone": DropReason("a packet came from a device that belongs to no VPC yet"),
    "allowance": DropReason(
        "a packet would begin a connection in a VPC that holds more connections on its host than are free", "ConnectionAllowance"
    ),
    "fragments": DropReason(
        "an instance sends more fragments than its share, or other hosts send a VPC more", "FragmentAllowance"
    ),
    "fragments_lost": DropReason("fragments could not be put together: the host had no memory for them, or they did not fit"),
    "table_full": DropReason("a packet would begin a connection, and the host's connection table was full"),
    "unchecked": DropReason("a port has no check of its source addresses yet, so it is mute"),
    "unproven": DropReason("a VXLAN packet came past the host's table that verifies: somebody has emptied the host's tables"),
    "transit": DropReason("a host sent here for an address that is not here: its mapping is out of date"),
    "peer_source": DropReason(
        "an interface without source/destination check sent to a peer in the name of somebody else", "PeerSource"
    ),
    "to_router": DropReason("an instance asked the router for something else than an echo, or a host sent to a router's address"),
    "no_policy": DropReason("an interface has no security group chain on this host yet", "NoPolicy"),
    "invalid": DropReason("a packet belongs to no connection and begins none", "InvalidState"),
    "acl_egress": DropReason("the network ACL of the sender's subnet denies it outbound", "NetworkAclEgress"),
    "acl_ingress": DropReason("the network ACL of the receiver's subnet denies it inbound", "NetworkAclIngress"),
    "sg_egress": DropReason("no outbound rule of the sender's security groups allows it", "SecurityGroupEgress"),
    "sg_ingress": DropReason("no inbound rule of the receiver's security groups allows it", "SecurityGroupIngress"),
}


def text_of(counter: str) -> str:
    """Return what a counter means; its name when another version of netorch has made it."""
    reason = DROP_REASONS.get(counter)
    return reason.text if reason is not None else counter


def code_of(counter: str) -> str:
    """Return what a flow log says of a refusal."""
    reason = DROP_REASONS.get(counter)
    return reason.code if reason is not None else ""
