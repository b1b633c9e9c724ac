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
    "unknown_vtep": DropReason("VXLAN packets came from an address that is not a VTEP of their VPC, or were malformed"),
    "no_zone": DropReason("a packet came from a device that belongs to no VPC yet"),
    "allowance": DropReason(
        "a packet would open a connection, but its VPC already holds more than the host's connection table has free",
        "ConnectionAllowance",
    ),
    "fragments": DropReason(
        "an instance sends more fragments than its share, or other hosts send more than a VPC's share", "FragmentAllowance"
    ),
    "fragments_lost": DropReason("fragments could not be reassembled: the host had no memory left, or they did not fit together"),
    "table_full": DropReason("a packet would open a connection, and the host's connection table was full"),
    "unchecked": DropReason("a port has no anti-spoofing chain yet, so it may not send"),
    "unproven": DropReason("a VXLAN packet was not verified, because another program flushed the host's nftables tables"),
    "no_gateway": DropReason("a packet reached an edge, and no gateway of its VPC accepts it"),
    "endpoint_port": DropReason("a packet used a gateway endpoint for something other than TCP port 80 or 443 of its service"),
    "endpoint_floods": DropReason("a VPC opened more connections to a service through one endpoint than an edge accepts"),
    "unreached": DropReason(
        "a packet arrived through a tunnel or VLAN, and its source is neither announced there nor inside a static route"
    ),
    "outside_transit": DropReason("a packet from outside would have left the edge by the uplink that it came in by"),
    "untagged": DropReason("a packet arrived on a Direct Connect port without the VLAN tag of a virtual interface"),
    "outside_source": DropReason("a packet from outside had a source address that cannot be outside"),
    "gateway_source": DropReason("a VPC sent to the internet from an address that is not one of its public addresses"),
    "to_upstream": DropReason(
        "a VPC sent directly to the server behind a gateway service, bypassing the endpoint and its policies"
    ),
    "uplink_network": DropReason("a packet was for the network of an edge's uplink, which has only routers"),
    "vlan_arp": DropReason("more machines asked for an edge's address in Direct Connect VLANs than the edge answers"),
    "uplink_arp": DropReason("more machines asked for an edge's address on its uplink than the edge answers"),
    "uplink_nd": DropReason("likewise for its IPv6 address"),
    "forwarded_nd": DropReason("neighbour discovery reached an edge from beyond its uplink's network"),
    "pings": DropReason("an edge was pinged more often than it answers"),
    "border_ttl": DropReason(
        "BGP or BFD with the border router's address came from beyond the uplink, or the router refuses BGP or TTL security"
    ),
    "to_edge": DropReason("a packet was for an edge itself, which answers pings only"),
    "transit": DropReason("another host sent a packet for an address that is not on this host: its mapping is outdated"),
    "peer_source": DropReason(
        "an interface without source/destination check sent to a peered VPC from an address that is not its own", "PeerSource"
    ),
    "to_router": DropReason("an instance sent the router something other than an echo, or a host sent to a router's address"),
    "to_near": DropReason("an instance sent a host service something that the service does not handle"),
    "near_allowance": DropReason("an instance queries the services of its host more often than they answer"),
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
