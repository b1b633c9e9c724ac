"""IPv6 ranges that VPCs get from address pools."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from netorch.control.actions import subnets, vpcs
from netorch.control.actions.outside import addresses, gateways, pools
from netorch.control.actions.outside.ranges import Provided
from netorch.control.actions.repair import damaged
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.model.eni import Host
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.public import wrong_addresses
from netorch.spec.load import load_cloud
from netorch.store.alloc import HOLD_DOWN_S
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import MakeEdge, clean, held

POOL6 = "2001:db8:100::/54"  # four ranges


@pytest.fixture
def pool6(store: Store, operator: Caller, west: list[Host]) -> AddressPool:
    del west
    return pools.create_pool(store, operator, name="six", pair="west", cidrs=["198.51.100.0/28", POOL6])


def new(store: Store, caller: Caller, name: str, asked: Provided | None = None) -> Vpc:
    return vpcs.create_vpc(store, caller, name=name, cidrs=["10.0.0.0/16"], provided=asked or Provided())


def test_vpcs_get_ranges_that_nobody_else_has(store: Store, operator: Caller, acme: Caller, pool6: AddressPool) -> None:
    made = [new(store, acme, f"v{number}") for number in range(4)]
    ranges = {vpc.ipv6_cidrs[0] for vpc in made}
    assert ranges == {"2001:db8:100::/56", "2001:db8:100:100::/56", "2001:db8:100:200::/56", "2001:db8:100:300::/56"}
    assert all(vpc.ipv6_pools == {vpc.ipv6_cidrs[0]: "six"} for vpc in made)
    with refused("InsufficientAddressCapacity", "no IPv6 range of six is free"):
        new(store, acme, "v5")
    info = pools.describe_pool(store, operator, "six")
    assert (info.ipv6.total, info.ipv6.held, info.ipv6.free) == (4, 4, 0)
    assert (info.ipv4.total, info.ipv4.held) == (16, 0)
    clean(store)


def test_a_range_that_is_given_back_is_nobodys_for_a_while(
    store: Store, operator: Caller, acme: Caller, clock: Clock, pool6: AddressPool
) -> None:
    vpc = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"])
    changed = vpcs.associate_cidr(store, acme, vpc.id, Provided(pool="six"))
    (cidr,) = changed.ipv6_cidrs
    subnet = subnets.create_subnet(store, acme, vpc.id, name="s", cidr="10.0.0.0/24", ipv6_cidr=cidr.replace("/56", "/64"))
    with refused("DependencyViolation", "1 address.* in use, e.g. 2001:db8:100"):
        pools.remove_ranges(store, operator, "six", [POOL6])
    with refused("DependencyViolation", "delete that subnet first"):
        vpcs.disassociate_cidr(store, acme, vpc.id, cidr)
    subnets.delete_subnet(store, acme, subnet.id)
    assert vpcs.disassociate_cidr(store, acme, vpc.id, cidr) == vpc
    assert held(store) == set()
    assert pools.describe_pool(store, operator, "six").ipv6.free == 3
    clock.now += HOLD_DOWN_S
    assert pools.describe_pool(store, operator, "six").ipv6.free == 4
    clean(store)


def test_a_vpc_that_ends_gives_its_range_back(store: Store, operator: Caller, acme: Caller, pool6: AddressPool) -> None:
    one, other = new(store, acme, "one"), new(store, acme, "other")
    assert len(held(store)) == 2
    vpcs.delete_vpc(store, acme, one.id)
    apply_cloud(store, plan_destruction(store, operator, [other.id]), allow_mass_delete=True)
    assert held(store) == set()
    clean(store)


def test_a_range_inside_a_pool_is_had_from_the_pool_only(store: Store, acme: Caller, pool6: AddressPool) -> None:
    inside, own = "2001:db8:100:300::/56", "2001:db8:200::/56"
    with refused("InvalidParameterValue", f"{inside} is in address pool six"):
        vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"], ipv6_cidrs=[inside])
    vpc = vpcs.create_vpc(store, acme, name="a", cidrs=["10.0.0.0/16"], ipv6_cidrs=[own])
    with refused("InvalidParameterValue", f"{inside} is in address pool six"):
        vpcs.associate_cidr(store, acme, vpc.id, inside)
    assert vpc.ipv6_pools == {}
    changed = vpcs.associate_cidr(store, acme, vpc.id, Provided())
    assert changed.ipv6_cidrs[0] == own
    assert list(changed.ipv6_pools) == [changed.ipv6_cidrs[1]]


def test_all_that_is_public_of_a_vpc_arrives_at_one_pair(
    store: Store, operator: Caller, acme: Caller, pool6: AddressPool, gateway: InternetGateway, vpc: Vpc, make_edge: MakeEdge
) -> None:
    make_edge("e5", 25, pair="east")
    pools.create_pool(store, operator, name="far", pair="east", cidrs=["2001:db8:300::/40"])
    with refused("InvalidParameterValue", "far is routed to pair east"):
        vpcs.associate_cidr(store, acme, vpc.id, Provided(pool="far"))
    for _ in range(4):
        changed = vpcs.associate_cidr(store, acme, vpc.id, Provided())
    assert set(changed.ipv6_pools.values()) == {"six"}
    with refused("InsufficientAddressCapacity"):
        new(store, acme, "b", Provided(pool="six"))
    first = new(store, acme, "b", Provided())
    assert first.ipv6_pools == {first.ipv6_cidrs[0]: "far"}
    made = gateways.create_internet_gateway(store, acme, first.id, name="east")
    assert gateways.describe_internet_gateway(store, acme, made.id).pair == "east"
    clean(store)


def test_a_pool_of_one_version_gives_nothing_of_the_other(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool
) -> None:
    with refused("InsufficientAddressCapacity", "no address pool with IPv6 ranges"):
        new(store, acme, "a")
    with refused("InvalidParameterValue", "p has no IPv6 ranges"):
        new(store, acme, "a", Provided(pool=pool.name))
    with refused("InvalidPublicIpv4PoolID.NotFound", "'q'"):
        new(store, acme, "a", Provided(pool="q"))
    pools.create_pool(store, operator, name="q", pair="west", cidrs=["2001:db8:100::/40"])
    with refused("InsufficientAddressCapacity"):
        addresses.allocate_address(store, acme, pool="q")
    assert read_inventory(store).vpcs == {}


def test_a_file_keeps_a_provided_range_that_it_names_and_gives_back_one_that_it_does_not(
    store: Store, operator: Caller, acme: Caller, pool6: AddressPool
) -> None:
    vpc = new(store, acme, "web")
    (cidr,) = vpc.ipv6_cidrs

    def apply(ipv6_cidrs: str) -> None:
        text = f"vpcs:\n- {{name: web, owner: acme, cidrs: [10.0.0.0/16], ipv6_cidrs: [{ipv6_cidrs}]}}\n"
        apply_cloud(store, plan_cloud(store, operator, load_cloud("vpc.yaml", text), source=str(Path("vpc.yaml"))))

    apply(cidr)
    assert vpcs.describe_vpc(store, acme, vpc.id).ipv6_pools == {cidr: "six"}
    other = next(text for text in ("2001:db8:100::/56", "2001:db8:100:100::/56") if text != cidr)
    with refused("InvalidParameterValue", f"{other} is in address pool six"):
        apply(f"{cidr}, {other}")
    apply("")
    assert held(store) == set()
    with refused("InvalidParameterValue", f"{cidr} is in address pool six"):
        apply(cidr)
    clean(store)


def test_the_audit_finds_a_range_that_has_leaked_or_is_not_held(store: Store, acme: Caller, pool6: AddressPool) -> None:
    vpc = new(store, acme, "a")
    (cidr,) = vpc.ipv6_cidrs
    claim = store.get(keys.public_address(cidr.removesuffix("/56")))
    assert claim is not None
    store.txn((), [Delete(claim.key)])
    assert [error.what for error in wrong_addresses(read_inventory(store))] == [f"does not hold {cidr}"]
    assert damaged(store)
    store.txn((), [Put(claim.key, claim.value)])
    clean(store)
    store.txn((), [Put(keys.vpc(vpc.vni), encode(msgspec.structs.replace(vpc, ipv6_cidrs=(), ipv6_pools={})))])
    assert [error.what for error in wrong_addresses(read_inventory(store))] == [
        f"has leaked: {vpc.id} holds it, but has no such range"
    ]
    store.txn((), [Put(keys.vpc(vpc.vni), encode(vpc)), Delete(keys.pool("six"))])
    assert [error.what for error in wrong_addresses(read_inventory(store))] == [f"says that {cidr} is in pool six, but it is not"]
