"""Route tables in use on a host, as what compilers see of them: which VRF stands for each, which routes are in force."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from netorch.compiler.base import LocalTable, RoutesToPeer, TableRoutes
from netorch.model.addr import Prefix
from netorch.model.routing.effective import effective, overrides
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Vpc
from netorch.state.names import MAIN_NUMBER


def local_tables(vpc: Vpc, used: Iterable[RouteTable]) -> tuple[LocalTable, ...]:
    """Return the tables that have a VRF, for those in use; one of these, if any, is the main table."""
    found = []
    for table in used:
        inside = overrides(vpc, table.routes) if table.routes else ()
        found.append(LocalTable(id=table.id, number=_vrf_number(table, inside), is_main=table.main, overrides=inside))
    first = () if any(table.number == 0 for table in found) else (LocalTable(id="", number=0),)
    return (*first, *found)


def table_routes(
    vpc: Vpc, used: Iterable[RouteTable], available: Container[str], lists: Mapping[str, PrefixList]
) -> tuple[TableRoutes, ...]:
    """Return the routes in force in the tables in use that have any but local ones.

    `available` and `lists` are those of netorch.model.routing.effective.
    """
    return tuple(
        TableRoutes(
            number=_vrf_number(table, overrides(vpc, table.routes)),
            routes=effective(vpc, table.routes, available=available, lists=lists),
        )
        for table in used
        if table.routes
    )


def routes_to_peers(vpc: Vpc, tables: Iterable[TableRoutes], peers: Mapping[int, str]) -> Iterator[RoutesToPeer]:
    """Yield what the tables in use lead to active peers, which are given by VNI with the ids of their connections."""
    for table in tables if peers else ():
        found = [route for route in table.routes if route.prefix.version == 4 or vpc.ipv6_cidrs]
        for peer, connection in sorted(peers.items()):
            inside = tuple(route.prefix for route in found if route.target.id == connection)
            others = (route.prefix for route in found if route.target.id != connection)
            outside = tuple(prefix for prefix in others if any(wide.contains(prefix) for wide in inside))
            if inside:
                yield RoutesToPeer(vni=vpc.vni, number=table.number, peer=peer, inside=inside, outside=outside)


def _vrf_number(table: RouteTable, inside: Collection[Prefix]) -> int:
    """Return the number of a table's VRF; `inside` are the prefixes of the VPC that it routes elsewhere.

    It does not depend on which table is the main one: when that changes, ports change their VRF, and no table its own.
    """
    return table.number or (MAIN_NUMBER if inside else 0)
