"""2,000 local VPCs with policy on one host of the lab kernel: time to build, against raw netlink; audit, restart, one change.

Each VPC has a tap for a virtual machine, a mapping to another host, two security groups that refer to each other, and a network
ACL. The agent is the real one, in a process of its own, from the store to the kernel. Raw netlink is the same devices, entries,
chains, rules, sets and elements, packed before the clock runs and sent without an agent; what is no netlink (taps, sysctls) or is
the host's own (the skeletons of tables) is counted apart. The kernel's dump is what answers the same requests, unread.
Arguments: other numbers of VPCs in place of 200 and 2,000, between which growth is measured; `dual` for IPv6 too.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from _cloud import HOSTS, cloud
from _raw import ROUNDS, Raw, dump_seconds
from common import Figure, growth, lab_underlay, percentile, show, stopwatch

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.drivers.base import Driver
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.rtnl.driver import Handler
from netorch.lab.kernel import run_in_kernel
from netorch.model.mapping import Mapping
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject
from netorch.state.l3 import Route
from netorch.state.link import Link
from netorch.state.nft import NftChain, NftElement, NftMap
from netorch.state.op import Delete, Failure, Op
from netorch.state.owner import overlay_netns
from netorch.store import open_store
from netorch.store.base import Put, Store

VPCS = (200, 2_000)
MEMORY_MB = 3_000
CHANGES = 30
DRIVERS = (f"rtnl {OVERLAY}", f"nft {UNDERLAY}", f"overlaynft {OVERLAY}")  # those of netlink
UNTIMED = ("make_ports", "skeletons")  # what is no netlink, and what a host has once
BUILD_S = 12.0
OPERATOR = Caller(operator=True)
T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


class TimedKernel(LinuxKernel):
    """A LinuxKernel that knows how long each driver's operations took."""

    def __init__(self, host: str) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.applied_s = 0.0
        super().__init__(host)
        handler_of = self._rtnl._handler_of
        timed: dict[Handler, Handler] = {}

        def timed_handler_of(op: Op) -> Handler:
            handler = handler_of(op)
            return timed.setdefault(handler, partial(self._timed, getattr(handler, "__name__", op.obj.kind), handler))

        self._rtnl._handler_of = timed_handler_of  # type: ignore[method-assign]
        for driver in self._nft:
            driver._apply_table = partial(self._timed, "skeletons", driver._apply_table)  # type: ignore[method-assign]

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations."""
        begin = time.perf_counter()
        failures = super().apply(ops)
        self.applied_s += time.perf_counter() - begin
        assert not failures, str(failures[0].error)
        return failures

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return self._timed(f"{type(driver).__name__.lower()} {driver.netns}", driver.apply, ops)

    def _timed(self, name: str, work: Callable[[A], R], argument: A) -> R:
        begin = time.perf_counter()
        result = work(argument)
        self.seconds[name] += time.perf_counter() - begin
        return result


class Started(msgspec.Struct, kw_only=True):
    """What an agent's start took: in all, in the kernel, of that in each driver; and what it holds."""

    seconds: float
    applied_s: float
    drivers: dict[str, float]
    writes: int
    objects: int
    rss: int


class Applied(msgspec.Struct, kw_only=True):
    """When the agent was done with a change, by the monotonic clock, and how many operations it took."""

    at: float
    writes: int


class Audited(msgspec.Struct, kw_only=True):
    """How long an audit took."""

    seconds: float


# --- the agent's process --------------------------------------------------------------------------------------------------------


def run_agent(store_path: str, state_dir: str) -> None:
    """Start the agent of hv1, tell what that took, then answer each line of stdin: audit, or the end of a turn of changes."""
    kernel = TimedKernel("hv1")
    agent = Agent("hv1", kernel, lambda: open_store(store_path), SnapshotFile(Path(state_dir, "hv1")), load_compilers())
    rss = resident_bytes()
    seconds = stopwatch(agent.start)
    assert not agent.reconciler.problems, agent.reconciler.problems
    started = Started(
        seconds=seconds,
        applied_s=kernel.applied_s,
        drivers=dict(kernel.seconds),
        writes=agent.reconciler.writes,
        objects=agent.reconciler.object_count(),
        rss=resident_bytes() - rss,
    )
    tell(started)
    while True:
        done = agent.reconciler.writes
        agent.step(10.0, sys.stdin.fileno())
        if agent.reconciler.writes != done:
            tell(Applied(at=time.monotonic(), writes=agent.reconciler.writes - done))
        elif readable(sys.stdin.fileno()):
            line = sys.stdin.readline().strip()
            if line == "audit":
                tell(Audited(seconds=stopwatch(agent.reconciler.read_kernel)))
            else:
                break
    agent.close()


def readable(descriptor: int) -> bool:
    """Return whether something can be read."""
    return bool(select.select([descriptor], [], [], 0)[0])


def tell(word: msgspec.Struct) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(word).decode(), flush=True)


def resident_bytes() -> int:
    """Return what this process holds of the memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class AgentProcess:
    """An agent of hv1 that was started, and what it told of that."""

    def __init__(self, underlay: str, store_path: Path, state_dir: Path) -> None:
        command = [sys.executable, __file__, "--agent", str(store_path), str(state_dir)]
        descriptor = netns.find(underlay)
        with netns.inside(descriptor):  # not `ip netns exec`, in whose own mount namespace the overlay's name would stay unseen
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.close(descriptor)
        self.started = self.hear(Started)

    def hear(self, kind: type[T]) -> T:
        """Return the next thing that the agent tells."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the agent died"
        return msgspec.json.decode(line, type=kind)

    def ask(self, what: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Let it end; the kernel keeps everything."""
        self.ask("end")
        assert self._process.wait(60) == 0


# --- the bench ------------------------------------------------------------------------------------------------------------------


def take_down(kernel: LinuxKernel) -> list[KernelObject]:
    """Delete all devices, what goes with them and what does not; return everything there was, in apply order."""
    objects = sorted(kernel.dump().values(), key=lambda obj: obj.order)
    lasting = [
        obj
        for obj in objects
        if isinstance(obj, Link | NftElement | NftChain | NftMap) or (isinstance(obj, Route) and not obj.ifname)
    ]
    assert kernel.apply([Delete(obj) for obj in reversed(lasting)]) == []
    return objects


def kernel_bytes() -> int:
    """Return what the kernel holds of the memory for itself."""
    values = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(values[name].split()[0]) << 10 for name in ("Slab", "Percpu", "VmallocUsed"))


def netlink_seconds(started: Started) -> float:
    """Return what an agent needed for all that `Raw` is timed for, its reading of the notifications included."""
    drivers = started.drivers
    return sum(drivers.get(name, 0.0) for name in DRIVERS) - sum(drivers.get(name, 0.0) for name in UNTIMED)


def changes(agent: AgentProcess, store: Store) -> tuple[list[float], set[int]]:
    """Return the seconds from commit to kernel, and the numbers of operations, of one mapping after another moving to and fro."""
    seconds, writes = [], set()
    remote = [kv.key for kv in store.list("map/").kvs if kv.key.endswith(".5")]
    for turn in range(CHANGES):
        key = remote[turn // 2 * len(remote) // CHANGES]
        known = store.get(key)
        assert known is not None
        host = "hv2" if turn % 2 else "hv3"
        changed = msgspec.structs.replace(decode(known, Mapping), host=host, vtep=HOSTS[host])
        begin = time.monotonic()
        store.txn((), [Put(key, encode(changed))])
        applied = agent.hear(Applied)
        seconds.append(applied.at - begin)
        writes.add(applied.writes)
    return seconds, writes


class Measured(msgspec.Struct, kw_only=True):
    """What one number of VPCs took."""

    vpcs: int
    first: Started  # the quickest of several builds
    again: Started  # a restart
    audit: float
    dump: float  # by the kernel alone
    raw: float
    changed: list[float]  # seconds from commit to kernel
    writes: set[int]
    kernel_bytes: int


def measure(vpcs: int, dual: bool, directory: Path) -> Measured:
    """Build, change, restart and take down a host with so many VPCs, by the agent and by raw netlink in turns."""
    directory.mkdir()
    path = directory / "netorch.db"
    store = open_store(str(path), create=True)
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud(vpcs, dual=dual)))
    underlay = lab_underlay("hv1", HOSTS["hv1"])
    before = kernel_bytes()
    agent = AgentProcess(underlay, path, directory)
    first, memory = agent.started, kernel_bytes() - before
    took, counts = changes(agent, store)
    agent.ask("audit")
    audit = agent.hear(Audited).seconds
    agent.end()
    agent = AgentProcess(underlay, path, directory)
    again = agent.started
    agent.end()
    descriptor = netns.find(underlay)
    with netns.inside(descriptor):
        kernel = LinuxKernel("hv1")
    os.close(descriptor)
    dump = dump_seconds(kernel)
    objects = take_down(kernel)
    other = Raw()
    raw = math.inf
    for _ in range(ROUNDS):
        raw = min(raw, other.build(objects))
        take_down(other.kernel)
        agent = AgentProcess(underlay, path, directory)
        first = min(first, agent.started, key=lambda started: started.seconds)
        agent.end()
        take_down(kernel)
    kernel.close()
    other.kernel.close()
    store.close()
    for name in ("u-hv1", "u-raw", overlay_netns("hv1"), overlay_netns("raw")):
        netns.remove(name)
    return Measured(
        vpcs=vpcs,
        first=first,
        again=again,
        audit=audit,
        dump=dump,
        raw=raw,
        changed=took,
        writes=counts,
        kernel_bytes=memory,
    )


def figures(found: Measured) -> list[Figure]:
    """Return what one number of VPCs took."""
    first, again, vpcs = found.first, found.again, found.vpcs
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(first.drivers.items(), key=lambda item: -item[1]))
    mine = netlink_seconds(first)
    rate = f"{vpcs / mine:,.0f} VPCs/s, raw {vpcs / found.raw:,.0f} VPCs/s"
    return [
        Figure(name="build, store to kernel", value=first.seconds, unit="s", goal=BUILD_S, note=f"{first.objects:,} objects"),
        Figure(name="  thereof in the kernel", value=first.applied_s, unit="s", note=parts),
        Figure(name="  thereof the agent's own", value=first.seconds - first.applied_s, unit="s"),
        Figure(name="agent's way : raw netlink", value=mine / found.raw, unit="x", goal=2.0, note=rate),
        Figure(name="restart : the kernel's dump", value=again.seconds / found.dump, unit="x", goal=2.0),
        Figure(name="  restart", value=again.seconds, unit="s", note=f"the kernel's dump {found.dump:.2f} s"),
        Figure(name="  audit", value=found.audit, unit="s", note=f"{first.objects / found.audit:,.0f} objects/s"),
        Figure(name="writes of a restart", value=again.writes, goal=0, digits=0),
        Figure(
            name="operations of one changed mapping, at most",
            value=max(found.writes),
            digits=0,
            note=f"at least {min(found.writes)}",
        ),
        Figure(name="one mapping changed, commit to kernel, p50", value=percentile(found.changed, 50) * 1e3, unit="ms"),
        Figure(name="  p90", value=percentile(found.changed, 90) * 1e3, unit="ms"),
        Figure(name="kernel memory a VPC", value=found.kernel_bytes / vpcs / 1024, unit="KiB", digits=1),
        Figure(name="agent's memory a VPC", value=first.rss / vpcs / 1024, unit="KiB", digits=1),
    ]


def growth_figures(found: Sequence[Measured]) -> list[Figure]:
    """Return how build and restart grow from the first number of VPCs to the last: 1 is as the number does."""
    sizes = [one.vpcs for one in found]
    costs = {
        "build": ([one.first.seconds for one in found], 1.1),
        "  thereof the agent's own": ([one.first.seconds - one.first.applied_s for one in found], None),
        "  raw netlink": ([one.raw for one in found], None),
        "restart": ([one.again.seconds for one in found], 1.1),
        "  the kernel's dump": ([one.dump for one in found], None),
    }
    return [
        Figure(name=name, value=growth(sizes, seconds), unit="exponent", goal=goal, note=", ".join(f"{s:.2f} s" for s in seconds))
        for name, (seconds, goal) in costs.items()
    ]


def inside(sizes: Sequence[int], *, dual: bool) -> int:
    """Measure; this process runs in the lab kernel. Return 1 when a goal is missed."""
    missed = 0
    found = []
    with tempfile.TemporaryDirectory() as name:
        for vpcs in sizes:
            found.append(measure(vpcs, dual, Path(name, str(vpcs))))
            kind = "dual-stack" if dual else "IPv4"
            missed += show(f"{vpcs:,} local {kind} VPCs with policy, each with a tap and a remote instance", figures(found[-1]))
    if len(found) > 1:
        missed += show(f"growth from {sizes[0]:,} to {sizes[-1]:,} VPCs", growth_figures(found))
    return int(missed > 0)


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or be what it starts there."""
    match arguments:
        case ["--agent", store_path, state_dir]:
            run_agent(store_path, state_dir)
            return 0
        case ["--inside", *rest]:
            sizes = [int(word) for word in rest if word.isdigit()]
            return inside(sizes or VPCS, dual="dual" in rest)
        case _:
            return run_in_kernel([sys.executable, __file__, "--inside", *arguments], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
