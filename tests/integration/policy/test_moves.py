"""Policy from the first packet of a port to its last: while the port is plugged in, moves, loses its agent, and is removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nftables
import pytest
from pyroute2 import IPRoute

from netorch.control.actions.moves import move_instance
from netorch.drivers import netns
from tests.rig.agents import AgentProcess
from tests.rig.policed import CLIENT, FAR, NEAR, NET4, NET6, PASSED, Policed, Talk, address, cloud, policed, udp, vpc
from tests.rig.probing import End, Probe, Prober, end_of, probing, raise_device
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

OPEN, SHUT, FREE = 6000, 6001, 443
_IN = f"{{protocol: udp, ports: {OPEN}, source: {NET4}}}, {{protocol: udp, ports: {OPEN}, source: '{NET6}'}}"
_OUT = _IN.replace("source", "destination")
GROUPS = f"""
  {{name: both, ingress: [{{protocol: udp, source: {NET4}}}, {{protocol: udp, source: '{NET6}'}},
    {{protocol: tcp, ports: {FREE}, source: 0.0.0.0/0}}]}},
  {{name: strict, ingress: [{_IN}, {{protocol: tcp, ports: 80, source: {NET4}}}], egress: [{_OUT}]}}
"""
MEMBERS = {"client": "both", "near": "strict", "far": "both"}
TEXT = cloud(vpc("acme", GROUPS, MEMBERS))
# Of a packet each 5 ms, as in test_move: the best of the moves shows the cost of a move.
LOST_AT_BEST, LOST_AT_WORST = 8, 60


def probes_of(middle: End, others: list[End]) -> list[Probe]:
    """Return probes to and from an instance of the strict group."""
    ways = [way for other in others for way in ((other, middle), (middle, other))]
    return [
        Probe(source, target, port, permitted=port == OPEN, version=version)
        for source, target in ways
        for port in (OPEN, SHUT)
        for version in (4, 6)
    ]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[World]:
    """The cloud with agents as processes, which do not wait for each other."""
    world = World(tmp_path, ("hv1", "hv2"))
    try:
        for host in world.hosts:
            world.start_process(host)
        world.apply(TEXT)
        yield world
    finally:
        world.close()


def move(world: World, target: str, name: str = NEAR) -> None:
    """Move an instance, by default the middle one, and wait until it has settled on the target."""
    move_instance(world.store, world.caller, world.instance(name).id, target)
    wait_for(lambda: world.mapping(name).host == target and world.mapping(name).move is None, f"the move to {target}")


def test_what_is_refused_stays_refused_during_moves_and_what_is_permitted_goes_on(processes: World) -> None:
    probes = probes_of(end_of(processes, NEAR), [end_of(processes, CLIENT), end_of(processes, FAR)])
    lost: list[int] = []
    for target in ("hv2", "hv1", "hv2"):
        fresh = [Probe(probe.source, probe.target, probe.port, probe.permitted, probe.version) for probe in probes]
        with probing(fresh, 0.005) as prober:
            move(processes, target)
        assert prober.leaked() == {}
        lost.append(max(probe.wrong for probe in prober.probes))
    print(f"lost in each of three moves, a packet each 5 ms: {lost}")
    assert min(lost) <= LOST_AT_BEST
    assert max(lost) <= LOST_AT_WORST


def test_policy_stays_when_its_agents_are_killed_and_when_they_come_back(processes: World) -> None:
    with probing(probes_of(end_of(processes, NEAR), [end_of(processes, CLIENT), end_of(processes, FAR)]), 0.005) as prober:
        for name in ("hv1", "hv2"):
            agent = processes.agents.pop(name)
            assert isinstance(agent, AgentProcess)
            agent.kill()
        assert prober.passes()
        pids = {name: processes.start_process(name).pid for name in ("hv1", "hv2")}
        wait_for(lambda: pids == {name: said.pid for name, said in processes.inventory().agents.items()}, "the new agents")
    assert prober.wrong() == {}


# --- a port that is added and removed -----------------------------------------------------------------------------------------

MAC = "06:00:00:00:44:05"
SQUATTER = f"""
  - {{name: squatter, host: %s, attachment: existing, netns: squat, mac: '{MAC}', subnet: app, security_groups: [strict],
     address: {address(NEAR)}, ipv6_address: '{address(NEAR, 6)}'}}
"""
BARE = cloud(vpc("acme", GROUPS, {"client": "both", "far": "both"}))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[World]:
    """The cloud without the middle instance, and a namespace that waits for a port."""
    world = World(tmp_path, ("hv1", "hv2"))
    squat = netns.make("squat")
    try:
        world.start_agents()
        world.apply(BARE)
        yield world
    finally:
        netns.remove("squat")
        os.close(squat)
        world.close()


def test_nothing_that_policy_refuses_passes_a_port_that_comes_and_goes(bare: World) -> None:
    squatter = End("squat", MAC, {4: address(NEAR), 6: address(NEAR, 6)})
    probes = probes_of(squatter, [end_of(bare, CLIENT), end_of(bare, FAR)])
    prober = Prober(probes, 0.001, raise_device)
    try:
        for host in ("hv1", "hv2"):  # the second time the instance moves
            bare.apply(BARE + SQUATTER % host)
            assert prober.passes()
        for _ in range(3):
            _unplug()
            assert prober.passes()
        bare.apply(BARE)
        bare.apply(BARE + SQUATTER % "hv1")
        assert prober.passes()
    finally:
        prober.stop()
    assert prober.leaked() == {}


def _unplug() -> None:
    fd = netns.find("squat")
    with netns.inside(fd), IPRoute() as ipr:
        ipr.link("del", index=ipr.link_lookup(ifname="eth0")[0])
    os.close(fd)


# --- connections -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Policed]:
    """The cloud with agents as threads."""
    with policed(tmp_path, TEXT) as lab:
        yield lab


def test_an_untracked_connection_goes_on_after_a_move(lab: Policed) -> None:
    talk = Talk(lab, FAR, CLIENT, FREE).opens()
    move(lab.world, "hv2", CLIENT)
    lab.forget(CLIENT)
    lab.settle()
    assert [talk.says(FAR, "PA"), talk.says(CLIENT, "PA")] == [PASSED] * 2


def test_a_tracked_connection_goes_on_after_a_move(lab: Policed) -> None:
    talk = Talk(lab, CLIENT, NEAR, 80).opens()
    move(lab.world, "hv2")
    lab.forget(NEAR)
    lab.settle()
    assert [talk.says(CLIENT, "PA"), talk.says(NEAR, "PA")] == [PASSED] * 2


def test_a_moved_instance_has_all_its_rules_at_its_new_host(lab: Policed) -> None:
    move(lab.world, "hv2")
    lab.forget(NEAR)
    lab.settle()
    for other in (CLIENT, FAR):
        Talk(lab, other, NEAR, 80).opens()
        assert Talk(lab, other, NEAR, 81).says(other, "S") == "sg_ingress"
        assert Talk(lab, NEAR, other, 80).says(NEAR, "S") == "sg_egress"


def test_a_port_that_nobody_judges_is_mute_and_deaf_until_its_agent_comes(lab: Policed) -> None:
    lab.world.stop_agent("hv1")
    for chains in ("egress_policy", "ingress_policy"):
        _delete_policy_element(lab, chains)
    assert lab.verdict(CLIENT, NEAR, udp(CLIENT, NEAR, OPEN)) == "no_policy"
    assert lab.verdict(FAR, NEAR, udp(FAR, NEAR, OPEN)) == "no_policy"
    assert lab.verdict(NEAR, CLIENT, udp(NEAR, CLIENT, OPEN)) == "no_policy"
    lab.world.start_agents("hv1")
    lab.settle()
    assert {lab.verdict(*ends, udp(*ends, OPEN)) for ends in ((CLIENT, NEAR), (FAR, NEAR), (NEAR, CLIENT))} == {PASSED}


def _delete_policy_element(lab: Policed, chains: str) -> None:
    fd = netns.find(lab.world.hosts["hv1"].overlay)
    with netns.inside(fd):
        code, _, error = nftables.Nftables().cmd(f'delete element inet netorch {chains} {{ "{lab.world.port(NEAR)}" }}')
    os.close(fd)
    assert code == 0, error
