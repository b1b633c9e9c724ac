"""Route tables in use on a host, as compilers see them: the VRF of each table, and the routes in force."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from netorch.compiler.base import LocalTable, RoutesToPeer, TableRoutes
from netorch.model.addr import Prefix
from netorch.model.mapping import Reach
from netorch.model.routing.effective import effective, is_within, overrides, ranges_of_subnet
from netorch.model.routing.reach import learned
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.state.names import MAIN_NUMBER


def subnets_apart(vpc: Vpc, used: Collection[RouteTable], subnets: Iterable[Subnet]) -> list[Subnet]:
    """Return the subnets that need their own VRF: those whose table routes their own range elsewhere."""
    inside = {table.id: overrides(vpc, table.routes) for table in used if table.routes}
    return [
        subnet
        for subnet in subnets
        if any(is_within(inside.get(table_of(subnet, used).id, ()), own) for own in ranges_of_subnet(subnet))
    ]


def local_tables(
    vpc: Vpc,
    used: Collection[RouteTable],
    subnets: Collection[Subnet] = (),
    apart: Mapping[str, int] | None = None,
    *,
    open_first: bool = True,
) -> tuple[LocalTable, ...]:
    """Return the tables in use with their VRFs; one of them, if there are any, is the main table.

    `subnets` are those of interfaces on this host. `apart` has the VRF numbers of the subnets that need their own, by id.
    `open_first`: the VPC's first VRF may be the main table's. On an edge the first VRF has no table's routes, whatever is in
    use.
    """
    found, apart = [], apart or {}
    for table in used:
        inside = overrides(vpc, table.routes) if table.routes else ()
        here = [subnet for subnet in subnets if table_of(subnet, used) is table]
        if not here or any(subnet.id not in apart for subnet in here):
            number = _vrf_number(table, inside, open_first)
            found.append(LocalTable(id=table.id, number=number, is_main=table.main, overrides=inside))
        for subnet in here:
            if subnet.id in apart:
                own = ranges_of_subnet(subnet)
                outside = tuple(prefix for prefix in inside if not is_within(own, prefix))
                number = apart[subnet.id]
                found.append(
                    LocalTable(id=table.id, number=number, is_main=table.main, overrides=outside, subnet=subnet.id, own=own)
                )
    first = () if any(table.number == 0 for table in found) else (LocalTable(id="", number=0),)
    return (*first, *found)


def table_routes(
    vpc: Vpc,
    used: Iterable[RouteTable],
    local: Iterable[LocalTable],
    available: Container[str],
    lists: Mapping[str, PrefixList],
    reaches: Collection[Reach] = (),
) -> tuple[TableRoutes, ...]:
    """Return the routes in force in the VRFs of tables in use that have other than local routes.

    `available` and `lists` are those of netorch.model.routing.effective. `reaches` are all that the VPC's edges reach.
    """
    tables = {table.id: table for table in used}
    return tuple(
        TableRoutes(
            number=vrf.number,
            routes=effective(
                vpc,
                tables[vrf.id].routes,
                available=available,
                lists=lists,
                learned=learned(reaches, tables[vrf.id].propagating),
                own=vrf.own,
            ),
        )
        for vrf in local
        if vrf.id and (tables[vrf.id].routes or tables[vrf.id].propagating)
    )


def table_of(subnet: Subnet, used: Iterable[RouteTable]) -> RouteTable:
    """Return a subnet's table among those in use, which include the main one."""
    named = [table for table in used if subnet.route_table and table.id == subnet.route_table]
    return named[0] if named else next(table for table in used if table.main)


def routes_to_peers(vpc: Vpc, tables: Iterable[TableRoutes], peers: Mapping[int, str]) -> Iterator[RoutesToPeer]:
    """Yield the routes of tables in use to active peers; `peers` maps a peer's VNI to the id of its connection."""
    for table in tables if peers else ():
        found = [route for route in table.routes if route.prefix.version == 4 or vpc.ipv6_cidrs]
        for peer, connection in sorted(peers.items()):
            inside = tuple(route.prefix for route in found if route.target.id == connection)
            others = (route.prefix for route in found if route.target.id != connection)
            outside = tuple(prefix for prefix in others if any(wide.contains(prefix) for wide in inside))
            if inside:
                yield RoutesToPeer(vni=vpc.vni, number=table.number, peer=peer, inside=inside, outside=outside)


def _vrf_number(table: RouteTable, inside: Collection[Prefix], open_first: bool) -> int:
    """Return the number of a table's VRF; `inside` are the prefixes of the VPC that it routes elsewhere.

    It does not depend on which table is the main one: when that changes, ports change their VRF, and no table its own.
    """
    return table.number or (0 if open_first and not inside else MAIN_NUMBER)
