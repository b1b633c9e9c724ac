"""Ends of interface endpoints' connections, and the backends behind them, from the records of the two VPCs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeVar

from netorch.compiler.base import Gateway
from netorch.compiler.interface_endpoint import BACK, FRONT, Backend, EndpointEnd
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.outside.gateway import NatGateway
from netorch.model.security import NetworkAcl
from netorch.model.vpc import Subnet
from netorch.records.vpc import MissingRecord, VpcRecords
from netorch.state.daemons.services.relay import Target

T = TypeVar("T")
# Kinds of a provider's records that decide the backends of its consumers' endpoints.
_BEHIND_ENDPOINTS: Final = frozenset({EndpointService, EndpointConnection, NetworkInterface, Subnet, NetworkAcl})


def needed(records: VpcRecords, kind: type[T], resource_id: str) -> T:
    """Return a record that another record refers to. Raises MissingRecord."""
    found = records.one(kind, resource_id)
    if found is None:
        raise MissingRecord(f"the record {resource_id} is missing")
    return found


def endpoint_ends(records: VpcRecords, connection: EndpointConnection, carried: Mapping[str, Gateway]) -> Iterator[EndpointEnd]:
    """Yield a VPC's end of a connection; `carried` are the VPC's gateways on edges. Raises MissingRecord."""
    gateway = carried.get(connection.id if _is_consumers(connection) else connection.service)
    if gateway is None or not connection.eni:
        return
    enis = [needed(records, NetworkInterface, eni_id) for eni_id in _interfaces_of(records, connection)]
    yield EndpointEnd(
        connection=connection.id,
        inside=FRONT if _is_consumers(connection) else BACK,
        gateway=gateway,
        eni=enis[0].id,
        mac=enis[0].mac,
        addresses=tuple(eni.address for eni in enis),
        subnets=tuple(needed(records, Subnet, eni.subnet) for eni in enis),
        groups=enis[0].groups,
    )


def address_at(records: VpcRecords, gateway: str) -> str:
    """Return an address of a VPC that hosts route to the seat in use of a gateway, or nothing."""
    nat = records.one(NatGateway, gateway)
    connections = (each for each in records.each(EndpointConnection) if each.eni and gateway in (each.id, each.service))
    found = [nat.eni] if nat is not None else [eni for each in connections for eni in _interfaces_of(records, each)]
    enis = (records.one(NetworkInterface, eni_id) for eni_id in found)
    return next((eni.address for eni in enis if eni is not None), "")


def ports_of_endpoints(records: VpcRecords, seated: Collection[str]) -> Iterator[str]:
    """Yield interfaces with ports of connections on a host; `seated` are the ids with a seat there. Raises MissingRecord."""
    for connection in records.each(EndpointConnection):
        if connection.eni and (connection.id if _is_consumers(connection) else connection.service) in seated:
            yield _interfaces_of(records, connection)[0]


def consumers_of(provider: VpcRecords, changed: type | None) -> Iterator[int]:
    """Yield the VNIs of the VPCs whose endpoints depend on a changed record of a provider."""
    for connection in provider.each(EndpointConnection) if changed in _BEHIND_ENDPOINTS else ():
        if not _is_consumers(connection):
            yield connection.consumer


def backend(provider: VpcRecords, connection: EndpointConnection, ailing: frozenset[Target]) -> Iterator[Backend]:
    """Yield the backend of a connection, if the provider's records are known. A deleted target is left out."""
    service, eni = provider.one(EndpointService, connection.service), provider.one(NetworkInterface, connection.eni)
    subnet = provider.one(Subnet, eni.subnet) if eni is not None else None
    acl = _acl_of(provider, subnet) if subnet is not None else None
    if service is None or eni is None or subnet is None or acl is None:
        return
    targets = (provider.one(NetworkInterface, target) for target in service.targets)
    yield Backend(
        connection=connection.id,
        endpoint=connection.endpoint,
        port=port_name(eni.id),
        mac=eni.mac,
        address=eni.address,
        subnet=subnet,
        acl=acl,
        ports=service.ports,
        targets=tuple(target.address for target in targets if target is not None and target.instance),
        ailing=ailing,
        proxy_protocol=service.proxy_protocol,
    )


def _is_consumers(connection: EndpointConnection) -> bool:
    return connection.vni == connection.consumer


def _interfaces_of(records: VpcRecords, connection: EndpointConnection) -> tuple[str, ...]:
    """Return the interfaces of a connection in a VPC, at least one. Raises MissingRecord."""
    if not _is_consumers(connection):
        return (connection.eni,)
    found = needed(records, VpcEndpoint, connection.endpoint).interfaces
    if not found:
        raise MissingRecord(f"the interfaces of {connection.endpoint} are missing")
    return found


def _acl_of(records: VpcRecords, subnet: Subnet) -> NetworkAcl | None:
    acls = records.each(NetworkAcl)
    return next((acl for acl in acls if acl.id == subnet.acl or (not subnet.acl and acl.is_default)), None)
