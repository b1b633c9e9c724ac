"""VPC, subnet and route table, as stored below `vpc/<vni>/`."""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.model.record import Part, Record
from netorch.model.services.dhcp_options import DEFAULT_OPTIONS, DhcpOptions

Tags = dict[str, str]

DEFAULT_OWNER: Final = "default"  # of what is made without one

TABLE_NUMBER_LAST: Final = 200  # EC2's quota of route tables; a host's VRF devices have the number in their names


class Vpc(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A customer's private network: one VRF and one VXLAN network identifier.

    Schema 2 added `ipv6_pools`, schema 3 `dhcp_options` and `dhcp`, schema 4 `enable_dns_support`,
    schema 5 `enable_dns_hostnames`.
    """

    SCHEMA: ClassVar[int] = 5

    id: str
    vni: int
    owner: str
    name: str
    cidrs: tuple[str, ...]  # IPv4, /16 to /28, canonical; the first is the primary one
    ipv6_cidrs: tuple[str, ...] = ()  # /56
    ipv6_pools: dict[
        str, str
    ] = {}  # those of them that came out of an address pool, and its name; the others are the customer's own
    is_default: bool = False
    dhcp_options: str = ""  # dopt-...; nothing: the default set
    dhcp: DhcpOptions = DEFAULT_OPTIONS  # what that set says; sets never change
    enable_dns_support: bool = True  # whether names are answered in it
    enable_dns_hostnames: bool = False  # whether these may be of instances, private zones and endpoints: `has_hostnames`
    tags: Tags = {}

    @property
    def has_hostnames(self) -> bool:
        """Return whether instances, private zones and endpoints have names in it: both attributes say so. EC2's rule."""
        return self.enable_dns_support and self.enable_dns_hostnames


class Subnet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A slice of a VPC's addresses. Its first four addresses and the last are reserved; the first of them is the router.

    Schema 2 added `public_on_launch`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    cidr: str
    ipv6_cidr: str = ""  # /64 or nothing
    route_table: str = ""  # rtb-...; nothing: whichever is the VPC's main table
    acl: str = ""  # acl-...; nothing: the VPC's default ACL
    public_on_launch: bool = False  # whether an instance gets a public address with its own interface; EC2's MapPublicIpOnLaunch
    tags: Tags = {}


class VpcRoute(Part, frozen=True, kw_only=True):
    """One line of a route table."""

    destination: str  # a canonical CIDR, or pl-...
    target: str  # `local`, `blackhole` or an id: netorch.model.routing.target reads it


class RouteTable(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A route table. The local route of each of the VPC's ranges is implicit: nothing stores it.

    Schema 2 added `number` and `routes`, schema 3 `propagating`.
    """

    SCHEMA: ClassVar[int] = 3

    id: str
    vni: int
    name: str
    main: bool = False
    # 1 to TABLE_NUMBER_LAST, unique in the VPC; 0 for the main table that came with the VPC, and for others that schema 1 wrote.
    number: int = 0
    routes: tuple[VpcRoute, ...] = ()  # the customer's own; at most one to each destination
    propagating: tuple[str, ...] = ()  # vgw-...: what these gateways reach is in the table, too
    tags: Tags = {}
