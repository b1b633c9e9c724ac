"""Route tables. A VPC's main table is in force for every subnet that has none of its own, and goes only with the VPC."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.base import checks
from netorch.control.base.structure import create_part, delete_part
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.routing.target import LOCAL
from netorch.model.vpc import TABLE_NUMBER_LAST, RouteTable, Subnet, Tags, Vpc, VpcRoute
from netorch.records.caller import Caller
from netorch.records.errors import in_use
from netorch.records.read import read, read_all, read_vpc
from netorch.store.base import Store


class RouteTableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A route table, with its routes and the subnets in which it is in force."""

    table: RouteTable
    vpc: Vpc
    routes: tuple[VpcRoute, ...]
    subnets: tuple[str, ...]  # ids


def routes_of(vpc: Vpc, table: RouteTable) -> tuple[VpcRoute, ...]:
    """Return a table's routes: by now the implicit local one of each of the VPC's ranges, the same in every table."""
    del table
    return tuple(VpcRoute(destination=cidr, target=str(LOCAL)) for cidr in vpc.cidrs + vpc.ipv6_cidrs)


def free_number(vpc_id: str, tables: Iterable[RouteTable]) -> int:
    """Return the lowest number that none of a VPC's tables has. Raises ApiError: RouteTableLimitExceeded."""
    taken = {table.number for table in tables}
    found = next((number for number in range(1, TABLE_NUMBER_LAST + 1) if number not in taken), None)
    if found is None:
        what = f"VPC {vpc_id}: has {TABLE_NUMBER_LAST} route tables besides the main one, and hosts carry no more"
        raise ApiError("RouteTableLimitExceeded", f"{what}; delete one")
    return found


def create_route_table(store: Store, caller: Caller, vpc_id: str, *, name: str, tags: Tags | None = None) -> RouteTable:
    """Return a new route table besides the main one.

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
            raise in_use("rtb", table_id, "the role of the VPC's main table", "it goes when the VPC is deleted")
        users = [subnet_id for subnet_id, subnet in read_all(store, Subnet, vni).items() if subnet.record.route_table == table_id]
        if users:
            raise in_use("rtb", table_id, f"subnet(s) {', '.join(users)}", "associate them with another table first")
        writes = Writes()
        delete_part(writes, vpc, table)
        return writes, None

    attempt(store, decide)


def describe_route_tables(store: Store, caller: Caller, vpc_id: str) -> list[RouteTableInfo]:
    """Return a VPC's route tables, the main one first, then by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    tables = [stored.record for stored in read_all(store, RouteTable, vpc.vni).values()]
    subnets = [stored.record for stored in read_all(store, Subnet, vpc.vni).values()]
    infos = []
    for table in sorted(tables, key=lambda table: (not table.main, table.name)):
        own = "" if table.main else table.id
        users = tuple(subnet.id for subnet in subnets if subnet.route_table == own)
        infos.append(RouteTableInfo(table=table, vpc=vpc, routes=routes_of(vpc, table), subnets=users))
    return infos


def describe_route_table(store: Store, caller: Caller, table_id: str) -> RouteTableInfo:
    """Return one route table. Raises ApiError: InvalidRouteTableID.NotFound."""
    vpc, _ = read(store, caller, RouteTable, table_id)
    return next(info for info in describe_route_tables(store, caller, vpc.record.id) if info.table.id == table_id)
