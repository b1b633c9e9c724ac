"""Drop reasons: the counters of a host's nftables tables and their meaning."""

from __future__ import annotations

from typing import Final

import msgspec


class DropReason(msgspec.Struct, frozen=True):
    """The meaning of a counter. `code` is a flow log's `reject-reason`; empty if flow logs do not show it."""

    text: str
    code: str = ""


# Counts the drops of a flood that were not logged one by one. It is logged once a second, so that the VPC's flow logs show it.
SUPPRESSED: Final = "suppressed"
VIOLATIONS: Final = ("unverified", "unknown_vtep")  # no correct host sends such packets

DROP_REASONS: Final[dict[str, DropReason]] = {
    "spoofed": DropReason("an instance used a MAC or IP address that is not its own"),
    "unverified": DropReason("a host sent as an address that is not mapped to it: a mapping violation"),
    "unknown_vtep": DropReason("an address that is no VTEP of that VPC sent VXLAN packets, or they were malformed"),
    "no_zone": DropReason("a packet came from a device that belongs to no VPC yet"),
    "allowance": DropReason(
        "a packet would open a connection, but its VPC holds more than the host's table has free",
        "ConnectionAllowance",
    ),
    "fragments": DropReason(
        "an instance sends more fragments than its share, or other hosts send more to a VPC", "FragmentAllowance"
    ),
    "fragments_lost": DropReason("fragments could not be put together: the host had no memory for them, or they did not fit"),
    "table_full": DropReason("a packet would open a connection, and the host's connection table was full"),
    "unchecked": DropReason("a port has no anti-spoofing chain yet, so it may not send"),
    "unproven": DropReason("a VXLAN packet was not verified: somebody has flushed the host's tables"),
    "no_gateway": DropReason("a packet came to an edge that no gateway of its VPC takes"),
    "endpoint_port": DropReason("a packet came by a gateway endpoint, and was not for TCP port 80 or 443 of its service"),
    "endpoint_floods": DropReason("a VPC began more connections to a service by one endpoint than an edge takes"),
    "unreached": DropReason(
        "a packet came by a tunnel or VLAN from a source that nobody announces there, or that is not inside a static route"
    ),
    "outside_transit": DropReason("a packet came to an edge from outside, and would have left by the same uplink"),
    "untagged": DropReason("a packet came by a port of Direct Connect without the VLAN of a virtual interface"),
    "outside_source": DropReason("a packet came from outside with a source that cannot be there"),
    "gateway_source": DropReason("a VPC sent to the internet with a source that is not a public address of its own"),
    "to_upstream": DropReason("a VPC sent to the server behind a gateway service directly, past its endpoint and all policies"),
    "uplink_network": DropReason("a packet was for the network of an edge's uplink, where there are routers only"),
    "vlan_arp": DropReason("more machines asked for an edge's address in VLANs of Direct Connect than it answers"),
    "uplink_arp": DropReason("more machines asked for an edge's address on its uplink than it answers"),
    "uplink_nd": DropReason("likewise for its IPv6 address"),
    "forwarded_nd": DropReason("neighbour discovery reached an edge from further away than its uplink's network"),
    "pings": DropReason("somebody pinged an edge more often than it answers"),
    "border_ttl": DropReason(
        "BGP or BFD came in the border router's name from further away, or the router refuses BGP, or uses no TTL security"
    ),
    "to_edge": DropReason("a packet was for an edge itself, which answers pings only"),
    "transit": DropReason("a host sent a packet for an address that is not here: its mapping is outdated"),
    "peer_source": DropReason(
        "an interface without source/destination check sent to a peer in the name of somebody else", "PeerSource"
    ),
    "to_router": DropReason("an instance sent the router something other than an echo, or a host sent to a router's address"),
    "to_near": DropReason("an instance sent a service of its host something that it does not serve"),
    "near_allowance": DropReason("an instance asks the services of its host more often than they answer"),
    "no_policy": DropReason("an interface has no security group chain on this host yet", "NoPolicy"),
    "invalid": DropReason("a packet belongs to no connection and opens none", "InvalidState"),
    "acl_egress": DropReason("the network ACL of the sender's subnet denies it outbound", "NetworkAclEgress"),
    "acl_ingress": DropReason("the network ACL of the receiver's subnet denies it inbound", "NetworkAclIngress"),
    "sg_egress": DropReason("no outbound rule of the sender's security groups allows it", "SecurityGroupEgress"),
    "sg_ingress": DropReason("no inbound rule of the receiver's security groups allows it", "SecurityGroupIngress"),
}


def text_of(counter: str) -> str:
    """Return the meaning of a counter, or its name if another version of netorch created it."""
    reason = DROP_REASONS.get(counter)
    return reason.text if reason is not None else counter


def code_of(counter: str) -> str:
    """Return the `reject-reason` that a flow log shows for a counter."""
    reason = DROP_REASONS.get(counter)
    return reason.code if reason is not None else ""
