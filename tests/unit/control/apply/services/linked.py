"""Invariants of services, endpoints and connections in every store."""

from __future__ import annotations

from netorch.model.endpoints.endpoint import EndpointState, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import NetworkInterface, is_of_endpoint
from netorch.model.mapping import GatewayMapping
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.store.base import Store


def sound(store: Store) -> None:
    """Check that all records can be read, and that both VPCs, the edges and the addresses agree."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert list(map(str, wrong_names(inventory))) == []
    halves = [half for vpc in inventory.vpcs.values() for half in vpc.each(EndpointConnection)]
    available = {half.id for half in halves if half.state is EndpointState.AVAILABLE}
    services = {one.id for vpc in inventory.vpcs.values() for one in vpc.each(EndpointService)}
    seats = {one.gateway for vpc in inventory.vpcs.values() for one in vpc.each(GatewayMapping)}
    assert seats == available | services
    for edge in ("e21", "e22")[: 1 if inventory.hosts["e22"].drained else 2]:
        assert {kv.key.rpartition("/")[2] for kv in store.list(f"host/{edge}/placement/").kvs} == seats
    held = [eni for vpc in inventory.vpcs.values() for eni in vpc.each(NetworkInterface) if is_of_endpoint(eni)]
    assert {kv.key for kv in store.list("alloc/ip/").kvs} == {f"alloc/ip/{eni.vni:06x}/{eni.address}" for eni in held}
    ends = {eni for vpc in inventory.vpcs.values() for one in vpc.each(VpcEndpoint) for eni in one.interfaces}
    assert {eni.id for eni in held} == ends | {half.eni for half in halves if half.eni}
