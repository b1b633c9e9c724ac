"""Gateway endpoints: a VPC's access to the operator's services, by routes in chosen route tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from netorch.control.actions.outside.gateways import delete_gateway, gateway_writes
from netorch.control.actions.prefix_lists import refuse_rules
from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import (
    check_policy,
    free_number,
    list_of,
    read_service,
    refuse_own_ranges,
    tables_of,
    use_service,
    with_endpoint,
    without_endpoint,
)
from netorch.control.base.named import add_name
from netorch.control.base.pairs import carried_by, shown_pair
from netorch.control.base.quotas import Quotas, check_room, quotas_of
from netorch.control.base.routes import (
    Surroundings,
    change_routes,
    room_for_routes,
    route_counts,
    surroundings_of,
    where_of,
    with_routes,
)
from netorch.control.base.uses import delete_unused, use_key, use_revision
from netorch.control.base.writes import ABSENT, Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import EndpointType, GatewayService, VpcEndpoint
from netorch.model.mapping import GatewayMapping
from netorch.model.security import PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Tags, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid, not_found
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store

NO_POLICY = "InvalidPolicyDocument"  # EC2's code


class EndpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway endpoint, with its route tables and the edges that carry it."""

    endpoint: VpcEndpoint
    vpc: Vpc
    service_name: str
    prefixes: tuple[str, ...]
    route_tables: tuple[str, ...]  # ids
    pair: str
    edges: tuple[str, ...]


def create_gateway_endpoint(
    store: Store,
    caller: Caller,
    vpc_id: str,
    service: str,
    *,
    name: str = "",
    route_tables: Sequence[str] = (),
    policy: str = "",
    tags: Tags | None = None,
) -> VpcEndpoint:
    """Create an endpoint of a service in a VPC, with routes in the given route tables (ids), and return it.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidServiceName, VpcEndpointLimitExceeded, InvalidRouteTableID.NotFound,
        RouteAlreadyExists for a table with a route to the service's prefix list, RouteLimitExceeded, InvalidPolicyDocument,
        InsufficientInstanceCapacity if there is no pair of edges, InvalidParameterValue for a bad or taken name, or a service
        whose prefixes overlap the VPC's ranges.
    """

    def decide() -> tuple[Writes, VpcEndpoint]:
        vpc = read_vpc(store, caller, vpc_id)
        found = read_service(store, service)
        wanted = VpcEndpoint(
            id="",
            vni=vpc.record.vni,
            type=EndpointType.GATEWAY,
            service=found.record.name,
            name=name,
            policy=check_policy(f"endpoint {name!r}", policy, NO_POLICY),
            tags=checks.tags(f"endpoint {name!r}", tags),
        )
        writes = Writes()
        return writes, endpoint_writes(writes, store, caller, vpc, found, wanted, route_tables)

    return attempt(store, decide)


def endpoint_writes(
    writes: Writes,
    store: Store,
    caller: Caller,
    vpc: Stored[Vpc],
    service: Stored[GatewayService],
    wanted: VpcEndpoint,
    route_tables: Sequence[str],
) -> VpcEndpoint:
    """Add a new endpoint of a service, and return it; `wanted` has no id and no number yet. Raises ApiError."""
    where = f"endpoint {wanted.name!r}" if wanted.name else "endpoint"
    if wanted.name:
        checks.name(where, wanted.name)
    vni, quotas = vpc.record.vni, quotas_of(store, vpc.record.owner)
    others = [stored.record for stored in read_all(store, VpcEndpoint, vni).values()]
    if wanted.name and any(other.name == wanted.name for other in others):
        raise duplicate_name("vpce", wanted.name, "the VPC")
    gateways = [other for other in others if other.type is EndpointType.GATEWAY]
    check_room(quotas, "VpcEndpointLimitExceeded", f"VPC {vpc.record.id}", len(gateways) + 1)
    refuse_own_ranges(where, vpc.record, service.record.prefixes)
    around = surroundings_of(store, caller, vpc)
    listed = list_of(service.record, vpc.record, around.lists, caller)
    around = msgspec.structs.replace(around, lists={**around.lists, listed.record.id: listed})
    number = free_number(vpc.record.id, others)
    wanted = msgspec.structs.replace(wanted, number=number, prefix_list=listed.record.id)
    made = gateway_writes(writes, store, caller, vpc.record, wanted)
    use_service(writes, service)
    writes.put(keys.service_uses(service.record.name, made.id), True)
    _add_list(writes, vpc.record, listed)
    for table_id in sorted(set(route_tables)):
        table = _own_table(store, caller, vpc.record, table_id)
        _lead(writes, table, with_endpoint(table.record, made, where_of(table.record)), around, quotas)
    guard_structure(writes, vpc)
    return made


def _add_list(writes: Writes, vpc: Vpc, listed: Stored[PrefixList]) -> None:
    """Add a new endpoint's use of its service's prefix list, which may be new too."""
    if listed.mod_revision == ABSENT:
        writes.create(keys.resource(listed.record.id), listed.record)
        add_name(writes, vpc, listed.record)
    else:
        writes.expect(keys.resource(listed.record.id), listed.mod_revision)
    writes.put(use_key(listed.record.id), True)


def _own_table(store: Store, caller: Caller, vpc: Vpc, table_id: str) -> Stored[RouteTable]:
    """Return a table of a VPC. Raises ApiError: InvalidRouteTableID.NotFound, InvalidParameterValue for another VPC's."""
    owner, table = read(store, caller, RouteTable, table_id)
    if owner.record.vni != vpc.vni:
        raise invalid(f"route table {table_id}", f"belongs to {owner.record.id}", f"choose one of {vpc.id}")
    return table


def _lead(writes: Writes, table: Stored[RouteTable], routes: Sequence[VpcRoute], around: Surroundings, quotas: Quotas) -> None:
    """Add a table's changed routes to endpoints. Raises ApiError: RouteLimitExceeded."""
    changed = with_routes(table.record, routes)
    if changed == table.record:
        return
    room_for_routes(changed, around.lists, quotas, route_counts(table.record, around.lists))
    change_routes(writes, table, changed, around)


def modify_gateway_endpoint(
    store: Store,
    caller: Caller,
    endpoint_id: str,
    *,
    add_route_tables: Sequence[str] = (),
    remove_route_tables: Sequence[str] = (),
    policy: str | None = None,
) -> VpcEndpoint:
    """Change the route tables or the policy of an endpoint and return it; an empty policy permits everything.

    Raises:
      ApiError: as `create_gateway_endpoint`; InvalidVpcEndpointId.NotFound, also for an interface endpoint.
    """

    def decide() -> tuple[Writes, VpcEndpoint]:
        vpc, stored = read_gateway(store, caller, endpoint_id)
        writes, changed = Writes(), stored.record
        if policy is not None:
            changed = msgspec.structs.replace(changed, policy=check_policy(f"endpoint {endpoint_id}", policy, NO_POLICY))
        if changed != stored.record:
            writes.change(keys.resource(endpoint_id), stored.mod_revision, changed)
        if add_route_tables or remove_route_tables:
            writes.expect(keys.resource(endpoint_id), stored.mod_revision)
            _change_tables(writes, store, caller, vpc, changed, set(add_route_tables), set(remove_route_tables))
        return writes, changed

    return attempt(store, decide)


def _change_tables(
    writes: Writes, store: Store, caller: Caller, vpc: Stored[Vpc], endpoint: VpcEndpoint, more: set[str], less: set[str]
) -> None:
    """Add routes to an endpoint in some tables, and remove them from others. Raises ApiError."""
    if both := more & less:
        raise invalid(f"endpoint {endpoint.id}", f"{min(both)} is both added and removed", "name it once")
    around, quotas = surroundings_of(store, caller, vpc), quotas_of(store, vpc.record.owner)
    for table_id in sorted(more | less):
        table = _own_table(store, caller, vpc.record, table_id)
        if table_id in more:
            routes = with_endpoint(table.record, endpoint, where_of(table.record))
        else:
            routes = without_endpoint(table.record, endpoint.id)
            if len(routes) == len(table.record.routes):
                raise invalid(f"endpoint {endpoint.id}", f"{where_of(table.record)} has no route to it", "name one that does")
        _lead(writes, table, routes, around, quotas)


def delete_gateway_endpoint(store: Store, caller: Caller, endpoint_id: str) -> None:
    """Delete a gateway endpoint with its routes; the VPC's last endpoint of a service takes the prefix list with it.

    Raises:
      ApiError: InvalidVpcEndpointId.NotFound, DependencyViolation while security group rules or other routes refer to a prefix
        list that would be deleted.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read_gateway(store, caller, endpoint_id)
        endpoint, vni = stored.record, vpc.record.vni
        writes = Writes()
        used = use_revision(store, endpoint.prefix_list)
        tables = read_all(store, RouteTable, vni)
        others = [found.record for found in read_all(store, VpcEndpoint, vni).values() if found.record.id != endpoint_id]
        for table in tables.values():
            changed = with_routes(table.record, without_endpoint(table.record, endpoint_id))
            if changed != table.record:
                writes.change(keys.resource(changed.id), table.mod_revision, changed)
        if all(other.prefix_list != endpoint.prefix_list for other in others):
            _delete_list(writes, store, vpc.record, endpoint, used)
        delete_writes(writes, vpc, stored, get(store, keys.gateway_mapping(vni, endpoint_id), GatewayMapping))
        return writes, None

    attempt(store, decide)


def delete_writes(
    writes: Writes, vpc: Stored[Vpc], endpoint: Stored[VpcEndpoint], mapping: Stored[GatewayMapping] | None
) -> None:
    """Add the deletion of a gateway endpoint. The caller handles its routes and its service's prefix list."""
    writes.drop(keys.service_uses(endpoint.record.service, endpoint.record.id))
    delete_gateway(writes, vpc, endpoint, mapping)


def _delete_list(writes: Writes, store: Store, vpc: Vpc, endpoint: VpcEndpoint, used: int) -> None:
    """Add the deletion of a service's prefix list. Raises ApiError: DependencyViolation."""
    listed = get(store, keys.resource(endpoint.prefix_list), PrefixList)
    if listed is None:
        return
    refuse_rules(listed.record, read_all(store, SecurityGroup, vpc.vni).values())
    for table in read_all(store, RouteTable, vpc.vni).values():
        rest = without_endpoint(table.record, endpoint.id)
        if any(route.destination == listed.record.id for route in rest):
            by = f"a route of {where_of(table.record)} to its prefix list {listed.record.id}"
            raise ApiError("DependencyViolation", f"endpoint {endpoint.id}: still has {by}; delete that route first")
    delete_unused(writes, vpc, listed, used)


def read_gateway(store: Store, caller: Caller, endpoint_id: str) -> tuple[Stored[Vpc], Stored[VpcEndpoint]]:
    """Return a gateway endpoint and its VPC. Raises ApiError: InvalidVpcEndpointId.NotFound, also for an interface endpoint."""
    vpc, stored = read(store, caller, VpcEndpoint, endpoint_id)
    if stored.record.type is not EndpointType.GATEWAY:
        raise not_found("vpce", endpoint_id)
    return vpc, stored


def describe_gateway_endpoints(store: Store, caller: Caller, vpc_id: str) -> list[EndpointInfo]:
    """Return a VPC's gateway endpoints by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    endpoints = (stored.record for stored in read_all(store, VpcEndpoint, vpc.vni).values())
    found = sorted((one for one in endpoints if one.type is EndpointType.GATEWAY), key=lambda one: (one.name, one.id))
    tables = [stored.record for stored in read_all(store, RouteTable, vpc.vni).values()] if found else []
    lists = read_all(store, PrefixList, vpc.vni) if found else {}
    return [_info(store, vpc, endpoint, tables, lists) for endpoint in found]


def _info(
    store: Store, vpc: Vpc, endpoint: VpcEndpoint, tables: Sequence[RouteTable], lists: Mapping[str, Stored[PrefixList]]
) -> EndpointInfo:
    edges = carried_by(store, vpc.vni, endpoint.id)
    listed = lists.get(endpoint.prefix_list)
    return EndpointInfo(
        endpoint=endpoint,
        vpc=vpc,
        service_name=listed.record.name if listed is not None else endpoint.service,
        prefixes=tuple(entry.cidr for entry in listed.record.entries) if listed is not None else (),
        route_tables=tables_of(endpoint.id, tables),
        pair=shown_pair(store, edges),
        edges=edges,
    )


def describe_gateway_endpoint(store: Store, caller: Caller, endpoint_id: str) -> EndpointInfo:
    """Return one gateway endpoint. Raises ApiError: InvalidVpcEndpointId.NotFound."""
    vpc, _ = read_gateway(store, caller, endpoint_id)
    found = describe_gateway_endpoints(store, caller, vpc.record.id)
    return next(info for info in found if info.endpoint.id == endpoint_id)
