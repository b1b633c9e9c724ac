"""A store that is unavailable, replaced or damaged: the data plane stays."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest

from netorch.drivers.base import UnderlayChanged
from netorch.errors import NetorchError
from netorch.model.ids import port_name
from netorch.records import keys
from netorch.state.link import Link, Vrf
from netorch.state.op import Create, Delete
from netorch.store.base import Put
from netorch.store.memory import MemoryStore
from tests.unit.agent.world import World


def test_nothing_is_deleted_before_the_store_has_spoken(world: World) -> None:
    kernel = world.kernels["hv1"]
    leftover = Vrf(vni=9999, ifname="vrf9999", table=9999)
    kernel.objects[leftover.key] = leftover
    world.wires["hv1"].cut = True
    world.start("hv1")
    world.settle(70)
    assert leftover.key in kernel.objects
    world.wires["hv1"].cut = False
    world.settle(30)
    assert leftover.key not in kernel.objects
    world.assert_settled()


def test_a_host_boots_from_its_snapshot_while_the_store_is_away(world: World) -> None:
    _, subnet = world.vpc("a", ipv6="fd00::/56")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(3)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    leftover = Vrf(vni=9999, ifname="vrf9999", table=9999)
    kernel.host.objects = {leftover.key: leftover}
    world.new_ops("hv1")
    world.wires["hv1"].cut = True
    world.start("hv1")
    ops = world.new_ops("hv1")
    assert not any(isinstance(op, Delete) for op in ops)
    assert kernel.objects.keys() == before.keys() | {leftover.key}
    world.wires["hv1"].cut = False
    world.settle(30)
    world.assert_settled()


@pytest.mark.parametrize("which", ["another", "older"])
def test_another_or_an_older_store_is_refused_and_the_text_says_what_to_do(world: World, which: str) -> None:
    old = MemoryStore(clock=world.clock)
    if which == "older":
        old._uid = world.store.uid
    else:
        for _ in range(1000):
            old.txn((), [Put("x", b"")])
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    before = dict(world.kernels["hv1"].objects)
    world.stores["hv1"] = old
    world.start("hv1")
    world.settle(70)
    assert world.kernels["hv1"].objects == before
    trouble = world.agents["hv1"].follower.trouble
    assert "remove its snapshot file" in trouble
    assert old.uid in trouble
    (world.path / "hv1.snapshot").unlink()
    world.start("hv1")
    assert world.agents["hv1"].follower.in_sync


def test_a_store_that_is_replaced_under_a_running_agent_is_refused(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    before = dict(world.kernels["hv1"].objects)
    world.stores["hv1"] = MemoryStore(clock=world.clock)
    world.wires["hv1"].cut_after = 0
    world.settle(30)
    assert world.kernels["hv1"].objects == before
    assert not world.agents["hv1"].follower.in_sync


def test_a_snapshot_is_not_written_for_what_other_hosts_do(world: World) -> None:
    (_, one), (_, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv1")
    world.settle(3)
    path = world.path / "hv1.snapshot"
    path.unlink()
    world.run(two, "hv2")
    world.settle(5)
    assert not path.exists()
    world.run(one, "hv2")
    world.settle(2)
    assert path.exists()


def test_a_damaged_snapshot_is_ignored(world: World) -> None:
    world.settle(2)
    path = world.path / "hv1.snapshot"
    content = path.read_bytes()
    for position in (0, 31, 32, len(content) - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert world.agents["hv1"]._snapshot.load() is None
        path.write_bytes(content[:position])
        assert world.agents["hv1"]._snapshot.load() is None
    path.write_bytes(content)
    assert world.agents["hv1"]._snapshot.load() is not None


def test_a_snapshot_that_cannot_be_written_is_reported_and_written_later(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    path, agent = world.path / "hv1.snapshot", world.agents["hv1"]
    before = path.read_bytes()
    obstacle = world.path / "hv1.new" / "file"  # a directory with a file, in the place of the next snapshot
    obstacle.mkdir(parents=True)
    _, two = world.vpc("b")
    placed = world.run(two, "hv1")
    world.settle(3)
    said = world.store.get(keys.agent_status("hv1"))
    assert said is not None
    assert b"the snapshot cannot be written (Is a directory)" in said.value
    assert b"make room" in said.value
    assert path.read_bytes() == before, "the last good one stays"
    assert agent.reconciler.port_is_up(port_name(placed.eni.id), placed.eni.vni), "the host goes on"
    obstacle.rmdir()
    obstacle.parent.rmdir()
    world.settle(12)
    saved = agent._snapshot.load()
    assert saved is not None
    assert keys.placement("hv1", placed.eni.id) in saved.records
    world.assert_settled()


def test_a_host_refuses_another_store_after_a_restart_though_its_disk_was_full(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    obstacle = world.path / "hv1.new" / "file"
    obstacle.mkdir(parents=True)
    world.put("pool/x", b"{}")
    world.stores["hv1"] = MemoryStore(clock=world.clock)
    world.wires["hv1"].cut_after = 0
    world.settle(20)
    assert "remove its snapshot file" in world.agents["hv1"].follower.trouble
    obstacle.rmdir()
    obstacle.parent.rmdir()
    world.settle(12)
    saved = world.agents["hv1"]._snapshot.load()
    assert saved is not None
    assert saved.revision == world.agents["hv1"].follower.history.revision
    world.start("hv1")
    assert "remove its snapshot file" in world.agents["hv1"].follower.trouble


@pytest.mark.parametrize("calls", range(12))
def test_a_call_that_fails_anywhere_delays_and_loses_nothing(world: World, calls: int) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    world.wires["hv1"].cut_after = calls
    other, two = world.vpc("b")
    world.run(two, "hv1")
    world.run(subnet, "hv2")
    world.settle(12)
    assert other.vni in world.agents["hv1"].records.vpcs
    world.assert_settled()


def test_a_compacted_history_is_listed_again(world: World) -> None:
    _, subnet = world.vpc("a")
    first = world.run(subnet, "hv1")
    world.run(subnet, "hv1")
    world.settle(2)
    world.delete(keys.placement("hv1", first.eni.id))
    world.delete(keys.mapping(first.eni.vni, first.eni.address))
    world.run(subnet, "hv2")
    world.store.compact(world.store.revision())
    world.turn("hv1")
    assert world.agents["hv1"].follower.in_sync
    world.settle(3)
    world.assert_settled()


def test_a_store_that_answers_half_the_calls_is_asked_less_and_less_often(world: World) -> None:
    tries = []
    agent = world.agents["hv1"]
    wire = world.wires["hv1"]
    wire.cut_after = 0
    for _ in range(600):
        if agent.follower.store is None and world.clock.now >= agent.follower.retry_at:
            tries.append(world.clock.now)
            wire.cut_after = 2  # opening it and reading its revision succeed, other reads do not
        world.turn("hv1")
        world.clock.now += 0.1
    assert len(tries) < 15


def test_nobody_is_woken_for_other_vpcs(world: World) -> None:
    (_, one), (_, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv1")
    world.settle(3)
    world.wires["hv1"].delivered.clear()
    for _ in range(20):
        world.run(two, "hv2")
    world.settle(3)
    assert {event.key for event in world.wires["hv1"].delivered} <= {"host/hv1/live"}


def test_a_host_whose_underlay_address_comes_late_begins_then(world: World) -> None:
    from netorch.drivers.base import Underlay
    from netorch.drivers.fake.kernel import FakeKernel

    world.create_host("hv3")
    kernel = FakeKernel(underlays={})
    world.start("hv3", kernel)
    (_, one), (_, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv3")
    gone = world.run(two, "hv3")
    world.turn()
    world.delete(keys.placement("hv3", gone.eni.id))
    world.turn()
    assert kernel.objects == {}
    assert gone.eni.vni not in world.agents["hv3"].records.vpcs
    assert "192.0.2.13" in world.agents["hv3"].reconciler.problems[0]
    kernel.underlays = {"192.0.2.13": Underlay(ifname="eth0", mtu=1550)}
    kernel.tell(UnderlayChanged())
    world.settle(3, audits=False)
    world.assert_host_settled("hv3")
    kernel.underlays = {}
    kernel.tell(UnderlayChanged())
    before = dict(kernel.objects)
    world.turn()
    assert kernel.objects == before
    kernel.underlays = {"192.0.2.13": Underlay(ifname="eth0", mtu=9000)}
    world.settle(70)  # without a notification
    world.assert_host_settled("hv3")
    assert {obj.mtu for obj in kernel.objects.values() if isinstance(obj, Link) and hasattr(obj, "mtu")} == {8950}


def test_a_deleted_host_keeps_what_it_has_and_goes_on_when_it_is_back(world: World) -> None:
    from netorch.control.actions import hosts, instances

    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    instances.terminate_instance(world.store, world.operator, placed.instance.id)
    hosts.delete_host(world.store, world.operator, "hv1")
    world.settle(3)
    assert "is not in the store" in world.agents["hv1"].reconciler.problems[0]
    world.create_host("hv1")
    world.settle(3)
    assert not any(isinstance(obj, Link) for obj in world.kernels["hv1"].objects.values())
    world.assert_settled()


def test_two_agents_of_one_host_refuse(world: World) -> None:
    import os

    from netorch.agent.main import _lock

    held = _lock(world.path / "hv1.lock", "hv1")
    with pytest.raises(NetorchError, match="an agent of host hv1 is already running"):
        _lock(world.path / "hv1.lock", "hv1")
    os.close(held)
    os.close(_lock(world.path / "hv1.lock", "hv1"))


def test_a_foreign_program_is_put_right_while_the_store_is_away(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(2)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    world.wires["hv1"].cut = True
    world.turn("hv1")
    for key in list(before):
        if key in kernel.objects:
            with suppress(OSError):  # a chain that another one jumps to stays
                kernel.disturb(Delete(before[key]))
            world.turn("hv1")
            assert kernel.objects.keys() == before.keys(), key
    kernel.fail_next("route", errno.ENOBUFS, times=2)
    route = before["route", "overlay", 4097, "10.0.0.5/32", 0]
    kernel.disturb(Delete(route))
    world.settle(5, audits=False)
    assert kernel.objects.keys() == before.keys()
    kernel.disturb(Create(Vrf(vni=7777, ifname="vrf7777", table=7777)))
    world.turn("hv1")
    assert ("link", "overlay", "vrf7777") in kernel.objects
