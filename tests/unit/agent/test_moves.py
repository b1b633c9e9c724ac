"""Moves: every step, agents that die in between, and expired timers."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.control.actions import moves
from netorch.control.actions.instances import Placed
from netorch.model.ids import port_name
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.records import keys
from netorch.state.op import Create, Delete, Replace
from tests.unit.agent.world import World


def mapping_of(world: World, placed: Placed) -> Mapping:
    found = world.store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert found is not None
    return msgspec.json.decode(found.value, type=Mapping)


def move(world: World, placed: Placed, host: str) -> None:
    moves.move_instance(world.store, world.operator, placed.instance.id, host)


def idle_deadlines(world: World, host: str) -> bool:
    """Return whether the agent would sleep now."""
    world.turn(host)
    return world.agents[host]._next_deadline() > world.clock.now


def test_a_moved_instance_settles_at_its_new_host(world: World) -> None:
    _, subnet = world.vpc("a", ipv6="fd00::/56")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    move(world, placed, "hv2")
    world.settle(10)
    found = mapping_of(world, placed)
    assert (found.host, found.move) == ("hv2", None)
    assert not any(key[0] == "link" for key in world.kernels["hv1"].objects)
    assert [world.agents[name].reconciler.repaired for name in ("hv1", "hv2")] == [0, 0]  # nothing was damaged
    assert world.store.get(keys.eni_status("hv1", placed.eni.id)) is None
    world.assert_settled()


def test_the_old_host_ends_the_lease_of_a_port_that_was_taken_over(world: World) -> None:
    """The daemon keeps a lease whose port is gone, so the agent must end it."""
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    lease = ("dhcp-lease", "underlay", port_name(placed.eni.id))
    assert lease in world.kernels["hv1"].objects
    move(world, placed, "hv2")
    while mapping_of(world, placed).host == "hv1":
        world.turn("hv1", audits=False)
        for _ in range(4):  # so that the old host learns at once that the port is gone, and that the mapping names another host
            world.turn("hv2", audits=False)
        world.clock.now += 0.05
    world.settle(10, audits=False)
    assert lease in world.kernels["hv2"].objects
    assert lease not in world.kernels["hv1"].objects


@pytest.mark.parametrize("restarts", ["hv1", "hv2", "both"])
def test_a_move_survives_a_restart_at_every_moment(world: World, restarts: str) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    move(world, placed, "hv2")
    for _ in range(80):
        world.turn()
        for name in ("hv1", "hv2"):
            if restarts in (name, "both"):
                world.start(name)
        world.clock.now += 0.05
    world.settle(10)
    assert mapping_of(world, placed).host == "hv2"
    world.assert_settled()


def test_the_port_is_not_taken_before_the_old_host_can_relay(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    world.kernels["hv1"].fail_next("route", errno.ENOBUFS, times=2)
    move(world, placed, "hv2")
    relay = ("route", "overlay", placed.eni.vni, f"{placed.eni.address}/32", 4096)
    port = ("link", "overlay", port_name(placed.eni.id))
    for _ in range(40):
        world.turn()
        if mapping_of(world, placed).host == "hv1":
            assert relay in world.kernels["hv1"].objects or port not in world.kernels["hv2"].objects
        world.clock.now += 0.05
    world.settle(10)
    assert mapping_of(world, placed).host == "hv2"


def test_an_agent_whose_port_is_refused_does_not_spin(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    world.kernels["hv2"].fail_next("link", errno.ENOMEM, times=1000)
    move(world, placed, "hv2")
    world.settle(10)
    assert idle_deadlines(world, "hv2")
    world.kernels["hv2"].host.failures.clear()
    world.settle(40)
    assert mapping_of(world, placed).host == "hv2"
    world.assert_settled()


@pytest.mark.parametrize("host", ["hv1", "hv2"])
def test_an_agent_that_cannot_report_does_not_spin(world: World, host: str) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    move(world, placed, "hv2")
    for _ in range(40):
        world.turn()
        world.clock.now += 0.05
        arrived = mapping_of(world, placed).host == "hv2" if host == "hv1" else world.kernels["hv2"].objects
        if arrived and (host == "hv2" or world.agents["hv1"].moves.next_deadline(in_sync=True) is not None):
            world.wires[host].cut = True
            break
    for _ in range(20):
        world.turn(host)
        world.turn(host)
        world.agents[host].status.count_at = world.agents[host].follower.retry_at = world.clock.now + 1
        assert world.agents[host]._next_deadline() > world.clock.now
        world.clock.now += 1
    world.wires[host].cut = False
    world.settle(40)
    assert mapping_of(world, placed).host == "hv2"
    world.assert_settled()


def test_there_and_back_again_relays_for_the_whole_time_and_ends(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    for target in ("hv2", "hv1", "hv2", "hv1"):
        move(world, placed, target)
        world.settle(10)
        found = mapping_of(world, placed)
        assert (found.host, found.move) == (target, None)
        assert idle_deadlines(world, "hv1")
        assert idle_deadlines(world, "hv2")
    world.assert_settled()


def test_back_before_the_relay_has_ended_leaves_no_clock_behind(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    move(world, placed, "hv2")
    while mapping_of(world, placed).host != "hv2":
        world.turn()
        world.clock.now += 0.05
    world.turn("hv1")
    found = mapping_of(world, placed)
    back = Move(direction=MoveDirection.TO, host="hv1", vtep="192.0.2.11")
    world.put(keys.mapping(found.vni, found.address), msgspec.json.encode(msgspec.structs.replace(found, move=back)))
    world.settle(10)
    found = mapping_of(world, placed)
    assert (found.host, found.move) == ("hv1", None)
    assert idle_deadlines(world, "hv1")
    assert idle_deadlines(world, "hv2")
    world.assert_settled()


def test_an_old_word_is_not_taken_for_a_new_one(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    for target in ("hv2", "hv1"):
        move(world, placed, target)
        world.settle(10)
    assert world.agents["hv2"].records.statuses == {}
    assert not any(key.startswith("hoststat/hv1/") for key in world.agents["hv2"].records.raw)


def test_a_cancelled_move_leaves_everything_where_it_was(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    move(world, placed, "hv2")
    world.turn()
    world.turn()
    moves.cancel_move(world.store, world.operator, placed.instance.id)
    world.settle(5)
    assert world.kernels["hv1"].objects == before
    assert idle_deadlines(world, "hv2")
    world.assert_settled()


def test_a_dead_host_is_not_waited_for_longer_than_three_seconds(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    world.kill("hv1")
    move(world, placed, "hv2")
    for _ in range(29):
        world.turn("hv2")
        assert mapping_of(world, placed).host == "hv1"
        world.clock.now += 0.1
    world.clock.now += 0.2
    world.turn("hv2")
    world.turn("hv2")
    assert mapping_of(world, placed).host == "hv2"


@pytest.mark.parametrize("others", [0, 30])
def test_a_changed_mapping_is_exactly_its_own_operations(world: World, others: int) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    moved, _ = world.run(subnet, "hv2"), world.run(subnet, "hv2")
    world.create_host("hv3")
    world.start("hv3")
    world.run(subnet, "hv3")
    for number in range(others):
        _, other = world.vpc(f"other-{number}")
        world.run(other, "hv1")
        world.run(subnet, "hv3")
    world.settle(3)
    world.new_ops("hv1")
    found = mapping_of(world, moved)
    elsewhere = msgspec.structs.replace(found, host="hv3", vtep="192.0.2.13")
    world.put(keys.mapping(vpc.vni, found.address), msgspec.json.encode(elsewhere))
    world.turn("hv1")
    ops = world.new_ops("hv1")
    peer = hex(int.from_bytes(bytes(int(part) for part in found.address.split("."))))
    assert [(type(op), op.obj.key) for op in ops] == [
        (Create, ("nft-element", "underlay", "ip", "senders4", "192.0.2.13", "0x8000000", "0x100100", peer)),
        (Replace, ("route", "overlay", vpc.vni, f"{found.address}/32", 0)),
        (Delete, ("nft-element", "underlay", "ip", "senders4", "192.0.2.12", "0x8000000", "0x100100", peer)),
    ]
