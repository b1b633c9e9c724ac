"""An agent's status writes: only differences, none lost, none twice, whatever the connection to the store does."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from netorch.agent.loop import Agent
from netorch.agent.report import StatusPublisher
from netorch.agent.snapshot import SnapshotFile
from netorch.agent.tasks import status
from netorch.agent.tasks.base import Task, Turn
from netorch.control.actions import hosts, moves
from netorch.drivers.base import Gone
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import StoreError, StoreUnavailable
from netorch.model.eni import VpcStatus
from netorch.records import keys
from netorch.state.base import HOST_SLICE
from netorch.state.foreign import Foreign
from netorch.store.base import Range
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_TXN_BYTES
from tests.unit.agent.world import Clock, Wire, WiredStore, World


def told(store: MemoryStore) -> dict[str, bytes]:
    return {kv.key: kv.value for kv in store.list("hoststat/").kvs}


def test_a_settled_host_writes_nothing_but_its_lease(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(5)
    revision = world.store.revision()
    world.settle(100)
    assert world.store.revision() == revision


def test_the_lease_is_renewed_while_the_agent_lives_and_ends_after_it(world: World) -> None:
    for _ in range(10):
        world.settle(6)
        assert world.store.get(keys.host_live("hv1")) is not None
    world.kill("hv1")
    world.clock.now += 16
    assert world.store.get(keys.host_live("hv1")) is None
    assert world.store.get(keys.host_live("hv2")) is None
    world.start("hv1")
    assert world.store.get(keys.host_live("hv1")) is not None


class Hanging(MemoryStore):
    """A store that hangs for a while and then reports that it is unavailable."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.asked = 0
        self._now = clock

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Fail after a delay."""
        self.asked += 1
        self._now.now += 2.5
        raise StoreUnavailable("store: no member answers")


def test_a_store_that_hangs_does_not_hold_up_every_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(status, "time", SimpleNamespace(monotonic=clock, time=clock))
    writer, store = world.agents["hv1"].status, Hanging(clock)
    for now, asked in ((100.0, 1), (102.5, 1), (107.4, 1), (107.5, 2), (110.0, 2)):
        writer.write(store, now)
        assert store.asked == asked
    writer.write(None, 110.0)
    writer.write(store, 110.1)
    assert store.asked == 3, "it was opened again"


@pytest.mark.parametrize("calls", range(6))
@pytest.mark.parametrize("lose_answer", [False, True])
def test_a_host_is_alive_again_whatever_call_failed(world: World, calls: int, lose_answer: bool) -> None:
    world.clock.now += 16
    wire = world.wires["hv1"]
    wire.cut_after, wire.lose_answer = calls, lose_answer
    world.settle(8)
    assert world.store.get(keys.host_live("hv1")) is not None


@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("lose_answer", [False, True])
def test_a_flush_that_is_cut_off_loses_nothing(calls: int, lose_answer: bool) -> None:
    store, wire, publisher = MemoryStore(clock=Clock()), Wire(), StatusPublisher("hv1", "kernel")
    wired = WiredStore(store, wire)
    publisher.adopt(wired)
    for vni in range(250):
        publisher.publish(keys.vpc_status("hv1", vni), VpcStatus(reason="x"))
    wire.cut_after, wire.lose_answer = calls, lose_answer
    for _ in range(2):
        try:
            publisher.flush(wired)
        except StoreError:
            publisher.publish(keys.vpc_status("hv1", 0), None)
            publisher.publish(keys.vpc_status("hv1", 1), VpcStatus(reason="y"))
            publisher.adopt(wired)
    found = told(store)
    expected = {keys.vpc_status("hv1", vni): b'{"reason":"x"}' for vni in range(250)}
    if calls < 3:
        del expected[keys.vpc_status("hv1", 0)]
        expected[keys.vpc_status("hv1", 1)] = b'{"reason":"y"}'
    assert found == expected


def test_records_that_do_not_fit_into_one_transaction_are_written_in_several() -> None:
    store, publisher = MemoryStore(clock=Clock()), StatusPublisher("hv1", "kernel")
    publisher.adopt(store)
    long = VpcStatus(reason="x" * 400_000)
    for vni in range(20):
        publisher.publish(keys.vpc_status("hv1", vni), long)
    publisher.publish(keys.vpc_status("hv1", 20), VpcStatus(reason="x" * (MAX_TXN_BYTES - 1000)))
    publisher.flush(store)
    assert told(store).keys() == {keys.vpc_status("hv1", vni) for vni in range(21)}
    for vni in range(21):
        publisher.publish(keys.vpc_status("hv1", vni), None)
    publisher.flush(store)
    assert told(store) == {}


@pytest.mark.parametrize("calls", range(8))
def test_what_was_written_though_the_answer_was_lost_is_not_written_again(world: World, calls: int) -> None:
    _, subnet = world.vpc("a")
    world.settle(3)
    wire = world.wires["hv1"]
    wire.cut_after, wire.lose_answer = calls, True
    placed = world.run(subnet, "hv1")
    wire.writes.clear()
    world.settle(10)
    assert [op.key for op in wire.writes].count(keys.eni_status("hv1", placed.eni.id)) == 1


def test_a_host_that_is_deleted_and_made_again_says_everything_again(world: World) -> None:
    world.settle(3)
    hosts.delete_host(world.store, world.operator, "hv1")
    world.turn()
    world.create_host("hv1")
    world.settle(3)
    assert world.store.get(keys.agent_status("hv1")) is not None


def test_what_an_earlier_run_said_and_is_no_longer_so_is_taken_back(world: World) -> None:
    world.kill("hv1")
    world.put(keys.vpc_status("hv1", 77), b'{"reason":"x"}')
    world.put(keys.eni_status("hv1", "eni-00004d00000000001"), b'{"state":"attached"}')
    world.start("hv1")
    assert told(world.store).keys() == {"hoststat/hv1/agent", "hoststat/hv2/agent"}


class Writer(Task):
    """A task that looks in each turn in which it may write whether its agent holds the host's live record."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.was_right: list[bool] = []

    def turn(self, turn: Turn) -> None:
        """Look."""
        if turn.writable is not None:
            live = turn.writable.get(keys.host_live("hv1"))
            self.was_right.append(live is not None and json.loads(live.value)["kernel"] == self._kernel.identity)


def twin(world: World, name: str, kernel: FakeKernel, wire: Wire | None = None, *tasks: Task) -> Agent:
    """Start a second agent for a host, unknown to the first."""
    snapshot, wire = SnapshotFile(world.path / "twin.snapshot"), wire or Wire()
    agent = Agent(name, kernel, lambda: WiredStore(world.store, wire), snapshot, world.compilers, world.clock)
    agent.tasks[:0] = tasks
    agent.start()
    return agent


def test_a_host_stays_alive_after_a_second_agent_on_it_has_come_and_gone(world: World) -> None:
    second = twin(world, "hv1", world.kernels["hv1"])
    second.follower.close()
    for _ in range(10):
        world.clock.now += 5
        world.turn()
    assert world.store.get(keys.host_live("hv1")) is not None


def trouble(world: World, host: str) -> str:
    said = world.store.get(keys.agent_status(host))
    assert said is not None
    return str(json.loads(said.value).get("trouble", ""))


def test_of_two_machines_that_are_one_host_one_speaks_and_both_say_so(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    live, before = world.store.get(keys.host_live("hv1")), told(world.store)
    second = twin(world, "hv1", FakeKernel())
    for seconds in range(130):  # nothing alternates
        world.clock.now += 1
        world.turn()
        second.turn()
        assert world.store.get(keys.host_live("hv1")) == live
        now = told(world.store)
        assert now.pop(keys.host_rival("hv1"))
        assert now.keys() == before.keys()
        if seconds > 6:
            assert "speaks for this host, so this one tells the store nothing" in second.status.of_agent().trouble
        if seconds > 62:
            assert "claims to be this host" in trouble(world, "hv1")
            assert "netorch host create" in trouble(world, "hv1")
    assert world.kernels["hv1"].objects.keys() == second.kernel.host.objects.keys()  # type: ignore[attr-defined]
    second.follower.close()
    world.settle(80)
    assert trouble(world, "hv1") == ""
    world.assert_settled()


def test_a_machine_that_replaces_a_dead_one_speaks_once_the_other_is_dead(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    second = twin(world, "hv1", FakeKernel())
    world.put(keys.vpc_status("hv1", 77), b'{"reason":"x"}')  # written by the first after the second has opened the store
    world.kill("hv1")
    for _ in range(5):
        world.clock.now += 5
        second.turn()
    found = world.store.get(keys.host_live("hv1"))
    assert found is not None
    assert json.loads(found.value)["kernel"] == second.kernel.identity
    assert world.store.get(keys.vpc_status("hv1", 77)) is None
    assert trouble(world, "hv1") == ""
    second.follower.close()


def test_a_machine_that_is_not_believed_ends_no_move(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv2")
    world.settle(3)
    second = twin(world, "hv1", FakeKernel())
    second.turn()
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv1")
    for _ in range(10):
        world.clock.now += 1
        world.turn("hv2")
        second.turn()
    found = world.store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert found is not None
    assert b'"host":"hv2"' in found.value, "the first has not plugged it"
    world.settle(10)
    found = world.store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert found is not None
    assert b'"host":"hv1"' in found.value
    second.follower.close()


@pytest.mark.parametrize("when", ["starts", "was away", "stood still"])
def test_a_machine_writes_nothing_before_it_knows_that_it_speaks_for_the_host(world: World, when: str) -> None:
    kernel, wire = FakeKernel(), Wire()
    writer = Writer(kernel)
    if when == "starts":
        second = twin(world, "hv1", kernel, wire, writer)
    else:
        world.kill("hv1")
        world.clock.now += 20
        second = twin(world, "hv1", kernel, wire, writer)
        second.turn()
        assert writer.was_right == [True]
        wire.cut = when == "was away"
        for _ in range(20):
            world.clock.now += 1
            if wire.cut:
                second.turn()
        world.start("hv1")
        wire.cut = False
    for _ in range(20):
        world.clock.now += 1
        second.turn()
        world.turn("hv1")
    assert all(writer.was_right)
    assert second.publisher.rival
    second.follower.close()


def test_a_host_that_the_store_does_not_know_is_told_at_once(world: World) -> None:
    agent = world.start("hv7")
    assert (
        agent.reconciler.problems[HOST_SLICE] == "host hv7 is not in the store; create it: netorch host create hv7 --underlay IP"
    )


def test_packets_that_no_host_may_send_are_noted_when_they_rise(world: World) -> None:
    kernel = world.kernels["hv1"]
    kernel.packets = {"unverified": 7, "sg_ingress": 1}
    world.start("hv1")
    world.settle(2)
    status = world.agents["hv1"].status.of_agent()
    assert status.violated_at == 0.0  # unknown when those packets came
    kernel.packets = {"unverified": 7, "sg_ingress": 9}
    world.settle(2)
    assert world.agents["hv1"].status.of_agent().violated_at == 0.0
    kernel.packets = {"unverified": 8, "sg_ingress": 9}
    world.settle(2)
    assert world.agents["hv1"].status.of_agent().violated_at > 0.0


def test_what_the_proxy_counts_is_added_up_and_an_unavailable_server_is_dated(world: World) -> None:
    kernel = world.kernels["hv1"]
    kernel.served = {"vpce-a": {"requests": 4, "unavailable": 1}}
    world.start("hv1")
    world.settle(2)
    status = world.agents["hv1"].status
    assert (status.of_agent().served, status.of_agent().unavailable_at) == (
        {"requests": 4, "unavailable": 1},
        0.0,
    )  # unknown when
    kernel.served |= {"vpce-b": {"requests": 2, "unavailable": 1, "connections": 3}}
    world.settle(2)
    assert status.of_agent().served == {"requests": 6, "unavailable": 2, "connections": 3}
    assert status.of_agent().unavailable_at > 0.0


def test_what_is_not_ours_is_told_and_stays(world: World) -> None:
    kernel = world.kernels["hv1"]
    rule = Foreign(what="rule pref 500 lookup 77")
    kernel.objects[rule.key] = rule
    world.start("hv1")
    world.settle(2)
    found = world.store.get(keys.agent_status("hv1"))
    assert found is not None
    assert json.loads(found.value)["foreign"] == ["rule pref 500 lookup 77"]
    assert rule.key in kernel.objects
    del kernel.objects[rule.key]
    kernel.tell(Gone(rule.key))
    world.settle(2)
    assert world.agents["hv1"].reconciler.foreign() == ()
