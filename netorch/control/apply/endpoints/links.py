"""Connections of interface endpoints with services: a plan creates, accepts, rejects and deletes them.

A connection is in two VPCs. The plan changes both sides' records (`PlanBuilder.vpcs`), even of a VPC that no file names.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from netorch.control.actions import enis
from netorch.control.apply.base.subnet_pools import SubnetPools
from netorch.control.apply.builder import PlanBuilder
from netorch.control.base.addresses import AddressPool
from netorch.control.base.pairs import expect_staying, free_places
from netorch.control.base.quotas import check_room
from netorch.control.base.writes import ABSENT, Writes, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface, Placement
from netorch.model.mapping import GatewayMapping
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.kinds import keys_of
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


def side(builder: PlanBuilder, vni: int) -> VpcRecords:
    """Return one of a connection's VPCs after the plan. Raises UnreadableRecord; ApiError: IncorrectState for another owner."""
    found = builder.vpcs.get(vni)
    if found is None:
        builder.inventory.check_vpc(builder.caller, vni)
        text = f"VPC with VNI {vni}, at the other end of an endpoint: its record cannot be read; ask the operator to repair it"
        raise ApiError("IncorrectState", text)
    return found


def pools_of(builder: PlanBuilder, records: VpcRecords) -> SubnetPools:
    """Return the free addresses of a VPC's subnets, shared by the whole plan."""
    return builder.subnet_pools.setdefault(records.vni, SubnetPools(builder.inventory.raw, records))


def new_interface(
    builder: PlanBuilder,
    writes: Writes,
    records: VpcRecords,
    pool: AddressPool,
    address: str,
    groups: Iterable[str],
    gateway: str,
) -> NetworkInterface:
    """Add an interface of an endpoint or service at an address from a subnet's pool, and return it. Raises ApiError."""
    caller, vpc = builder.caller, records.vpc.record
    held = records.of(NetworkInterface)
    check_room(builder.quotas_of(vpc.owner), "NetworkInterfaceLimitExceeded", f"VPC {vpc.id}", len(held) + 1)
    taken = {name for target in enis.targets_in(records) for name in enis.host_names(target)}
    macs = {eni.record.mac for eni in held.values()}
    eni = NetworkInterface(
        id=enis.fresh_id(caller, "eni", vpc.vni, taken),
        vni=vpc.vni,
        subnet=pool.subnet.id,
        mac=enis.choose_mac(macs.__contains__, caller, "network interface", ""),
        address=address,
        groups=tuple(groups),
        gateway=gateway,
    )
    subnet = records.of(Subnet)[pool.subnet.id]
    writes.expect(keys.resource(subnet.record.id), subnet.mod_revision)
    pool.save(writes)
    enis.create_writes(writes, vpc, eni)
    enis.hold_addresses(writes, eni)
    held[eni.id] = Stored(eni, ABSENT)
    return eni


def delete_interface(builder: PlanBuilder, writes: Writes, records: VpcRecords, eni_id: str) -> None:
    """Add the deletion of an interface of an endpoint or service; nothing if it does not exist."""
    eni = records.of(NetworkInterface).pop(eni_id, None)
    if eni is not None:
        logs, publics = builder.logs_of(records), builder.publics_of(records)
        enis.delete_writes(writes, records.vpc.record, eni, {}, logs, publics)


def activate(builder: PlanBuilder, writes: Writes, connection: EndpointConnection) -> EndpointConnection:
    """Add the interface of a connection in the provider's VPC and its seats on edges, and return the available connection.

    The caller writes both records and guards both VPCs' structure. Raises ApiError.
    """
    provider = side(builder, connection.provider)
    service = provider.of(EndpointService)[connection.service]
    writes.expect(keys.resource(service.record.id), service.mod_revision)
    pools = pools_of(builder, provider)
    for subnet_id in service.record.subnets:
        subnet = provider.of(Subnet).get(subnet_id)
        pool = pools.of(subnet.record) if subnet is not None else None
        address = _next(pool)
        if pool is not None and address:
            eni = new_interface(builder, writes, provider, pool, address, (), service.record.id)
            _seat(builder, writes, connection)
            return msgspec.structs.replace(connection, state=EndpointState.AVAILABLE, eni=eni.id, address=eni.address)
    text = f"endpoint service {service.record.name!r}: its subnets have no free address; give it another subnet"
    raise ApiError("InsufficientFreeAddressesInSubnet", text)


def _next(pool: AddressPool | None) -> str:
    """Return the next free address of a subnet; nothing if there is none."""
    with suppress(ApiError):
        return pool.next(4) if pool is not None else ""
    return ""


def _seat(builder: PlanBuilder, writes: Writes, connection: EndpointConnection) -> None:
    """Add that a service's edges carry a connection for its consumer, in seat order."""
    service_id = connection.service
    mapping = side(builder, connection.provider).of(GatewayMapping).get(service_id)
    if mapping is None:
        raise ApiError("IncorrectState", f"endpoint service {service_id}: no edge carries it; ask the operator")
    writes.expect(keys.gateway_mapping(connection.provider, service_id), mapping.mod_revision)
    pairs = set()
    for seat in mapping.record.seats:
        builder.inventory.check_host(seat.host)
        state = builder.hosts[seat.host]
        expect_staying(writes, state)
        pairs.add(state.host.pair)
        writes.put(keys.placement(seat.host, connection.id), Placement(id=connection.id))
    for place in (place for pair in sorted(pairs) for place in free_places(pair, builder.places)):
        writes.expect(place, ABSENT)
    made = GatewayMapping(vni=connection.consumer, gateway=connection.id, seats=mapping.record.seats)
    writes.put(keys.gateway_mapping(connection.consumer, connection.id), made)
    side(builder, connection.consumer).of(GatewayMapping)[connection.id] = Stored(made, ABSENT)


def deactivate(builder: PlanBuilder, writes: Writes, connection: EndpointConnection) -> None:
    """Add the deletion of a connection's interface and seats, if it has any. An unreadable VPC keeps its part."""
    consumer, provider = builder.vpcs.get(connection.consumer), builder.vpcs.get(connection.provider)
    mapping = consumer.of(GatewayMapping).pop(connection.id, None) if consumer is not None else None
    if mapping is not None:
        writes.drop(keys.gateway_mapping(connection.consumer, connection.id))
        for seat in mapping.record.seats:
            writes.drop(keys.placement(seat.host, connection.id))
    if provider is not None and connection.eni:
        delete_interface(builder, writes, provider, connection.eni)


def become(builder: PlanBuilder, writes: Writes, found: EndpointConnection) -> None:
    """Add the new state to both records of a connection and to its endpoint."""
    for vni in (found.consumer, found.provider):
        records = side(builder, vni)
        guard_structure(writes, records.vpc)
        known = records.of(EndpointConnection)[found.id]
        mine = msgspec.structs.replace(found, vni=vni, tags=known.record.tags)
        writes.change(keys.member(vni, mine.id), known.mod_revision, mine)
        records.of(EndpointConnection)[mine.id] = Stored(mine, ABSENT)
    tell(builder, writes, found)


def tell(builder: PlanBuilder, writes: Writes, found: EndpointConnection) -> None:
    """Add a connection's state to its endpoint, if the endpoint is readable."""
    consumer = builder.vpcs.get(found.consumer)
    endpoint = consumer.of(VpcEndpoint).get(found.endpoint) if consumer is not None else None
    if consumer is not None and endpoint is not None and endpoint.record.state is not found.state:
        changed = msgspec.structs.replace(endpoint.record, state=found.state)
        writes.change(keys.resource(changed.id), endpoint.mod_revision, changed)
        consumer.of(VpcEndpoint)[changed.id] = Stored(changed, ABSENT)


def end(builder: PlanBuilder, writes: Writes, connection: EndpointConnection) -> None:
    """Add the deletion of both records of a connection, and of its interface and seats."""
    deactivate(builder, writes, connection)
    for key in keys_of(connection):
        writes.drop(key)
    for vni in (connection.consumer, connection.provider):
        if (records := builder.vpcs.get(vni)) is not None:
            records.of(EndpointConnection).pop(connection.id, None)
