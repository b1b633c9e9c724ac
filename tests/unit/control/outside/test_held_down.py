"""A released public address has no holder while an edge may still send its packets to the last one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netorch.control.actions.outside import addresses, drains, pools
from netorch.control.base.edge_users import unheard_by, unheard_in
from netorch.control.base.quotas import set_quotas
from netorch.errors import ApiError
from netorch.model.eni import Host
from netorch.model.outside.public import AddressPool
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import Clock, refused


def say(store: Store, key: str, *, said: bool = True) -> None:
    """Write or delete a key that an edge's agent keeps in the store: its status, or that it is live."""
    store.txn((), [Put(key, encode(AgentStatus(version="1", pid=1, started_at=0.0))) if said else Delete(key)])


@pytest.fixture
def freed(store: Store, acme: Caller, clock: Clock, west: list[Host], pool: AddressPool) -> str:
    """An address that acme released long ago, while both edges were live."""
    for edge in west:
        say(store, keys.agent_status(edge.name))
        say(store, keys.host_live(edge.name))
    made = addresses.allocate_address(store, acme, address="198.51.100.7")
    addresses.release_address(store, acme, made.id)
    clock.now += 10 * HOLD_DOWN_S
    return made.address


def test_what_an_edge_may_not_know_to_be_given_back_is_nobodys(
    store: Store, operator: Caller, acme: Caller, globex: Caller, west: list[Host], pool: AddressPool, freed: str
) -> None:
    lost = west[1].name
    say(store, keys.host_live(lost), said=False)
    with refused("InvalidIPAddress.InUse", f"{lost} may not know it yet: start the agent there, or drain it"):
        addresses.allocate_address(store, replace(globex, operator=True), address=freed)
    assert pools.describe_pool(store, operator, pool.name).ipv4.held_down == 1
    again = addresses.allocate_address(store, acme, address=freed)  # the last owner may have it at once
    addresses.release_address(store, acme, again.id)
    assert addresses.allocate_address(store, globex, address="198.51.100.8").owner == "globex"  # never had a holder


def test_it_is_free_once_the_edge_is_back(
    store: Store, operator: Caller, globex: Caller, west: list[Host], pool: AddressPool, freed: str
) -> None:
    say(store, keys.host_live(west[1].name), said=False)
    say(store, keys.host_live(west[1].name))
    assert pools.describe_pool(store, operator, pool.name).ipv4.held_down == 0
    assert addresses.allocate_address(store, globex, address=freed).owner == "globex"


def test_it_is_free_once_the_operator_has_drained_the_edge(
    store: Store, operator: Caller, globex: Caller, west: list[Host], freed: str
) -> None:
    say(store, keys.host_live(west[1].name), said=False)
    drains.drain_host(store, operator, west[1].name)
    assert addresses.allocate_address(store, globex, address=freed).owner == "globex"


def test_an_edge_that_never_ran_leads_nothing_anywhere(store: Store, globex: Caller, west: list[Host], freed: str) -> None:
    for key in (keys.host_live(west[1].name), keys.agent_status(west[1].name)):
        say(store, key, said=False)
    assert addresses.allocate_address(store, globex, address=freed).owner == "globex"


def test_a_pool_of_nothing_but_what_an_edge_may_not_know_is_exhausted(
    store: Store, globex: Caller, west: list[Host], freed: str
) -> None:
    say(store, keys.host_live(west[1].name), said=False)
    given = set()
    set_quotas(store, "globex", {"elastic_ips": 1000})
    with refused("InsufficientAddressCapacity", f"{west[1].name} may not know it yet"):
        while True:
            given.add(addresses.allocate_address(store, replace(globex, operator=True)).address)
    assert freed not in given
    assert given
    with pytest.raises(ApiError) as told:
        addresses.allocate_address(store, globex)
    assert west[1].name not in str(told.value)


def test_a_customer_learns_neither_of_edges_nor_whether_somebody_holds_an_address(
    store: Store, acme: Caller, globex: Caller, west: list[Host], freed: str
) -> None:
    held = addresses.allocate_address(store, acme, address="198.51.100.9").address
    say(store, keys.host_live(west[1].name), said=False)
    told = []
    for address in (freed, held):
        with pytest.raises(ApiError) as error:
            addresses.allocate_address(store, globex, address=address)
        told.append(str(error.value).replace(address, "ADDRESS"))
    assert told[0] == told[1]
    assert west[1].name not in told[0]


def test_commands_and_plans_see_the_same(store: Store, operator: Caller, west: list[Host], freed: str) -> None:
    def seen() -> set[tuple[str, ...]]:
        return {find(pair) for find in (unheard_by(store), unheard_in(read_inventory(store))) for pair in ("west", "east")}

    assert seen() == {()}
    say(store, keys.host_live(west[1].name), said=False)
    assert seen() == {(), (west[1].name,)}
    assert unheard_in(read_inventory(store))("west") == (west[1].name,)
    drains.drain_host(store, operator, west[1].name)
    assert seen() == {()}
