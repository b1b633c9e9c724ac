"""The work of an edge and its hypervisors for a change beside few and many VPCs: one more VPC, an address, the other edge."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from _agent import AgentProcess, Audited, Started, Switched
from common import Figure, growth, lab_underlay, percentile
from scale import kernel_bytes

from edge_parts.records import EDGES, FIRST_VNI, HYPERVISOR, VTEPS, association, fill, gateway, put, way_out
from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name, overlay_netns
from netorch.store import open_store
from netorch.store.base import Delete, Store

MORE: Final = 16  # VPCs that get a gateway while the edge works
TURNS: Final = 15  # how often an address comes and goes


class Change(msgspec.Struct, kw_only=True):
    """The cost of one kind of change on an edge: the seconds of each until it is in force, and numbers of operations."""

    seconds: list[float] = msgspec.field(default_factory=list)
    operations: set[int] = msgspec.field(default_factory=set)

    def note(self, seconds: float, operations: int) -> None:
        """Record the cost of one change."""
        self.seconds.append(seconds)
        self.operations.add(operations)


class Measured(msgspec.Struct, kw_only=True):
    """The measurements with one number of VPCs."""

    vpcs: int
    built: Started
    kernel_bytes: int
    again: Started  # a restart
    audit: float
    more: Change  # one more VPC with an internet gateway and an address
    associated: Change
    dissociated: Change
    switched: Switched


def measure(vpcs: int, directory: Path) -> Measured:
    """Build an edge with so many VPCs, add more VPCs and addresses, and let a hypervisor leave an edge."""
    directory.mkdir()
    path = directory / "netorch.db"
    store = open_store(str(path), create=True)
    fill(store, vpcs + MORE)
    vnis = range(FIRST_VNI, FIRST_VNI + vpcs)
    for vni in vnis:
        put(store, seated(store, vni))
    with underlays():
        before = kernel_bytes()
        first = _agent("e1", path, directory)
        built, memory = first.started, kernel_bytes() - before
        first.ask("audit")
        audit = first.hear(Audited).seconds
        first.end()
        again = _agent("e1", path, directory)
        again.end()
        edge = Edge("e1", path, directory)
        more, associated, dissociated = Change(), Change(), Change()
        for vni in range(vnis.stop, vnis.stop + MORE):
            put(store, seated(store, vni))
            more.note(*edge.act())
        for turn in range(TURNS):
            number = turn * vpcs // TURNS
            key, record = association(store, FIRST_VNI + number, number)
            store.txn((), [Delete(key)])
            dissociated.note(*edge.act())
            put(store, [(key, record)])
            associated.note(*edge.act())
        edge.agent.close()
        switched = _switch(store, path, directory, vpcs)
    store.close()
    return Measured(
        vpcs=vpcs,
        built=built,
        kernel_bytes=memory,
        again=again.started,
        audit=audit,
        more=more,
        associated=associated,
        dissociated=dissociated,
        switched=switched,
    )


def seated(store: Store, vni: int) -> list[tuple[str, msgspec.Struct]]:
    """Return the records of a VPC's gateway, a route to it, and one public address."""
    return [*gateway(vni), way_out(store, vni), association(store, vni, vni - FIRST_VNI)]


class Edge:
    """The agent of an edge in this process, in which nothing else runs during a turn."""

    def __init__(self, name: str, path: Path, directory: Path) -> None:
        descriptor = netns.find(f"u-{name}")
        with netns.inside(descriptor):
            kernel = LinuxKernel(name, EdgeKey(directory / f"{name}.key"))
        os.close(descriptor)
        snapshot = SnapshotFile(directory / name)
        self.agent = Agent(name, kernel, lambda: open_store(str(path)), snapshot, load_compilers())
        self.agent.start()
        self._apply = self.agent.reconciler.apply
        self._applied_at = 0.0
        self.agent.reconciler.apply = self._timed  # type: ignore[method-assign]
        self.agent.turn()

    def act(self) -> tuple[float, int]:
        """Return the seconds until the committed change is in force, and the number of operations, those of the next turn too."""
        done = self.agent.reconciler.writes
        begin = time.perf_counter()
        self.agent.turn()
        seconds = self._applied_at - begin
        self.agent.turn()
        return seconds, self.agent.reconciler.writes - done

    def _timed(self, now: float, may_delete: bool) -> set[int]:
        applied = self._apply(now, may_delete)
        self._applied_at = time.perf_counter()
        return applied


def _switch(store: Store, path: Path, directory: Path, vpcs: int) -> Switched:
    """Let all VPCs of a hypervisor use one edge, then let that edge fall silent."""
    agent = _agent(HYPERVISOR, path, directory)
    agent.ask(f"silent {VTEPS['e1']}")
    agent.hear(Switched)
    agent.ask(f"silent {VTEPS['e2']}")
    switched = agent.hear(Switched)
    agent.end()
    return switched


def _agent(host: str, path: Path, directory: Path) -> AgentProcess:
    return AgentProcess(f"u-{host}", path, directory, host)


@contextmanager
def underlays() -> Iterator[None]:
    """Create the namespaces of the hosts, with an uplink device for edges."""
    for host, vtep in VTEPS.items():
        name = lab_underlay(host, vtep)
        if host in EDGES:
            subprocess.run(f"ip -n {name} link add out0 type veth peer name out1".split(), check=True)
            subprocess.run(f"ip -n {name} link set out1 up".split(), check=True)
    yield
    for host in VTEPS:
        for name in (f"u-{host}", overlay_netns(host), *([netns_name(host, OUTSIDE)] if host in EDGES else [])):
            netns.remove(name)


def figures(found: Measured) -> list[Figure]:
    """Return the figures for one number of VPCs."""
    built, vpcs, switched = found.built, found.vpcs, found.switched
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(built.drivers.items(), key=lambda item: -item[1])[:6])
    share = f"in the kernel {switched.applied_s * 1e3:,.0f} ms"
    return [
        Figure(name="build of an edge", value=built.seconds, unit="s", note=f"{built.objects:,} objects"),
        Figure(name="  thereof in the kernel", value=built.applied_s, unit="s", note=parts),
        Figure(name="restart", value=found.again.seconds, unit="s"),
        Figure(name="writes of a restart", value=found.again.writes, goal=0, digits=0),
        Figure(name="audit", value=found.audit, unit="s", note=f"{built.objects / found.audit:,.0f} objects/s"),
        Figure(name="kernel memory a VPC", value=found.kernel_bytes / vpcs / 1024, unit="KiB", digits=1),
        Figure(name="agent's memory a VPC", value=built.rss / vpcs / 1024, unit="KiB", digits=1),
        *_change_figures("one more VPC with an address", found.more, 30.0),
        *_change_figures("an address comes", found.associated, None),
        *_change_figures("an address goes", found.dissociated, None),
        Figure(name="operations of leaving an edge, a VPC", value=switched.writes / (vpcs + MORE), goal=1.0, digits=3),
        Figure(name="  of all VPCs", value=switched.seconds * 1e3, unit="ms", note=share, digits=0),
    ]


def _change_figures(name: str, change: Change, goal_ms: float | None) -> list[Figure]:
    note = f"p50 {percentile(change.seconds, 50) * 1e3:.2f} ms"
    return [
        Figure(name=f"{name}: operations", value=max(change.operations), digits=0, note=f"at least {min(change.operations)}"),
        Figure(name="  store to kernel, least of several", value=min(change.seconds) * 1e3, unit="ms", goal=goal_ms, note=note),
    ]


def growth_figures(few: Measured, many: Measured) -> list[Figure]:
    """Return how costs grow from few to many VPCs."""
    sizes = (few.vpcs, many.vpcs)
    costs = {
        "build": ((few.built.seconds, many.built.seconds), 1.1),
        "restart": ((few.again.seconds, many.again.seconds), 1.1),
        "leaving an edge": ((few.switched.seconds, many.switched.seconds), 1.1),
    }
    table = [
        Figure(name=name, value=growth(sizes, seconds), unit="exponent", goal=goal, note=", ".join(f"{s:.2f} s" for s in seconds))
        for name, (seconds, goal) in costs.items()
    ]
    for name in ("more", "associated", "dissociated"):
        one, other = getattr(few, name).operations, getattr(many, name).operations
        what = {"more": "one more VPC", "associated": "an address comes", "dissociated": "an address goes"}[name]
        table.append(Figure(name=f"{what}: operations beyond those", value=max(other) - max(one), goal=0, digits=0))
    return table
