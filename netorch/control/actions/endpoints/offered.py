"""Endpoint services: what a VPC offers to others. EC2's CreateVpcEndpointServiceConfiguration and related actions.

In EC2 a network load balancer fronts a service. Here a service names its targets and ports itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions.endpoints.connections import connections_with, use_of
from netorch.control.actions.enis import target_ids
from netorch.control.actions.outside.gateways import delete_gateway, fresh_gateway_id
from netorch.control.base import checks
from netorch.control.base.named import add_name
from netorch.control.base.pairs import carried_by, choose_pair, place_gateway, shown_pair
from netorch.control.base.public import gateway_pair
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.endpoints.endpoint_service import (
    EVERYBODY,
    MOST_PORTS,
    MOST_TARGETS,
    EndpointConnection,
    EndpointService,
    ServicePort,
)
from netorch.model.eni import NetworkInterface, primary_eni_id
from netorch.model.ids import is_id
from netorch.model.mapping import GatewayMapping
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid
from netorch.records.kinds import keys_of
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint service, with its connections and the edges that carry it."""

    service: EndpointService
    vpc: Vpc
    connections: tuple[EndpointConnection, ...]
    pair: str
    edges: tuple[str, ...]
    ailing: tuple[str, ...]  # unanswering targets, ADDRESS:PORT, according to at least one connection


def create_endpoint_service(
    store: Store,
    caller: Caller,
    vpc_id: str,
    *,
    name: str,
    subnets: Sequence[str],
    ports: Sequence[ServicePort],
    targets: Sequence[str] = (),
    acceptance_required: bool = True,
    principals: Iterable[str] = (),
    private_dns_name: str = "",
    proxy_protocol: bool = False,
    tags: Tags | None = None,
) -> EndpointService:
    """Create a service of a VPC and return it: `ports` on `targets`, which are ids of instances or interfaces.

    Its connections get addresses in `subnets`.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidSubnetID.NotFound, InvalidInstanceID.NotFound, InvalidNetworkInterfaceID.NotFound,
        VpcEndpointServiceLimitExceeded, InsufficientInstanceCapacity if there is no pair of edges, InvalidParameterValue for a
        bad value, a taken name, or a part of another VPC.
    """
    where = f"endpoint service {name!r}"

    def decide() -> tuple[Writes, EndpointService]:
        vpc = read_vpc(store, caller, vpc_id)
        wanted = EndpointService(
            id="",
            vni=vpc.record.vni,
            name=checks.name(where, name),
            subnets=tuple(_of_vpc(store, caller, vpc.record, Subnet, found) for found in dict.fromkeys(subnets)),
            ports=_ports(where, ports),
            targets=_targets(store, caller, where, vpc.record, targets),
            acceptance_required=acceptance_required,
            principals=_principals(where, principals),
            private_dns_name=_dns_name(where, private_dns_name),
            proxy_protocol=proxy_protocol,
            tags=checks.tags(where, tags),
        )
        if not wanted.subnets:
            raise invalid(where, "it has no subnet", "name a subnet for the addresses of connections")
        writes = Writes()
        return writes, create_writes(writes, store, caller, vpc, wanted)

    return attempt(store, decide)


def create_writes(writes: Writes, store: Store, caller: Caller, vpc: Stored[Vpc], wanted: EndpointService) -> EndpointService:
    """Add a new service, on the pair of the VPC's gateways or any other, and return it; `wanted` has no id yet."""
    known = read_all(store, EndpointService, wanted.vni).values()
    check_room(quotas_of(store, vpc.record.owner), "VpcEndpointServiceLimitExceeded", f"VPC {vpc.record.id}", len(known) + 1)
    if any(other.record.name == wanted.name for other in known):
        raise duplicate_name("vpce-svc", wanted.name, "the VPC")
    pair = choose_pair(store, caller, f"VPC {vpc.record.id}", gateway_pair(store, wanted.vni))
    service_id = fresh_gateway_id(caller, "vpce-svc", wanted.vni, target_ids(store, wanted.vni))
    made = msgspec.structs.replace(wanted, id=service_id)
    guard_structure(writes, vpc)
    writes.create(keys.resource(made.id), made)
    add_name(writes, vpc.record, made)
    place_gateway(writes, pair, made.vni, made.id)
    return made


def _of_vpc(store: Store, caller: Caller, vpc: Vpc, of: type[Subnet] | type[NetworkInterface], resource_id: str) -> str:
    """Return the id of a resource in a VPC. Raises ApiError: its NotFound, InvalidParameterValue for another VPC's."""
    owner, _ = read(store, caller, of, resource_id)
    if owner.record.vni != vpc.vni:
        raise invalid(resource_id, f"belongs to {owner.record.id}", f"choose one of {vpc.id}")
    return resource_id


def _targets(store: Store, caller: Caller, where: str, vpc: Vpc, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the targets as interfaces; an instance means its primary interface. Raises ApiError."""
    found = [primary_eni_id(target) if is_id(target, "i") else target for target in targets]
    if len(set(found)) > MOST_TARGETS:
        raise invalid(where, f"it has {len(set(found))} targets", f"name at most {MOST_TARGETS}")
    return tuple(_of_vpc(store, caller, vpc, NetworkInterface, eni_id) for eni_id in dict.fromkeys(found))


def _ports(where: str, ports: Sequence[ServicePort]) -> tuple[ServicePort, ...]:
    if not 0 < len(ports) <= MOST_PORTS:
        raise invalid(where, f"it has {len(ports)} ports", f"name 1 to {MOST_PORTS}")
    if len({(each.protocol, each.port) for each in ports}) < len(ports):
        raise invalid(where, "it has a port twice", "name each port once")
    return tuple(sorted(ports))


def _principals(where: str, principals: Iterable[str]) -> tuple[str, ...]:
    found = sorted(set(principals))
    return tuple(owner if owner == EVERYBODY else checks.name(f"{where}: owner {owner!r}", owner) for owner in found)


def _dns_name(where: str, text: str) -> str:
    if text and (violation := rules.dns_name(text)):
        raise invalid(where, violation.what, violation.fix)
    return text


def modify_endpoint_service(
    store: Store,
    caller: Caller,
    service_id: str,
    *,
    acceptance_required: bool | None = None,
    add_principals: Iterable[str] = (),
    remove_principals: Iterable[str] = (),
    targets: Sequence[str] | None = None,
    ports: Sequence[ServicePort] | None = None,
    proxy_protocol: bool | None = None,
) -> EndpointService:
    """Change the properties of a service and return it; None keeps a value. Existing connections stay, as in EC2.

    A change of `proxy_protocol` ends the TCP connections through the endpoints.

    Raises:
      ApiError: InvalidVpcEndpointServiceId.NotFound, as `create_endpoint_service`.
    """

    def decide() -> tuple[Writes, EndpointService]:
        vpc, stored = read(store, caller, EndpointService, service_id)
        where, before = f"endpoint service {stored.record.name!r}", stored.record
        principals = {*before.principals, *add_principals} - {*remove_principals}
        changed = msgspec.structs.replace(
            before,
            acceptance_required=before.acceptance_required if acceptance_required is None else acceptance_required,
            principals=_principals(where, principals),
            targets=before.targets if targets is None else _targets(store, caller, where, vpc.record, targets),
            ports=before.ports if ports is None else _ports(where, ports),
            proxy_protocol=before.proxy_protocol if proxy_protocol is None else proxy_protocol,
        )
        writes = Writes()
        modify_writes(writes, stored, changed)
        return writes, changed

    return attempt(store, decide)


def modify_writes(writes: Writes, stored: Stored[EndpointService], changed: EndpointService) -> None:
    """Add the change of a service; write nothing if nothing changes."""
    if changed != stored.record:
        writes.change(keys.resource(changed.id), stored.mod_revision, changed)


def delete_endpoint_service(store: Store, caller: Caller, service_id: str) -> None:
    """Delete a service with its rejected connections; their endpoints stay, and lead nowhere.

    Raises:
      ApiError: InvalidVpcEndpointServiceId.NotFound, ExistingVpcEndpointConnections while some are available or pending.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read(store, caller, EndpointService, service_id)
        writes = Writes()
        delete_writes(writes, store, vpc, stored, connections_with(store, stored.record))
        return writes, None

    attempt(store, decide)


def delete_writes(
    writes: Writes,
    store: Store,
    vpc: Stored[Vpc],
    service: Stored[EndpointService],
    connections: Iterable[EndpointConnection],
) -> None:
    """Add the deletion of a service and of its rejected connections. Raises ApiError: ExistingVpcEndpointConnections."""
    known = list(connections)
    refuse_live(service.record, known)
    for connection in known:
        for key in keys_of(connection):
            writes.drop(key)
    delete_gateway(writes, vpc, service, get(store, keys.gateway_mapping(service.record.vni, service.record.id), GatewayMapping))


def refuse_live(service: EndpointService, connections: Iterable[EndpointConnection]) -> None:
    """Refuse to delete a service with available or pending connections. Raises ApiError: ExistingVpcEndpointConnections."""
    for connection in connections:
        if connection.state is not EndpointState.REJECTED:
            what = f"{connection.endpoint} of {connection.owner} is {connection.state.value}"
            fix = f"reject it first: netorch endpoint-service connection reject {connection.id}"
            raise ApiError("ExistingVpcEndpointConnections", f"endpoint service {service.id}: {what}; {fix}")


def describe_endpoint_services(store: Store, caller: Caller, vpc_id: str) -> list[ServiceInfo]:
    """Return a VPC's endpoint services by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    found = (stored.record for stored in read_all(store, EndpointService, vpc.vni).values())
    return [_info(store, vpc, service) for service in sorted(found, key=lambda service: service.name)]


def describe_endpoint_service(store: Store, caller: Caller, service_id: str) -> ServiceInfo:
    """Return one endpoint service. Raises ApiError: InvalidVpcEndpointServiceId.NotFound."""
    vpc, stored = read(store, caller, EndpointService, service_id)
    return _info(store, vpc.record, stored.record)


def _info(store: Store, vpc: Vpc, service: EndpointService) -> ServiceInfo:
    edges = carried_by(store, vpc.vni, service.id)
    connections = tuple(sorted(connections_with(store, service), key=lambda each: each.id))
    said = (use_of(store, edges, connection) for connection in connections)
    ailing = tuple(sorted({target for use in said for target in use.ailing}))
    pair = shown_pair(store, edges)
    return ServiceInfo(service=service, vpc=vpc, connections=connections, pair=pair, edges=edges, ailing=ailing)
