"""VPC, subnet and route table, as stored below `vpc/<vni>/`."""

from __future__ import annotations

import msgspec

from netorch.model.record import Record

Tags = dict[str, str]

LOCAL_TARGET = "local"


class Vpc(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A customer's private network: one VRF and one VXLAN network identifier."""

    id: str
    vni: int
    owner: str
    name: str
    cidrs: tuple[str, ...]  # IPv4, /16 to /28, canonical; the first is the primary one
    ipv6_cidrs: tuple[str, ...] = ()  # /56
    is_default: bool = False
    tags: Tags = {}


class Subnet(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A slice of a VPC's addresses. Its first four addresses and the last are reserved; the first of them is the router."""

    id: str
    vni: int
    name: str
    cidr: str
    ipv6_cidr: str = ""  # /64 or nothing
    route_table: str = ""  # rtb-...; nothing: the VPC's main table
    acl: str = ""  # acl-...; nothing: the VPC's default ACL
    tags: Tags = {}


class VpcRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a route table. `target` is `local` for the implicit route of each of the VPC's CIDRs."""

    destination: str
    target: str = LOCAL_TARGET


class RouteTable(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A route table. The local routes are implicit: `routes_of` in netorch.control shows them, nothing stores them."""

    id: str
    vni: int
    name: str
    main: bool = False
    tags: Tags = {}
