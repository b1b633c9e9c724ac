"""What elastic IPs stand for, whose those associations are, and which command ends them."""

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
    """Return what an elastic IP stands for."""
    return get(store, keys.public_mapping(elastic.vni, elastic.address), PublicMapping) if elastic.vni else None


def already_associated(where: str, mapping: PublicMapping, fix: str = "disassociate it first, or choose another one") -> ApiError:
    """Return the error of an address that stands for a private one already."""
    what = f"is associated with {mapping.private_address} of {mapping.eni} already ({mapping.association})"
    return ApiError("Resource.AlreadyAssociated", f"{where}: {what}; {fix}")


def refuse_of_gateway(store: Store, mapping: PublicMapping) -> None:
    """Refuse to take the address of a NAT gateway away. Raises ApiError: OperationNotPermitted."""
    if found := of_gateway(store, mapping):
        raise ApiError("OperationNotPermitted", f"elastic IP address {mapping.address}: {found}")


def of_gateway(store: Store, mapping: PublicMapping) -> str:
    """Return which NAT gateway an elastic IP is of, and what ends that; nothing if it is of none."""
    eni = get(store, keys.resource(mapping.eni), NetworkInterface)
    if eni is None or not eni.record.gateway:
        return ""
    gateway = get(store, keys.resource(eni.record.gateway), NatGateway)
    return held_by_gateway(eni.record, mapping, gateway.record if gateway is not None else None)


def held_by_gateway(eni: NetworkInterface, mapping: PublicMapping, gateway: NatGateway | None) -> str:
    """Return in what way an elastic IP is of the NAT gateway that has the interface, and what ends that."""
    nat_id = eni.gateway
    if mapping.private_address == eni.address:
        return f"is the primary one of NAT gateway {nat_id} as long as that exists; first: netorch nat delete {nat_id}"
    if gateway is not None and mapping.private_address in gateway.draining:
        return f"is draining from NAT gateway {nat_id}; wait until `netorch nat show {nat_id}` shows it no more"
    command = f"netorch nat disassociate-address {nat_id} {mapping.address}"
    return f"is a secondary one of NAT gateway {nat_id}; first: {command}"
