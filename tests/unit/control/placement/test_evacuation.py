"""Instances leave a hypervisor: by moves while its agent runs, at once when it is dead, in any phase of an earlier move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.control.actions import enis, hosts, instances, moves, repair, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.placement.evacuation import Evacuated, check_targets, evacuate_host
from netorch.model.eni import Attachment, Placement, Role
from netorch.model.mapping import Mapping, MoveDirection
from netorch.model.status import AgentStatus
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.records.read import mappings_of
from netorch.store.base import Delete, Put, Store
from tests.unit.control.conftest import refused
from tests.unit.control.placement.world import Watched, wide_subnet

HOSTS = ("hv1", "hv2", "hv3")


@pytest.fixture
def subnet(store: Store, acme: Caller, operator: Caller) -> Subnet:
    for number, name in enumerate(HOSTS, 1):
        hosts.create_host(store, operator, name=name, underlay=f"192.0.2.{number}")
        say(store, name, runs=True)
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")


def say(store: Store, host: str, *, runs: bool) -> None:
    """Let an agent run, or let it have run."""
    live = keys.host_live(host)
    status = Put(keys.agent_status(host), encode(AgentStatus(version="1", pid=1, started_at=0.0)))
    store.txn([], [status, Put(live, b"{}") if runs else Delete(live)])


def run(store: Store, caller: Caller, subnet: Subnet, host: str = "hv1") -> Placed:
    return instances.run_instance(store, caller, RunRequest(subnet=subnet.id, host=host))


def place(store: Store, placed: Placed) -> Mapping:
    (found,) = mappings_of(store, placed.eni).values()
    return found.record


def carriers(store: Store, placed: Placed) -> set[str]:
    return {host for host in HOSTS if store.get(keys.placement(host, placed.eni.id)) is not None}


def evacuate(store: Store, operator: Caller, *to: str) -> list[Evacuated]:
    return list(evacuate_host(store, operator, "hv1", to))


def test_a_host_whose_agent_runs_is_left_by_moves(store: Store, acme: Caller, operator: Caller, subnet: Subnet) -> None:
    placed = [run(store, acme, subnet) for _ in range(4)]
    left = evacuate(store, operator)
    assert {one.instance for one in left} == {one.instance.id for one in placed}
    assert sorted(one.host for one in left) == ["hv2", "hv2", "hv3", "hv3"]
    for one in placed:
        found = place(store, one)
        assert found.move is not None
        assert (found.host, found.move.direction) == ("hv1", MoveDirection.TO)
    again = evacuate(store, operator)
    assert sorted(again, key=lambda one: one.instance) == sorted(left, key=lambda one: one.instance), "they are on their way"
    with refused("IncorrectState", "drained"):
        run(store, acme, subnet)
    assert not repair.damaged(store)


def test_a_dead_host_is_left_at_once(store: Store, acme: Caller, operator: Caller, subnet: Subnet) -> None:
    placed = [run(store, acme, subnet) for _ in range(2)]
    extra = enis.create_network_interface(store, acme, subnet.id)
    enis.attach_network_interface(store, acme, extra.id, placed[0].instance.id)
    say(store, "hv1", runs=False)
    left = evacuate(store, operator, "hv3")
    assert left == [Evacuated(instance=one, host="hv3") for one in sorted(one.instance.id for one in placed)]
    for one in placed:
        found = place(store, one)
        assert (found.host, found.vtep, found.move, carriers(store, one)) == ("hv3", "192.0.2.3", None, {"hv3"})
    assert store.get(keys.placement("hv3", extra.id)) is not None
    assert read_inventory(store).hosts["hv1"].placements == 0
    assert not evacuate(store, operator)
    assert not repair.damaged(store)
    with refused("IncorrectState", "host hv1: its agent is not running; start it first"):
        undrain_host(store, operator, "hv1")  # when it starts, it must see why its placements are gone
    say(store, "hv1", runs=True)
    undrain_host(store, operator, "hv1")
    hosts.delete_host(store, operator, "hv1")
    assert store.get(keys.host_live("hv1")) is None


def start_from(store: Store, caller: Caller, placed: Placed) -> None:
    moves.move_instance(store, caller, placed.instance.id, "hv2")


def arrived_from(store: Store, caller: Caller, placed: Placed) -> None:
    start_from(store, caller, placed)
    assert moves.complete_arrival(store, "hv2", placed.eni.id)


def start_to(store: Store, caller: Caller, placed: Placed) -> None:
    moves.move_instance(store, caller, placed.instance.id, "hv1")


def arrived_at(store: Store, caller: Caller, placed: Placed) -> None:
    start_to(store, caller, placed)
    assert moves.complete_arrival(store, "hv1", placed.eni.id)


@pytest.mark.parametrize(
    ("phase", "began", "ends"),
    [
        (start_from, "hv1", {"hv2", "hv3"}),
        (arrived_from, "hv1", {"hv2"}),  # hv1 only relays
        (start_to, "hv2", {"hv2"}),  # it never arrived
        (arrived_at, "hv2", {"hv2", "hv3"}),
    ],
)
def test_a_dead_host_is_left_in_every_phase_of_a_move(
    store: Store,
    acme: Caller,
    operator: Caller,
    subnet: Subnet,
    phase: Callable[[Store, Caller, Placed], None],
    began: str,
    ends: set[str],
) -> None:
    placed = run(store, acme, subnet, began)
    phase(store, acme, placed)
    say(store, "hv1", runs=False)
    (left,) = evacuate(store, operator)
    found = place(store, placed)
    assert not left.problem
    assert left.host in ends
    assert (found.host, found.move, carriers(store, placed)) == (left.host, None, {left.host})
    for late in (moves.complete_arrival, moves.finish_departure):  # the old host is alive after all
        late(store, "hv1", placed.eni.id)
    assert (place(store, placed).host, carriers(store, placed)) == (left.host, {left.host})
    assert not repair.damaged(store)


@pytest.mark.parametrize("phase", [start_from, arrived_from])
def test_what_already_leaves_a_running_host_goes_on(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet, phase: Callable[[Store, Caller, Placed], None]
) -> None:
    placed = run(store, acme, subnet)
    phase(store, acme, placed)
    before = place(store, placed)
    assert evacuate(store, operator, "hv3") == [Evacuated(instance=placed.instance.id, host="hv2")]
    assert place(store, placed) == before


def test_what_just_comes_to_a_running_host_stays_with_a_reason(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet
) -> None:
    placed = run(store, acme, subnet, "hv2")
    start_to(store, acme, placed)
    (left,) = evacuate(store, operator)
    assert "wait until it has settled" in left.problem


def test_an_instance_in_an_existing_namespace_stays_and_the_others_leave(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet
) -> None:
    request = RunRequest(subnet=subnet.id, host="hv1", attachment=Attachment.EXISTING, netns="box")
    kept = instances.run_instance(store, operator, request).instance.id
    gone = run(store, acme, subnet).instance.id
    say(store, "hv1", runs=False)
    left = {one.instance: one for one in evacuate(store, operator)}
    assert "is not netorch's" in left[kept].problem
    assert left[gone].host in ("hv2", "hv3")


def test_a_vpc_with_a_damaged_interface_stays_and_others_leave(
    store: Store, acme: Caller, globex: Caller, operator: Caller, subnet: Subnet
) -> None:
    vpc = vpcs.create_vpc(store, globex, name="web", cidrs=["10.0.0.0/16"])
    other = subnets.create_subnet(store, globex, vpc.id, name="a", cidr="10.0.1.0/24")
    kept, gone = run(store, acme, subnet), run(store, globex, other)
    store.txn([], [Put(keys.resource(kept.eni.id), b"{")])
    left = {one.instance: one.problem for one in evacuate(store, operator)}
    assert "cannot be read" in left.pop(kept.eni.id)
    assert left == {gone.instance.id: ""}


@pytest.mark.parametrize("runs", [True, False])
def test_an_interface_without_its_mapping_or_record_stays_with_a_reason_and_others_leave(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet, runs: bool
) -> None:
    unmapped, unknown, gone = (run(store, acme, subnet) for _ in range(3))
    (key,) = mappings_of(store, unmapped.eni)
    store.txn([], [Delete(key), Delete(keys.resource(unknown.eni.id))])
    say(store, "hv1", runs=runs)
    left = {one.instance: one for one in evacuate(store, operator)}
    assert f"has no mapping of {unmapped.eni.address}; see netorch map verify" in left.pop(unmapped.instance.id).problem
    assert "has a placement on host hv1 and no instance; see netorch store check" in left.pop(unknown.eni.id).problem
    assert {one: found.problem for one, found in left.items()} == {gone.instance.id: ""}
    assert carriers(store, unmapped) == carriers(store, unknown) == {"hv1"}


@pytest.mark.parametrize("runs", [True, False])
def test_a_placement_that_contradicts_the_mappings_goes(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet, runs: bool
) -> None:
    placed = run(store, acme, subnet, "hv2")
    store.txn([], [Put(keys.placement("hv1", placed.eni.id), encode(Placement(id=placed.eni.id)))])
    say(store, "hv1", runs=runs)
    assert evacuate(store, operator) == [Evacuated(instance=placed.instance.id, host="hv2")]
    assert (place(store, placed).host, carriers(store, placed)) == ("hv2", {"hv2"})
    assert not evacuate(store, operator)


@pytest.mark.parametrize("runs", [True, False])
def test_an_evacuation_reads_a_large_vpc_once_and_knows_what_is_attached_meanwhile(
    acme: Caller, operator: Caller, runs: bool
) -> None:
    store = Watched()
    for number, host in enumerate(HOSTS, 1):
        hosts.create_host(store, operator, name=host, underlay=f"192.0.2.{number}")
    subnet = wide_subnet(store, acme)
    for _ in range(8):
        instances.run_instances(store, acme, RunRequest(subnet=subnet.id, host="hv2"), 20)
    placed = [run(store, acme, subnet) for _ in range(6)]
    extra = enis.create_network_interface(store, acme, subnet.id)
    say(store, "hv1", runs=runs)
    store.read = 0
    leaving = evacuate_host(store, operator, "hv1", ["hv3"])
    first = next(leaving)
    late = next(one for one in placed if one.instance.id != first.instance)
    enis.attach_network_interface(store, acme, extra.id, late.instance.id)
    assert [one.host for one in leaving] == ["hv3"] * 5
    assert store.get(keys.placement("hv3", extra.id)) is not None
    assert store.read < 6 * 168  # interfaces of the VPC
    assert not repair.damaged(store)


@pytest.mark.parametrize("runs", [True, False])
def test_a_named_host_that_seems_dead_gets_nothing_and_is_named(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet, runs: bool
) -> None:
    placed = [run(store, acme, subnet) for _ in range(2)]
    say(store, "hv1", runs=runs)
    say(store, "hv2", runs=False)
    assert check_targets(store, "hv1", ["hv2", "hv3"]) == {"hv2": "its agent does not run"}
    left = evacuate(store, operator, "hv2")
    assert {one.instance for one in left} == {one.instance.id for one in placed}
    assert all("host hv2: its agent does not run; name another one" in one.problem for one in left)
    assert {place(store, one).host for one in placed} == {"hv1"}
    assert [one.host for one in evacuate(store, operator, "hv2", "hv3")] == ["hv3", "hv3"]


def test_a_named_host_that_is_drained_or_being_deleted_is_refused_before_anything_changes(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet
) -> None:
    run(store, acme, subnet)
    drain_host(store, operator, "hv2")
    before = store.list("").kvs
    with refused("IncorrectState", "host hv2: is drained, so no instance can go there; leave it out, or .*host undrain hv2"):
        evacuate(store, operator, "hv3", "hv2")
    assert store.list("").kvs == before
    store.txn([], [Put(keys.host_drain("hv3"), b"{}")])
    with refused("IncorrectState", "host hv3: is being deleted"):
        evacuate(store, operator, "hv3")


def test_a_named_host_that_is_drained_meanwhile_gets_nothing_more(
    store: Store, acme: Caller, operator: Caller, subnet: Subnet
) -> None:
    for _ in range(4):
        run(store, acme, subnet)
    leaving = evacuate_host(store, operator, "hv1", ["hv2", "hv3"])
    first, second = next(leaving), next(leaving)
    assert {first.host, second.host} == {"hv2", "hv3"}
    drain_host(store, operator, "hv2")
    assert [(one.host, one.problem) for one in leaving] == [("hv3", "")] * 2


def test_only_hypervisors_are_evacuated(store: Store, operator: Caller, subnet: Subnet) -> None:
    del subnet
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.9", role=Role.EDGE)
    with refused("InvalidParameterValue", "its role is edge"):
        list(evacuate_host(store, operator, "e1"))
    with refused("InvalidParameterValue", "among the hosts to go to"):
        evacuate(store, operator, "hv1")
    with refused("InvalidHostID.NotFound", "hv9"):
        list(evacuate_host(store, operator, "hv9"))
    with refused("InvalidHostID.NotFound", "hv9"):
        evacuate(store, operator, "hv2", "hv9")
    with refused("InvalidParameterValue", "host e1: its role is edge"):
        evacuate(store, operator, "hv2", "e1")
    assert store.get(keys.host_drained("hv1")) is None
