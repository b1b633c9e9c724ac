"""A pair of edges with keys, a VPC with a virtual private gateway, and the record of a customer's device."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.control.actions import hosts, vpcs
from netorch.control.actions.private.connections import Wanted, create_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.actions.private.gateways import create_vpn_gateway
from netorch.model.eni import Host, Role
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.records.valid.devices import wrong_devices
from netorch.store.base import Store
from tests.unit.sealing import publish_keys

MakeEdge = Callable[..., Host]


def clean(store: Store) -> None:
    """Check that all records can be read, and that names, uses and secrets belong to existing resources."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert list(map(str, wrong_names(inventory))) == []
    assert list(map(str, wrong_devices(inventory))) == []
    found = [vpn for records in inventory.vpcs.values() for vpn in records.each(VpnConnection)]
    ends = {keys.secret(tunnel.edge, vpn.id) for vpn in found for tunnel in vpn.tunnels if tunnel.edge}
    assert {kv.key for kv in store.list("secret/").kvs} <= ends


@pytest.fixture
def make_edge(store: Store, operator: Caller) -> MakeEdge:
    def make(name: str, number: int, pair: str = "west") -> Host:
        publish_keys(store, name)
        return hosts.create_host(
            store,
            operator,
            name=name,
            underlay=f"192.0.2.{number}",
            role=Role.EDGE,
            pair=pair,
            uplink=f"eth2,198.18.0.{number}/24,198.18.0.254",
        )

    return make


@pytest.fixture
def west(make_edge: MakeEdge) -> list[Host]:
    return [make_edge("e1", 21), make_edge("e2", 22)]


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def gateway(store: Store, acme: Caller, vpc: Vpc, west: list[Host]) -> VirtualPrivateGateway:
    del west
    return create_vpn_gateway(store, acme, vpc.id, name="home")


@pytest.fixture
def device(store: Store, acme: Caller) -> CustomerGateway:
    return create_customer_gateway(store, acme, name="office", address="203.0.113.1")


@pytest.fixture
def connection(store: Store, acme: Caller, gateway: VirtualPrivateGateway, device: CustomerGateway) -> VpnConnection:
    wanted = Wanted(name="office", static=True, routes=("192.168.0.0/24",))
    return create_vpn_connection(store, acme, gateway.id, device.id, wanted)[0]
