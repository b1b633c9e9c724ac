"""Endpoints of both types, for lists and `delete`."""

from __future__ import annotations

from netorch.control.actions.endpoints import gateway, interface
from netorch.control.actions.endpoints.gateway import EndpointInfo
from netorch.control.actions.endpoints.interface import InterfaceEndpointInfo
from netorch.model.endpoints.endpoint import EndpointType, VpcEndpoint
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.store.base import Store


def describe_endpoints(store: Store, caller: Caller, vpc_id: str) -> list[EndpointInfo | InterfaceEndpointInfo]:
    """Return a VPC's endpoints, those of type Gateway first. Raises ApiError: InvalidVpcID.NotFound."""
    gateways = gateway.describe_gateway_endpoints(store, caller, vpc_id)
    return [*gateways, *interface.describe_interface_endpoints(store, caller, vpc_id)]


def describe_endpoint(store: Store, caller: Caller, endpoint_id: str) -> EndpointInfo | InterfaceEndpointInfo:
    """Return one endpoint. Raises ApiError: InvalidVpcEndpointId.NotFound."""
    if _is_gateway(store, caller, endpoint_id):
        return gateway.describe_gateway_endpoint(store, caller, endpoint_id)
    return interface.describe_interface_endpoint(store, caller, endpoint_id)


def delete_endpoint(store: Store, caller: Caller, endpoint_id: str) -> None:
    """Delete an endpoint. Raises ApiError: as the deletion of its type."""
    of_type = gateway.delete_gateway_endpoint if _is_gateway(store, caller, endpoint_id) else interface.delete_interface_endpoint
    of_type(store, caller, endpoint_id)


def _is_gateway(store: Store, caller: Caller, endpoint_id: str) -> bool:
    return read(store, caller, VpcEndpoint, endpoint_id)[1].record.type is EndpointType.GATEWAY
