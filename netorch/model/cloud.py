"""A cloud as a customer declares it: names instead of ids, and optional fields may be omitted.

These classes are the decoded form of vpc.yaml. `netorch.model.check` finds every error, `netorch.control.apply` makes records.
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
from netorch.model.vpc import DEFAULT_OWNER, MAIN_ROUTE_TABLE, Tags

DEFAULT_VPC_NAME = "default"
DEFAULT_VPC_CIDR = "172.31.0.0/16"  # EC2's
DEFAULT_SUBNET_NAME = "default"
DEFAULT_SUBNET_CIDR = "172.31.0.0/20"


class HostDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A hypervisor, which carries instances, or an edge. An edge with a pair and an uplink carries gateways."""

    name: str
    underlay: str
    role: Role = Role.HYPERVISOR
    pair: str = ""
    uplink: Uplink | None = None
    capacity: int = 0  # of a hypervisor, in interfaces; 0: no limit
    tags: Tags = {}


class AddressPoolDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Public IPv4 and IPv6 addresses that are routed to the edges of one pair."""

    name: str
    pair: str
    cidrs: list[str]
    tags: Tags = {}


class HostedVlanDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VLAN of a connection that is reserved for one owner's virtual interface."""

    owner: str
    vlan: int
    outer_vlan: int = 0  # the outer service tag (802.1ad); 0: none


class ConnectionDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A Direct Connect connection: a network device of an edge that is cabled to a customer's router."""

    name: str
    host: str
    device: str
    owner: str = ""  # this owner may use every VLAN that is not hosted; empty: no owner may
    hosted: list[HostedVlanDecl] = []
    tags: Tags = {}


class ElasticIpDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A public address that an owner holds, for an instance or a NAT gateway. `owner` and `name` together identify it."""

    name: str
    owner: str = DEFAULT_OWNER
    pool: str = ""  # empty: any pool at the edges that carry the VPC's internet gateway
    address: str = ""  # empty: any address of the pool
    tags: Tags = {}


class InternetGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The VPC's internet gateway, for both directions. A route names it as `igw`: `0.0.0.0/0 via igw`."""

    name: str = ""
    tags: Tags = {}


class NatGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A NAT gateway in a subnet. A route names it: `0.0.0.0/0 via nat-out`.

    A new gateway needs an elastic IP. An existing gateway keeps its elastic IPs without a name. If its primary one has a name
    that is no longer in the list, the gateway is replaced.
    """

    name: str
    subnet: str
    elastic_ips: list[str] = []  # names of the owner's elastic IPs, its public sources; the first is primary
    address: str = ""  # private; empty: the next free one
    tags: Tags = {}


class EgressOnlyInternetGatewayDecl(InternetGatewayDecl, frozen=True, kw_only=True):
    """The VPC's outbound-only gateway to the IPv6 internet. A route names it as `eigw`: `::/0 via eigw`."""


class VpnGatewayDecl(InternetGatewayDecl, frozen=True, kw_only=True):
    """The VPC's gateway to remote private networks. A route names it as `vgw`: `192.168.0.0/16 via vgw`."""

    asn: int = AMAZON_ASN  # a private ASN, for its BGP sessions


class VirtualInterfaceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VLAN of a connection that connects to the VPC. The VPC needs a virtual private gateway at the connection's edge.

    The edge learns the customer's prefixes by BGP, or uses static routes, which AWS Direct Connect does not offer.
    """

    name: str
    connection: str
    vlan: int
    outer_vlan: int = 0  # the outer service tag (802.1ad); 0: none
    mtu: int = 1500
    asn: int = 0  # of the customer's router; 0: no BGP
    address: str = ""  # of the edge, with prefix length; empty: netorch chooses one
    peer: str = ""  # of the customer's router; empty: the other address of the prefix
    key_file: str = ""  # file with the TCP MD5 key of the BGP session, beside this file; read when the key is first set
    bfd: bool = False
    routes: list[str] = []
    tags: Tags = {}


class CustomerGatewayDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A customer's own VPN device. `owner` and `name` together identify it. Only its tags can change."""

    name: str
    owner: str = DEFAULT_OWNER
    asn: int = CUSTOMER_ASN
    address: str = ""  # public, or that of the NAT in front of it; empty: any address, if `identity` is set
    identity: str = ""  # its IKE identity; empty: its address
    tags: Tags = {}


class TunnelDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of the two tunnels of a VPN connection."""

    inside_cidr: str = ""  # empty: any free one
    psk_file: str = ""  # file with the pre-shared key of a new connection, beside this file; empty: a generated key
    options: TunnelOptions = TunnelOptions()


class VpnConnectionDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VPN connection of the VPC's virtual private gateway, with static routes or with BGP."""

    name: str
    customer_gateway: str  # name of one of the owner's customer gateways, or an id
    static_routes: list[str] | msgspec.UnsetType = msgspec.UNSET  # omitted: BGP
    local_cidr: str = ANY_CIDR
    remote_cidr: str = ANY_CIDR
    tunnels: list[TunnelDecl] = []  # up to two
    tags: Tags = {}


class RouteTableDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A route table. Its local routes are implicit.

    The VPC's main table is the table with `main`, else the table named `main`. If omitted, `main` has local routes only.
    """

    name: str
    main: bool = False
    routes: list[str] = []  # e.g. `0.0.0.0/0 via eni fw-1`
    propagate: bool = False  # whether the VPC's virtual private gateway propagates its prefixes
    tags: Tags = {}


def main_name(tables: Iterable[RouteTableDecl]) -> str:
    """Return the name of a VPC's main route table."""
    return next((table.name for table in tables if table.main), MAIN_ROUTE_TABLE)


class PrefixListDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """CIDRs of one IP version under a name, which rules write as `pl-<name>`."""

    name: str
    cidrs: list[str]
    max_entries: int | None = None  # its weight in rule quotas; None: the number of CIDRs
    tags: Tags = {}


class IngressDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An inbound rule: traffic that members of a group may receive."""

    protocol: str | int
    source: str  # a CIDR, sg-<name>, pl-<name>, or the id of a group or prefix list
    ports: str | int = ""
    description: str = ""


class EgressDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An outbound rule: traffic that members of a group may send."""

    protocol: str | int
    destination: str  # as IngressDecl.source
    ports: str | int = ""
    description: str = ""


class SecurityGroupDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A security group. Every VPC has a group named `default`; if omitted, it has EC2's default rules."""

    name: str
    description: str = ""
    ingress: list[IngressDecl] = []
    egress: list[EgressDecl] | msgspec.UnsetType = msgspec.UNSET  # omitted: all outbound, as in EC2; []: none
    tags: Tags = {}


class AclAction(Enum):
    """The action of an ACL entry on the packets that it matches."""

    ALLOW = "allow"
    DENY = "deny"


class AclEntryDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One numbered entry of a network ACL. `cidr` is the source for ingress, the destination for egress."""

    rule: int
    action: AclAction
    protocol: str | int
    cidr: str
    ports: str | int = ""


class NetworkAclDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A network ACL. Every VPC has an ACL named `default`; if omitted, it allows everything, as in EC2."""

    name: str
    ingress: list[AclEntryDecl] = []
    egress: list[AclEntryDecl] = []
    tags: Tags = {}


# The default group and ACL of a VPC that does not declare them, and the outbound rules of a group without `egress`.
ALL_OUTBOUND = [EgressDecl(protocol="all", destination="0.0.0.0/0"), EgressDecl(protocol="all", destination="::/0")]
DEFAULT_GROUP = SecurityGroupDecl(name=DEFAULT_NAME, ingress=[IngressDecl(protocol="all", source=f"sg-{DEFAULT_NAME}")])
_EVERYTHING = [
    AclEntryDecl(rule=DEFAULT_ACL_NUMBER, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0"),
    AclEntryDecl(rule=DEFAULT_ACL_NUMBER + 1, action=AclAction.ALLOW, protocol="all", cidr="::/0"),
]
DEFAULT_ACL = NetworkAclDecl(name=DEFAULT_NAME, ingress=_EVERYTHING, egress=_EVERYTHING)


class PeeringDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A peering connection of the VPC. It is accepted at once if the user who applies the file may act for both VPCs.

    A mapped peering has RANGE=ALIAS for each VPC: the other VPC uses ALIAS to reach RANGE.
    """

    name: str
    peer: str  # the other VPC: name, owner/name, or id
    map_own: str = ""
    map_peer: str = ""
    tags: Tags = {}


class LoggedTraffic(Enum):
    """The traffic that a flow log records, as written in vpc.yaml."""

    ALL = "all"
    ACCEPT = "accept"
    REJECT = "reject"

    @property
    def traffic(self) -> Traffic:
        """Return the stored form."""
        return Traffic[self.name]


class FlowLogDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A flow log of the VPC, the subnet or the instance's primary interface that contains the declaration."""

    name: str
    traffic: LoggedTraffic = LoggedTraffic.ALL
    interval: int = INTERVAL_LAST_S  # seconds
    format: str = ""  # in EC2's syntax, e.g. `${version} ${srcaddr}`; empty: EC2's default fields
    tags: Tags = {}


class SubnetDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subnet. `route_table` and `network_acl` are names; they default to the main table and the default ACL."""

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

    Defaults: the VPC's only subnet, a hypervisor that netorch chooses, the next free addresses, the security group `default`,
    and a network namespace that netorch makes. A new instance has no user data, and gets an ephemeral public address if its
    subnet has `public_on_launch`. An existing instance keeps its public address and its user data.
    """

    name: str
    subnet: str = ""
    host: str = ""
    address: str = ""
    ipv6_address: str = ""
    mac: str = ""
    public_address: bool | msgspec.UnsetType = msgspec.UNSET  # an ephemeral one
    elastic_ip: str = ""  # name of one of the owner's elastic IPs, mapped to its address
    security_groups: list[str] = []  # names
    source_dest_check: bool = True  # false: it may send and receive packets of foreign addresses, e.g. a firewall
    attachment: Attachment = Attachment.NETNS
    netns: str = ""
    user_data: str = ""  # as text
    user_data_base64: str = ""  # the same for binary data
    metadata_options: MetadataOptionsDecl | msgspec.UnsetType = msgspec.UNSET  # omitted: EC2's defaults
    tags: Tags = {}
    flow_logs: list[FlowLogDecl] = []


class VpcDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VPC with all its resources. `owner` and `name` together identify it."""

    name: str
    cidrs: list[str]
    owner: str = DEFAULT_OWNER
    ipv6_cidrs: list[str] = []
    vni: int | None = None  # a requested VNI, e.g. for a reproducible lab
    enable_dns_support: bool = True  # whether its resolver answers
    enable_dns_hostnames: bool | msgspec.UnsetType = msgspec.UNSET  # names of instances, zones and endpoints; see `has_hostnames`
    dhcp_options: str = ""  # name of one of the owner's sets, or an id; empty: the default set
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
        """Return whether instances get DNS names. If `enable_dns_hostnames` is omitted: in the default VPC only, as in EC2."""
        return self.enable_dns_hostnames is True or (self.enable_dns_hostnames is msgspec.UNSET and self.name == DEFAULT_VPC_NAME)


# The fields of VpcDecl that declare a gateway of which a VPC has at most one.
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
    """A whole vpc.yaml. Top-level instances belong to the default VPC, which the first of them creates."""

    name: str = ""  # identifies the file's resources, wherever the file lies; empty: its path
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
