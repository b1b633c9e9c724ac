"""Egress-only internet gateways, as the edges that carry them see them: which subnets use one.

The routes of a subnet decide by which gateway its packets leave, so they also decide by which gateway those from outside come.
A subnet none of whose routes leads to the gateway does not use it: what comes for it from outside comes by the VPC's internet
gateway, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from netorch.compiler.base import Gateway
from netorch.compiler.tables import table_of
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.routing.effective import Effective, effective, ranges_of_subnet
from netorch.model.routing.target import TargetKind
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc


class Source(msgspec.Struct, frozen=True):
    """Addresses of the internet to which a subnet has a route."""

    prefix: Prefix
    is_tracked: bool  # the route leads to the egress-only gateway, or nowhere; else to the internet gateway


class EgressSubnet(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet that uses an egress-only gateway."""

    range: Prefix  # its IPv6 addresses
    sources: tuple[Source, ...] = ()  # where it uses an internet gateway, too; the longest first, what is in none is tracked


class EgressOnly(msgspec.Struct, frozen=True, kw_only=True):
    """An egress-only internet gateway with a seat on this host."""

    gateway: Gateway
    subnets: tuple[EgressSubnet, ...]

    @property
    def id(self) -> str:
        """Return the gateway's id, which is the label of its namespace."""
        return self.gateway.id

    def is_used_at(self, host: str) -> bool:
        """Return whether a host takes itself for the seat that packets go to."""
        return self.gateway.seat.host == host


def egress_subnets(
    gateway: str,
    vpc: Vpc,
    subnets: Iterable[Subnet],
    tables: Collection[RouteTable],
    gateways: Collection[str],
    lists: Mapping[str, PrefixList],
) -> Iterator[EgressSubnet]:
    """Yield the subnets that use an egress-only gateway.

    `tables` are all of the VPC, `gateways` the ids of those that edges carry, `lists` its prefix lists by id. Which other targets
    take packets does not matter here. Cost: O(subnets x routes of a table).
    """
    for subnet in subnets:
        if subnet.ipv6_cidr:
            own = ranges_of_subnet(subnet)
            found = effective(vpc, table_of(subnet, tables).routes, available=gateways, lists=lists, own=own)
            routes = [route for route in found if route.prefix.version == 6]
            if any(route.target.id == gateway for route in routes):
                yield EgressSubnet(range=parse_prefix(subnet.ipv6_cidr), sources=tuple(_sources(routes)))


def _sources(routes: Sequence[Effective]) -> Iterator[Source]:
    """Yield what leads to an internet gateway, and what of it leads elsewhere."""
    open_ = [route.prefix for route in routes if route.target.kind is TargetKind.INTERNET_GATEWAY]
    for route in sorted(routes, key=lambda route: -route.prefix.length):
        if any(prefix.contains(route.prefix) for prefix in open_):
            yield Source(route.prefix, route.target.kind is not TargetKind.INTERNET_GATEWAY)
