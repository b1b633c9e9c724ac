"""Egress-only internet gateways: let a VPC open IPv6 connections to the internet, but not the reverse."""

from __future__ import annotations

from netorch.control.actions.outside.gateways import OnlyGatewayInfo, delete_gateway, gateway_writes, info_of
from netorch.control.base import checks
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import EgressOnlyInternetGateway
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import get, read, read_all, read_vpc
from netorch.store.base import Store


def create_egress_only_gateway(
    store: Store, caller: Caller, vpc_id: str, *, name: str = "", tags: Tags | None = None
) -> EgressOnlyInternetGateway:
    """Create a VPC's egress-only internet gateway, on the pair of edges of its other gateways or addresses, and return it.

    Raises:
      ApiError: InvalidVpcID.NotFound, EgressOnlyInternetGatewayLimitExceeded if the VPC has one, InsufficientInstanceCapacity
        if there is no pair of edges, InvalidParameterValue for a bad name.
    """

    def decide() -> tuple[Writes, EgressOnlyInternetGateway]:
        vpc = read_vpc(store, caller, vpc_id)
        where = f"egress-only internet gateway {name!r}" if name else "egress-only internet gateway"
        if name:
            checks.name(where, name)
        for known in read_all(store, EgressOnlyInternetGateway, vpc.record.vni):
            text = f"VPC {vpc_id}: already has the egress-only internet gateway {known}; use that one"
            raise ApiError("EgressOnlyInternetGatewayLimitExceeded", text)
        writes = Writes()
        wanted = EgressOnlyInternetGateway(id="", vni=vpc.record.vni, name=name, tags=checks.tags(where, tags))
        made = gateway_writes(writes, store, caller, vpc.record, wanted)
        guard_structure(writes, vpc)
        return writes, made

    return attempt(store, decide)


def delete_egress_only_gateway(store: Store, caller: Caller, gateway_id: str) -> None:
    """Delete an egress-only internet gateway. Routes to it become black holes.

    Raises:
      ApiError: InvalidEgressOnlyInternetGatewayId.NotFound.
    """

    def decide() -> tuple[Writes, None]:
        vpc, gateway = read(store, caller, EgressOnlyInternetGateway, gateway_id)
        writes = Writes()
        mapping = get(store, keys.gateway_mapping(vpc.record.vni, gateway_id), GatewayMapping)
        delete_gateway(writes, vpc, gateway, mapping)
        return writes, None

    attempt(store, decide)


def describe_egress_only_gateways(store: Store, caller: Caller, vpc_id: str) -> list[OnlyGatewayInfo]:
    """Return a VPC's egress-only internet gateway, if it has one. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    return [info_of(store, vpc, stored.record) for stored in read_all(store, EgressOnlyInternetGateway, vpc.vni).values()]


def describe_egress_only_gateway(store: Store, caller: Caller, gateway_id: str) -> OnlyGatewayInfo:
    """Return one egress-only internet gateway. Raises ApiError: InvalidEgressOnlyInternetGatewayId.NotFound."""
    vpc, gateway = read(store, caller, EgressOnlyInternetGateway, gateway_id)
    return info_of(store, vpc.record, gateway.record)
