"""Codes for packets that do not arrive: EC2 Reachability Analyzer's if it has one, else netorch's in the same style."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Code(Enum):
    """The reason for a packet's end. The value is the code; `text` explains it."""

    def __new__(cls, value: str, text: str) -> Code:
        """Return a member with its text."""
        member = object.__new__(cls)
        member._value_ = value
        return member

    def __init__(self, value: str, text: str) -> None:
        self.text = text

    ENI_SG_RULES_MISMATCH = "ENI_SG_RULES_MISMATCH", "no rule of the interface's security groups permits it"
    SUBNET_ACL_RESTRICTION = "SUBNET_ACL_RESTRICTION", "the subnet's network ACL denies it"
    NO_ROUTE_TO_DESTINATION = "NO_ROUTE_TO_DESTINATION", "the route table has no route to the address"
    BAD_STATE_ROUTE = (
        "BAD_STATE_ROUTE",
        "the route is a black hole: its target no longer exists, or has no address of that IP version",
    )
    ENI_SOURCE_DEST_CHECK_RESTRICTION = (
        "ENI_SOURCE_DEST_CHECK_RESTRICTION",
        "the interface on the way has its source/destination check on, and accepts packets for its own addresses only",
    )
    ROUTING_LOOP = "ROUTING_LOOP", "the routes lead back to an interface that the packet has passed"
    ASYMMETRIC_ROUTES = "ASYMMETRIC_ROUTES", "answers do not return through the interfaces that the packet passes"
    PCX_REQUIRES_ADDRESS_IN_VPC_CIDR = (
        "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR",
        "a peering connection carries packets between addresses of the two VPCs only, from the source's own interface",
    )
    PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE = (
        "PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE",
        "a mapped peering connection carries packets between the range of one VPC and the alias of the other only",
    )
    IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS = (
        "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS",
        "the sender has no public address, so the internet gateway drops its packets",
    )
    IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS = (
        "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
        "the public address is associated with no interface that is attached",
    )
    IGW_REJECTS_SPOOFED_TRAFFIC = (
        "IGW_REJECTS_SPOOFED_TRAFFIC",
        "the source address is impossible there: the VPC's own address from the internet, or another sender's address in the VPC",
    )
    IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS = (
        "IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS",
        "the address is a private one, which is not on the internet (RFC 1918)",
    )
    IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS = (
        "IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS",
        "the address is in the shared address space, which is not on the internet (RFC 6598)",
    )
    NGW_REQUIRES_SOURCE_IN_VPC = (
        "NGW_REQUIRES_SOURCE_IN_VPC",
        "a NAT gateway carries connections that interfaces of its own VPC open, and accepts none",
    )
    EIGW_REQUIRES_SOURCE_IN_VPC = (
        "EIGW_REQUIRES_SOURCE_IN_VPC",
        "an egress-only internet gateway carries connections that interfaces of its own VPC open, from ranges out of a pool",
    )
    BAD_STATE_VPN = "BAD_STATE_VPN", "the tunnel of the VPN connection carries no packets"
    BAD_STATE_VIRTUAL_INTERFACE = "BAD_STATE_VIRTUAL_INTERFACE", "the port of the virtual interface has no carrier"
    VGW_REACHES_NO_SUCH_ADDRESS = (
        "VGW_REACHES_NO_SUCH_ADDRESS",
        "the edge reaches the address neither by a tunnel nor by a virtual interface",
    )
    VGW_REJECTS_SPOOFED_TRAFFIC = (
        "VGW_REJECTS_SPOOFED_TRAFFIC",
        "the virtual private gateway does not reach the source, so it drops packets from there",
    )
    VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS = (
        "VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
        "a virtual private gateway accepts packets for interfaces of its VPC only, and none has the address",
    )
    VPCE_SERVES_HTTP_AND_TLS_ONLY = (
        "VPCE_SERVES_HTTP_AND_TLS_ONLY",
        "a gateway endpoint accepts only TCP to ports 80 and 443 of its service",
    )
    VPCE_PORT_NOT_SERVED = (
        "VPCE_PORT_NOT_SERVED",
        "the service behind the interface endpoint has no such port, or no available target",
    )
    VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC = (
        "VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC",
        "an interface endpoint carries connections that its consumers open; the provider only answers them",
    )
    VPCE_CONNECTION_NOT_AVAILABLE = (
        "VPCE_CONNECTION_NOT_AVAILABLE",
        "the connection of the interface endpoint with its service is not accepted",
    )
    SERVICE_NOT_LISTENING = (
        "SERVICE_NOT_LISTENING",
        "the packet reached the host that must answer it, and no daemon of the host listens there",
    )
    PROTOCOL_RESTRICTION = "PROTOCOL_RESTRICTION", "a NAT gateway carries TCP, UDP and ICMP only"
    NGW_NO_FREE_PORT = (
        "NGW_NO_FREE_PORT",
        "the NAT gateway has no port left for another connection to this destination",
    )
    NO_INTERNET_GATEWAY = "NO_INTERNET_GATEWAY", "the VPC has no internet gateway, or no edge carries it"
    NO_EDGE_ANSWERS = "NO_EDGE_ANSWERS", "no edge that carries the gateway answers the host's probes and is ready"
    NO_TRANSIT = "NO_TRANSIT", "an edge forwards nothing from the internet to the internet"
    NO_WAY_TO_UPLINK = "NO_WAY_TO_UPLINK", "an edge forwards nothing from a VPC to the network of its uplink"
    UPSTREAM_REQUIRES_ENDPOINT = (
        "UPSTREAM_REQUIRES_ENDPOINT",
        "a VPC reaches the server behind a gateway service by a gateway endpoint only",
    )
    NO_GATEWAY_TAKES_IT = "NO_GATEWAY_TAKES_IT", "the packet reached an edge, and no gateway there is its destination"
    BAD_STATE = "BAD_STATE", "the peering connection is not active"
    NO_MAPPING = "NO_MAPPING", "no interface in the VPC has the address"
    DIFFERENT_VPCS = "DIFFERENT_VPCS", "nothing connects these VPCs"
    INTERFACE_NOT_ATTACHED = "INTERFACE_NOT_ATTACHED", "the interface is attached to no instance, so no host carries it"
    PORT_MISSING = "PORT_MISSING", "the interface's port is not on its host, or is not up"
    HOST_SILENT = (
        "HOST_SILENT",
        "the records permit it, but an agent on the way is not running, so its host may hold something else",
    )
    NOT_FORWARDED = "NOT_FORWARDED", "the records permit it, but an appliance on the way may not have forwarded the live packet"
    PROBE_UNHEARD = "PROBE_UNHEARD", "the records permit it, and yet the live packet did not arrive"
    HOST_UNKNOWN = "HOST_UNKNOWN", "the mapping leads to a VTEP at which no host carries the VPC"
    NEXT_HOP_MISSING = "NEXT_HOP_MISSING", "the route's next hop has no neighbour or FDB entry"
    SOURCE_SPOOFED = "SOURCE_SPOOFED", "the sender's MAC or address is not its interface's"
    MAPPING_VIOLATION = "MAPPING_VIOLATION", "the sending host may not send as the source address"
    NOT_A_MEMBER = "NOT_A_MEMBER", "the sending host does not carry the VPC"
    STALE_MAPPING = "STALE_MAPPING", "the address is not on this host: the sending host has an outdated mapping"
    INVALID_CONNECTION_STATE = "INVALID_CONNECTION_STATE", "it belongs to no tracked connection and cannot open one"
    ROUTER_ANSWERS_PINGS_ONLY = "ROUTER_ANSWERS_PINGS_ONLY", "it is for the router, which answers only pings"
    NOT_SERVED_THERE = "NOT_SERVED_THERE", "at this address the host serves only DNS (port 53) or metadata (TCP port 80)"
    POLICY_NOT_IN_PLACE = "POLICY_NOT_IN_PLACE", "the interface's rules are not on its host (yet)"
    PORT_UNGUARDED = "PORT_UNGUARDED", "the port has no chain that checks its sources, so its packets are dropped"
    ZONE_NOT_IN_PLACE = "ZONE_NOT_IN_PLACE", "the device belongs to no VPC's connection tracking zone (yet)"
    CONNECTION_ALLOWANCE = (
        "CONNECTION_ALLOWANCE",
        "the VPC holds more connections on the host than the table has free, so it cannot open new ones",
    )
    CONNECTIONS_HANDED_OVER = (
        "CONNECTIONS_HANDED_OVER",
        "the gateway's connections are being handed over to another edge; it accepts no new ones for some seconds",
    )
    CONNECTION_TABLE_FULL = "CONNECTION_TABLE_FULL", "the host's connection table is full"
    DROPPED = "DROPPED", "a rule without a name of its own drops it"


# Named counters of netorch's tables -> the code of the packets that they count.
OF_COUNTER: Final[dict[str, Code]] = {
    "spoofed": Code.SOURCE_SPOOFED,
    "unverified": Code.MAPPING_VIOLATION,
    "unknown_vtep": Code.NOT_A_MEMBER,
    "no_zone": Code.ZONE_NOT_IN_PLACE,
    "allowance": Code.CONNECTION_ALLOWANCE,
    "handing_over": Code.CONNECTIONS_HANDED_OVER,
    "table_full": Code.CONNECTION_TABLE_FULL,
    "unchecked": Code.PORT_UNGUARDED,
    "transit": Code.STALE_MAPPING,
    "peer_source": Code.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR,
    "to_router": Code.ROUTER_ANSWERS_PINGS_ONLY,
    "to_near": Code.NOT_SERVED_THERE,
    "no_policy": Code.POLICY_NOT_IN_PLACE,
    "invalid": Code.INVALID_CONNECTION_STATE,
    "unproven": Code.MAPPING_VIOLATION,
    "no_gateway": Code.NO_GATEWAY_TAKES_IT,
    "outside_transit": Code.NO_TRANSIT,
    "outside_source": Code.IGW_REJECTS_SPOOFED_TRAFFIC,
    "unreached": Code.VGW_REJECTS_SPOOFED_TRAFFIC,
    "gateway_source": Code.IGW_REJECTS_SPOOFED_TRAFFIC,
    "to_upstream": Code.UPSTREAM_REQUIRES_ENDPOINT,
    "uplink_network": Code.NO_WAY_TO_UPLINK,
    "border_ttl": Code.ROUTER_ANSWERS_PINGS_ONLY,
    "to_edge": Code.ROUTER_ANSWERS_PINGS_ONLY,
    "endpoint_port": Code.VPCE_SERVES_HTTP_AND_TLS_ONLY,
    "to_gateway": Code.NGW_REQUIRES_SOURCE_IN_VPC,
    "unasked": Code.EIGW_REQUIRES_SOURCE_IN_VPC,
    "protocol": Code.PROTOCOL_RESTRICTION,
    "no_port": Code.NGW_NO_FREE_PORT,
    "no_connection": Code.INVALID_CONNECTION_STATE,
    "acl_egress": Code.SUBNET_ACL_RESTRICTION,
    "acl_ingress": Code.SUBNET_ACL_RESTRICTION,
    "sg_egress": Code.ENI_SG_RULES_MISMATCH,
    "sg_ingress": Code.ENI_SG_RULES_MISMATCH,
}
# The same in the namespace of an interface endpoint's connection.
OF_ENDPOINT: Final[dict[str, Code]] = {
    **OF_COUNTER,
    "unasked": Code.VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC,
    "no_service": Code.VPCE_PORT_NOT_SERVED,
}
