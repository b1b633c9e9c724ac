"""Interface endpoints and endpoint services of VPCs that are deleted with everything in them."""

from __future__ import annotations

import msgspec

from netorch.control.actions import enis as interfaces
from netorch.control.actions.outside.gateways import delete_gateway
from netorch.control.apply.builder import PlanBuilder
from netorch.control.base.named import drop_name
from netorch.control.base.writes import Writes
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface, is_of_endpoint
from netorch.model.ids import prefix_of
from netorch.model.mapping import GatewayMapping
from netorch.records import keys
from netorch.records.kinds import keys_of
from netorch.records.vpc import VpcRecords


def delete_endpoint_parts(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the end of a VPC's interface endpoints and services, with their connections on both sides.

    Endpoints of other VPCs that led to one of its services are rejected. A connection ends once, also if both VPCs are deleted.
    """
    for connection in [stored.record for stored in records.of(EndpointConnection).values()]:
        if connection.other not in builder.deleted:
            _end(builder, connection)
    for stored in records.of(VpcEndpoint).values():
        if stored.record.type is EndpointType.INTERFACE:
            writes = builder.step()
            writes.drop(keys.resource(stored.record.id))
            drop_name(writes, records.vpc.record, stored.record)
    logs, publics = builder.logs_of(records), builder.publics_of(records)
    for eni in [found for found in records.of(NetworkInterface).values() if is_of_endpoint(found.record)]:
        if prefix_of(eni.record.gateway) == "vpce-svc":
            continue  # it has gone with its connection
        interfaces.delete_writes(builder.step(), records.vpc.record, eni, {}, logs, publics)
    for service_id, service in records.of(EndpointService).items():
        delete_gateway(builder.step(), records.vpc, service, records.of(GatewayMapping).get(service_id))


def _end(builder: PlanBuilder, connection: EndpointConnection) -> None:
    """Add the end of a connection, of what edges carry for it, and of its interface; its endpoint is rejected."""
    writes = builder.step()
    for key in keys_of(connection):
        writes.drop(key)
    consumer, provider = (builder.inventory.vpcs.get(vni) for vni in (connection.consumer, connection.provider))
    if consumer is not None:
        _unseat(writes, consumer, connection)
        endpoint = consumer.of(VpcEndpoint).get(connection.endpoint)
        if endpoint is not None and connection.consumer not in builder.deleted:
            rejected = msgspec.structs.replace(endpoint.record, state=EndpointState.REJECTED)
            writes.put(keys.resource(rejected.id), rejected)
    eni = provider.of(NetworkInterface).get(connection.eni) if provider is not None else None
    if provider is not None and eni is not None:
        logs, publics = builder.logs_of(provider), builder.publics_of(provider)
        interfaces.delete_writes(writes, provider.vpc.record, eni, {}, logs, publics)


def _unseat(writes: Writes, consumer: VpcRecords, connection: EndpointConnection) -> None:
    mapping = consumer.of(GatewayMapping).get(connection.id)
    if mapping is not None:
        writes.drop(keys.gateway_mapping(connection.consumer, connection.id))
        for seat in mapping.record.seats:
            writes.drop(keys.placement(seat.host, connection.id))
