"""A pair of edges, a connection at one of them, and a VPC with a virtual private gateway on both."""

from __future__ import annotations

import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.direct_connect import connections
from netorch.control.actions.private.gateways import create_vpn_gateway
from netorch.model.eni import Host
from netorch.model.outside.direct_connect import Connection
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.names import wrong_names
from netorch.records.valid.ports import wrong_ports
from netorch.store.base import Store
from tests.unit.control.outside.conftest import make_edge, west

__all__ = ["make_edge", "west"]


def clean(store: Store) -> None:
    """Check that all records can be read, and that none contradict each other."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert [str(error) for error in (*wrong_names(inventory), *wrong_ports(inventory))] == []


def make_gateway(store: Store, caller: Caller, vpc: Vpc) -> VirtualPrivateGateway:
    """Return a VPC's new virtual private gateway."""
    return create_vpn_gateway(store, caller, vpc.id, name="dc")


@pytest.fixture
def connection(store: Store, operator: Caller, west: list[Host]) -> Connection:
    del west
    return connections.create_connection(store, operator, name="port-1", host="e1", device="eth3", owner="acme")


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def gateway(store: Store, acme: Caller, vpc: Vpc, west: list[Host]) -> VirtualPrivateGateway:
    del west
    return make_gateway(store, acme, vpc)
