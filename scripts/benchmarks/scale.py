"""2,000 local VPCs with policy on one host of the lab kernel: time to build, against raw netlink; audit, restart, one change.

Each VPC has a tap for a virtual machine, a mapping to another host, two security groups that refer to each other, and a network
ACL. The agent is the real one, in its own process, from the store to the kernel. Raw netlink makes the same devices, entries,
chains, rules, sets and elements from messages packed before the clock runs, without an agent. Taps and sysctls (no netlink) and
the skeletons of tables (once per host) are counted separately. The kernel's dump answers the same requests, unread.
Arguments: other numbers of VPCs in place of 200 and 2,000, between which growth is measured; `dual` for IPv6 too.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from _agent import AgentProcess, Applied, Audited, Started
from common import Figure, growth, lab_underlay, percentile, show
from host_parts.cloud import HOSTS, cloud
from host_parts.raw import ROUNDS, Raw, dump_seconds

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.lab.kernel import run_in_kernel
from netorch.model.mapping import Mapping
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject
from netorch.state.l3 import Route
from netorch.state.link import Link
from netorch.state.nft import Flowtable, NftChain, NftElement, NftMap
from netorch.state.op import Delete
from netorch.state.owner import overlay_netns
from netorch.store import open_store
from netorch.store.base import Put, Store

VPCS = (200, 2_000)
MEMORY_MB = 3_000
CHANGES = 30
DRIVERS = (f"rtnl {OVERLAY}", f"nft {UNDERLAY}", f"overlaynft {OVERLAY}")  # the drivers that use netlink
UNTIMED = ("make_ports", "skeletons")  # work that is not netlink, and objects that a host has once
BUILD_S = 12.0
OPERATOR = Caller(operator=True)


def take_down(kernel: LinuxKernel) -> list[KernelObject]:
    """Delete all devices, everything that goes with them and the rest; return all former objects, in apply order."""
    objects = sorted(kernel.dump().values(), key=lambda obj: obj.order)
    lasting = [
        obj
        for obj in objects
        if isinstance(obj, Link | NftElement | NftChain | NftMap | Flowtable) or (isinstance(obj, Route) and not obj.ifname)
    ]
    assert kernel.apply([Delete(obj) for obj in reversed(lasting)]) == []
    return objects


def kernel_bytes() -> int:
    """Return the memory that the kernel uses for itself, in bytes."""
    values = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(values[name].split()[0]) << 10 for name in ("Slab", "Percpu", "VmallocUsed"))


def netlink_seconds(started: Started) -> float:
    """Return an agent's seconds for the work that `Raw` is timed for, including its reading of notifications."""
    drivers = started.drivers
    return sum(drivers.get(name, 0.0) for name in DRIVERS) - sum(drivers.get(name, 0.0) for name in UNTIMED)


def changes(agent: AgentProcess, store: Store) -> tuple[list[float], set[int]]:
    """Move mappings back and forth, one by one; return the seconds from commit to kernel, and the numbers of operations."""
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


def restarted(underlay: str, store_path: Path, directory: Path) -> Started:
    """Return the cost of starting an agent that finds everything in force."""
    agent = AgentProcess(underlay, store_path, directory)
    agent.end()
    return agent.started


class Measured(msgspec.Struct, kw_only=True):
    """The measurements with one number of VPCs."""

    vpcs: int
    first: Started  # the quickest of several builds
    again: Started  # the quickest of several restarts
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
    again = min((restarted(underlay, path, directory) for _ in range(ROUNDS)), key=lambda started: started.seconds)
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
    """Return the figures for one number of VPCs."""
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
    """Return how build and restart grow from the first number of VPCs to the last; 1 is linear."""
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
    """Run this file in the lab kernel, or the part for this process."""
    match arguments:
        case ["--inside", *rest]:
            sizes = [int(word) for word in rest if word.isdigit()]
            return inside(sizes or VPCS, dual="dual" in rest)
    unknown = [word for word in arguments if word != "dual" and not word.isdigit()]
    if unknown:
        raise SystemExit(f"scale: {unknown[0]} is no number of VPCs; give numbers, and dual for IPv6 too")
    return run_in_kernel([sys.executable, __file__, "--inside", *arguments], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
