"""Route tables and their routes.

A VPC's main table applies to every subnet that names no table. Another table may become the main one. The main table is deleted
only with the VPC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from enum import Enum

import msgspec

from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import refuse_endpoints_route
from netorch.control.base.quotas import quotas_of
from netorch.control.base.routes import (
    Surroundings,
    change_routes,
    make_route,
    read_destination,
    read_words,
    room_for_routes,
    route_counts,
    route_names,
    stored_destination,
    surroundings_of,
    where_of,
    with_routes,
)
from netorch.control.base.structure import create_part, delete_part
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.addr import parse_prefix
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.mapping import GatewayMapping, Reach
from netorch.model.outside.gateway import GATEWAYS
from netorch.model.routing.effective import PROPAGATED, Learned, effective
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.reach import learned, said_by_seats
from netorch.model.routing.target import BLACKHOLE, LOCAL, TargetRecord, available_targets, target_of
from netorch.model.security import PrefixList
from netorch.model.vpc import TABLE_NUMBER_LAST, RouteTable, Subnet, Tags, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import get, listed, read, read_all, read_vpc
from netorch.store.base import Store


class RouteState(Enum):
    """Whether a route forwards packets; EC2's words."""

    ACTIVE = "active"
    BLACKHOLE = "blackhole"  # its target is deleted or not attached


class RouteOrigin(Enum):
    """How a route was added to its table; EC2's words."""

    LOCAL = "CreateRouteTable"
    STATIC = "CreateRoute"
    PROPAGATED = "EnableVgwRoutePropagation"


class RouteInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A route for display."""

    destination: str  # a CIDR, or the id of a prefix list
    target: str  # local, blackhole, or an id
    origin: RouteOrigin
    state: RouteState


class RouteTableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A route table, with its routes and the subnets that use it."""

    table: RouteTable
    vpc: Vpc
    routes: tuple[RouteInfo, ...]  # local ones first, propagated ones last
    subnets: tuple[str, ...]  # ids
    names: dict[str, str]  # names of targets and prefix lists in a vpc.yaml: eni fw-1, pl-offices


def routes_of(
    vpc: Vpc,
    table: RouteTable,
    available: Mapping[int, Container[str]],
    lists: Mapping[str, PrefixList],
    propagated: Collection[Learned],
) -> tuple[RouteInfo, ...]:
    """Return a table's routes: an implicit local route for each VPC range unless replaced, then the table's own routes.

    The propagated routes in force come last. `available` holds the ids of the targets that can take packets, by IP version.
    `lists` holds the VPC's prefix lists by id.
    """
    own = {route.destination for route in table.routes}
    local = [VpcRoute(destination=cidr, target=str(LOCAL)) for cidr in vpc.cidrs + vpc.ipv6_cidrs if cidr not in own]
    shown = [_route_info(route, available[_version(route, lists)]) for route in (*local, *table.routes)]
    targets = available[4] if propagated else ()
    found = effective(vpc, table.routes, available=targets, lists=lists, learned=propagated) if propagated else ()
    by_prefix = {one.prefix: one.gateway for one in propagated}  # an effective black hole no longer names its target
    for route in found:
        if route.origin in PROPAGATED:
            state = RouteState.BLACKHOLE if route.target == BLACKHOLE else RouteState.ACTIVE
            target = by_prefix[str(route.prefix)]
            shown.append(RouteInfo(destination=str(route.prefix), target=target, origin=RouteOrigin.PROPAGATED, state=state))
    return tuple(shown)


def _version(route: VpcRoute, lists: Mapping[str, PrefixList]) -> int:
    listed = lists.get(route.destination)
    return listed.version if listed is not None else parse_prefix(route.destination).version


def _route_info(route: VpcRoute, available: Container[str]) -> RouteInfo:
    target = target_of(route.target)
    gone = target == BLACKHOLE or (target.id and target.id not in available)
    return RouteInfo(
        destination=route.destination,
        target=route.target,
        origin=RouteOrigin.LOCAL if target == LOCAL else RouteOrigin.STATIC,
        state=RouteState.BLACKHOLE if gone else RouteState.ACTIVE,
    )


def free_number(vpc_id: str, tables: Iterable[RouteTable]) -> int:
    """Return the lowest number that no table of a VPC has. Raises ApiError: RouteTableLimitExceeded."""
    taken = {table.number for table in tables}
    found = next((number for number in range(1, TABLE_NUMBER_LAST + 1) if number not in taken), None)
    if found is None:
        what = f"VPC {vpc_id}: has {TABLE_NUMBER_LAST} route tables besides the main one, the most that hosts can carry"
        raise ApiError("RouteTableLimitExceeded", f"{what}; delete one")
    return found


def create_route_table(store: Store, caller: Caller, vpc_id: str, *, name: str, tags: Tags | None = None) -> RouteTable:
    """Create a route table besides the main one and return it.

    Raises:
      ApiError: InvalidVpcID.NotFound, RouteTableLimitExceeded, InvalidParameterValue for a bad or taken name.
    """

    def make(vpc: Vpc, others: list[RouteTable]) -> RouteTable:
        where = f"route table {name!r}"
        return RouteTable(
            id=caller.new_id("rtb", vpc.vni),
            vni=vpc.vni,
            name=checks.name(where, name),
            number=free_number(vpc_id, others),
            tags=checks.tags(where, tags),
        )

    return create_part(store, caller, vpc_id, RouteTable, name, make)


def delete_route_table(store: Store, caller: Caller, table_id: str) -> None:
    """Delete a route table that no subnet uses.

    Raises:
      ApiError: InvalidRouteTableID.NotFound; DependencyViolation for the main table, or while subnets use it.
    """

    def decide() -> tuple[Writes, None]:
        vpc, table = read(store, caller, RouteTable, table_id)
        vni = vpc.record.vni
        if table.record.main:
            what = f"route table {table_id}: is the VPC's main table, which is deleted with the VPC"
            text = f"{what}; make another table the main one first: netorch route-table set-main"
            raise ApiError("DependencyViolation", text)
        users = [subnet_id for subnet_id, subnet in read_all(store, Subnet, vni).items() if subnet.record.route_table == table_id]
        if users:
            raise in_use("rtb", table_id, f"subnet(s) {', '.join(users)}", "associate them with another table first")
        writes = Writes()
        delete_part(writes, vpc, table)
        return writes, None

    attempt(store, decide)


def set_main_route_table(store: Store, caller: Caller, table_id: str) -> RouteTable:
    """Make a route table its VPC's main one and return it. It then applies to subnets that name no table; others keep theirs.

    In EC2, ReplaceRouteTableAssociation of the main table's association does this.

    Raises:
      ApiError: InvalidRouteTableID.NotFound, RouteTableLimitExceeded.
    """

    def decide() -> tuple[Writes, RouteTable]:
        vpc, stored = read(store, caller, RouteTable, table_id)
        writes = Writes()
        if stored.record.main:
            return writes, stored.record
        tables = read_all(store, RouteTable, stored.record.vni)
        before = next(other for other in tables.values() if other.record.main)
        old, new = exchange_main(vpc.record.id, before.record, stored.record, [other.record for other in tables.values()])
        guard_structure(writes, vpc)
        writes.change(keys.resource(old.id), before.mod_revision, old)
        writes.change(keys.resource(new.id), stored.mod_revision, new)
        return writes, new

    return attempt(store, decide)


def exchange_main(vpc_id: str, old: RouteTable, new: RouteTable, tables: Iterable[RouteTable]) -> tuple[RouteTable, RouteTable]:
    """Return the old main table of a VPC as an ordinary table, and another table as the main one.

    Raises:
      ApiError: RouteTableLimitExceeded.
    """
    number = old.number or free_number(vpc_id, tables)
    return msgspec.structs.replace(old, main=False, number=number), msgspec.structs.replace(new, main=True)


def create_route(store: Store, caller: Caller, table_id: str, destination: str, target: str) -> RouteTable:
    """Add a route to a route table and return the table.

    `destination` is a CIDR, or a prefix list as in rules. `target` is `blackhole`, `eni` and an instance's name, `pcx-` and a
    peering connection's name, or an id.

    Raises:
      ApiError: InvalidRouteTableID.NotFound, RouteAlreadyExists, RouteLimitExceeded, InvalidPrefixListID.NotFound, the target's
        NotFound, InvalidParameterValue for an invalid route, or one that EC2 does not allow.
    """

    def change(table: RouteTable, around: Surroundings) -> list[VpcRoute]:
        route = make_route(where_of(table), read_words(where_of(table), destination, target), around)
        vpc = around.vpc.record
        if any(other.destination == route.destination for other in table.routes) or _is_local(vpc, route.destination):
            fix = f"to change its target: netorch route-table route replace {table.id} {route.destination} {target}"
            raise ApiError("RouteAlreadyExists", f"{where_of(table)}: already has a route to {destination}; {fix}")
        return [*table.routes, route]

    return _change_routes(store, caller, table_id, change)


def replace_route(store: Store, caller: Caller, table_id: str, destination: str, target: str) -> RouteTable:
    """Change a route's target and return the table; a local route can be replaced, and restored with the target `local`.

    Raises:
      ApiError: as `create_route`, and InvalidRoute.NotFound.
    """

    def change(table: RouteTable, around: Surroundings) -> list[VpcRoute]:
        route = make_route(where_of(table), read_words(where_of(table), destination, target), around)
        refuse_endpoints_route(where_of(table), table.routes, route.destination)
        others = [other for other in table.routes if other.destination != route.destination]
        if len(others) == len(table.routes) and not _is_local(around.vpc.record, route.destination):
            raise _no_route(table, destination)
        return [*others, route]

    return _change_routes(store, caller, table_id, change)


def delete_route(store: Store, caller: Caller, table_id: str, destination: str) -> RouteTable:
    """Delete a route of a route table and return the table.

    Raises:
      ApiError: InvalidRouteTableID.NotFound, InvalidRoute.NotFound, InvalidParameterValue for a local route, even a replaced
        one.
    """

    def change(table: RouteTable, around: Surroundings) -> list[VpcRoute]:
        gone = stored_destination(read_destination(where_of(table), destination), around.lists)
        if _is_local(around.vpc.record, gone):
            fix = f"to undo a replacement: netorch route-table route replace {table.id} {gone} local"
            raise invalid(where_of(table), f"{gone} is a range of the VPC, whose route cannot be deleted", fix)
        refuse_endpoints_route(where_of(table), table.routes, gone)
        others = [route for route in table.routes if route.destination != gone]
        if len(others) == len(table.routes):
            raise _no_route(table, destination)
        return others

    return _change_routes(store, caller, table_id, change)


def _change_routes(
    store: Store, caller: Caller, table_id: str, change: Callable[[RouteTable, Surroundings], list[VpcRoute]]
) -> RouteTable:
    def decide() -> tuple[Writes, RouteTable]:
        vpc, stored = read(store, caller, RouteTable, table_id)
        around = surroundings_of(store, caller, vpc)
        changed = with_routes(stored.record, change(stored.record, around))
        had = route_counts(stored.record, around.lists)
        room_for_routes(changed, around.lists, quotas_of(store, vpc.record.owner), had)
        writes = Writes()
        if changed != stored.record:
            change_routes(writes, stored, changed, around)
        return writes, changed

    return attempt(store, decide)


def _is_local(vpc: Vpc, destination: str) -> bool:
    return destination in vpc.cidrs + vpc.ipv6_cidrs


def _no_route(table: RouteTable, destination: str) -> ApiError:
    text = f"{where_of(table)}: has no route to {destination}; `netorch route-table show {table.id}` lists its routes"
    return ApiError("InvalidRoute.NotFound", text)


def describe_route_tables(store: Store, caller: Caller, vpc_id: str) -> list[RouteTableInfo]:
    """Return a VPC's route tables, the main one first, then by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    tables = [stored.record for stored in read_all(store, RouteTable, vpc.vni).values()]
    subnets = [stored.record for stored in read_all(store, Subnet, vpc.vni).values()]
    enis = [stored.record for stored in read_all(store, NetworkInterface, vpc.vni).values()]
    instances = {instance_id: stored.record for instance_id, stored in read_all(store, Instance, vpc.vni).items()}
    peerings = [stored.record for stored in read_all(store, PeeringConnection, vpc.vni).values()]
    lists = {list_id: stored.record for list_id, stored in read_all(store, PrefixList, vpc.vni).items()}
    gateways = {found: stored for kind in GATEWAYS for found, stored in read_all(store, kind, vpc.vni).items()}
    names = route_names(
        enis,
        instances,
        (half for half in peerings if half.is_live(caller.now())),
        (stored.record for stored in gateways.values()),
        lists.values(),
    )
    found_mappings = (get(store, keys.gateway_mapping(vpc.vni, found), GatewayMapping) for found in gateways)
    mappings = [found.record for found in found_mappings if found is not None]
    said = (stored.record for stored in listed(store, keys.mapping(vpc.vni, keys.REACH), Reach).values())
    reaches = said_by_seats(said, {mapping.gateway: mapping.seats for mapping in mappings})
    targets: list[TargetRecord] = [*enis, *peerings, *mappings]
    available = {version: available_targets(targets, version) for version in (4, 6)}
    main = next((table.id for table in tables if table.main), "")
    return [
        RouteTableInfo(
            table=table,
            vpc=vpc,
            routes=routes_of(vpc, table, available, lists, learned(reaches, table.propagating)),
            subnets=tuple(subnet.id for subnet in subnets if (subnet.route_table or main) == table.id),
            names=names,
        )
        for table in sorted(tables, key=lambda table: (not table.main, table.name))
    ]


def describe_route_table(store: Store, caller: Caller, table_id: str) -> RouteTableInfo:
    """Return one route table. Raises ApiError: InvalidRouteTableID.NotFound."""
    vpc, _ = read(store, caller, RouteTable, table_id)
    return next(info for info in describe_route_tables(store, caller, vpc.record.id) if info.table.id == table_id)
