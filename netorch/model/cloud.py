"""A cloud as a customer declares it: names instead of ids, what may be left out left out.

The decoded form of vpc.yaml. `netorch.model.check` finds everything that is wrong with one; `netorch.control.apply.cloud`
turns it into records.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from netorch.model.endpoints.declared import (
    BucketDecl,
    EndpointServiceDecl,
    GatewayEndpointDecl,
    GatewayServiceDecl,
    InterfaceEndpointDecl,
)
from netorch.model.eni import Attachment, Role, Uplink
from netorch.model.flow_log import INTERVAL_LAST_S, Traffic
from netorch.model.outside.vpn import AMAZON_ASN, ANY_CIDR, CUSTOMER_ASN, TunnelOptions
from netorch.model.routing.target import TargetKind
from netorch.model.security import DEFAULT_ACL_NUMBER, DEFAULT_NAME
from netorch.model.services.declared import DhcpOptionsDecl, MetadataOptionsDecl
from netorch.model.services.declared_zones import PrivateZoneDecl
from netorch.model.vpc import DEFAULT_OWNER, Tags

MAIN_ROUTE_TABLE = "main"  # the name of the route table that comes with a VPC
DEFAULT_VPC_NAME = "default"
DEFAULT_VPC_CIDR = "172.31.0.0/16"  # EC2's
DEFAULT_SUBNET_NAME = "default"
DEFAULT_SUBNET_CIDR = "172.31.0.0/20"


class HostDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A machine that carries instances, or an edge. An edge carries gateways if it has a pair and an uplink."""

    name: str
    underlay: str
    role: Role = Role.HYPERVISOR
    pair: str = ""
    uplink: Uplink | None = None
    tags: Tags = {}


class AddressPoolDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Public IPv4 addresses that arrive at the edges of one pair."""

    name: str
    pair: str
    cidrs: list[str]
    tags: Tags = {}


class HostedVlanDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VLAN of a connection that an owner may have a virtual interface on."""

    owner: str
    vlan: int
    outer_vlan: int = 0  # the service tag around it (802.1ad); 0: none


class ConnectionDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A connection of Direct Connect: a device of an edge to which a customer's router is wired."""

    name: str
    host: str
    device: str
    owner: str = ""  # who may use all VLANs that are not hosted; nobody when left out
    hosted: list[HostedVlanDecl] = []
    tags: Tags = {}


class ElasticIpDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A public address that an owner holds, for an instance or a NAT gateway. `owner` and `name` together say which one it is."""

    name: str
    owner: str = DEFAULT_OWNER
    pool: str = ""  # any one at whose edges the VPC that uses it has its internet gateway
    address: str = ""  # any one
    tags: Tags = {}


class InternetGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The VPC's way to the internet, and back. Routes lead there: `0.0.0.0/0 via igw`."""

    name: str = ""
    tags: Tags = {}


class NatGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A NAT gateway in a subnet. Routes lead there: `0.0.0.0/0 via nat-out`.

    A new one needs an elastic IP; one that there is keeps those that have no name. Another first one makes another gateway.
    """

    name: str
    subnet: str
    elastic_ips: list[str] = []  # the names of the owner's, in whose name it sends; the first one is its primary one
    address: str = ""  # its private address; the next free one when left out
    tags: Tags = {}


class EgressOnlyInternetGatewayDecl(InternetGatewayDecl, frozen=True, kw_only=True):
    """The VPC's way to the internet for IPv6, and not back. Routes lead there: `::/0 via eigw`."""


class VpnGatewayDecl(InternetGatewayDecl, frozen=True, kw_only=True):
    """The VPC's way to private networks elsewhere, and back. Routes lead there: `192.168.0.0/16 via vgw`."""

    asn: int = AMAZON_ASN  # a private one, with which it speaks BGP


class VirtualInterfaceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VLAN of a connection that leads into the VPC. The VPC needs a virtual private gateway at the connection's edge.

    What the customer has is learned by BGP, or there are static routes, which Direct Connect has not.
    """

    name: str
    connection: str
    vlan: int
    outer_vlan: int = 0  # the service tag around it (802.1ad); 0: none
    mtu: int = 1500
    asn: int = 0  # of the customer's router; 0: no BGP
    address: str = ""  # of the edge, with the prefix length; drawn when left out
    peer: str = ""  # of the customer's router; the other end when left out
    key_file: str = ""  # with the key that signs BGP (TCP MD5); read when it is set first, from where the file lies
    bfd: bool = False
    routes: list[str] = []
    tags: Tags = {}


class CustomerGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An owner's own VPN device. `owner` and `name` together say which one it is; nothing but its tags ever changes."""

    name: str
    owner: str = DEFAULT_OWNER
    asn: int = CUSTOMER_ASN
    address: str = ""  # public, of its NAT if it stands behind one; any, if it has an identity
    identity: str = ""  # by which it names itself in IKE; its address when left out
    tags: Tags = {}


class TunnelDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the two tunnels of a VPN connection."""

    inside_cidr: str = ""  # any free one
    psk_file: str = ""  # with the pre-shared key of a new connection, beside this file; one is made when left out
    options: TunnelOptions = TunnelOptions()


class VpnConnectionDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VPN connection of the VPC's gateway. With static routes, or else with BGP."""

    name: str
    customer_gateway: str  # the name of one of the owner's, or its id
    static_routes: list[str] | msgspec.UnsetType = msgspec.UNSET  # left out: BGP says what is at the customer's
    local_cidr: str = ANY_CIDR
    remote_cidr: str = ANY_CIDR
    tunnels: list[TunnelDecl] = []  # up to two
    tags: Tags = {}


class RouteTableDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A route table. Its local routes are implicit.

    The VPC's main one is the one with `main`, else the one named `main`; that may be left out, and has no other routes then.
    """

    name: str
    main: bool = False
    routes: list[str] = []  # e.g. `0.0.0.0/0 via eni fw-1`
    propagate: bool = False  # whether it has what the VPC's virtual private gateway reaches, too
    tags: Tags = {}


def main_name(tables: Iterable[RouteTableDecl]) -> str:
    """Return the name of the main one of a VPC's declared tables."""
    return next((table.name for table in tables if table.main), MAIN_ROUTE_TABLE)


class PrefixListDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """CIDRs of one IP version under a name, which rules write as `pl-<name>`."""

    name: str
    cidrs: list[str]
    max_entries: int | None = None  # what it counts as in the quotas of rules; as many as there are when left out
    tags: Tags = {}


class IngressDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the members of a group may be sent."""

    protocol: str | int
    source: str  # a CIDR, sg-<name>, pl-<name>, or the id of a group or prefix list
    ports: str | int = ""
    description: str = ""


class EgressDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the members of a group may send."""

    protocol: str | int
    destination: str  # as IngressDecl.source
    ports: str | int = ""
    description: str = ""


class SecurityGroupDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A security group. The one named `default` comes with the VPC; left out, it has EC2's rules for it."""

    name: str
    description: str = ""
    ingress: list[IngressDecl] = []
    egress: list[EgressDecl] | msgspec.UnsetType = msgspec.UNSET  # left out: everything, as in EC2; []: nothing
    tags: Tags = {}


class AclAction(Enum):
    """What an ACL does with what an entry matches."""

    ALLOW = "allow"
    DENY = "deny"


class AclEntryDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One numbered line of a network ACL; `cidr` is the source for ingress, the destination for egress."""

    rule: int
    action: AclAction
    protocol: str | int
    cidr: str
    ports: str | int = ""


class NetworkAclDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A network ACL. The one named `default` comes with the VPC; left out, it allows everything, as in EC2."""

    name: str
    ingress: list[AclEntryDecl] = []
    egress: list[AclEntryDecl] = []
    tags: Tags = {}


# What a VPC has that does not declare its default group and ACL, and what a group may send that does not declare its egress.
ALL_OUTBOUND = [EgressDecl(protocol="all", destination="0.0.0.0/0"), EgressDecl(protocol="all", destination="::/0")]
DEFAULT_GROUP = SecurityGroupDecl(name=DEFAULT_NAME, ingress=[IngressDecl(protocol="all", source=f"sg-{DEFAULT_NAME}")])
_EVERYTHING = [
    AclEntryDecl(rule=DEFAULT_ACL_NUMBER, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0"),
    AclEntryDecl(rule=DEFAULT_ACL_NUMBER + 1, action=AclAction.ALLOW, protocol="all", cidr="::/0"),
]
DEFAULT_ACL = NetworkAclDecl(name=DEFAULT_NAME, ingress=_EVERYTHING, egress=_EVERYTHING)


class PeeringDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A peering connection of the VPC. It is accepted at once where who applies the file may act for both VPCs.

    A mapped one has RANGE=ALIAS for both VPCs: what a range of each is for the other one.
    """

    name: str
    peer: str  # the other VPC: its name, owner/name, or its id
    map_own: str = ""
    map_peer: str = ""
    tags: Tags = {}


class LoggedTraffic(Enum):
    """Which traffic a flow log records, as a file writes it."""

    ALL = "all"
    ACCEPT = "accept"
    REJECT = "reject"

    @property
    def traffic(self) -> Traffic:
        """Return the same as it is stored."""
        return Traffic[self.name]


class FlowLogDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A flow log of where it stands: of a VPC, of a subnet, or of an instance's own interface."""

    name: str
    traffic: LoggedTraffic = LoggedTraffic.ALL
    interval: int = INTERVAL_LAST_S  # seconds
    format: str = ""  # as EC2 writes it, e.g. `${version} ${srcaddr}`; EC2's default fields when left out
    tags: Tags = {}


class SubnetDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subnet. `route_table` and `network_acl` are names; the main table and the default ACL when left out."""

    name: str
    cidr: str
    ipv6_cidr: str = ""
    route_table: str = ""
    network_acl: str = ""
    public_on_launch: bool = False  # whether new instances get an ephemeral public address
    tags: Tags = {}
    flow_logs: list[FlowLogDecl] = []


class InstanceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An instance with one interface.

    Left out: the subnet (the VPC's only one), the host (the least loaded hypervisor), the addresses (the next free ones),
    the security groups (the one named `default`), the attachment (a namespace that netorch makes), the public address (a new
    instance gets an ephemeral one if its subnet says so, one that there is keeps what it has), user data (none, and one that
    there is keeps what it has).
    """

    name: str
    subnet: str = ""
    host: str = ""
    address: str = ""
    ipv6_address: str = ""
    mac: str = ""
    public_address: bool | msgspec.UnsetType = msgspec.UNSET  # whether it has an ephemeral one
    elastic_ip: str = ""  # the name of one of the owner's, which stands for its address
    security_groups: list[str] = []  # names
    source_dest_check: bool = True  # false: it may send and receive packets of others' addresses, e.g. a firewall
    attachment: Attachment = Attachment.NETNS
    netns: str = ""
    user_data: str = ""  # what the instance reads as its user data; text
    user_data_base64: str = ""  # the same for what is no text
    metadata_options: MetadataOptionsDecl | msgspec.UnsetType = msgspec.UNSET  # EC2's defaults when left out
    tags: Tags = {}
    flow_logs: list[FlowLogDecl] = []


class VpcDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VPC with everything in it. `owner` and `name` together say which VPC it is."""

    name: str
    cidrs: list[str]
    owner: str = DEFAULT_OWNER
    ipv6_cidrs: list[str] = []
    vni: int | None = None  # a request, e.g. for a lab that is to look the same each time
    enable_dns_support: bool = True  # whether names are answered in it
    enable_dns_hostnames: bool | msgspec.UnsetType = msgspec.UNSET  # those of instances, zones and endpoints; see `has_hostnames`
    dhcp_options: str = ""  # the name of one of the owner's sets, or its id; the default one when left out
    tags: Tags = {}
    internet_gateway: InternetGatewayDecl | msgspec.UnsetType = msgspec.UNSET
    egress_only_internet_gateway: EgressOnlyInternetGatewayDecl | msgspec.UnsetType = msgspec.UNSET
    vpn_gateway: VpnGatewayDecl | msgspec.UnsetType = msgspec.UNSET
    vpn_connections: list[VpnConnectionDecl] = []
    prefix_lists: list[PrefixListDecl] = []
    security_groups: list[SecurityGroupDecl] = []
    network_acls: list[NetworkAclDecl] = []
    route_tables: list[RouteTableDecl] = []
    peerings: list[PeeringDecl] = []
    flow_logs: list[FlowLogDecl] = []
    subnets: list[SubnetDecl] = []
    nat_gateways: list[NatGatewayDecl] = []
    gateway_endpoints: list[GatewayEndpointDecl] = []
    interface_endpoints: list[InterfaceEndpointDecl] = []
    endpoint_services: list[EndpointServiceDecl] = []
    virtual_interfaces: list[VirtualInterfaceDecl] = []
    instances: list[InstanceDecl] = []

    @property
    def has_hostnames(self) -> bool:
        """Return whether it asks for names of instances; when left out the default VPC alone has them, as in EC2."""
        return self.enable_dns_hostnames is True or (self.enable_dns_hostnames is msgspec.UNSET and self.name == DEFAULT_VPC_NAME)


# The fields of a VPC in which gateways are declared that it has one of at most.
GATEWAY_FIELDS: Final = {
    TargetKind.INTERNET_GATEWAY: "internet_gateway",
    TargetKind.EGRESS_ONLY_GATEWAY: "egress_only_internet_gateway",
    TargetKind.VPN_GATEWAY: "vpn_gateway",
}


def declared_gateways(vpc: VpcDecl) -> dict[TargetKind, InternetGatewayDecl]:
    """Return the gateways of `GATEWAY_FIELDS` that a VPC declares."""
    found = {kind: getattr(vpc, field) for kind, field in GATEWAY_FIELDS.items()}
    return {kind: decl for kind, decl in found.items() if isinstance(decl, InternetGatewayDecl)}


class Cloud(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole vpc.yaml. Instances at the top level land in the default VPC, which is made when the first one comes."""

    name: str = ""  # by which the file knows what it made, wherever it lies; its path when left out
    hosts: list[HostDecl] = []
    address_pools: list[AddressPoolDecl] = []
    connections: list[ConnectionDecl] = []
    gateway_services: list[GatewayServiceDecl] = []
    buckets: list[BucketDecl] = []
    elastic_ips: list[ElasticIpDecl] = []
    customer_gateways: list[CustomerGatewayDecl] = []
    dhcp_options: list[DhcpOptionsDecl] = []
    private_zones: list[PrivateZoneDecl] = []
    vpcs: list[VpcDecl] = []
    instances: list[InstanceDecl] = []
