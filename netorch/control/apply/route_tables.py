"""What makes the route tables of one VPC as declared.

New tables are stored without routes first, so that subnets can name them. Routes come last, once the instances that they lead to
have their interfaces; until then a new table has local routes only. A route whose target is gone stays as it is: a black hole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from netorch.control.actions.route_tables import free_number
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.draft import Draft, carriers
from netorch.control.base.named import add_name
from netorch.control.base.routes import (
    Surroundings,
    change_routes,
    make_route,
    ranges_of_subnets,
    room_for_routes,
    route_text,
    where_of,
    with_routes,
)
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import UnreadableRecord
from netorch.model.cloud import MAIN_ROUTE_TABLE, RouteTableDecl, VpcDecl
from netorch.model.normal import normal_tables
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.target import TargetKind
from netorch.model.routing.text import RouteWords, parse_route
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.kinds import BY_PREFIX
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


class RouteTablePlanner:
    """The planning of one VPC's route tables. `guard` returns a step in which the VPC's structure changes."""

    def __init__(self, draft: Draft, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._draft = draft
        self._decl = decl
        self._records = records
        self._guard = guard
        self._stored = {_name_of(stored.record): stored for stored in records.of(RouteTable).values()}
        self._planned = dict(self._stored)  # as they will be before their routes change
        self._decls = _with_main(decl.route_tables)
        self.ids: dict[str, str] = {}  # of those that will be, by name, as subnets store them

    def plan(self) -> None:
        """Add new tables, without routes. Raises UnreadableRecord when the main one is missing."""
        if MAIN_ROUTE_TABLE not in self._stored:
            raise UnreadableRecord(keys.resources(self._records.vni, "rtb"), "the main route table is missing")
        for decl in self._decls:
            if decl.name not in self._stored:
                self._add(decl)
            table = self._planned[decl.name].record
            self.ids[decl.name] = "" if table.main else table.id

    def _add(self, decl: RouteTableDecl) -> None:
        vni = self._records.vni
        others = [stored.record for stored in self._planned.values()]  # those that go, too: a plan may take several transactions
        number = free_number(self._records.vpc.record.id, others)
        table = RouteTable(id=self._draft.caller.new_id("rtb", vni), vni=vni, name=decl.name, number=number, tags=decl.tags)
        writes = self._guard()
        writes.put(keys.resource(table.id), table)
        add_name(writes, self._records.vpc.record, table)
        self._planned[decl.name] = Stored(table, ABSENT)
        self._note(Action.ADD, table, tuple(member_differences("routes", (), normal_tables([decl])[0].routes)))

    def plan_routes(self, subnets: Mapping[str, Subnet], interfaces: Mapping[str, str]) -> None:
        """Add what makes all routes and tags as declared; `subnets`, and `interfaces` of instances, by name as they will be.

        Raises:
          ApiError: RouteLimitExceeded, InvalidPrefixListID.NotFound, the NotFound of a target that is named by its id.
        """
        kept = {decl.name for decl in self._decl.prefix_lists}
        lists = {found: stored for found, stored in self._records.of(PrefixList).items() if stored.record.name in kept}
        names = {eni_id: f"{TargetKind.INTERFACE.value} {name}" for name, eni_id in interfaces.items()}
        names |= {found: LIST_PREFIX + stored.record.name for found, stored in lists.items()}
        for decl in self._decls:
            stored = self._planned[decl.name]
            around = Surroundings(
                vpc=self._records.vpc,
                subnets=ranges_of_subnets(subnets.values()),
                lists=lists,
                find=_Targets(self._records, interfaces, stored.record),
            )
            self._plan_routes(decl, stored, around, names)

    def _plan_routes(
        self, decl: RouteTableDecl, stored: Stored[RouteTable], around: Surroundings, names: Mapping[str, str]
    ) -> None:
        before = stored.record
        where = f"{where_of(before)} in VPC {self._decl.name}"
        made = [make_route(where, _words(text), around) for text in decl.routes]
        wanted = msgspec.structs.replace(with_routes(before, made), tags=decl.tags)
        room_for_routes(wanted, around.lists, self._draft.quotas_of(self._decl.owner))
        if wanted == before:
            return
        change_routes(self._draft.step(), stored, wanted, around)
        if decl.name in self._stored:
            sides = ([route_text(route, names) for route in table.routes] for table in (before, wanted))
            changed = (*differences(tags=(before.tags, wanted.tags)), *member_differences("routes", *sides))
            self._note(Action.CHANGE, wanted, changed)

    def plan_deletions(self) -> None:
        """Add the end of tables that are not declared; no subnet uses them any more."""
        for name, stored in self._stored.items():
            if name not in self.ids:
                delete_part(self._draft.step(), self._records.vpc, stored)
                self._note(Action.DELETE, stored.record)

    def _note(self, action: Action, table: RouteTable, changed: tuple[Difference, ...] = ()) -> None:
        change = Change(
            action=action,
            kind="route-table",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=table.name,
            resource_id="" if action is Action.ADD else table.id,
            differences=changed,
            hosts=carriers(self._records),
        )
        self._draft.changes.append(change)


class _Targets:
    """The targets that a table's routes may lead to, as they will be."""

    def __init__(self, records: VpcRecords, interfaces: Mapping[str, str], table: RouteTable) -> None:
        self._records = records
        self._interfaces = interfaces
        self._before = {route.target for route in table.routes}

    def __call__(self, kind: TargetKind, text: str) -> str:
        """Return the id of a target. Raises ApiError: its NotFound."""
        if kind is TargetKind.INTERFACE and text in self._interfaces:
            return self._interfaces[text]
        if text in self._records.of(BY_PREFIX[kind.value].type) or text in self._interfaces.values() or text in self._before:
            return text
        raise not_found(kind.value, text)


def _name_of(table: RouteTable) -> str:
    """Return what files call a table: the main one is told by what it is."""
    return MAIN_ROUTE_TABLE if table.main else table.name


def _with_main(decls: Sequence[RouteTableDecl]) -> list[RouteTableDecl]:
    missing = [] if any(decl.name == MAIN_ROUTE_TABLE for decl in decls) else [RouteTableDecl(name=MAIN_ROUTE_TABLE)]
    return [*missing, *decls]


def _words(text: str) -> RouteWords:
    """Return what a route of a checked file means."""
    words = parse_route(text)
    assert isinstance(words, RouteWords)
    return words
