"""Addresses that a file requests: the same plan gives them to no other resource."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from netorch.control.apply.cloud import plan_cloud
from netorch.model.cloud import AddressPoolDecl, ElasticIpDecl
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import apply
from tests.unit.control.conftest import Clock
from tests.unit.control.outside.conftest import clean, held
from tests.unit.control.outside.files.declared import EDGES, OUTSIDE, SHOP

ASKED = ElasticIpDecl(name="asked", owner="acme", address="203.0.113.8")
POOL = AddressPoolDecl(name="west", pair="west", cidrs=["203.0.113.8/31"])
LAUNCHED = SHOP.instances[1]  # its subnet gives it an ephemeral address, which is chosen before the elastic IP's


def drawing(first: int) -> Caller:
    """Return an operator whose random numbers count from `first`: they draw all addresses of a small pool in turn."""
    counter = itertools.count(first)
    return Caller(owner="default", operator=True, now=Clock(), entropy=lambda: next(counter) * 0x9E3779B97F4A7C15)


@pytest.mark.parametrize("first", range(8))
def test_the_last_other_address_is_drawn(first: int) -> None:
    store = MemoryStore()
    vpc = msgspec.structs.replace(SHOP, instances=[LAUNCHED])
    file = msgspec.structs.replace(
        OUTSIDE, hosts=[OUTSIDE.hosts[0], *EDGES[:2]], address_pools=[POOL], elastic_ips=[ASKED], vpcs=[vpc]
    )
    apply(store, drawing(first), file)
    (elastic,) = (found.record for found in read_inventory(store).elastic_ips.values())
    assert (elastic.address, held(store)) == ("203.0.113.8", {"203.0.113.8", "203.0.113.9"})
    clean(store)


def test_without_another_address_the_vpc_is_stuck_and_not_the_elastic_ip() -> None:
    store = MemoryStore()
    vpc = msgspec.structs.replace(SHOP, instances=[LAUNCHED])
    pool = msgspec.structs.replace(POOL, cidrs=["203.0.113.8/32"])
    file = msgspec.structs.replace(
        OUTSIDE, hosts=[OUTSIDE.hosts[0], *EDGES[:2]], address_pools=[pool], elastic_ips=[ASKED], vpcs=[vpc]
    )
    plan = plan_cloud(store, drawing(1), file)
    (stuck,) = plan.stuck
    assert (stuck.path, "InsufficientAddressCapacity" in str(stuck.error)) == ("acme/shop", True)
    assert ("add", "elastic-ip", "acme/asked") in [(c.action.value, c.kind, c.path) for c in plan.changes]
