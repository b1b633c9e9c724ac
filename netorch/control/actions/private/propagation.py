"""Route propagation: route tables get what a virtual private gateway reaches, if they ask for it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.control.actions.private.gateways import without_propagation
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.store.base import Store


def enable_propagation(store: Store, caller: Caller, table_id: str, gateway_id: str) -> RouteTable:
    """Let a gateway of the VPC propagate routes to a route table, and return the table: EC2's EnableVgwRoutePropagation.

    Raises:
      ApiError: InvalidRouteTableID.NotFound, InvalidVpnGatewayID.NotFound, Gateway.NotAttached for another VPC's gateway.
    """
    return _change(store, caller, table_id, gateway_id, lambda table: with_propagation(table, gateway_id))


def disable_propagation(store: Store, caller: Caller, table_id: str, gateway_id: str) -> RouteTable:
    """End a gateway's propagation to a table: EC2's DisableVgwRoutePropagation. Raises as `enable_propagation`."""
    return _change(store, caller, table_id, gateway_id, lambda table: without_propagation(table, gateway_id))


def with_propagation(table: RouteTable, gateway_id: str) -> RouteTable:
    """Return a route table with a gateway's propagation."""
    return msgspec.structs.replace(table, propagating=tuple(sorted({*table.propagating, gateway_id})))


def _change(
    store: Store, caller: Caller, table_id: str, gateway_id: str, change: Callable[[RouteTable], RouteTable]
) -> RouteTable:
    def decide() -> tuple[Writes, RouteTable]:
        vpc, stored = read(store, caller, RouteTable, table_id)
        _, gateway = read(store, caller, VirtualPrivateGateway, gateway_id)
        if gateway.record.vni != vpc.record.vni:
            text = f"virtual private gateway {gateway_id}: is not attached to {vpc.record.id}, which has route table {table_id}"
            raise ApiError("Gateway.NotAttached", f"{text}; choose the gateway of that VPC")
        writes, changed = Writes(), change(stored.record)
        if changed != stored.record:
            guard_structure(writes, vpc)  # a deletion of the gateway at the same time conflicts
            writes.change(keys.resource(table_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)
