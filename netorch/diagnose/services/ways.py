"""Packets to services and to mapped peers: the holder of an address, and why it is not reached."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from netorch.diagnose.crossing import Crossing
from netorch.diagnose.ends import End
from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet
from netorch.model.security import TCP
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation
from netorch.trace.way import Place, Walk


def endpoint_at(records: VpcRecords, address: str) -> VpcEndpoint | None:
    """Return the interface endpoint of a VPC with an address."""
    eni = next((eni for eni in records.each(NetworkInterface) if eni.gateway and address in eni.addresses), None)
    return records.one(VpcEndpoint, eni.gateway) if eni is not None else None


def is_endpoint(records: VpcRecords, address: str) -> bool:
    """Return whether a VPC's address is that of an interface endpoint, or of a connection to its own service."""
    return any(address in eni.addresses and eni.gateway.startswith("vpce-") for eni in records.each(NetworkInterface))


def provider_behind(inventory: Inventory, caller: Caller, records: VpcRecords, address: str) -> VpcRecords | None:
    """Return the VPC of the service behind an endpoint's address, if the caller sees it."""
    endpoint = endpoint_at(records, address)
    connection = records.one(EndpointConnection, connection_of(endpoint.id)) if endpoint is not None else None
    provider = inventory.vpcs.get(connection.provider) if connection is not None else None
    return provider if provider is not None and caller.sees(provider.vpc.record.owner) else None


def joined_by_endpoint(records: VpcRecords, far: VpcRecords, source: str) -> str:
    """Return how a VPC reaches services of another one through an endpoint, if it has one."""
    for connection in records.each(EndpointConnection):
        if connection.consumer == records.vni and connection.provider == far.vni:
            endpoint = records.one(VpcEndpoint, connection.endpoint)
            enis = [records.one(NetworkInterface, eni_id) for eni_id in endpoint.interfaces] if endpoint is not None else []
            address = next((eni.address for eni in enis if eni is not None), "")
            return f"send to the endpoint of its service: netorch trace {source} {address} tcp/PORT" if address else ""
    return ""


def not_mapped(far: End, crossing: Crossing, name: str) -> Explanation:
    """Return the explanation for an interface of a peer with an address outside of the range that a connection maps."""
    assert crossing.mapped is not None
    sentence = f"{name}: {far.eni.address} is outside {crossing.mapped.peer.range}, the range that {crossing.connection} maps"
    fix = "choose an instance in that range, or request a connection that maps another range: netorch peering request"
    return Explanation(code=Code.PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE, sentence=sentence, fix=fix)


def refined_at_service(said: Explanation, died: Walk, on_way: Sequence[VpcRecords]) -> Explanation:
    """Return an explanation, with the endpoint's problem added if that is the cause."""
    records = next((found for found in on_way if found.vni == died.hops[-1].vni), on_way[0])
    if said.code in (Code.NO_MAPPING, Code.NO_ROUTE_TO_DESTINATION):
        return _not_available(records, died.packet.destination) or said
    if said.code is Code.VPCE_PORT_NOT_SERVED:
        return _not_served(said, died, on_way)
    if said.code is Code.SERVICE_NOT_LISTENING:
        what = "gateway endpoints" if died.hops[-1].place is Place.SERVICE else "names and metadata"
        fix = f"check the daemon for {what} on {died.host}: netorch status; netorch drift --host {died.host}"
        return structs.replace(said, fix=fix)
    return said


def _not_available(records: VpcRecords, address: str) -> Explanation | None:
    """Return the explanation for a packet to an endpoint whose connection is not accepted; None for any other address."""
    endpoint = endpoint_at(records, address)
    connection = records.one(EndpointConnection, connection_of(endpoint.id)) if endpoint is not None else None
    if endpoint is None or connection is None or connection.state is EndpointState.AVAILABLE:
        return None
    sentence = f"{address} is endpoint {endpoint.name or endpoint.id}: its connection is {connection.state.value}"
    fix = f"the provider must accept it: netorch endpoint-service connection accept {connection.id}"
    return Explanation(code=Code.VPCE_CONNECTION_NOT_AVAILABLE, sentence=sentence, fix=fix)


def _not_served(said: Explanation, died: Walk, on_way: Sequence[VpcRecords]) -> Explanation:
    """Return why a service does not accept a packet, if its VPC may be shown: a wrong port, or no attached target."""
    asked = endpoint_at(on_way[0], died.packet.destination)
    service = next(
        (one for records in on_way for one in records.each(EndpointService) if asked and one.id == asked.service), None
    )
    if service is None:
        return structs.replace(said, fix="ask the provider for the ports of the service")
    ports = [f"{'tcp' if one.protocol == TCP else 'udp'}/{one.port}" for one in service.ports]
    if _is_port_of(service, died.packet):
        sentence = f"{said.sentence}: no target of {service.name} is attached to an instance"
        fix = f"netorch endpoint-service modify {service.id} --add-target INSTANCE"
    else:
        sentence, fix = f"{said.sentence}: {service.name} has {', '.join(ports)}", f"choose {' or '.join(ports)}"
    return structs.replace(said, sentence=sentence, fix=fix)


def _is_port_of(service: EndpointService, packet: Packet) -> bool:
    return any((one.protocol, one.port) == (packet.protocol, packet.destination_port) for one in service.ports)
