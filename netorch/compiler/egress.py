"""Egress-only internet gateways on the edges that carry them: which subnets use one.

The routes of a subnet decide by which gateway its packets leave, so they also decide by which gateway packets from outside
arrive. A subnet without a route to the egress-only gateway does not use it: packets for it from outside arrive by the VPC's
internet gateway, or not at all.
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
    """Internet addresses to which a subnet has a route."""

    prefix: Prefix
    is_tracked: bool  # whether the route leads to the egress-only gateway or nowhere; otherwise to the internet gateway


class EgressSubnet(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet that uses an egress-only gateway."""

    range: Prefix  # its IPv6 addresses
    sources: tuple[Source, ...] = ()  # set if it also uses an internet gateway; longest first; other addresses are tracked


class EgressOnly(msgspec.Struct, frozen=True, kw_only=True):
    """An egress-only internet gateway with a seat on this host."""

    gateway: Gateway
    subnets: tuple[EgressSubnet, ...]

    @property
    def id(self) -> str:
        """Return the gateway's id, which is the label of its namespace."""
        return self.gateway.id

    def is_used_at(self, host: str) -> bool:
        """Return whether a host considers itself the seat in use."""
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

    `tables` are all of the VPC, `gateways` the ids of those that edges carry, `lists` its prefix lists by id. Whether other
    targets take packets does not matter. Cost: O(subnets x routes of a table).
    """
    for subnet in subnets:
        if subnet.ipv6_cidr:
            own = ranges_of_subnet(subnet)
            found = effective(vpc, table_of(subnet, tables).routes, available=gateways, lists=lists, own=own)
            routes = [route for route in found if route.prefix.version == 6]
            if any(route.target.id == gateway for route in routes):
                yield EgressSubnet(range=parse_prefix(subnet.ipv6_cidr), sources=tuple(_sources(routes)))


def _sources(routes: Sequence[Effective]) -> Iterator[Source]:
    """Yield the prefixes that lead to an internet gateway, and those inside them that lead elsewhere."""
    open_ = [route.prefix for route in routes if route.target.kind is TargetKind.INTERNET_GATEWAY]
    for route in sorted(routes, key=lambda route: -route.prefix.length):
        if any(prefix.contains(route.prefix) for prefix in open_):
            yield Source(route.prefix, route.target.kind is not TargetKind.INTERNET_GATEWAY)
