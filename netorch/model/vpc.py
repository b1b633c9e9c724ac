"""VPC, subnet and route table records, stored below `vpc/<vni>/`."""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.model.record import Part, Record
from netorch.model.services.dhcp_options import DEFAULT_OPTIONS, DhcpOptions

Tags = dict[str, str]

DEFAULT_OWNER: Final = "default"  # the owner of resources created without one

MAIN_ROUTE_TABLE: Final = "main"  # the name of the route table created with a VPC
TABLE_NUMBER_LAST: Final = 200  # EC2's quota of route tables; the names of a host's VRF devices contain the number


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
    ipv6_pools: dict[str, str] = {}  # CIDR -> its address pool; other CIDRs are the customer's own
    is_default: bool = False
    dhcp_options: str = ""  # dopt-...; empty: the default set
    dhcp: DhcpOptions = DEFAULT_OPTIONS  # the options of that set; sets are immutable
    enable_dns_support: bool = True  # whether the VPC's resolver answers
    enable_dns_hostnames: bool = False  # whether instances, zones and endpoints have names: `has_hostnames`
    tags: Tags = {}

    @property
    def has_hostnames(self) -> bool:
        """Return whether instances, private zones and endpoints have DNS names: both attributes must be true, as in EC2."""
        return self.enable_dns_support and self.enable_dns_hostnames


class Subnet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A range of a VPC's addresses. The first four addresses and the last are reserved; the router has the second.

    Schema 2 added `public_on_launch`, schema 3 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 3
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    name: str
    cidr: str
    ipv6_cidr: str = ""  # /64 or empty
    route_table: str = ""  # rtb-...; empty: the VPC's main table
    acl: str = ""  # acl-...; empty: the VPC's default ACL
    public_on_launch: bool = False  # whether new instances get a public address; EC2's MapPublicIpOnLaunch
    tags: Tags = {}


class VpcRoute(Part, frozen=True, kw_only=True):
    """One line of a route table."""

    destination: str  # a canonical CIDR, or pl-...
    target: str  # `local`, `blackhole` or an id: netorch.model.routing.target reads it


class RouteTable(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A route table. The local route of each CIDR of the VPC is implicit and not stored.

    Schema 2 added `number` and `routes`, schema 3 `propagating`. Schema 4 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 4
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    name: str
    main: bool = False
    # 1 to TABLE_NUMBER_LAST, unique in the VPC; 0 for the main table created with the VPC and for tables written with schema 1.
    number: int = 0
    routes: tuple[VpcRoute, ...] = ()  # the customer's routes, at most one per destination
    propagating: tuple[str, ...] = ()  # vgw-...: the table also has the prefixes that these gateways reach
    tags: Tags = {}
