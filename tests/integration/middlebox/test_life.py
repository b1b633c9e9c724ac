"""Inlets while agents restart and are killed, appliances move, and other programs change the kernel's objects."""

from __future__ import annotations

import itertools
import random
import subprocess
import time
from collections.abc import Callable

import pytest

from netorch.control.actions.moves import move_instance
from netorch.model.routing.next_hop import target_hop
from netorch.state.names import inlet_name, to_inlet_name
from tests.integration.test_drift import kernel_state, matches
from tests.rig.agents import AgentProcess
from tests.rig.appliance import APPLIANCES, VNI, address, cloud, forward, lead_through, passed, talks
from tests.rig.packets import PacketListener
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root


def test_a_restart_with_nothing_changed_writes_nothing_and_loses_nothing(world: World) -> None:
    world.start_agents()
    lead_through(world, "fw1", check=False)
    assert world.reaches("acme/a1", "acme/b2")
    traffic = [world.traffic(*pair, 0.02) for pair in (("acme/a1", "acme/b1"), ("acme/b2", "acme/a1"))]
    for host in ("hv1", "hv2", "hv1"):
        world.stop_agent(host)
        world.start_agents(host)
        agent = world.agent(host)
        wait_for(lambda a=agent: a.follower.in_sync, "in sync")  # type: ignore[misc]
        assert agent.reconciler.writes == 0
        agent.audit()
        assert agent.pending() == []
    assert [stream.stop() for stream in traffic] == [0, 0]


def test_an_agent_that_is_killed_while_routes_change_ends_as_the_records_say(world: World) -> None:
    world.start_agents("hv2", "hv3")
    world.start_process("hv1")
    world.apply(cloud("fw1", check=False))
    for name in APPLIANCES:
        forward(world.instance(f"acme/{name}").id)
    chance = random.Random(4)
    for through, check in (("fw2", True), ("fw1", True), ("", True), ("fw1", False)):
        agent = world.agents["hv1"]
        assert isinstance(agent, AgentProcess)
        world.apply(cloud(through, check=check), wait=False)
        time.sleep(chance.uniform(0.0, 0.3))  # at any point of its work
        agent.kill()
        world.start_process("hv1")
    wait_for(lambda: talks(world, "a1", "b2", "udp", timeout_s=2.0), "a1 to reach b2 by way of fw1")
    world.stop_agent("hv1")
    world.start_agents("hv1")
    world.settle()
    world.agent("hv1").audit()
    assert world.agent("hv1").pending() == []
    with PacketListener(world.instance("acme/fw1").id) as listener:
        assert talks(world, "a1", "b1")
        assert min(passed(listener, address(world, "a1", 4), address(world, "b1", 4))) >= 2


def test_packets_follow_an_appliance_to_another_host(world: World) -> None:
    world.start_agents()
    lead_through(world, "fw1", check=False)
    for host in ("hv3", "hv2", "hv1"):
        move_instance(world.store, world.caller, world.instance("acme/fw1").id, host)
        world.wait_attached()
        world.settle()
        for source, destination in (("a1", "b1"), ("b2", "a1")):
            with PacketListener(world.instance("acme/fw1").id) as listener:
                wait_for(lambda s=source, d=destination: talks(world, s, d, timeout_s=1.0), f"{source} to reach {destination}")  # type: ignore[misc]
                assert min(passed(listener, address(world, source, 4), address(world, destination, 4))) >= 2
    for name in world.hosts:
        world.agent(name).audit()
        assert world.agent(name).pending() == []


Damage = Callable[[World], None]


def _tool(tool: str, text: str) -> Damage:
    """Return a function that runs a command on the appliance's host; INLET, NEAR and PORT are devices, HOP is a next hop."""

    def damage(world: World) -> None:
        eni = world.eni("acme/fw1")
        names = {
            "INLET": inlet_name(VNI, eni.id),
            "NEAR": to_inlet_name(VNI, eni.id),
            "PORT": world.port("acme/fw1"),
            "HOP": target_hop(eni.id, 4),
        }
        words = text
        for word, name in names.items():
            words = words.replace(word, name)
        overlay = world.hosts["hv1"].overlay
        command = [tool, "-n", overlay] if tool != "nft" else ["ip", "netns", "exec", overlay, "nft"]
        subprocess.run([*command, *words.split()], check=True, capture_output=True)

    return damage


DAMAGES = {
    "the inlet is deleted": _tool("ip", "link del INLET"),
    "the near end is deleted": _tool("ip", "link del NEAR"),
    "the inlet goes down": _tool("ip", "link set INLET down"),
    "the near end goes down": _tool("ip", "link set NEAR down"),
    "the inlet has another MAC": _tool("ip", "link set INLET address 02:00:00:00:00:99"),
    "the inlet leaves its VRF": _tool("ip", "link set INLET nomaster"),
    "the near end leaves its VRF": _tool("ip", "link set NEAR nomaster"),
    "the near end is in no group": _tool("ip", "link set NEAR group 0"),
    "the inlet's MTU is changed": _tool("ip", "link set INLET mtu 1300"),
    "the inlet's VRF is deleted": _tool("ip", "link del vrf20000.201"),
    "the inlet's VRF goes down": _tool("ip", "link set vrf20000.201 down"),
    "the inlet's route is deleted": _tool("ip", "route del default via 10.44.9.4 dev PORT table 3372240416"),
    "the near end's neighbour is deleted": _tool("ip", "neigh del HOP dev NEAR"),
    "clsact is deleted": _tool("tc", "qdisc del dev vx20000 clsact"),
    "the filters are deleted": _tool("tc", "filter del dev vx20000 ingress"),
    "a filter is added": _tool("tc", "filter add dev vx20000 ingress pref 1 protocol ip handle 1 matchall action drop"),
    "the zone is deleted": _tool("nft", "flush map inet netorch zone"),
    "the port's chain is flushed": _tool("nft", "flush chain netdev netorch PORT"),
}


def test_what_somebody_changes_of_an_inlet_comes_back(world: World) -> None:
    assert 201 << 24 | VNI == 3372240416
    world.start_agents()
    lead_through(world, "fw1", check=False)
    agent = world.agent("hv1")
    wanted = {key: obj for found in agent.reconciler.slices.values() for key, obj in found.desired.items()}
    never = {}
    for name, damage in DAMAGES.items():
        damage(world)
        try:
            wait_for(lambda: matches(kernel_state(world), wanted), name)
        except AssertionError:
            found = kernel_state(world)
            never[name] = [str(key) for key in wanted if key not in found or not wanted[key].matches(found[key])]
            agent.audit()
            continue
        pairs = itertools.product((("a1", "b1"), ("b2", "a1")), (4, 6))
        if not all(talks(world, *pair, "udp", version, timeout_s=2.0) for pair, version in pairs):
            never[name] = ["nothing passes"]
    assert never == {}
