"""A pair of edges with a pool, a VPC with an internet gateway, and instances on two hypervisors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.control.actions import hosts, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest, run_instance
from netorch.control.actions.outside import gateways, pools
from netorch.model.eni import Host, Role
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.public import wrong_addresses
from netorch.records.read import listed
from netorch.store.alloc import holder_of
from netorch.store.base import Store

MakeEdge = Callable[..., Host]


def clean(store: Store) -> None:
    """Check that all records about public addresses agree, and that all records can be read."""
    inventory = read_inventory(store)
    assert [str(error) for error in inventory.unreadable] == []
    assert [str(error) for error in wrong_addresses(inventory)] == []


def public_of(store: Store, vpc: Vpc) -> dict[str, PublicMapping]:
    """Return the public mappings of a VPC by private address."""
    found = listed(store, keys.public_mapping(vpc.vni, ""), PublicMapping).values()
    return {stored.record.private_address: stored.record for stored in found}


def held(store: Store) -> set[str]:
    """Return the public addresses that have a holder."""
    return {kv.key.rpartition("/")[2] for kv in store.list(keys.public_address("")).kvs if holder_of(kv)}


@pytest.fixture
def make_edge(store: Store, operator: Caller) -> MakeEdge:
    def make(name: str, number: int, pair: str = "west") -> Host:
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
def pool(store: Store, operator: Caller, west: list[Host]) -> AddressPool:
    del west
    return pools.create_pool(store, operator, name="p", pair="west", cidrs=["198.51.100.0/28"])


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def gateway(store: Store, acme: Caller, vpc: Vpc, west: list[Host]) -> InternetGateway:
    del west
    return gateways.create_internet_gateway(store, acme, vpc.id, name="out")


@pytest.fixture
def subnet(store: Store, acme: Caller, vpc: Vpc, two_hosts: None) -> Subnet:
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")


@pytest.fixture
def placed(store: Store, acme: Caller, subnet: Subnet) -> Placed:
    return run_instance(store, acme, RunRequest(name="i", subnet=subnet.id))
