"""Problems and notes on services: on each edge's proxy, on endpoints, and on mapped peering connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, connection_of
from netorch.model.eni import Host, NetworkInterface
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.peering import PeeringConnection
from netorch.model.status import AgentStatus
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.services.proxy.limits import CONNECTIONS

ALARM_S = 300.0  # how long an unanswering server behind a service is a problem, in seconds
_NEARLY = 0.9  # of the limit of connections


class ProxyHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of an edge's gateway endpoint proxy since its start (netorch.services.proxy.journal.counts)."""

    endpoints: int  # served
    connections: int  # open
    limit: int  # of open connections
    requests: int
    denied: int  # by policies
    malformed: int  # unreadable, or for a host outside the service
    unavailable: int  # because the server behind did not answer
    broken: int  # without an answer, because one end was gone
    reset: int  # connections: too many, too slow, or idle for too long


def proxy_health(inventory: Inventory, host: Host, status: AgentStatus) -> ProxyHealth | None:
    """Return the counters of an edge's proxy; None if it serves no endpoint."""
    carried = [seats for _, one, seats in _endpoints(inventory) if one.type is EndpointType.GATEWAY]
    endpoints = sum(any(seat.host == host.name for seat in seats) for seats in carried)
    if not endpoints:
        return None
    names = ("connections", "requests", "denied", "malformed", "unavailable", "broken", "reset")
    counted = {name: status.served.get(name, 0) for name in names}
    return ProxyHealth(endpoints=endpoints, limit=CONNECTIONS, **counted)


def proxy_complaints(status: AgentStatus, now: float) -> Iterator[str]:
    """Yield the problems of an edge's proxy, according to its agent."""
    if status.unavailable_at and now - status.unavailable_at < ALARM_S:
        count = status.served.get("unavailable", 0)
        said = f"a server behind a gateway service does not answer ({count} requests so far)"
        yield f"{said}; compare --upstream with the server: netorch endpoint service list"
    connections = status.served.get("connections", 0)
    if connections >= CONNECTIONS * _NEARLY:
        yield f"the proxy of gateway endpoints has {connections} of {CONNECTIONS} connections; at the limit it resets idle ones"


def services_problems(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each endpoint, service and mapped peering connection that should carry packets but cannot."""
    for path, endpoint, seats in _endpoints(inventory):
        if endpoint.state is EndpointState.AVAILABLE and (why := _no_edge(inventory, seats)):
            yield f"endpoint {path} reaches nothing: {why}"
    for records in inventory.vpcs.values():
        for service in records.each(EndpointService):
            users = [each for each in records.each(EndpointConnection) if each.service == service.id and each.eni]
            if users and not any(_is_there(records, target) for target in service.targets):
                what = f"endpoint service {_path(records, service.name)} has no target that is attached to an instance"
                fix = f"netorch endpoint-service modify {service.id} --add-target INSTANCE"
                yield f"{what}, so {len(users)} endpoint(s) reach nothing: {fix}"
        for half in records.each(PeeringConnection):
            if half.requested_here and half.gateway is not None and (why := _no_edge(inventory, half.seats)):
                yield f"mapped peering connection {_path(records, half.name or half.id)} carries nothing: {why}"


def services_notes(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each endpoint that waits for its provider."""
    for path, endpoint, _ in _endpoints(inventory):
        if endpoint.state is EndpointState.PENDING_ACCEPTANCE:
            accept = f"netorch endpoint-service connection accept {connection_of(endpoint.id)}"
            yield f"endpoint {path} waits until the provider accepts it: {accept}"


def _endpoints(inventory: Inventory) -> Iterator[tuple[str, VpcEndpoint, tuple[Seat, ...]]]:
    """Yield each endpoint with its path and the edges that carry it."""
    for records in inventory.vpcs.values():
        seats: Mapping[str, tuple[Seat, ...]] = {found.gateway: found.seats for found in records.each(GatewayMapping)}
        for endpoint in records.each(VpcEndpoint):
            carried = endpoint.id if endpoint.type is EndpointType.GATEWAY else connection_of(endpoint.id)
            yield _path(records, endpoint.name or endpoint.id), endpoint, seats.get(carried, ())


def _no_edge(inventory: Inventory, seats: tuple[Seat, ...]) -> str:
    """Return why none of some edges carries packets; nothing if one does."""
    if not seats:
        return "no edge carries it; create a pair of edges: netorch host create --role edge --pair PAIR"
    if any(_is_fit(inventory, seat.host) for seat in seats):
        return ""
    edges = " and ".join(sorted(seat.host for seat in seats))
    return f"its edges, {edges}, are missing or not ready; see their own problems"


def _is_fit(inventory: Inventory, name: str) -> bool:
    state, status = inventory.hosts.get(name), inventory.agents.get(name)
    return state is not None and state.live and (status is None or not status.not_ready)


def _is_there(records: VpcRecords, target: str) -> bool:
    eni = records.one(NetworkInterface, target)
    return eni is not None and bool(eni.instance)


def _path(records: VpcRecords, name: str) -> str:
    vpc = records.vpc.record
    return f"{vpc.owner}/{vpc.name}/{name}"
