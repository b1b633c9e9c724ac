"""Pools of public addresses."""

from __future__ import annotations

import pytest

from netorch.control.actions import repair
from netorch.control.actions.outside import addresses, pools
from netorch.control.actions.tags import set_tags
from netorch.control.base.quotas import set_quotas
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Put, Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import MakeEdge, clean, held


@pytest.mark.parametrize(
    ("cidr", "what"),
    [
        ("10.0.0.0", None),
        ("240.0.0.0/24", "reserved"),
        ("224.0.0.0/8", "multicast"),
        ("127.1.0.0/16", "loopback"),
        ("169.254.1.0/24", "link-local"),
        ("0.0.0.0/0", "overlaps"),
        ("2001:db8::/64", "smaller than a VPC's range"),
        ("fd00::/40", "not inside 2000::/3"),
        ("192.0.2.0/24", "of host e1"),
        ("198.18.0.0/28", "198.18.0.0/24 of host e1"),
        ("198.51.100.8/29", "of address pool p"),
    ],
)
def test_a_range_that_cannot_be_a_pools_is_refused(
    store: Store, operator: Caller, pool: AddressPool, cidr: str, what: str | None
) -> None:
    if what is None:  # a single address is a valid range
        assert pools.create_pool(store, operator, name="q", pair="west", cidrs=[cidr + "/32"]).cidrs == ("10.0.0.0/32",)
        return
    with refused("InvalidParameterValue", what):
        pools.create_pool(store, operator, name="q", pair="west", cidrs=[cidr])
    with refused("InvalidParameterValue", what):
        pools.add_ranges(store, operator, pool.name, ["203.0.113.0/24", cidr])
    assert pools.describe_pool(store, operator, "p").pool == pool


def test_a_pool_belongs_to_a_pair_that_there_is(store: Store, operator: Caller, pool: AddressPool) -> None:
    with refused("InvalidParameterValue", "pair east has no edges"):
        pools.create_pool(store, operator, name="q", pair="east", cidrs=["203.0.113.0/24"])
    with refused("InvalidParameterValue", "the name is in use"):
        pools.create_pool(store, operator, name=pool.name, pair="west", cidrs=["203.0.113.0/24"])
    with refused("InvalidParameterValue", "named twice"):
        pools.create_pool(store, operator, name="q", pair="west", cidrs=["203.0.113.0/24", "203.0.113.0/25"])
    with refused("InvalidPublicIpv4PoolID.NotFound", "address pool 'q'"):
        pools.delete_pool(store, operator, "q")


def test_ranges_come_and_go_but_for_those_that_are_held(
    store: Store, operator: Caller, acme: Caller, clock: Clock, pool: AddressPool
) -> None:
    changed = pools.add_ranges(store, operator, pool.name, ["203.0.113.0/30", "203.0.113.128/30"])
    assert changed.cidrs == ("198.51.100.0/28", "203.0.113.0/30", "203.0.113.128/30")
    elastic = addresses.allocate_address(store, acme, address="203.0.113.1")
    with refused("DependencyViolation", "1 address.* in use, e.g. 203.0.113.1"):
        pools.remove_ranges(store, operator, pool.name, ["203.0.113.0/30"])
    assert pools.remove_ranges(store, operator, pool.name, ["203.0.113.128/30"]).cidrs == changed.cidrs[:2]
    with refused("DependencyViolation"):
        pools.delete_pool(store, operator, pool.name)
    with refused("InvalidParameterValue", "not one of its ranges"):
        pools.remove_ranges(store, operator, pool.name, ["203.0.113.128/30"])
    info = pools.describe_pool(store, operator, pool.name)
    assert (info.ipv4.total, info.ipv4.held, info.ipv4.held_down, info.ipv4.free) == (20, 1, 0, 19)
    addresses.release_address(store, acme, elastic.id)
    info = pools.describe_pool(store, operator, pool.name)
    assert (info.ipv4.held, info.ipv4.held_down, info.ipv4.free) == (0, 1, 19)
    clock.now += HOLD_DOWN_S
    assert pools.describe_pools(store, operator)[0].ipv4.free == 20
    with refused("OperationNotPermitted", "delete the pool instead"):
        pools.remove_ranges(store, operator, pool.name, changed.cidrs[:2])
    pools.delete_pool(store, operator, pool.name)
    assert [kv.key for kv in store.list("alloc/ranges/pools").kvs + store.list("alloc/use/").kvs] == []
    clean(store)


def test_a_pool_is_tagged_by_the_operator_only(store: Store, operator: Caller, acme: Caller, pool: AddressPool) -> None:
    set_tags(store, operator, "pool", pool.name, {"uplink": "fast"})
    assert pools.describe_pool(store, operator, pool.name).pool.tags == {"uplink": "fast"}
    with refused("UnauthorizedOperation", "only the operator may tag address pools"):
        set_tags(store, acme, "pool", pool.name, {})


def test_addresses_are_found_in_a_pool_that_is_nearly_full(
    store: Store, operator: Caller, acme: Caller, make_edge: MakeEdge, pool: AddressPool
) -> None:
    make_edge("e5", 25, pair="east")
    pools.create_pool(store, operator, name="q", pair="east", cidrs=["203.0.113.0/24"])
    set_quotas(store, "acme", {"elastic_ips": 1000, "public_addresses": 1000})
    found = [addresses.allocate_address(store, acme, pool="p").address for _ in range(16)]
    assert sorted(found) == sorted(f"198.51.100.{number}" for number in range(16))
    with refused("InsufficientAddressCapacity", "no address of p is free"):
        addresses.allocate_address(store, acme, pool="p")
    for _ in range(256):
        assert addresses.allocate_address(store, acme).pool == "q"
    with refused("InsufficientAddressCapacity", "no address of p, q is free"):
        addresses.allocate_address(store, acme)
    assert len(held(store)) == 16 + 256
    clean(store)


def test_a_pool_that_cannot_be_read_gives_nothing_and_stops_nobody(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool
) -> None:
    pools.create_pool(store, operator, name="q", pair="west", cidrs=["203.0.113.0/30"])
    before = store.get(keys.pool(pool.name))
    assert before is not None
    store.txn((), [Put(before.key, b"{")])
    assert addresses.allocate_address(store, acme).pool == "q"
    assert list(repair.damaged(store)) == [keys.pool(pool.name)]
    repair.put_back(store, before.key, before.value)
    assert repair.damaged(store) == {}
