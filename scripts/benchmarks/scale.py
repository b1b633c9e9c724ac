"""2,000 local VPCs on one host of the lab kernel: time to build, against raw netlink; memory, audit, restart, one change.

Each VPC has a tap for a virtual machine and a mapping to another host. The agent is the real one, in a process of its own, from
the store to the kernel. Raw netlink is the same devices and entries, packed before the clock runs and sent without an agent; what
is no netlink (taps, sysctls, nftables) is counted apart. Arguments: another number of VPCs; `dual` for IPv6 too.
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
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from common import Figure, lab_underlay, percentile, show, stopwatch

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.drivers.base import Driver
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.netlink import Channel, Message
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.driver import Handler
from netorch.drivers.rtnl.uapi import RTM
from netorch.lab.kernel import run_in_kernel
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment
from netorch.model.mapping import Mapping
from netorch.records.caller import Caller
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route
from netorch.state.link import AdminUp, Link, Sysctl, TapPort, Vrf, Vxlan
from netorch.state.nft import NftElement
from netorch.state.op import Create, Delete, Failure, Op
from netorch.state.owner import fabric_netns
from netorch.store import open_store
from netorch.store.base import Put, Store

VPCS = 2_000
MEMORY_MB = 3_000
CHANGES = 30
ROUNDS = 2
HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12", "hv3": "192.0.2.13"}
OPERATOR = Caller(operator=True)


def cloud(vpcs: int, *, dual: bool) -> Cloud:
    """Return VPCs with the same CIDR, each with a tap on hv1 and one on hv2."""
    six = "fd00:44::/64" if dual else ""
    return Cloud(
        hosts=[HostDecl(name=name, underlay=vtep) for name, vtep in HOSTS.items()],
        vpcs=[
            VpcDecl(
                name=f"vpc-{number:05d}",
                owner=f"customer-{number % 500:03d}",
                cidrs=["10.44.0.0/16"],
                ipv6_cidrs=["fd00:44::/56"] if dual else [],
                subnets=[SubnetDecl(name="web", cidr="10.44.12.0/24", ipv6_cidr=six)],
                instances=[
                    InstanceDecl(name=f"on-{host}", host=host, address=f"10.44.12.{last}", attachment=Attachment.TAP)
                    for last, host in enumerate(("hv1", "hv2"), 4)
                ],
            )
            for number in range(vpcs)
        ],
    )


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

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations."""
        begin = time.perf_counter()
        failures = super().apply(ops)
        self.applied_s += time.perf_counter() - begin
        assert not failures, str(failures[0].error)
        return failures

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return self._timed(f"{type(driver).__name__.lower()} {driver.netns}", driver.apply, ops)

    def _timed(self, name: str, handler: Handler, ops: list[Op]) -> list[Failure]:
        begin = time.perf_counter()
        failures = handler(ops)
        self.seconds[name] += time.perf_counter() - begin
        return failures


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


T = TypeVar("T")


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
        with netns.inside(descriptor):  # not `ip netns exec`, in whose own mount namespace the fabric's name would stay unseen
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


class Raw:
    """A second host, on which packed messages are sent without an agent."""

    def __init__(self) -> None:
        underlay = netns.find(lab_underlay("raw", HOSTS["hv1"]))
        with netns.inside(underlay):
            self.kernel = LinuxKernel("raw")
        self.fabric_fd = netns.find(fabric_netns("raw"))
        self.underlay = Channel(underlay)
        self.fabric = Channel(self.fabric_fd)
        self.seconds = 0.0

    def build(self, objects: Sequence[KernelObject]) -> float:
        """Make a host's devices and entries; return the seconds of netlink alone. Taps and sysctls are made unclocked."""
        self.seconds = 0.0
        self.unclocked([obj for obj in objects if isinstance(obj, Sysctl) and not obj.ifname])
        vrfs = [obj for obj in objects if isinstance(obj, Vrf)]
        self.send(self.fabric, [encode.new_vrf(obj) for obj in vrfs] + [encode.mark(obj.ifname) for obj in vrfs])
        vxlans = [obj for obj in objects if isinstance(obj, Vxlan)]
        index = self.indexes(vrfs)
        self.send(self.underlay, [encode.new_vxlan(obj, self.fabric_fd, index[obj.vrf]) for obj in vxlans])
        self.send(self.fabric, [encode.mark(obj.ifname) for obj in vxlans])
        self.unclocked([obj for obj in objects if isinstance(obj, TapPort)])
        self.unclocked([obj for obj in objects if isinstance(obj, Sysctl) and obj.ifname])
        index = self.indexes([obj for obj in objects if isinstance(obj, Link)])
        entries = [obj for obj in objects if isinstance(obj, AdminUp | Address | Neighbour | Fdb | Route)]
        self.send(self.fabric, [message for obj in entries for message in encode.pack(obj, index.__getitem__)])
        return self.seconds

    def unclocked(self, objects: Sequence[KernelObject]) -> None:
        """Make objects as the agent does."""
        assert [str(failure.error) for failure in self.kernel.apply([Create(obj) for obj in objects])] == []

    def send(self, channel: Channel, messages: Sequence[Message]) -> None:
        """Send messages and add up the seconds. Fails when the kernel refuses one."""
        begin = time.perf_counter()
        refused = channel.batch(messages)
        self.seconds += time.perf_counter() - begin
        assert not refused, next(iter(refused.items()))

    def indexes(self, links: Sequence[Link]) -> dict[str, int]:
        """Return the numbers of devices."""
        answers = {obj.ifname: self.fabric.get(RTM.GETLINK, encode.get_link(obj.ifname)) for obj in links}
        return {name: int.from_bytes(data[4:8], sys.byteorder) for name, data in answers.items() if data is not None}


def take_down(kernel: LinuxKernel) -> list[KernelObject]:
    """Delete all devices, what goes with them and what does not; return everything there was, in apply order."""
    objects = sorted(kernel.dump().values(), key=lambda obj: obj.order)
    lasting = [obj for obj in objects if isinstance(obj, Link | NftElement) or (isinstance(obj, Route) and not obj.ifname)]
    assert kernel.apply([Delete(obj) for obj in reversed(lasting)]) == []
    return objects


def kernel_bytes() -> int:
    """Return what the kernel holds of the memory for itself."""
    values = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(values[name].split()[0]) << 10 for name in ("Slab", "Percpu", "VmallocUsed"))


def netlink_seconds(started: Started) -> float:
    """Return what an agent needed for devices and entries, its reading of the notifications included."""
    return started.drivers[f"rtnl {OVERLAY}"] - started.drivers.get("make_ports", 0.0)


def changes(agent: AgentProcess, store: Store) -> tuple[list[float], set[int]]:
    """Return the seconds from commit to kernel, and the numbers of operations, of one mapping after another moving to and fro."""
    seconds, writes = [], set()
    remote = [kv.key for kv in store.list("map/").kvs if kv.key.endswith(".5")]
    for turn in range(CHANGES):
        key = remote[turn // 2 * len(remote) // CHANGES]
        known = store.get(key)
        assert known is not None
        host = "hv2" if turn % 2 else "hv3"
        changed = msgspec.structs.replace(msgspec.json.decode(known.value, type=Mapping), host=host, vtep=HOSTS[host])
        begin = time.monotonic()
        store.txn((), [Put(key, msgspec.json.encode(changed))])
        applied = agent.hear(Applied)
        seconds.append(applied.at - begin)
        writes.add(applied.writes)
    return seconds, writes


def figures(vpcs: int, dual: bool, directory: Path) -> list[Figure]:
    """Return everything that is measured."""
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
    objects = take_down(kernel)
    other = Raw()
    raw = math.inf
    for _ in range(ROUNDS):
        raw = min(raw, other.build(objects))
        take_down(other.kernel)
        agent = AgentProcess(underlay, path, directory)
        first = min(first, agent.started, key=netlink_seconds)
        agent.end()
        take_down(kernel)
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in sorted(first.drivers.items(), key=lambda item: -item[1]))
    mine = netlink_seconds(first)
    sent = sum(first.drivers.get(name, 0.0) for name in ("make", "make_vxlans", "send"))
    rate = f"{vpcs / mine:,.0f} VPCs/s, raw {vpcs / raw:,.0f} VPCs/s"
    return [
        Figure(name="devices and entries: agent's way : raw netlink", value=mine / raw, unit="x", goal=1.5, note=rate),
        Figure(name="  without reading what the kernel tells of it", value=sent / raw, unit="x"),
        Figure(name="writes of a restart", value=again.writes, goal=0, digits=0),
        Figure(name="restart : dump of the kernel", value=again.seconds / audit, unit="x", note=f"{again.seconds:.2f} s"),
        Figure(name="operations of one changed mapping, at most", value=max(counts), digits=0, note=f"at least {min(counts)}"),
        Figure(name="build, store to kernel", value=first.seconds, unit="s", note=f"{first.objects:,} objects"),
        Figure(name="  thereof in the kernel", value=first.applied_s, unit="s", note=parts),
        Figure(name="  thereof the agent's own", value=first.seconds - first.applied_s, unit="s"),
        Figure(name="audit", value=audit, unit="s", note=f"{first.objects / audit:,.0f} objects/s"),
        Figure(name="one mapping changed, commit to kernel, p50", value=percentile(took, 50) * 1e3, unit="ms"),
        Figure(name="  p90", value=percentile(took, 90) * 1e3, unit="ms"),
        Figure(name="kernel memory a VPC", value=memory / vpcs / 1024, unit="KiB", digits=1),
        Figure(name="agent's memory a VPC", value=first.rss / vpcs / 1024, unit="KiB", digits=1),
    ]


def inside(vpcs: int, *, dual: bool) -> int:
    """Measure; this process runs in the lab kernel. Return 1 when a goal is missed."""
    with tempfile.TemporaryDirectory() as name:
        title = f"{vpcs:,} local {'dual-stack' if dual else 'IPv4'} VPCs, each with a tap and a remote instance"
        return int(show(title, figures(vpcs, dual, Path(name))) > 0)


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or be what it starts there."""
    match arguments:
        case ["--agent", store_path, state_dir]:
            run_agent(store_path, state_dir)
            return 0
        case ["--inside", vpcs, *rest]:
            return inside(int(vpcs), dual="dual" in rest)
        case _:
            return run_in_kernel([sys.executable, __file__, "--inside", *(arguments or [str(VPCS)])], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
