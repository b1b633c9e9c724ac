"""Ephemeral public addresses: allocated and released with an instance's primary interface."""

from __future__ import annotations

import pytest

from netorch.control.actions import instances, subnets, vpcs
from netorch.control.actions.instances import RunRequest, run_instance, run_instances
from netorch.control.actions.outside import addresses, gateways, pools
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import instance_info
from netorch.control.views.export import export_cloud
from netorch.model.cloud import InstanceDecl
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.store.alloc import HOLD_DOWN_S, holder_of
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import MakeEdge, clean, held, public_of


@pytest.mark.parametrize(("of_subnet", "asked", "gets"), [(True, None, 1), (True, False, 0), (False, None, 0), (False, True, 1)])
def test_the_subnet_says_who_gets_one_unless_the_request_does(
    store: Store, acme: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc, of_subnet: bool, asked: bool | None, gets: int
) -> None:
    assert subnets.modify_subnet(store, acme, subnet.id, public_on_launch=of_subnet).public_on_launch is of_subnet
    placed = run_instance(store, acme, RunRequest(subnet=subnet.id, public_address=asked))
    assert len(public_of(store, vpc)) == len(held(store)) == gets
    info = instance_info(store, acme, placed.instance.id).interfaces[0]
    assert (info.public is not None) is bool(gets)
    if gets:
        mapping = public_of(store, vpc)[placed.eni.address]
        assert info.public == mapping
        assert (mapping.allocation, mapping.eni, mapping.pool) == ("", placed.eni.id, pool.name)
        assert holder_of(store.get(f"alloc/eip/{mapping.address}")) == mapping.association
    clean(store)
    instances.terminate_instance(store, acme, placed.instance.id)
    assert public_of(store, vpc) == {}
    assert held(store) == set()
    clean(store)


def test_many_get_different_ones_in_few_transactions(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc, clock: Clock
) -> None:
    pools.create_pool(store, operator, name="q", pair="west", cidrs=["203.0.113.0/24"])
    request = RunRequest(name="w", subnet=subnet.id, public_address=True)
    placed = run_instances(store, acme, request, 60)
    found = public_of(store, vpc)
    assert {one.eni.address for one in placed} == set(found)
    assert len({mapping.address for mapping in found.values()}) == 60
    clean(store)
    for one in placed:
        instances.terminate_instance(store, acme, one.instance.id)
    assert sum(info.ipv4.held_down for info in pools.describe_pools(store, operator)) == 60
    clock.now += HOLD_DOWN_S
    assert sum(info.ipv4.free for info in pools.describe_pools(store, operator)) == 16 + 256
    clean(store)


def test_the_last_address_is_given_and_then_nobody_runs(
    store: Store, acme: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc
) -> None:
    request = RunRequest(name="w", subnet=subnet.id, public_address=True)
    with refused("InsufficientAddressCapacity"):
        run_instances(store, acme, request, 17)
    assert public_of(store, vpc) == {}
    run_instances(store, acme, request, 16)
    with refused("InsufficientAddressCapacity"):
        run_instance(store, acme, RunRequest(subnet=subnet.id, public_address=True))
    clean(store)


def test_an_elastic_address_replaces_it_and_gives_it_back(
    store: Store, acme: Caller, gateway: InternetGateway, pool: AddressPool, subnet: Subnet, vpc: Vpc
) -> None:
    placed = run_instance(store, acme, RunRequest(subnet=subnet.id, public_address=True))
    before = public_of(store, vpc)[placed.eni.address]
    with refused("DependencyViolation", "terminate the instances that came with them"):
        gateways.delete_internet_gateway(store, acme, gateway.id)
    with refused("InvalidAddress.NotFound"):
        addresses.allocation_of(store, acme, before.address)
    elastic = addresses.allocate_address(store, acme)
    after = addresses.associate_address(store, acme, elastic.id, instance=placed.instance.id)
    assert public_of(store, vpc) == {placed.eni.address: after}
    assert held(store) == {elastic.address}
    with refused("InvalidIPAddress.InUse", "was until recently"):
        addresses.allocate_address(store, acme, address=before.address)
    clean(store)


def test_all_addresses_of_a_vpc_are_of_one_pair_and_its_gateway_goes_there(
    store: Store, operator: Caller, acme: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc, make_edge: MakeEdge
) -> None:
    make_edge("e5", 25, pair="east")
    pools.create_pool(store, operator, name="far", pair="east", cidrs=["203.0.113.0/24"])  # has nearly all free addresses
    run_instances(store, acme, RunRequest(name="w", subnet=subnet.id, public_address=True), 12)
    (name,) = {mapping.pool for mapping in public_of(store, vpc).values()}
    pair = {"far": "east", "p": "west"}[name]
    others = [gateways.create_internet_gateway(store, acme, other.id) for other in _vpcs(store, acme, 3)]
    assert {gateways.describe_internet_gateway(store, acme, found.id).pair for found in others} == {"east", "west"}
    made = gateways.create_internet_gateway(store, acme, vpc.id)
    assert gateways.describe_internet_gateway(store, acme, made.id).pair == pair
    clean(store)


def _vpcs(store: Store, caller: Caller, count: int) -> list[Vpc]:
    return [vpcs.create_vpc(store, caller, name=f"v{number}", cidrs=["10.9.0.0/16"]) for number in range(count)]


def test_a_plan_gives_the_same_and_leaves_what_a_file_cannot_say(
    store: Store, operator: Caller, pool: AddressPool, subnet: Subnet, vpc: Vpc, acme: Caller
) -> None:
    subnets.modify_subnet(store, acme, subnet.id, public_on_launch=True)
    (decl,) = export_cloud(store).vpcs
    decl.instances.extend(InstanceDecl(name=f"i{number}", subnet="a") for number in range(12))
    cloud = export_cloud(store)
    cloud.vpcs[:] = [decl]
    plan = plan_cloud(store, operator, cloud)
    assert plan.stuck == ()
    new = [change for change in plan.changes if change.kind == "instance"]
    assert all(any(item.field == "public_address" for item in change.differences) for change in new)
    apply_cloud(store, plan)
    assert len({mapping.address for mapping in public_of(store, vpc).values()}) == 12
    assert subnets.describe_subnet(store, acme, subnet.id).subnet.public_on_launch
    clean(store)
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    decl.instances.clear()
    apply_cloud(store, plan_cloud(store, operator, cloud), allow_mass_delete=True)
    assert public_of(store, vpc) == {}
    assert held(store) == set()
    clean(store)
