"""Quotas of public addresses and of provided IPv6 ranges per owner; released ones count for a while."""

from __future__ import annotations

import pytest

from netorch.control.actions import instances, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.outside import addresses, pools
from netorch.control.actions.outside.ranges import Provided
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.quotas import set_quotas
from netorch.model.cloud import Cloud, ElasticIpDecl
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import clean

FULL = "owner acme: already has its quota of 3 public addresses, including those that it released within the last hour"


@pytest.fixture
def three(store: Store, pool: AddressPool) -> None:
    """Set acme's quota to three addresses."""
    del pool
    set_quotas(store, "acme", {"public_addresses": 3})


def listed(store: Store, owner: str) -> set[str]:
    return {kv.key.rpartition("/")[2] for kv in store.list(keys.addresses_of(owner)).kvs}


def test_whoever_allocates_and_releases_gets_no_more_than_the_quota_in_an_hour(
    store: Store, acme: Caller, globex: Caller, three: None, clock: Clock
) -> None:
    had = set()
    for _ in range(3):
        made = addresses.allocate_address(store, acme)
        had.add(made.address)
        addresses.release_address(store, acme, made.id)
    assert len(had) == 3
    with refused("AddressLimitExceeded", FULL):
        addresses.allocate_address(store, acme)
    addresses.allocate_address(store, globex)
    again = addresses.allocate_address(store, acme, address=min(had))  # by value: it is one of the three
    addresses.release_address(store, acme, again.id)
    clock.now += HOLD_DOWN_S + 1
    for _ in range(3):
        addresses.allocate_address(store, acme)
    with refused("AddressLimitExceeded", FULL):
        addresses.allocate_address(store, acme)
    clean(store)


def test_the_error_says_what_makes_room(store: Store, acme: Caller, pool: AddressPool) -> None:
    set_quotas(store, "acme", {"public_addresses": 2, "elastic_ips": 1})
    made = addresses.allocate_address(store, acme)
    with refused("AddressLimitExceeded", "already has its quota of 1 elastic IP addresses; release one, or"):
        addresses.allocate_address(store, acme)
    addresses.release_address(store, acme, made.id)
    addresses.release_address(store, acme, addresses.allocate_address(store, acme).id)
    with refused("AddressLimitExceeded", "hour; release one and wait an hour, or"):
        addresses.allocate_address(store, acme)


def test_ephemeral_and_elastic_addresses_count_together(
    store: Store, acme: Caller, three: None, subnet: Subnet, gateway: InternetGateway
) -> None:
    made = [instances.run_instance(store, acme, RunRequest(name=f"i{n}", subnet=subnet.id, public_address=True)) for n in (1, 2)]
    addresses.allocate_address(store, acme)
    for _ in range(2):
        with refused("AddressLimitExceeded", FULL):
            instances.run_instance(store, acme, RunRequest(name="i3", subnet=subnet.id, public_address=True))
        instances.terminate_instance(store, acme, made.pop().instance.id)  # its address is held down
    instances.run_instance(store, acme, RunRequest(name="i4", subnet=subnet.id))
    clean(store)


def test_an_address_that_another_owner_gets_is_no_longer_the_first_ones(
    store: Store, acme: Caller, globex: Caller, three: None, clock: Clock
) -> None:
    made = addresses.allocate_address(store, acme, address="198.51.100.5")
    addresses.release_address(store, acme, made.id)
    clock.now += HOLD_DOWN_S + 1
    addresses.allocate_address(store, globex, address="198.51.100.5")
    assert (listed(store, "acme"), listed(store, "globex")) == (set(), {"198.51.100.5"})


def test_a_file_is_refused_what_an_action_is(store: Store, operator: Caller, three: None) -> None:
    decls = [ElasticIpDecl(name=f"a{number}", owner="acme") for number in range(4)]
    apply_cloud(store, plan_cloud(store, operator, Cloud(name="c", elastic_ips=decls[:3])))
    with refused("AddressLimitExceeded", FULL):
        plan_cloud(store, operator, Cloud(name="c", elastic_ips=decls))
    clean(store)


def test_provided_ranges_have_a_quota_of_their_own(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool, clock: Clock
) -> None:
    pools.create_pool(store, operator, name="six", pair="west", cidrs=["2001:db8::/48"])
    set_quotas(store, "acme", {"provided_ipv6_ranges": 2, "public_addresses": 1})
    for number in range(2):
        vpc = vpcs.create_vpc(store, acme, name=f"v{number}", cidrs=["10.0.0.0/16"], provided=Provided())
        vpcs.delete_vpc(store, acme, vpc.id)
    with refused("AddressLimitExceeded", "owner acme: already has its quota of 2 provided IPv6 ranges"):
        vpcs.create_vpc(store, acme, name="v2", cidrs=["10.0.0.0/16"], provided=Provided())
    addresses.allocate_address(store, acme)
    clock.now += HOLD_DOWN_S + 1
    vpcs.create_vpc(store, acme, name="v2", cidrs=["10.0.0.0/16"], provided=Provided())
    clean(store)
