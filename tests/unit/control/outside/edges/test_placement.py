"""The choice of a pair for a new gateway, by actions and by files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.control.actions import vpcs
from netorch.control.actions.outside import addresses, gateways, pools
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, InternetGatewayDecl, VpcDecl
from netorch.model.eni import Host
from netorch.model.mapping import GatewayMapping
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Delete, Put, Store
from tests.rig.seats import let_run
from tests.unit.control.outside.conftest import MakeEdge

Put_on = Callable[[str], str]


@pytest.fixture(params=["action", "file"])
def put_on(request: pytest.FixtureRequest, store: Store, operator: Caller) -> Put_on:
    """Return a function that makes a VPC with a gateway, and returns the gateway's pair."""

    def put(name: str) -> str:
        if request.param == "action":
            vpc = vpcs.create_vpc(store, operator, name=name, cidrs=["10.0.0.0/16"])
            gateways.create_internet_gateway(store, operator, vpc.id)
        else:
            decl = VpcDecl(name=name, owner=operator.owner, cidrs=["10.0.0.0/16"], internet_gateway=InternetGatewayDecl())
            apply_cloud(store, plan_cloud(store, operator, Cloud(name=name, vpcs=[decl])))
        inventory = read_inventory(store)
        records = next(found for found in inventory.vpcs.values() if found.vpc.record.name == name)
        (mapping,) = records.each(GatewayMapping)
        return inventory.hosts[mapping.seats[0].host].host.pair

    return put


@pytest.fixture
def three(store: Store, operator: Caller, west: list[Host], make_edge: MakeEdge) -> None:
    """Three pairs with ready edges, and a pool each."""
    for number, pair in ((31, "east"), (41, "north")):
        for offset in (0, 1):
            make_edge(f"{pair}-{offset}", number + offset, pair)
    edges = [edge.name for edge in west] + [f"{pair}-{offset}" for pair in ("east", "north") for offset in (0, 1)]
    let_run(store, *edges)
    for number, pair in enumerate(("east", "north", "west")):
        pools.create_pool(store, operator, name=pair, pair=pair, cidrs=[f"198.51.100.{number * 16}/30"])


def test_of_equals_the_one_with_fewest_gateways_gets_the_next(three: None, put_on: Put_on) -> None:
    assert [put_on(f"v{number}") for number in range(4)] == ["east", "north", "west", "east"]


def test_a_pair_without_an_edge_that_is_ready_comes_last(store: Store, three: None, put_on: Put_on) -> None:
    let_run(store, "east-0", "east-1", not_ready="uplink eth2 has no carrier")
    store.txn([], [Delete(keys.host_live("north-0")), Put(keys.host_drained("north-1"), b'"north-1"')])
    assert [put_on(f"v{number}") for number in range(3)] == ["west", "west", "west"]
    let_run(store, "e1", "e2", not_ready="no session")
    assert put_on("w") == "east"


def test_a_pair_with_one_edge_that_is_not_ready_comes_behind_those_with_two(store: Store, three: None, put_on: Put_on) -> None:
    store.txn([], [Put(keys.host_drained("east-0"), b'"east-0"')])
    assert [put_on(f"v{number}") for number in range(2)] == ["north", "west"]


def test_a_pair_without_a_free_address_comes_behind_those_with_one(
    store: Store, operator: Caller, three: None, put_on: Put_on
) -> None:
    for _ in range(4):
        addresses.allocate_address(store, operator, pool="east")
    pools.delete_pool(store, operator, "north")
    assert [put_on(f"v{number}") for number in range(2)] == ["west", "west"]
