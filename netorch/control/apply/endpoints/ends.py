"""Interface endpoints and endpoint services of VPCs that are deleted with everything in them."""

from __future__ import annotations

import msgspec

from netorch.control.actions.outside.gateways import delete_gateway
from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.endpoints.links import delete_interface, end, tell
from netorch.control.base.named import drop_name
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface, is_of_endpoint
from netorch.model.mapping import GatewayMapping
from netorch.records import keys
from netorch.records.vpc import VpcRecords


def delete_endpoint_parts(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the deletion of a VPC's interface endpoints and services, with their connections on both sides.

    Other VPCs' endpoints of its services become rejected.
    """
    for connection in [stored.record for stored in records.of(EndpointConnection).values()]:
        writes = builder.step()
        end(builder, writes, connection)
        if connection.consumer not in builder.deleted:
            tell(builder, writes, msgspec.structs.replace(connection, state=EndpointState.REJECTED))
    for stored in records.of(VpcEndpoint).values():
        if stored.record.type is EndpointType.INTERFACE:
            writes = builder.step()
            writes.drop(keys.resource(stored.record.id))
            drop_name(writes, records.vpc.record, stored.record)
    for eni_id in [eni_id for eni_id, eni in records.of(NetworkInterface).items() if is_of_endpoint(eni.record)]:
        delete_interface(builder, builder.step(), records, eni_id)
    for service_id, service in records.of(EndpointService).items():
        delete_gateway(builder.step(), records.vpc, service, records.of(GatewayMapping).get(service_id))
