"""Connections of interface endpoints with services: the provider accepts or rejects them.

An accepted connection has an interface in a subnet of the provider, and the service's edges carry it for the consumer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from netorch.control.actions import enis
from netorch.control.base.addresses import open_pool
from netorch.control.base.logged import logs_of
from netorch.control.base.pairs import carried_by, expect_staying, free_places, places
from netorch.control.base.public import publics_of
from netorch.control.base.writes import ABSENT, Writes, attempt, guard_structure
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface, Placement
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping
from netorch.model.status import ConnectionUse
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import not_found
from netorch.records.hosts import read_loaded
from netorch.records.kinds import keys_of
from netorch.records.read import Stored, get, read, read_all, read_vpc, seen_vpc
from netorch.store.base import Store


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as one of its two VPCs sees it."""

    connection: EndpointConnection
    vpc: Vpc  # the VPC with this view
    service_name: str  # of the service, if the caller sees it
    name: str  # of the endpoint, in its own VPC
    use: ConnectionUse


class Link:
    """A connection with the records of both sides. The caller's permission has been checked before."""

    def __init__(self, store: Store, caller: Caller, connection: EndpointConnection) -> None:
        """Raise ApiError: InvalidVpcEndpointId.NotFound if one of the records is missing."""
        self._store, self._caller = store, msgspec.structs.replace(caller, operator=True)
        halves = [get(store, key, EndpointConnection) for key in keys_of(connection)]
        self.endpoint = get(store, keys.resource(connection.endpoint), VpcEndpoint)
        self.service = get(store, keys.resource(connection.service), EndpointService)
        self.halves = [half for half in halves if half is not None]
        if len(self.halves) < len(halves) or self.endpoint is None or self.service is None:
            raise not_found("vpce", connection.endpoint)
        self.consumer, self.provider = (any_vpc(store, caller, vni) for vni in (connection.consumer, connection.provider))

    @property
    def record(self) -> EndpointConnection:
        """Return the connection."""
        return self.halves[0].record

    def accept(self, writes: Writes) -> EndpointConnection:
        """Add the acceptance of the connection. Raises ApiError."""
        assert self.service is not None
        made = activate(writes, self._store, self._caller, self.provider, self.service, self.record)
        return self._become(writes, made)

    def reject(self, writes: Writes) -> EndpointConnection:
        """Add the rejection of the connection in any state."""
        deactivate(writes, self._store, self._caller, self.provider, self.record)
        rejected = msgspec.structs.replace(self.record, state=EndpointState.REJECTED, eni="", address="")
        return self._become(writes, rejected)

    def end(self, writes: Writes) -> None:
        """Add the deletion of both records. The caller deletes the endpoint."""
        deactivate(writes, self._store, self._caller, self.provider, self.record)
        guard_structure(writes, self.provider)
        for half in self.halves:
            writes.delete(keys.member(half.record.vni, half.record.id), half.mod_revision)

    def _become(self, writes: Writes, found: EndpointConnection) -> EndpointConnection:
        """Add the new state to both records and the endpoint."""
        assert self.endpoint is not None
        for vpc in (self.consumer, self.provider):
            guard_structure(writes, vpc)
        for half in self.halves:
            mine = msgspec.structs.replace(found, vni=half.record.vni, tags=half.record.tags)
            writes.change(keys.member(mine.vni, mine.id), half.mod_revision, mine)
        endpoint = msgspec.structs.replace(self.endpoint.record, state=found.state)
        writes.change(keys.resource(endpoint.id), self.endpoint.mod_revision, endpoint)
        return found


def any_vpc(store: Store, caller: Caller, vni: int) -> Stored[Vpc]:
    """Return the VPC of any owner at the other end. Raises ApiError: IncorrectState if its record cannot be read."""
    found = None
    with suppress(UnreadableRecord):
        found = seen_vpc(store, msgspec.structs.replace(caller, operator=True), vni)
    if found is None:
        text = f"VPC with VNI {vni}, at the other end of an endpoint: its record cannot be read; ask the operator to repair it"
        raise ApiError("IncorrectState", text)
    return found


def activate(
    writes: Writes,
    store: Store,
    caller: Caller,
    provider: Stored[Vpc],
    service: Stored[EndpointService],
    connection: EndpointConnection,
) -> EndpointConnection:
    """Add the interface of a connection in the provider's VPC and its seats on edges, and return the available connection.

    The caller writes both records and guards both VPCs' structure.

    Raises:
      ApiError: InsufficientFreeAddressesInSubnet and NetworkInterfaceLimitExceeded of the provider, IncorrectState while an
        edge is being deleted or changed.
    """
    vpc, record = provider.record, service.record
    writes.expect(keys.resource(record.id), service.mod_revision)
    taken = enis.room_for_interfaces(store, vpc, 1)
    eni = NetworkInterface(
        id=enis.fresh_id(caller, "eni", vpc.vni, taken),
        vni=vpc.vni,
        subnet="",
        mac=enis.choose_mac(enis.macs_taken(store, vpc.vni), caller, "network interface", ""),
        address="",
        gateway=record.id,
    )
    eni = _addressed(writes, store, record, eni)
    enis.create_writes(writes, vpc, eni)
    enis.hold_addresses(writes, eni)
    _seat(writes, store, record, connection)
    return msgspec.structs.replace(connection, state=EndpointState.AVAILABLE, eni=eni.id, address=eni.address)


def _addressed(writes: Writes, store: Store, service: EndpointService, eni: NetworkInterface) -> NetworkInterface:
    """Return an interface with an address from the first subnet that has a free one. Raises ApiError."""
    for subnet_id in service.subnets:
        subnet = get(store, keys.resource(subnet_id), Subnet)
        if subnet is None:
            continue
        pool = open_pool(store, subnet.record)
        with suppress(ApiError):
            address = pool.next(4)
            writes.expect(keys.resource(subnet_id), subnet.mod_revision)
            pool.save(writes)
            return msgspec.structs.replace(eni, subnet=subnet_id, address=address)
    text = f"endpoint service {service.id}: its subnets have no free address; ask its provider to give it another subnet"
    raise ApiError("InsufficientFreeAddressesInSubnet", text)


def _seat(writes: Writes, store: Store, service: EndpointService, connection: EndpointConnection) -> None:
    """Add that a service's edges carry a connection for its consumer, in seat order, so that both ends are on one edge."""
    key = keys.gateway_mapping(service.vni, service.id)
    mapping = get(store, key, GatewayMapping)
    if mapping is None:
        raise ApiError("IncorrectState", f"endpoint service {service.id}: no edge carries it; ask the operator")
    writes.expect(key, mapping.mod_revision)
    pairs = set()
    for seat in mapping.record.seats:
        state = read_loaded(store, seat.host)
        expect_staying(writes, state)
        pairs.add(state.host.pair)
        writes.put(keys.placement(seat.host, connection.id), Placement(id=connection.id))
    taken = places(store.list(keys.pair_prefix()).kvs)
    for place in (place for pair in sorted(pairs) for place in free_places(pair, taken)):
        writes.expect(place, ABSENT)  # an edge that joins meanwhile would get no seat
    made = GatewayMapping(vni=connection.consumer, gateway=connection.id, seats=mapping.record.seats)
    writes.create(keys.gateway_mapping(connection.consumer, connection.id), made)


def deactivate(writes: Writes, store: Store, caller: Caller, provider: Stored[Vpc], connection: EndpointConnection) -> None:
    """Add the deletion of a connection's interface and seats, if it has any."""
    if not connection.eni:
        return
    key = keys.gateway_mapping(connection.consumer, connection.id)
    mapping = get(store, key, GatewayMapping)
    if mapping is not None:
        writes.delete(key, mapping.mod_revision)
        for seat in mapping.record.seats:
            writes.drop(keys.placement(seat.host, connection.id))
    eni = get(store, keys.resource(connection.eni), NetworkInterface)
    if eni is not None:
        vpc = provider.record
        enis.delete_writes(writes, vpc, eni, {}, logs_of(store, vpc.vni), publics_of(store, vpc, caller.now()))


def accept_connection(store: Store, caller: Caller, connection_id: str) -> EndpointConnection:
    """Accept a connection and return it: from now on the endpoint reaches the service.

    Raises:
      ApiError: InvalidVpcEndpointId.NotFound, OperationNotPermitted if the caller does not own the service, InvalidState if it
        is available already; as `activate`.
    """

    def decide() -> tuple[Writes, EndpointConnection]:
        link = _providers(store, caller, connection_id, "accepts")
        if link.record.state is EndpointState.AVAILABLE:
            raise _wrong_state(link.record, "accepted", "reject it to end it")
        writes = Writes()
        return writes, link.accept(writes)

    return attempt(store, decide)


def reject_connection(store: Store, caller: Caller, connection_id: str) -> EndpointConnection:
    """Reject a connection and return it: a request, or an available connection, whose flows end.

    Raises:
      ApiError: InvalidVpcEndpointId.NotFound, OperationNotPermitted if the caller does not own the service, InvalidState if it
        is rejected already.
    """

    def decide() -> tuple[Writes, EndpointConnection]:
        link = _providers(store, caller, connection_id, "rejects")
        if link.record.state is EndpointState.REJECTED:
            raise _wrong_state(link.record, "rejected", "accept it, or leave it pending")
        writes = Writes()
        return writes, link.reject(writes)

    return attempt(store, decide)


def _wrong_state(connection: EndpointConnection, what: str, fix: str) -> ApiError:
    text = f"endpoint connection {connection.id}: is {connection.state.value} and cannot be {what}; {fix}"
    return ApiError("InvalidState", text)


def _providers(store: Store, caller: Caller, connection_id: str, does: str) -> Link:
    """Return a connection with a service of the caller. Raises ApiError."""
    _, stored = read(store, caller, EndpointConnection, connection_id)
    link = Link(store, caller, stored.record)
    if not caller.sees(link.provider.record.owner):
        text = f"endpoint connection {connection_id}: only the owner of the service {does} it"
        raise ApiError("OperationNotPermitted", text)
    return link


def delete_connection(store: Store, caller: Caller, connection_id: str) -> None:
    """Refuse to delete a connection: the endpoint's owner deletes the endpoint. Raises ApiError."""
    _, stored = read(store, caller, EndpointConnection, connection_id)
    fix = f"reject it, or delete the endpoint: netorch endpoint delete {stored.record.endpoint}"
    raise ApiError("OperationNotPermitted", f"endpoint connection {connection_id}: is deleted with its endpoint; {fix}")


def describe_connections(store: Store, caller: Caller, vpc_id: str) -> list[ConnectionInfo]:
    """Return the connections with a VPC's services, and of its endpoints. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    found = (stored.record for stored in read_all(store, EndpointConnection, vpc.vni).values())
    return [_info(store, caller, vpc, connection) for connection in sorted(found, key=lambda each: each.id)]


def describe_connection(store: Store, caller: Caller, connection_id: str) -> ConnectionInfo:
    """Return one connection. Raises ApiError: InvalidVpcEndpointId.NotFound."""
    vpc, stored = read(store, caller, EndpointConnection, connection_id)
    return _info(store, caller, vpc.record, stored.record)


def _info(store: Store, caller: Caller, vpc: Vpc, connection: EndpointConnection) -> ConnectionInfo:
    name = ""
    with suppress(ApiError, UnreadableRecord):
        name = read(store, caller, EndpointService, connection.service)[1].record.name
    endpoint = get(store, keys.resource(connection.endpoint), VpcEndpoint) if vpc.vni == connection.consumer else None
    own = endpoint.record.name if endpoint is not None else ""
    edges = carried_by(store, connection.provider, connection.service)
    return ConnectionInfo(connection=connection, vpc=vpc, service_name=name, name=own, use=use_of(store, edges, connection))


def use_of(store: Store, edges: Iterable[str], connection: EndpointConnection) -> ConnectionUse:
    """Return the sum of the edges' reports on a connection: the edge in use reports it, the other one may have earlier."""
    found = [get(store, keys.connection_use(edge, connection.id), ConnectionUse) for edge in edges]
    said = [use.record for use in found if use is not None]
    return ConnectionUse(
        active=sum(use.active for use in said),
        ailing=tuple(sorted({target for use in said for target in use.ailing})),
        dropped=dict(sum((Counter(use.dropped) for use in said), Counter())),
    )


def connections_with(store: Store, service: EndpointService) -> list[EndpointConnection]:
    """Return all connections with a service."""
    found = (stored.record for stored in read_all(store, EndpointConnection, service.vni).values())
    return [connection for connection in found if connection.service == service.id and vni_of(connection.service) == service.vni]
