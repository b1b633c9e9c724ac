"""What an edge and its hypervisors do for a change beside few and many VPCs: one more VPC, an address, the other edge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from _agent import AgentProcess, Applied, Audited, Started, Switched
from common import Figure, growth, lab_underlay, percentile, stopwatch
from scale import kernel_bytes

from edge_parts.records import EDGES, FIRST_VNI, HYPERVISOR, VTEPS, association, fill, gateway, put, way_out
from netorch.drivers import netns
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name, overlay_netns
from netorch.store import open_store
from netorch.store.base import Delete, Store

MORE: Final = 16  # VPCs that get a gateway while the edge is at work
TURNS: Final = 15  # an address comes and goes
QUIET_S: Final = 0.5  # after which nothing more comes of a change


class Change(msgspec.Struct, kw_only=True):
    """What one kind of change took, once for each: seconds from before the commit to in force on all edges, and operations."""

    seconds: list[float] = msgspec.field(default_factory=list)
    commits: list[float] = msgspec.field(default_factory=list)  # of these the store's part
    operations: set[int] = msgspec.field(default_factory=set)


class Measured(msgspec.Struct, kw_only=True):
    """What one number of VPCs took."""

    vpcs: int
    built: Started
    kernel_bytes: int
    again: Started  # a restart
    audit: float
    more: Change  # one more VPC with an internet gateway and an address, on one edge
    associated: Change  # on both
    dissociated: Change
    switched: Switched


def measure(vpcs: int, directory: Path) -> Measured:
    """Build an edge with so many VPCs, let more come, then addresses with both edges, then a hypervisor that leaves an edge."""
    directory.mkdir()
    path = directory / "netorch.db"
    store = open_store(str(path), create=True)
    fill(store, vpcs + MORE)
    vnis = range(FIRST_VNI, FIRST_VNI + vpcs)
    for vni in vnis:
        put(store, seated(store, vni))
    with _underlays():
        before = kernel_bytes()
        first = _agent("e1", path, directory)
        built, memory = first.started, kernel_bytes() - before
        more = Change()
        for vni in range(vnis.stop, vnis.stop + MORE):
            _time(more, partial(put, store, seated(store, vni)), [first])
        first.ask("audit")
        audit = first.hear(Audited).seconds
        first.end()
        agents = [_agent(edge, path, directory) for edge in EDGES]
        associated, dissociated = _associations(store, vpcs, agents)
        for agent in agents:
            agent.end()
        switched = _switch(store, path, directory, vpcs)
    store.close()
    return Measured(
        vpcs=vpcs,
        built=built,
        kernel_bytes=memory,
        again=agents[0].started,
        audit=audit,
        more=more,
        associated=associated,
        dissociated=dissociated,
        switched=switched,
    )


def seated(store: Store, vni: int) -> list[tuple[str, msgspec.Struct]]:
    """Return the records of a VPC's gateway, a route to it, and one public address."""
    return [*gateway(vni), way_out(store, vni), association(store, vni, vni - FIRST_VNI)]


def _associations(store: Store, vpcs: int, agents: list[AgentProcess]) -> tuple[Change, Change]:
    """Let the addresses of VPCs come and go; each VPC has had one before and after."""
    associated, dissociated = Change(), Change()
    for turn in range(TURNS):
        key, record = association(store, FIRST_VNI + turn * vpcs // TURNS, turn * vpcs // TURNS)
        _time(dissociated, partial(store.txn, (), [Delete(key)]), agents)
        _time(associated, partial(put, store, [(key, record)]), agents)
    return associated, dissociated


def _time(change: Change, commit: Callable[[], object], agents: list[AgentProcess]) -> None:
    """Note when the last agent was done with a change, and how many operations it took each."""
    begin = time.monotonic()
    change.commits.append(stopwatch(commit))
    found = [_last(agent) for agent in agents]
    change.seconds.append(max(applied.at for applied in found) - begin)
    change.operations |= {applied.writes for applied in found}


def _last(agent: AgentProcess) -> Applied:
    """Return what an agent has done in all the turns that a change took."""
    done = agent.hear(Applied)
    while agent.has_told(QUIET_S):
        more = agent.hear(Applied)
        done = Applied(at=more.at, writes=done.writes + more.writes)
    return done


def _switch(store: Store, path: Path, directory: Path, vpcs: int) -> Switched:
    """Have all VPCs of a hypervisor on one edge, and let that fall silent."""
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
def _underlays() -> Iterator[None]:
    """Give the hosts' namespaces, edges with a device for the uplink."""
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
    """Return what one number of VPCs took."""
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
        *_change_figures("one more VPC with an address, on one edge", found.more, 30.0),
        *_change_figures("an address comes, on both edges", found.associated, None),
        *_change_figures("an address goes, on both edges", found.dissociated, None),
        Figure(name="operations of leaving an edge, a VPC", value=switched.writes / (vpcs + MORE), goal=1.0, digits=3),
        Figure(name="  of all VPCs", value=switched.seconds * 1e3, unit="ms", note=share, digits=0),
    ]


def _change_figures(name: str, change: Change, goal_ms: float | None) -> list[Figure]:
    seconds = {"p50": percentile(change.seconds, 50), "p50 of commits": percentile(change.commits, 50)}
    note = ", ".join(f"{what} {value * 1e3:.1f} ms" for what, value in seconds.items())
    return [
        Figure(name=f"{name}: operations", value=max(change.operations), digits=0, note=f"at least {min(change.operations)}"),
        Figure(name="  commit to kernel, least of several", value=min(change.seconds) * 1e3, unit="ms", goal=goal_ms, note=note),
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
