"""Plan the gateway endpoints of one VPC as declared. The planner of route tables adds the routes to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from netorch.control.actions.endpoints.gateway import delete_writes
from netorch.control.actions.enis import targets_in
from netorch.control.actions.outside.gateways import put_on
from netorch.control.apply.builder import PlanBuilder, carriers, with_edges
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.endpoints.policies import policy_sides
from netorch.control.apply.outside.gateways import pair_for, pair_named
from netorch.control.base.endpoints.gateway import (
    free_number,
    list_of,
    refuse_own_ranges,
    tables_of,
    use_service,
    with_endpoint,
)
from netorch.control.base.named import add_name
from netorch.control.base.quotas import check_growth
from netorch.control.base.uses import delete_unused, use_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import VpcDecl
from netorch.model.endpoints.declared import GatewayEndpointDecl
from netorch.model.endpoints.endpoint import SERVICE_PREFIX, EndpointType, GatewayService, VpcEndpoint
from netorch.model.mapping import GatewayMapping
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

ENDPOINT_KEYS: Final = 16  # compares and writes of a new one: those of a gateway, of its service and of a new prefix list


class EndpointPlanner:
    """Plans one VPC's gateway endpoints. `guard` returns a step in which the VPC's structure changes."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard
        found = records.of(VpcEndpoint).values()
        self._stored = {stored.record.id: stored for stored in found if stored.record.type is EndpointType.GATEWAY}
        self._planned: dict[str, VpcEndpoint] = {}  # by name, after the plan
        self._tables_before = {one: tables_of(one, records.each(RouteTable)) for one in self._stored}

    def plan(self) -> None:
        """Add new endpoints, and changes of policies and tags.

        Raises:
          ApiError: InvalidServiceName, VpcEndpointLimitExceeded, InsufficientInstanceCapacity, InvalidParameterValue for a
            service with ranges of the VPC.
        """
        where = f"VPC {self._decl.owner}/{self._decl.name}"
        wanted = self._decl.gateway_endpoints
        quotas = self._builder.quotas_of(self._decl.owner)
        check_growth(quotas, "VpcEndpointLimitExceeded", where, len(self._stored), len(wanted))
        for decl in wanted:
            stored = next((one for one in self._stored.values() if _is_same(one.record, decl)), None)
            if stored is None:
                self._add(decl)
            else:
                self._plan_kept(stored, decl)

    def _service(self, decl: GatewayEndpointDecl) -> Stored[GatewayService]:
        stored = self._builder.services.get(_service_name(decl))
        if stored is None:
            raise not_found("gwsvc", decl.service)
        return stored

    def _add(self, decl: GatewayEndpointDecl) -> None:
        records, builder, vpc = self._records, self._builder, self._records.vpc.record
        service, where = self._service(decl), f"endpoint {decl.name!r}"
        refuse_own_ranges(where, vpc, service.record.prefixes)
        pair = pair_named(builder, f"VPC {self._decl.owner}/{self._decl.name}", pair_for(builder, self._decl, records))
        listed = list_of(service.record, vpc, records.of(PrefixList), builder.caller)
        writes = self._guard()
        writes.expect(keys.public_mark(vpc.vni), builder.revision_of(keys.public_mark(vpc.vni)))
        wanted = VpcEndpoint(
            id="",
            vni=vpc.vni,
            type=EndpointType.GATEWAY,
            service=service.record.name,
            name=decl.name,
            policy=decl.policy.strip(),
            number=free_number(vpc.id, records.each(VpcEndpoint)),
            prefix_list=listed.record.id,
            tags=decl.tags,
        )
        made, mapping = put_on(writes, builder.caller, vpc, pair, targets_in(records), wanted)
        use_service(writes, service)
        writes.put(keys.service_uses(service.record.name, made.id), True)
        if listed.record.id not in records.of(PrefixList):
            writes.put(keys.resource(listed.record.id), listed.record)
            add_name(writes, vpc, listed.record)
        writes.put(use_key(listed.record.id), True)
        records.of(PrefixList)[listed.record.id] = Stored(listed.record, ABSENT)
        records.of(VpcEndpoint)[made.id] = Stored(made, ABSENT)
        records.of(GatewayMapping)[made.id] = Stored(mapping, ABSENT)
        self._planned[decl.name] = made
        self._note(Action.ADD, made, differences(service=("", service.record.service_name)), decl)

    def _plan_kept(self, stored: Stored[VpcEndpoint], decl: GatewayEndpointDecl) -> None:
        endpoint = stored.record
        changed = msgspec.structs.replace(endpoint, policy=decl.policy.strip(), tags=decl.tags)
        self._planned[decl.name] = changed
        if changed != endpoint:
            self._builder.step().change(keys.resource(endpoint.id), stored.mod_revision, changed)
            self._records.of(VpcEndpoint)[endpoint.id] = Stored(changed, ABSENT)
        before = self._names(self._tables_before[endpoint.id])
        tables = member_differences("route_tables", before, decl.route_tables)
        fields = differences(policy=policy_sides(endpoint.policy, changed.policy), tags=(endpoint.tags, changed.tags))
        if fields or tables:
            self._note(Action.CHANGE, changed, (*fields, *tables))

    def _names(self, tables: tuple[str, ...]) -> list[str]:
        return sorted(table.name for table in self._records.each(RouteTable) if table.id in tables)

    def with_routes(self, table: RouteTable, routes: list[VpcRoute]) -> list[VpcRoute]:
        """Return a table's routes with those to the endpoints that name the table. Raises ApiError: RouteAlreadyExists."""
        found = routes
        for decl in self._decl.gateway_endpoints:
            if table.name in decl.route_tables:
                wider = msgspec.structs.replace(table, routes=tuple(found))
                found = with_endpoint(wider, self._planned[decl.name], f"route table {table.name}")
        return found

    def plan_deletions(self) -> None:
        """Add the deletion of undeclared endpoints, which no table leads to any longer."""
        kept = {endpoint.id for endpoint in self._planned.values()}
        for endpoint_id, stored in self._stored.items():
            if endpoint_id in kept:
                continue
            mapping = self._records.of(GatewayMapping).pop(endpoint_id, None)
            writes = self._builder.step()
            delete_writes(writes, self._records.vpc, stored, mapping)
            self._records.of(VpcEndpoint).pop(endpoint_id)
            if all(other.prefix_list != stored.record.prefix_list for other in self._records.each(VpcEndpoint)):
                self._end_list(writes, stored.record.prefix_list)
            breaks = f"the VPC no longer reaches {stored.record.service} through it"
            self._note(Action.DELETE, stored.record, (), breaks=breaks)

    def _end_list(self, writes: Writes, list_id: str) -> None:
        listed = self._records.of(PrefixList).pop(list_id, None)
        if listed is not None:
            delete_unused(writes, self._records.vpc.record, listed, self._builder.revision_of(use_key(list_id)))

    def _note(
        self,
        action: Action,
        endpoint: VpcEndpoint,
        changed: tuple[Difference, ...],
        decl: GatewayEndpointDecl | None = None,
        breaks: str = "",
    ) -> None:
        tables = member_differences("route_tables", (), decl.route_tables) if decl is not None else []
        change = Change(
            action=action,
            kind="endpoint",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=endpoint.name or endpoint.id,
            resource_id="" if action is Action.ADD else endpoint.id,
            differences=(*changed, *tables),
            breaks=breaks,
            hosts=with_edges(self._records, carriers(self._records)),
        )
        self._builder.changes.append(change)


def _service_name(decl: GatewayEndpointDecl) -> str:
    return decl.service.removeprefix(SERVICE_PREFIX)


def _is_same(endpoint: VpcEndpoint, decl: GatewayEndpointDecl) -> bool:
    """Return whether an endpoint is the declared one: it has the same name and service."""
    return (endpoint.name or endpoint.id) == decl.name and endpoint.service == _service_name(decl)
