"""The mappings of elastic IPs, the NAT gateways that hold them, and the commands that end them."""

from __future__ import annotations

from netorch.errors import ApiError
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import NatGateway
from netorch.model.outside.public import ElasticIp
from netorch.records import keys
from netorch.records.read import Stored, get
from netorch.store.base import Store


def association_of(store: Store, elastic: ElasticIp) -> Stored[PublicMapping] | None:
    """Return an elastic IP's mapping."""
    return get(store, keys.public_mapping(elastic.vni, elastic.address), PublicMapping) if elastic.vni else None


def already_associated(where: str, mapping: PublicMapping, fix: str = "disassociate it first, or choose another one") -> ApiError:
    """Return the error for an elastic IP that is already mapped."""
    what = f"is already associated with {mapping.private_address} of {mapping.eni} ({mapping.association})"
    return ApiError("Resource.AlreadyAssociated", f"{where}: {what}; {fix}")


def refuse_of_gateway(store: Store, mapping: PublicMapping) -> None:
    """Refuse to take an address from a NAT gateway. Raises ApiError: OperationNotPermitted."""
    if found := of_gateway(store, mapping):
        raise ApiError("OperationNotPermitted", f"elastic IP address {mapping.address}: {found}")


def of_gateway(store: Store, mapping: PublicMapping) -> str:
    """Return an error text with an elastic IP's NAT gateway and how to end that; nothing if it has no NAT gateway."""
    eni = get(store, keys.resource(mapping.eni), NetworkInterface)
    if eni is None or not eni.record.gateway:
        return ""
    gateway = get(store, keys.resource(eni.record.gateway), NatGateway)
    return held_by_gateway(eni.record, mapping, gateway.record if gateway is not None else None)


def held_by_gateway(eni: NetworkInterface, mapping: PublicMapping, gateway: NatGateway | None) -> str:
    """Return an error text with an elastic IP's role on the interface's NAT gateway, and how to end it."""
    nat_id = eni.gateway
    if mapping.private_address == eni.address:
        return f"is the primary address of NAT gateway {nat_id}; first: netorch nat delete {nat_id}"
    if gateway is not None and mapping.private_address in gateway.draining:
        return f"is draining from NAT gateway {nat_id}; wait until `netorch nat show {nat_id}` no longer shows it"
    command = f"netorch nat disassociate-address {nat_id} {mapping.address}"
    return f"is a secondary address of NAT gateway {nat_id}; first: {command}"
