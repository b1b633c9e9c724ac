"""The routes of a table that are in force, and the route that a packet takes.

A table's routes have three sources: the VPC's ranges (local routes), the customer (static routes, some of them to the CIDRs of a
prefix list), and gateways (propagated routes). `effective` selects among them.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.target import BLACKHOLE, LOCAL, ONLY_VERSION, REPLACES_LOCAL, Target, target_of
from netorch.model.security import PrefixList
from netorch.model.vpc import Subnet, Vpc, VpcRoute

# Ranges of EC2's own services. No route may lead there, and wider routes do not cover them.
RESERVED: Final = (parse_prefix("169.254.168.0/22"), parse_prefix("fd00:ec2::/32"))


class Origin(IntEnum):
    """The source of a route. Of two routes to the same prefix, the one with the lower origin is in force."""

    LOCAL = 0
    STATIC = 1
    PREFIX_LIST = 2
    DIRECT_CONNECT = 3
    VPN_STATIC = 4
    VPN_BGP = 5


PROPAGATED: Final = frozenset({Origin.DIRECT_CONNECT, Origin.VPN_STATIC, Origin.VPN_BGP})  # routes from gateways


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix that a gateway reaches and propagates into the tables that enable propagation."""

    prefix: str
    gateway: str  # vgw-...
    origin: Origin
    as_path_length: int = 0  # of a BGP route


class Effective(msgspec.Struct, frozen=True):
    """A route in force: packets to `prefix` go to `target`, unless a longer prefix matches their destination."""

    prefix: Prefix
    target: Target
    origin: Origin


def is_reserved(prefix: Prefix) -> bool:
    """Return whether EC2 reserves a prefix for its services, so that no route may lead there."""
    return any(block.contains(prefix) for block in RESERVED)


def ranges_of(vpc: Vpc) -> list[Prefix]:
    """Return a VPC's own ranges. Each has a local route in every table."""
    return [parse_prefix(text) for text in vpc.cidrs + vpc.ipv6_cidrs]


def ranges_of_subnet(subnet: Subnet) -> tuple[Prefix, ...]:
    """Return a subnet's own ranges, one per IP version."""
    return tuple(parse_prefix(text) for text in (subnet.cidr, subnet.ipv6_cidr) if text)


def effective(
    vpc: Vpc,
    routes: Iterable[VpcRoute],
    *,
    available: Container[str],
    lists: Mapping[str, PrefixList],
    learned: Iterable[Learned] = (),
    own: Collection[Prefix] = (),
) -> tuple[Effective, ...]:
    """Return the routes in force in a table, one per prefix, sorted by prefix.

    `routes` are the table's own. `available` are the ids of the targets that can take packets now; a route to another target is a
    black hole, and still wins. `lists` holds the VPC's prefix lists by id. `own` are the ranges of the sending subnet. EC2 routes
    only packets that leave a subnet, so these ranges are always local. Cost: O(n log n) of the routes.
    """
    ranges = ranges_of(vpc)
    found = {prefix: Effective(prefix, LOCAL, Origin.LOCAL) for prefix in (*ranges, *own)}
    for route in _by_preference(routes, lists, learned):
        inside = is_within(ranges, route.prefix)
        if is_reserved(route.prefix) or (inside and not _beats_local(route)) or is_within(own, route.prefix):
            continue
        known = found.get(route.prefix)
        if known is None or known.origin is Origin.LOCAL:
            found[route.prefix] = route
    dropped = [block for block in RESERVED if any(prefix.contains(block) for prefix in found)]
    found |= {block: Effective(block, BLACKHOLE, Origin.LOCAL) for block in dropped}
    return tuple(_alive(found[prefix], available) for prefix in sorted(found))


def is_within(ranges: Iterable[Prefix], prefix: Prefix) -> bool:
    """Return whether one of the ranges contains a prefix."""
    return any(wide.contains(prefix) for wide in ranges)


def overrides(vpc: Vpc, routes: Iterable[VpcRoute]) -> tuple[Prefix, ...]:
    """Return the prefixes inside a VPC's ranges that a table routes to an explicit target instead of `local`, sorted."""
    ranges = ranges_of(vpc)
    found = _static(route for route in routes if not route.destination.startswith(LIST_PREFIX))
    return tuple(sorted(r.prefix for r in found if _beats_local(r) and is_within(ranges, r.prefix)))


def route_of(routes: Iterable[Effective], address: str) -> Effective | None:
    """Return the route of a packet to an address, by longest prefix match. None: the packet is dropped."""
    version, value = parse_ip(address)
    holding = [route for route in routes if route.prefix.holds(version, value)]
    return max(holding, key=lambda route: route.prefix.length, default=None)


def _by_preference(
    routes: Iterable[VpcRoute], lists: Mapping[str, PrefixList], learned: Iterable[Learned]
) -> Iterator[Effective]:
    """Yield all routes except local ones. Of the routes to one prefix, the best comes first.

    Of two prefix lists with the same prefix, EC2 chooses one at random and keeps it. netorch chooses the lower id, also random.
    """
    yield from _static(route for route in routes if not route.destination.startswith(LIST_PREFIX))
    for route in sorted((route for route in routes if route.destination in lists), key=lambda route: route.destination):
        entries = lists[route.destination].entries
        target = target_of(route.target)
        yield from (Effective(parse_prefix(entry.cidr), target, Origin.PREFIX_LIST) for entry in entries)
    for one in sorted(learned, key=lambda one: (one.origin, one.as_path_length, one.gateway)):
        yield Effective(parse_prefix(one.prefix), target_of(one.gateway), one.origin)


def _static(routes: Iterable[VpcRoute]) -> Iterator[Effective]:
    for route in routes:
        yield Effective(parse_prefix(route.destination), target_of(route.target), Origin.STATIC)


def _beats_local(route: Effective) -> bool:
    """Return whether a route may replace `local` for a range of the VPC or a part of it."""
    return route.origin is Origin.STATIC and route.target.kind in REPLACES_LOCAL


def _alive(route: Effective, available: Container[str]) -> Effective:
    target, version = route.target, route.prefix.version
    gone = target.id and (target.id not in available or version != ONLY_VERSION.get(target.kind, version))
    return msgspec.structs.replace(route, target=BLACKHOLE) if gone else route


def counts(routes: Sequence[VpcRoute], lists: Mapping[str, PrefixList]) -> dict[int, int]:
    """Return the number of routes that count in a table's quota, by IP version.

    A prefix list counts as its `max_entries`. Local and propagated routes do not count.
    """
    found = {4: 0, 6: 0}
    for route in routes:
        if route.destination in lists:
            found[lists[route.destination].version] += lists[route.destination].max_entries
        else:
            found[parse_prefix(route.destination).version] += 1
    return found
