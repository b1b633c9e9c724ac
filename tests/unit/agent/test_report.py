"""What an agent writes: only differences, none lost, none twice, whatever the wire does."""

from __future__ import annotations

import pytest

from netorch.agent.report import Outbox
from netorch.control import hosts
from netorch.errors import StoreError
from netorch.model import keys
from netorch.model.eni import VpcStatus
from netorch.store.memory import MemoryStore
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
    store, wire, outbox = MemoryStore(clock=Clock()), Wire(), Outbox("hv1")
    wired = WiredStore(store, wire)
    outbox.adopt(wired)
    for vni in range(250):
        outbox.say(keys.vpc_status("hv1", vni), VpcStatus(reason="x"))
    wire.cut_after, wire.lose_answer = calls, lose_answer
    for _ in range(2):
        try:
            outbox.flush(wired)
        except StoreError:
            outbox.say(keys.vpc_status("hv1", 0), None)
            outbox.say(keys.vpc_status("hv1", 1), VpcStatus(reason="y"))
            outbox.adopt(wired)
    found = told(store)
    expected = {keys.vpc_status("hv1", vni): b'{"reason":"x"}' for vni in range(250)}
    if calls < 3:
        del expected[keys.vpc_status("hv1", 0)]
        expected[keys.vpc_status("hv1", 1)] = b'{"reason":"y"}'
    assert found == expected


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
