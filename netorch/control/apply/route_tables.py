"""Plan the route tables of one VPC as declared.

New tables are first stored without routes, so that subnets can name them. Routes come last, after the interfaces of their
instances; until then a new table has local routes only. If a table has routes to peering connections by name, the VPC's routes
come after the connections, which are planned after all VPCs. A route to a deleted target stays: a black hole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from netorch.control.actions.route_tables import exchange_main, free_number
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.endpoints.gateway import EndpointPlanner
from netorch.control.base.named import add_name
from netorch.control.base.routes import (
    Surroundings,
    change_routes,
    is_there,
    make_route,
    only_target,
    ranges_of_subnets,
    room_for_routes,
    route_counts,
    route_text,
    where_of,
    with_routes,
)
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import UnreadableRecord
from netorch.model.cloud import RouteTableDecl, VpcDecl, main_name
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.ids import is_id
from netorch.model.normal import normal_table
from netorch.model.outside.gateway import ONLY_GATEWAYS, NatGateway
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.seats import gateway_kind
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
    """Plans one VPC's route tables. `guard` returns a step in which the VPC's structure changes."""

    def __init__(
        self,
        builder: PlanBuilder,
        decl: VpcDecl,
        records: VpcRecords,
        guard: Callable[[], Writes],
        endpoints: EndpointPlanner,
    ) -> None:
        self._endpoints = endpoints
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard
        self._stored = {stored.record.name: stored for stored in records.of(RouteTable).values()}
        self._planned = dict(self._stored)  # after the plan, but before their routes change
        self._decls = _with_main(decl.route_tables)
        self._main = main_name(decl.route_tables)
        self.ids: dict[str, str] = {}  # of tables after the plan, by name

    def plan(self) -> None:
        """Add new tables without routes, and make the declared main table the main one.

        Raises:
          UnreadableRecord: the main table is missing.
          ApiError: RouteTableLimitExceeded.
        """
        main = next((name for name, stored in self._stored.items() if stored.record.main), None)
        if main is None:
            raise UnreadableRecord(keys.resources(self._records.vni, "rtb"), "the main route table is missing")
        for decl in self._decls:
            if decl.name not in self._stored:
                self._add(decl)
            self.ids[decl.name] = self._planned[decl.name].record.id
        if main != self._main:
            self._set_main(main)

    def _set_main(self, before: str) -> None:
        names = (before, self._main)
        old, new = (self._planned[name] for name in names)
        everyone = (stored.record for stored in self._planned.values())
        changed = exchange_main(self._records.vpc.record.id, old.record, new.record, everyone)
        writes = self._guard()
        for name, known, table in zip(names, (old, new), changed, strict=True):
            writes.change(keys.resource(table.id), known.mod_revision, table)
            self._planned[name] = Stored(table, ABSENT)

    def association(self, name: str, before: str) -> str:
        """Return the id that a subnet stores for a declared table; nothing for the main one, unless it stored that `before`."""
        table_id = self.ids[name or self._main]
        if (name or self._main) != self._main:
            return table_id
        return table_id if name and before == table_id else ""

    def _add(self, decl: RouteTableDecl) -> None:
        vni = self._records.vni
        others = [stored.record for stored in self._planned.values()]  # with deleted ones: a plan may take several transactions
        number = free_number(self._records.vpc.record.id, others)
        table = RouteTable(id=self._builder.caller.new_id("rtb", vni), vni=vni, name=decl.name, number=number, tags=decl.tags)
        writes = self._guard()
        writes.put(keys.resource(table.id), table)
        add_name(writes, self._records.vpc.record, table)
        self._planned[decl.name] = Stored(table, ABSENT)
        self._note(Action.ADD, table, tuple(member_differences("routes", (), normal_table(decl).routes)))

    @property
    def names_peers(self) -> bool:
        """Return whether a route names a peering connection."""
        found = (_words(text) for decl in self._decls for text in decl.routes)
        return any(words.kind is TargetKind.PEERING and not is_id(words.name, words.kind.value) for words in found)

    def withdraw(self) -> None:
        """Add the removal of routes to undeclared prefix lists: a list is deleted before the other routes are planned."""
        lists = self._kept_lists()
        for name, stored in self._planned.items():
            table = stored.record
            kept = [route for route in table.routes if route.destination in lists or "/" in route.destination]
            if len(kept) < len(table.routes):
                without = with_routes(table, kept)
                self._builder.step().change(keys.resource(table.id), stored.mod_revision, without)
                self._planned[name] = Stored(without, ABSENT)

    def plan_routes(self, subnets: Mapping[str, Subnet], interfaces: Mapping[str, str]) -> None:
        """Add the changes of all routes and tags; `subnets`, and `interfaces` of instances, are by name after the plan.

        Raises:
          ApiError: RouteLimitExceeded, InvalidPrefixListID.NotFound, the NotFound of a target that is named by its id.
        """
        lists = self._kept_lists()
        now = self._builder.caller.now()
        live = {half.name: half.id for half in self._records.each(PeeringConnection) if half.name and half.is_live(now)}
        names = {eni_id: f"{TargetKind.INTERFACE.value} {name}" for name, eni_id in interfaces.items()}
        names |= {peering: f"{TargetKind.PEERING.value}-{name}" for name, peering in live.items()}
        names |= {found: gateway_kind(found).value for kind in ONLY_GATEWAYS for found in self._records.of(kind)}
        nats = {nat.name: nat.id for nat in self._records.each(NatGateway)}
        names |= {nat: f"{TargetKind.NAT_GATEWAY.value}-{name}" for name, nat in nats.items()}
        names |= {one.id: f"{TargetKind.ENDPOINT.value}-{one.name}" for one in self._records.each(VpcEndpoint) if one.name}
        names |= {found: LIST_PREFIX + stored.record.name for found, stored in lists.items()}
        for decl in self._decls:
            named = {TargetKind.INTERFACE: interfaces, TargetKind.PEERING: live, TargetKind.NAT_GATEWAY: nats}
            around = Surroundings(
                vpc=self._records.vpc,
                subnets=ranges_of_subnets(subnets.values()),
                lists=lists,
                find=_Targets(self._records, named, self._before(decl), now),
                connection=self._connection,
            )
            self._plan_routes(decl, around, names)

    def _connection(self, connection_id: str) -> PeeringConnection | None:
        found = self._records.of(PeeringConnection).get(connection_id)
        return found.record if found is not None else None

    def _kept_lists(self) -> dict[str, Stored[PrefixList]]:
        kept = {decl.name for decl in self._decl.prefix_lists}
        lists = self._records.of(PrefixList).items()
        return {found: stored for found, stored in lists if stored.record.service or stored.record.name in kept}

    def _before(self, decl: RouteTableDecl) -> RouteTable:
        """Return a stored table, or a new one before its routes change."""
        return (self._stored.get(decl.name) or self._planned[decl.name]).record

    def _plan_routes(self, decl: RouteTableDecl, around: Surroundings, names: Mapping[str, str]) -> None:
        stored, before = self._planned[decl.name], self._before(decl)
        where = f"{where_of(before)} in VPC {self._decl.name}"
        made = self._endpoints.with_routes(before, [make_route(where, _words(text), around) for text in decl.routes])
        gateways = tuple(self._records.of(VirtualPrivateGateway)) if decl.propagate else ()
        wanted = msgspec.structs.replace(with_routes(stored.record, made), tags=decl.tags, propagating=gateways)
        had = route_counts(before, self._builder.lists_before(self._records.vni))
        room_for_routes(wanted, around.lists, self._builder.quotas_of(self._decl.owner), had)
        if wanted != stored.record:
            writes = self._builder.step()
            change_routes(writes, stored, wanted, around)
            for gateway in gateways:
                writes.expect(keys.resource(gateway), self._records.of(VirtualPrivateGateway)[gateway].mod_revision)
        if wanted != before and decl.name in self._stored:
            sides = ([route_text(route, names) for route in table.routes] for table in (before, wanted))
            fields = differences(
                main=(before.main, wanted.main),
                propagate=(bool(before.propagating), bool(wanted.propagating)),
                tags=(before.tags, wanted.tags),
            )
            changed = (*fields, *member_differences("routes", *sides))
            self._note(Action.CHANGE, wanted, changed, len({*before.routes} - {*wanted.routes}))

    def plan_deletions(self) -> None:
        """Add the deletion of undeclared tables, which no subnet uses any longer."""
        for name, stored in self._stored.items():
            if name not in self.ids:
                delete_part(self._builder.step(), self._records.vpc, self._planned[name])
                self._note(Action.DELETE, stored.record, (), len(stored.record.routes))

    def _note(self, action: Action, table: RouteTable, changed: tuple[Difference, ...], routes: int = 0) -> None:
        change = Change(
            action=action,
            kind="route-table",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=table.name,
            resource_id="" if action is Action.ADD else table.id,
            differences=changed,
            routes=routes,
            hosts=carriers(self._records),
        )
        self._builder.changes.append(change)


class _Targets:
    """The possible targets of a table's routes, after the plan."""

    def __init__(self, records: VpcRecords, named: Mapping[TargetKind, Mapping[str, str]], table: RouteTable, now: float) -> None:
        self._records = records
        self._now = now
        self._named = named  # ids by name, of targets that a file can name
        self._before = {route.target for route in table.routes}

    def __call__(self, kind: TargetKind, text: str) -> str:
        """Return the id of a target. Raises ApiError: its NotFound."""
        known = self._records.of(BY_PREFIX[kind.value].type)
        if not text:
            return only_target(kind, known)
        named = self._named.get(kind, {})
        if text in named:
            return named[text]
        stored = known.get(text)
        if (stored is not None and is_there(stored.record, self._now)) or text in named.values() or text in self._before:
            return text
        raise not_found(kind.value, text)


def _with_main(decls: Sequence[RouteTableDecl]) -> list[RouteTableDecl]:
    main = main_name(decls)
    return [*decls] if any(decl.name == main for decl in decls) else [RouteTableDecl(name=main), *decls]


def _words(text: str) -> RouteWords:
    """Return the parsed route of a checked file."""
    words = parse_route(text)
    assert isinstance(words, RouteWords)
    return words
