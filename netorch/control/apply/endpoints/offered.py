"""Plan the endpoint services of VPCs as declared, and the connections that they accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from netorch.control.actions.endpoints.offered import modify_writes, refuse_live
from netorch.control.actions.enis import targets_in
from netorch.control.actions.outside.gateways import delete_gateway, put_on
from netorch.control.apply.builder import PlanBuilder, carriers, with_edges
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.endpoints.links import activate, become, deactivate, end
from netorch.control.apply.outside.gateways import pair_for, pair_named
from netorch.control.base.quotas import check_growth
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import VpcDecl
from netorch.model.endpoints.declared import EndpointServiceDecl
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort, port_text, read_port
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id
from netorch.model.mapping import GatewayMapping
from netorch.model.vpc import Subnet
from netorch.records.errors import not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

OFFERED_KEYS: Final = 12  # compares and writes of a new one: its own, and those of its seats on two edges


def delete_services(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
    """Add the deletion of services that a VPC does not declare. Raises ApiError: ExistingVpcEndpointConnections."""
    declared = {one.name for one in decl.endpoint_services}
    for stored in [found for found in records.of(EndpointService).values() if found.record.name not in declared]:
        service = stored.record
        writes = builder.step()
        connections = [found for found in records.each(EndpointConnection) if found.service == service.id]
        refuse_live(service, connections)
        for connection in connections:
            end(builder, writes, connection)
        delete_gateway(writes, records.vpc, stored, records.of(GatewayMapping).pop(service.id, None))
        records.of(EndpointService).pop(service.id)
        _note(builder, Action.DELETE, records, service, (), "endpoints no longer reach it")


class OfferedPlanner:
    """Plans one VPC's services. `guard` returns a step in which the VPC's structure changes."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard

    def plan(self, subnets: Mapping[str, Subnet], interfaces: Mapping[str, str]) -> None:
        """Add new services and changes; `subnets`, and `interfaces` of instances, are by name after the plan.

        Raises:
          ApiError: VpcEndpointServiceLimitExceeded, InsufficientInstanceCapacity, InvalidNetworkInterfaceID.NotFound.
        """
        known = {stored.record.name: stored for stored in self._records.of(EndpointService).values()}
        where, quotas = f"VPC {self._decl.owner}/{self._decl.name}", self._builder.quotas_of(self._decl.owner)
        wanted = len(self._decl.endpoint_services)
        check_growth(quotas, "VpcEndpointServiceLimitExceeded", where, len(known), wanted)
        for decl in self._decl.endpoint_services:
            stored = known.get(decl.name)
            before = stored.record if stored is not None else None
            found = self._wanted(decl, before, subnets, interfaces)
            if stored is None:
                self._add(found)
            elif found != stored.record:
                modify_writes(self._builder.step(), stored, found)
                self._records.of(EndpointService)[found.id] = Stored(found, ABSENT)
                self._note_change(stored.record, found)

    def _wanted(
        self,
        decl: EndpointServiceDecl,
        before: EndpointService | None,
        subnets: Mapping[str, Subnet],
        interfaces: Mapping[str, str],
    ) -> EndpointService:
        """Return a declared service in its stored form; a new one has no id. Raises ApiError."""
        base = before or EndpointService(id="", vni=self._records.vni, name=decl.name, subnets=(), ports=(), targets=())
        kept = {*base.targets, *self._records.of(NetworkInterface), *interfaces.values()}
        targets = []
        for name in decl.targets:
            target = interfaces.get(name, name)
            if not is_id(target, "eni") or target not in kept:
                raise not_found("eni", name)
            targets.append(target)
        ports = (port for port in map(read_port, decl.ports) if isinstance(port, ServicePort))
        return msgspec.structs.replace(
            base,
            subnets=tuple(subnets[name].id for name in decl.subnets),
            ports=tuple(sorted(ports)),
            targets=tuple(dict.fromkeys(targets)),
            acceptance_required=decl.acceptance_required,
            principals=tuple(sorted(decl.principals)),
            private_dns_name=decl.private_dns_name,
            proxy_protocol=decl.proxy_protocol,
            tags=decl.tags,
        )

    def _add(self, wanted: EndpointService) -> None:
        builder, records = self._builder, self._records
        pair = pair_named(builder, f"VPC {self._decl.owner}/{self._decl.name}", pair_for(builder, self._decl, records))
        made, mapping = put_on(self._guard(), builder.caller, records.vpc.record, pair, targets_in(records), wanted)
        records.of(EndpointService)[made.id] = Stored(made, ABSENT)
        records.of(GatewayMapping)[made.id] = Stored(mapping, ABSENT)
        self._note_change(None, made)

    def _note_change(self, before: EndpointService | None, after: EndpointService) -> None:
        old = before or EndpointService(id="", vni=after.vni, name=after.name, subnets=(), ports=(), targets=())
        fields = differences(
            acceptance_required=(old.acceptance_required, after.acceptance_required),
            private_dns_name=(old.private_dns_name, after.private_dns_name),
            proxy_protocol=(old.proxy_protocol, after.proxy_protocol),
            tags=(old.tags, after.tags),
        )
        names = {subnet.id: subnet.name for subnet in self._records.each(Subnet)}
        members = [
            *member_differences("ports", map(port_text, old.ports), map(port_text, after.ports)),
            *member_differences("targets", self._spoken(old), self._spoken(after)),
            *member_differences("principals", old.principals, after.principals),
            *member_differences(
                "subnets", (names.get(one, one) for one in old.subnets), (names.get(one, one) for one in after.subnets)
            ),
        ]
        action = Action.ADD if before is None else Action.CHANGE
        breaks = "TCP connections are interrupted" if before is not None and old.proxy_protocol != after.proxy_protocol else ""
        _note(self._builder, action, self._records, after, (*fields, *members), breaks)

    def _spoken(self, service: EndpointService) -> list[str]:
        """Return the addresses of a service's targets; ids of deleted targets."""
        held = self._records.of(NetworkInterface)
        return [held[target].record.address if target in held else target for target in service.targets]


def plan_accepted(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
    """Add that a VPC's services accept the declared connections and reject other accepted ones. Raises ApiError."""
    services = {service.name: service for service in records.each(EndpointService)}
    for one in decl.endpoint_services:
        if isinstance(one.accept, msgspec.UnsetType):
            continue
        service, left = services[one.name], set(one.accept)
        for connection in [found for found in records.each(EndpointConnection) if found.service == service.id]:
            called = {connection.id, *_paths(builder, connection)}
            listed = not called.isdisjoint(one.accept)
            left -= called
            is_available = connection.state is EndpointState.AVAILABLE
            if listed is not is_available:  # neither pending nor rejected ones are available
                _answer(builder, records, service, connection, accepted=listed)
        for text in sorted(left):
            what = (
                f"endpoint service {decl.owner}/{decl.name}/{one.name}: accepts {text}, which has not requested a connection yet"
            )
            builder.notes.append(what)


def _answer(
    builder: PlanBuilder, records: VpcRecords, service: EndpointService, connection: EndpointConnection, *, accepted: bool
) -> None:
    """Add the acceptance or rejection of a connection."""
    writes = builder.step()
    if accepted:
        found = activate(builder, writes, connection)
    else:
        deactivate(builder, writes, connection)
        found = msgspec.structs.replace(connection, state=EndpointState.REJECTED, eni="", address="")
    become(builder, writes, found)
    vpc = records.vpc.record
    path = next(_paths(builder, connection), connection.id)
    stored = builder.inventory.vpcs.get(records.vni)
    before = stored.of(EndpointConnection) if stored is not None else {}
    change = Change(
        action=Action.CHANGE,
        kind="endpoint-connection",
        owner=vpc.owner,
        vpc=vpc.name,
        name=f"{service.name}/{path}",
        resource_id=connection.id if connection.id in before else "",
        differences=differences(state=(connection.state.value, found.state.value)),
        breaks="" if accepted else "its connections end",
        hosts=with_edges(records, carriers(records)),
        peer=path.rpartition("/")[0],
    )
    builder.changes.append(change)


def _paths(builder: PlanBuilder, connection: EndpointConnection) -> Iterator[str]:
    """Yield OWNER/VPC/ENDPOINT of a connection, if the caller sees it and the endpoint has a name."""
    consumer = builder.vpcs.get(connection.consumer)
    if consumer is not None and builder.caller.sees(connection.owner):
        endpoint = consumer.one(VpcEndpoint, connection.endpoint)
        if endpoint is not None and endpoint.name:
            yield f"{connection.owner}/{consumer.vpc.record.name}/{endpoint.name}"


def _note(
    builder: PlanBuilder,
    action: Action,
    records: VpcRecords,
    service: EndpointService,
    changed: tuple[Difference, ...],
    breaks: str,
) -> None:
    vpc = records.vpc.record
    change = Change(
        action=action,
        kind="endpoint-service",
        owner=vpc.owner,
        vpc=vpc.name,
        name=service.name,
        resource_id="" if action is Action.ADD else service.id,
        differences=changed,
        breaks=breaks,
        hosts=with_edges(records, carriers(records)),
    )
    builder.changes.append(change)
