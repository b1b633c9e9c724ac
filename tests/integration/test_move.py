"""Instances move between hosts under traffic."""

from __future__ import annotations

import pytest

from netorch.control.moves import move_instance
from netorch.state.base import HOST_SLICE
from tests.integration.world import World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4'}
  - {name: b, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5'}
  - {name: c, host: hv1, address: 10.44.12.6}
"""
LOST_AT_MOST = 8  # of one echo each 5 ms: 40 ms, what a move by prepared netlink messages may take beside busy neighbours


def settled(world: World, name: str, host: str) -> bool:
    mapping = world.mapping(name)
    return mapping.host == host and mapping.move is None


def move_round(world: World) -> None:
    for target in ("hv3", "hv2", "hv1"):
        move_instance(world.store, world.caller, world.instance("acme/a").id, target)
        wait_for(lambda t=target: settled(world, "acme/a", t), f"the move to {target}")  # type: ignore[misc]


def test_an_instance_moves_under_traffic_there_and_back(world: World) -> None:
    for host in world.hosts:  # processes: threads of one interpreter would wait for each other in the middle of a move
        world.start_process(host)
    world.apply(CLOUD)
    inbound = world.traffic("acme/b", "acme/a")
    outbound = world.traffic("acme/a", "acme/b")
    local = world.traffic("acme/c", "acme/a")
    move_round(world)
    lost = {"inbound": inbound.stop(), "outbound": outbound.stop(), "from the old host": local.stop()}
    print(f"lost in three moves, an echo each 5 ms: {lost}")
    assert all(count <= 3 * LOST_AT_MOST for count in lost.values()), lost


def test_after_moves_every_host_holds_what_it_would_compile_from_nothing(world: World) -> None:
    world.start_agents()
    world.apply(CLOUD)
    move_round(world)
    assert world.reaches("acme/b", "acme/a", version=6)
    world.wait_attached()
    wait_for(lambda: not world.agent("hv3").reconciler.phases, "hv3 to be empty again")
    assert list(world.agent("hv3").reconciler.slices) == [HOST_SLICE]
    for name in world.hosts:
        reconciler = world.agent(name).reconciler
        for vni in reconciler.phases:
            assert reconciler.recomputed(vni) == reconciler.slices[vni].desired()


def test_an_instance_leaves_a_dead_host(world: World) -> None:
    world.start_agents()
    world.apply(CLOUD)
    world.stop_agent("hv1")
    move_instance(world.store, world.caller, world.instance("acme/a").id, "hv3")
    wait_for(lambda: world.reaches("acme/b", "acme/a", tries=1), "the instance at its new host", timeout_s=15)
    world.start_agents("hv1")
    wait_for(lambda: settled(world, "acme/a", "hv3"), "the old host to forget it", timeout_s=15)
    assert world.reaches("acme/c", "acme/a")


def test_a_changed_file_moves_adds_and_removes(world: World) -> None:
    world.start_agents()
    world.apply(CLOUD)
    changed = CLOUD.replace("{name: a, host: hv1", "{name: a, host: hv3").replace(
        "  - {name: c, host: hv1, address: 10.44.12.6}\n", "  - {name: d, host: hv2, address: 10.44.12.7}\n"
    )
    gone = world.instance("acme/c").id
    world.apply(changed)
    assert settled(world, "acme/a", "hv3")
    assert world.reaches("acme/a", "acme/d")
    assert gone not in world.vpc("acme").instances
    wait_for(lambda: len(world.agent("hv1").reconciler.slices) == 1, "hv1 to be empty")


@pytest.mark.parametrize("victim", ["hv1", "hv3"])
def test_a_move_is_finished_by_restarted_agents(world: World, victim: str) -> None:
    world.start_agents(*(name for name in world.hosts if name != victim))
    agent = world.start_process(victim)
    world.apply(CLOUD)
    traffic = world.traffic("acme/b", "acme/a")
    move_instance(world.store, world.caller, world.instance("acme/a").id, "hv3")
    agent.kill()
    world.start_process(victim)
    wait_for(lambda: settled(world, "acme/a", "hv3"), "the move", timeout_s=20)
    assert world.reaches("acme/b", "acme/a")
    traffic.stop()
