"""A hypervisor carries no more interfaces than its capacity, whoever places them, and however many at the same time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.control.actions import enis, hosts, repair
from netorch.control.actions.instances import RunRequest, run_instances, terminate_instance
from netorch.control.actions.moves import cancel_move, move_instance
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.placement.choice import LOOKS
from netorch.control.placement.evacuation import evacuate_host
from netorch.control.views.export import export_cloud
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Host
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.store.base import Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.placement.world import Watched, one_of, wide_subnet


def two_of(store: Store, operator: Caller, first: int, second: int = 0) -> None:
    for number, capacity in enumerate((first, second), 1):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number}", capacity=capacity)


def carried(store: Store) -> list[int]:
    return [state.placements for _, state in sorted(read_inventory(store).hosts.items())]


def test_a_full_host_gets_no_instance_and_no_move_until_its_capacity_is_raised(
    store: Store, acme: Caller, operator: Caller
) -> None:
    two_of(store, operator, 2, 3)
    subnet = wide_subnet(store, acme)
    for _ in range(5):
        one_of(store, acme, subnet)
    assert carried(store) == [2, 3]
    with refused("InsufficientInstanceCapacity", "2 are full"):
        one_of(store, acme, subnet)
    with refused("InsufficientCapacityOnHost", "hv1: may carry 2 interfaces and has 2; .*netorch host update hv1 --capacity"):
        one_of(store, acme, subnet, host="hv1")
    records = read_inventory(store).vpcs[subnet.vni]
    there = next(found.record.eni for found in records.mappings.values() if found.record.host == "hv2")
    with refused("InsufficientCapacityOnHost", "hv1"):
        move_instance(store, acme, f"i-{there[4:]}", "hv1")
    hosts.set_capacity(store, operator, "hv1", 3)
    move_instance(store, acme, f"i-{there[4:]}", "hv1")
    with refused("InsufficientCapacityOnHost", "hv1"):
        one_of(store, acme, subnet, host="hv1")
    hosts.set_capacity(store, operator, "hv2", 0)
    assert one_of(store, acme, subnet) == "hv2"


def test_a_lowered_capacity_ends_nothing(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 0)
    subnet = wide_subnet(store, acme)
    placed = run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv1"), 3)
    hosts.set_capacity(store, operator, "hv1", 2)
    assert carried(store) == [3, 0]
    terminate_instance(store, acme, placed[0].instance.id)
    with refused("InsufficientCapacityOnHost", "may carry 2 interfaces and has 2"):
        one_of(store, acme, subnet, host="hv1")
    terminate_instance(store, acme, placed[1].instance.id)
    assert one_of(store, acme, subnet, host="hv1") == "hv1"


def test_an_attached_interface_goes_where_its_instance_is_and_counts(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 1, 1)
    subnet = wide_subnet(store, acme)
    (placed,) = run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv1"), 1)
    eni = enis.create_network_interface(store, acme, subnet.id)
    enis.attach_network_interface(store, acme, eni.id, placed.instance.id)
    assert carried(store) == [2, 0]
    with refused("InsufficientCapacityOnHost", "hv2: may carry 1 interfaces and has 0"):
        move_instance(store, acme, placed.instance.id, "hv2")  # with both interfaces


@pytest.mark.parametrize("named", ["", "hv1"])
def test_two_placements_at_the_same_time_do_not_overbook_a_host(acme: Caller, operator: Caller, named: str) -> None:
    store = Watched()
    two_of(store, operator, 2, 1)
    subnet = wide_subnet(store, acme)
    one_of(store, acme, subnet, host="hv1")
    one_of(store, acme, subnet, host="hv2")
    other = wide_subnet(store, acme, "other")  # nothing but the host is common to both
    store.meanwhile = lambda: one_of(store, acme, other, host="hv1")  # it takes the last room after the other has chosen
    code = "InsufficientCapacityOnHost" if named else "InsufficientInstanceCapacity"
    with pytest.raises(ApiError) as caught:
        one_of(store, acme, subnet, host=named)
    assert caught.value.code == code
    assert carried(store) == [2, 1]


def test_a_placement_and_a_lowered_capacity_at_the_same_time_agree(acme: Caller, operator: Caller) -> None:
    store = Watched()
    two_of(store, operator, 0)
    subnet = wide_subnet(store, acme)
    one_of(store, acme, subnet, host="hv1")
    store.meanwhile = lambda: hosts.set_capacity(store, operator, "hv1", 1)
    with refused("InsufficientCapacityOnHost", "hv1"):
        one_of(store, acme, subnet, host="hv1")


def file_of(count: int, host: str = "", user_data: str = "") -> Cloud:
    subnet = SubnetDecl(name="a", cidr="10.1.0.0/24")
    made = [InstanceDecl(name=f"i{number}", host=host, user_data=user_data) for number in range(count)]
    return Cloud(vpcs=[VpcDecl(name="v", cidrs=["10.1.0.0/16"], subnets=[subnet], instances=made)])


@pytest.mark.parametrize("capacities", [(3, 5), (0, 2)])
def test_a_file_fills_hosts_and_no_further(store: Store, operator: Caller, capacities: tuple[int, int]) -> None:
    two_of(store, operator, *capacities)
    apply_cloud(store, plan_cloud(store, operator, file_of(8)))
    assert all(count <= most for count, most in zip(carried(store), capacities, strict=True) if most)
    if all(capacities):
        with refused("InsufficientInstanceCapacity", "2 are full"):
            plan_cloud(store, operator, file_of(9))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_file_finds_the_few_hosts_with_room(store: Store, acme: Caller, operator: Caller, count: int) -> None:
    for number in range(20):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number + 1}", capacity=2)
    subnet = wide_subnet(store, acme)
    for number in range(16):
        run_instances(store, acme, RunRequest(subnet=subnet.id, host=f"hv{number}"), 2)
    for again in range(8):  # each plan of another revision draws other hosts
        hosts.set_capacity(store, operator, "hv0", 3 + again)
        run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv0"), 1)
        plan = plan_cloud(store, operator, file_of(count))
        assert {change.hosts[0] for change in plan.changes if change.kind == "instance"} <= {"hv16", "hv17", "hv18", "hv19"}
    with refused("InsufficientInstanceCapacity", "20 are full"):
        plan_cloud(store, operator, file_of(9))


def test_a_file_finds_room_for_more_instances_than_it_compares_hosts(store: Store, operator: Caller) -> None:
    for number in range(150):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"10.0.0.{number + 1}", capacity=1)
    apply_cloud(store, plan_cloud(store, operator, file_of(150)))
    assert carried(store) == [1] * 150


def test_a_file_knows_the_load_of_a_host_that_it_names(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 2)
    one_of(store, acme, wide_subnet(store, acme), host="hv1")
    with refused("InsufficientCapacityOnHost", "hv1: may carry 2 interfaces and has 2"):
        plan_cloud(store, operator, file_of(2, "hv1"))
    apply_cloud(store, plan_cloud(store, operator, file_of(1, "hv1")))
    assert carried(store) == [2, 0]


def test_a_recreated_instance_stays_on_its_full_host(store: Store, operator: Caller) -> None:
    two_of(store, operator, 2, 1)
    apply_cloud(store, plan_cloud(store, operator, file_of(2, "hv1")))
    again = file_of(2, user_data="#!/bin/sh")
    apply_cloud(store, plan_cloud(store, operator, again), allow_mass_delete=True)
    assert carried(store) == [2, 0]


def test_a_plan_places_nothing_on_a_host_that_was_filled_since(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 1, 1)
    subnet = wide_subnet(store, acme)
    plan = plan_cloud(store, operator, file_of(1))
    one_of(store, acme, subnet, host="hv1")
    apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, file_of(1)))
    assert carried(store) == [1, 1]


def test_a_file_declares_a_capacity_and_an_export_says_it(store: Store, operator: Caller) -> None:
    for capacity in (4, 0, 7):
        decl = HostDecl(name="hv1", underlay="192.0.2.1", capacity=capacity)
        plan = plan_cloud(store, operator, Cloud(hosts=[decl]))
        assert plan.changes
        apply_cloud(store, plan)
        assert not plan_cloud(store, operator, Cloud(hosts=[decl])).changes
        assert export_cloud(store).hosts == [decl]


@pytest.mark.parametrize(
    "make",
    [
        lambda store, operator: hosts.create_host(store, operator, name="hv9", underlay="192.0.2.9", capacity=-1),
        lambda store, operator: hosts.set_capacity(store, operator, "hv1", 1_000_001),
    ],
)
def test_a_number_of_interfaces_that_is_none_is_refused(
    store: Store, operator: Caller, make: Callable[[Store, Caller], object]
) -> None:
    two_of(store, operator, 0)
    with refused("InvalidParameterValue", "is no number of interfaces; use 1 to 1000000, or 0"):
        make(store, operator)


def test_an_evacuated_host_is_left_for_hosts_with_room(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 0, 1)
    hosts.create_host(store, operator, name="hv3", underlay="192.0.2.3", capacity=1)
    subnet = wide_subnet(store, acme)
    run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv1"), 3)
    left = list(evacuate_host(store, operator, "hv1", ["hv2", "hv3"]))
    assert sorted(found.host for found in left) == ["", "hv2", "hv3"]
    assert next(found.problem for found in left if found.problem).startswith("InsufficientCapacityOnHost")
    assert carried(store) == [1, 1, 1]


def marked(store: Store) -> set[str]:
    return {kv.key.split("/")[3] for kv in store.list(keys.accepting()).kvs if kv.key.endswith("/full")}


@pytest.mark.parametrize("how", ["run", "file"])
def test_a_choice_does_not_read_hosts_that_are_known_to_be_full(acme: Caller, operator: Caller, how: str) -> None:
    store, count = Watched(), 1000
    subnet = wide_subnet(store, acme)
    for number in range(count):
        host = Host(name=f"hv{number}", underlay=f"10.0.{number >> 8}.{number & 255}", capacity=2)
        records = {keys.host_spec(host.name): encode(host), keys.accepts(host.name): encode(host.name)}
        if number >= 3:
            records[keys.full(host.name)] = encode(host.name)
            records |= {keys.placement(host.name, f"eni-00000{part}{number:011x}"): b"{}" for part in range(2)}
        store.txn([], [Put(key, value) for key, value in records.items()])
    store.read = 0
    if how == "run":
        run_instances(store, acme, RunRequest(subnet=subnet.id), 3)
    else:
        apply_cloud(store, plan_cloud(store, operator, file_of(3)))
    listing = 2 * count * (1 + 1 / 16 + 1 / 128)  # two keys of a host; the first draws list some of them again
    assert store.read < listing + 500
    for _ in range(3):
        one_of(store, acme, subnet)
    assert marked(store) == {f"hv{number}" for number in range(count)}
    store.read = 0
    with refused("InsufficientInstanceCapacity", f"{LOOKS} are full"):
        one_of(store, acme, subnet)
    assert store.read < listing + 300


def test_the_mark_of_a_full_host_follows_what_it_carries(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 2, 2)
    subnet = wide_subnet(store, acme)
    placed = run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv1"), 2)
    assert marked(store) == {"hv1"}
    hosts.set_capacity(store, operator, "hv1", 3)
    assert marked(store) == set()
    hosts.set_capacity(store, operator, "hv1", 2)
    assert marked(store) == {"hv1"}
    terminate_instance(store, acme, placed[0].instance.id)
    assert marked(store) == set()
    extra = enis.create_network_interface(store, acme, subnet.id)
    enis.attach_network_interface(store, acme, extra.id, placed[1].instance.id)
    assert marked(store) == {"hv1"}
    enis.detach_network_interface(store, acme, extra.id)
    assert marked(store) == set()
    one_of(store, acme, subnet, host="hv1")
    drain_host(store, operator, "hv1")
    assert marked(store) == set()
    undrain_host(store, operator, "hv1")
    assert marked(store) == {"hv1"}
    move_instance(store, acme, placed[1].instance.id, "hv2")
    assert marked(store) == set(), "there is room as soon as it has left"
    one_of(store, acme, subnet, host="hv2")
    assert marked(store) == {"hv2"}
    cancel_move(store, acme, placed[1].instance.id)
    assert marked(store) == set()
    apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=[HostDecl(name="hv2", underlay="192.0.2.2", capacity=1)])))
    assert marked(store) == {"hv2"}
    apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=[HostDecl(name="hv2", underlay="192.0.2.2", capacity=2)])))
    assert marked(store) == set()
    apply_cloud(store, plan_cloud(store, operator, file_of(1, "hv2")))
    assert marked(store) == {"hv2"}
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[VpcDecl(name="v", cidrs=["10.1.0.0/16"])])))
    assert marked(store) == set()
    assert not repair.damaged(store)


def test_an_old_mark_hides_a_host_from_none_who_finds_no_other(store: Store, acme: Caller, operator: Caller) -> None:
    two_of(store, operator, 2, 1)
    subnet = wide_subnet(store, acme)
    one_of(store, acme, subnet, host="hv2")
    store.txn([], [Put(keys.full("hv1"), encode("hv1"))])
    assert one_of(store, acme, subnet) == "hv1"
    assert marked(store) == {"hv2"}, "its placement has corrected it"
