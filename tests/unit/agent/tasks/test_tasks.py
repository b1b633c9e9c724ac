"""Unknown tasks and compiler parts: an agent runs them without a change of its loop."""

from __future__ import annotations

import os

import pytest

from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostPart, MappingPart, Part, VpcPart
from netorch.model.vpc import Subnet
from netorch.state.l3 import Neighbour, Rule
from tests.unit.agent.world import World
from tests.views import OneOff


class Bell(Task):
    """A task that records its turns."""

    def __init__(self) -> None:
        self.listener, self.mouth = os.pipe()
        self.at: float | None = None
        self.turns: list[Turn] = []
        self.closed = False

    def fileno(self) -> int | None:
        """Return the descriptor that wakes the loop."""
        return self.listener

    def wake_at(self, now: float) -> float | None:
        """Return the time that was set."""
        return self.at

    def turn(self, turn: Turn) -> None:
        """Record the turn."""
        self.turns.append(turn)

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.listener)
        os.close(self.mouth)
        self.closed = True


class Poller:
    """A poll object that never waits."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.waits_ms: list[float] = []

    def register(self, descriptor: int, _events: int) -> None:
        """Record the descriptor."""
        self.descriptors.append(descriptor)

    def poll(self, wait_ms: float) -> None:
        """Record the timeout."""
        self.waits_ms.append(wait_ms)


def test_a_task_wakes_the_loop_takes_its_turns_and_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, bell = world.agents["hv1"], Bell()
    agent.tasks.append(bell)
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.turn("hv1")
    assert Subnet in bell.turns[-1].dirty.kinds[vpc.vni]
    assert vpc.vni in bell.turns[-1].applied
    assert bell.turns[-1].store is not None
    world.wires["hv1"].cut = True
    world.settle(2)
    assert bell.turns[-1].store is None
    world.wires["hv1"].cut = False
    world.settle(2)
    world.turn("hv1")
    poller = Poller()
    monkeypatch.setattr("netorch.agent.loop.select.poll", lambda: poller)
    bell.at = world.clock.now + 0.25
    before = len(bell.turns)
    agent.step(3600)
    assert bell.listener in poller.descriptors
    assert poller.waits_ms == [250.0]
    assert len(bell.turns) == before + 1
    agent.close()
    assert bell.closed
    del world.agents["hv1"], world.kernels["hv1"]


NEIGHBOUR = Neighbour(vni=4097, ifname="vx4097", dst="192.0.2.99", lladdr="02:00:00:00:00:99")
RULE = Rule(version=4, priority=9, table=9)
PARTS: dict[str, Part] = {
    "host": HostPart(id="odd", compile=lambda _view, _carried: [RULE]),
    "vpc": VpcPart(id="odd", compile=lambda _view: [NEIGHBOUR], inputs=frozenset({Subnet})),
    "mapping": MappingPart(id="odd", compile=lambda _view, _mapping: [NEIGHBOUR]),
}


@pytest.mark.parametrize("which", PARTS)
def test_a_part_of_another_compiler_is_compiled_applied_and_withdrawn(world: World, which: str) -> None:
    compilers, objects = world.compilers, world.kernels["hv1"].objects
    world.compilers = [*compilers, OneOff("odd", PARTS[which])]
    for host in ("hv1", "hv2"):
        world.start(host)
    vpc, subnet = world.vpc("a")
    assert vpc.vni == NEIGHBOUR.vni
    world.run(subnet, "hv1")
    world.settle(3)
    key = RULE.key if which == "host" else NEIGHBOUR.key
    assert key in objects
    world.assert_settled()
    world.compilers = compilers
    for host in ("hv1", "hv2"):
        world.start(host)
    world.settle(3)
    assert key not in objects
    world.assert_settled()
