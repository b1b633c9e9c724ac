"""Time of one changed mapping from the store to another process's kernel, and its cost in stores of 10 to 2,000 VPCs.

First with a kernel in memory on this machine, where only the control plane counts, with SQLite and with three members of etcd;
then in the lab kernel with real routes and nftables sets, where system calls are an order of magnitude slower. The agent is
the real one in its own process, carries one VPC, and is woken by the commits of this process. The clock runs from before the
transaction until after the kernel's answer. Debian's etcd is too old for progress requests. It notifies of progress every
100 ms at most, and a change waits for that. An etcd of 3.5.8 or newer that is first in PATH is asked instead.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from common import Figure, lab_underlay, percentile, show
from spec import seed_cloud

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests, whose cluster is used

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.drivers.base import Kernel
from netorch.drivers.fake.kernel import FakeKernel
from netorch.drivers.linux import LinuxKernel
from netorch.lab.kernel import run_in_kernel
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment
from netorch.model.mapping import Mapping
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.store import open_store
from netorch.store.base import Event, Put, Store, Watch
from tests.rig.etcd.cluster import Cluster, running_cluster

SIZES = (10, 100, 2_000)
CHANGES = 200
FOREIGN = 200
PAUSE_S = 0.01  # at most, between two changes: the agent is at rest, or at its periodic work
PACE_S = 0.002  # between two foreign commits, so that each wakes the agent separately
MEMORY_MB = 1_500
VNI = 5_000_000
HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12", "hv3": "192.0.2.13"}
MOVING = "10.44.12.6"
OPERATOR = Caller(operator=True)
T = TypeVar("T")


def cloud(vpcs: int) -> Cloud:
    """Return VPCs of the seed's kind, and one with a tap on hv1, hv2 and hv3 each, and one more that moves back and forth."""
    places = {"10.44.12.4": "hv1", "10.44.12.5": "hv2", MOVING: "hv2", "10.44.12.7": "hv3"}
    taps = [
        InstanceDecl(name=f"i{number}", host=host, address=address, attachment=Attachment.TAP)
        for number, (address, host) in enumerate(places.items())
    ]
    subnet = SubnetDecl(name="web", cidr="10.44.12.0/24")
    watched = VpcDecl(name="watched", vni=VNI, cidrs=["10.44.0.0/16"], subnets=[subnet], instances=taps)
    hosts = [HostDecl(name=name, underlay=vtep) for name, vtep in HOSTS.items()]
    return Cloud(hosts=hosts, vpcs=[*seed_cloud(vpcs - 1).vpcs, watched])


# --- the agent's process --------------------------------------------------------------------------------------------------------


class Applied(msgspec.Struct, kw_only=True):
    """When the kernel had answered, by the monotonic clock; the number of operations, and the seconds in the kernel."""

    at: float
    operations: int
    seconds: float


class Totals(msgspec.Struct, kw_only=True):
    """The totals of what the agent has received and used since it started."""

    events: int
    turns: int
    cpu_s: float
    rss: int  # bytes


class CountingWatch:
    """A watch that counts the events it delivers."""

    def __init__(self, watch: Watch, counts: list[int]) -> None:
        self._watch = watch
        self._counts = counts
        self.fileno = watch.fileno
        self.close = watch.close

    @property
    def revision(self) -> int:
        """Return the revision up to which everything has been delivered."""
        return self._watch.revision

    @property
    def mark(self) -> str:
        """Return the mark of `revision`."""
        return self._watch.mark

    def poll(self) -> tuple[Event, ...]:
        """Return the events since the last call."""
        events = self._watch.poll()
        self._counts.append(len(events))
        return events


def counting_store(path: str, counts: list[int]) -> Store:
    """Return the store; its watches append the number of events of each poll to `counts`."""
    store = open_store(path)
    watch = store.watch

    def counting_watch(prefixes: Iterable[str], from_revision: int, mark: str = "") -> Watch:
        return CountingWatch(watch(prefixes, from_revision, mark), counts)

    store.watch = counting_watch  # type: ignore[method-assign]
    return store


def run_agent(kind: str, path: str, state_dir: str) -> None:
    """Run the agent of hv1: report each change of the kernel, and the totals for each byte of stdin."""
    kernel: Kernel = LinuxKernel("hv1") if kind == "linux" else FakeKernel()
    counts: list[int] = []
    agent = Agent("hv1", kernel, lambda: counting_store(path, counts), SnapshotFile(Path(state_dir, "hv1")), load_compilers())
    agent.start()
    assert not agent.reconciler.problems, agent.reconciler.problems
    applied = agent.reconciler.apply

    def apply(now: float, may_delete: bool) -> set[int]:
        before, begin = agent.reconciler.writes, time.monotonic()
        result = applied(now, may_delete)
        if agent.reconciler.writes != before:
            end = time.monotonic()
            tell(Applied(at=end, operations=agent.reconciler.writes - before, seconds=end - begin))
        return result

    agent.reconciler.apply = apply  # type: ignore[method-assign]
    turns = 0
    while True:
        agent.step(10.0, sys.stdin.fileno())
        turns += 1
        if select.select([sys.stdin], [], [], 0)[0]:
            if not os.read(sys.stdin.fileno(), 1):
                break
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            rss = pages * os.sysconf("SC_PAGE_SIZE")
            tell(Totals(events=sum(counts), turns=turns, cpu_s=time.process_time(), rss=rss))
    agent.close()


def tell(word: msgspec.Struct) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(word).decode(), flush=True)


# --- the bench ------------------------------------------------------------------------------------------------------------------


class AgentProcess:
    """The agent of hv1."""

    def __init__(self, kind: str, url: str, directory: Path, underlay: str) -> None:
        command = [sys.executable, __file__, "--agent", kind, url, str(directory)]
        with contextlib.ExitStack() as stack:
            if underlay:
                descriptor = netns.find(underlay)
                stack.callback(os.close, descriptor)
                stack.enter_context(netns.inside(descriptor))
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.totals()

    def hear(self, kind: type[T]) -> T:
        """Return the agent's next report."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the agent died"
        return msgspec.json.decode(line, type=kind)

    def totals(self) -> Totals:
        """Return what the agent has received and used so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"?")
        self._process.stdin.flush()
        return self.hear(Totals)

    def end(self) -> None:
        """End the agent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0


class Result(msgspec.Struct, kw_only=True):
    """The measurements with one number of VPCs."""

    vpcs: int
    seconds: list[float]
    commits: list[float]
    operations: set[int]
    foreign_events: int
    foreign_cpu_s: float
    rss: int


def flip(store: Store, agent: AgentProcess, number: int) -> tuple[float, float, int]:
    """Change the mapping; return the seconds until the kernel has it, those of the commit, and the number of operations."""
    key = keys.mapping(VNI, MOVING)
    known = store.get(key)
    assert known is not None
    host = "hv2" if number % 2 else "hv3"
    changed = msgspec.structs.replace(decode(known, Mapping), host=host, vtep=HOSTS[host])
    begin = time.monotonic()
    store.txn((), [Put(key, encode(changed))])
    committed = time.monotonic()
    applied = agent.hear(Applied)
    return applied.at - begin, committed - begin, applied.operations


def foreign_changes(store: Store, agent: AgentProcess) -> tuple[int, float]:
    """Return the events and the CPU seconds that the agent spends on changes of another VPC."""
    other = next(kv for kv in store.list("vpc/").kvs if kv.key.endswith("/vpc") and not kv.key.startswith(keys.vpc_prefix(VNI)))
    before = agent.totals()
    for _ in range(FOREIGN):
        store.txn((), [Put(other.key, other.value)])
        time.sleep(PACE_S)
    flip(store, agent, 0)  # changes arrive in order, so the next report includes all of them
    flip(store, agent, 1)
    after = agent.totals()
    return after.events - before.events - 2, after.cpu_s - before.cpu_s


def measure(kind: str, vpcs: int, url: str, directory: Path, underlay: str) -> Result:
    """Return the cost of changes in a store of so many VPCs."""
    store = open_store(url, create=True)
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud(vpcs)))
    agent = AgentProcess(kind, url, directory, underlay)
    flips = []
    for number in range(CHANGES):
        time.sleep(random.uniform(0, PAUSE_S))
        flips.append(flip(store, agent, number))
    events, cpu_s = foreign_changes(store, agent)
    rss = agent.totals().rss
    agent.end()
    store.close()
    return Result(
        vpcs=vpcs,
        seconds=[one[0] for one in flips],
        commits=[one[1] for one in flips],
        operations={one[2] for one in flips},
        foreign_events=events,
        foreign_cpu_s=cpu_s / FOREIGN,
        rss=rss,
    )


def figures(results: Sequence[Result], goal_ms: float | None) -> list[Figure]:
    """Return the lines of one kernel's table."""
    first, last = results[0], results[-1]
    operations = set().union(*(result.operations for result in results))
    ratio = percentile(last.seconds, 50) / percentile(first.seconds, 50)
    found = [
        Figure(name="operations of a change: most - least", value=max(operations) - min(operations), goal=0, digits=0),
        Figure(name="  operations of a change", value=max(operations), digits=0),
        Figure(name="events of foreign changes", value=sum(r.foreign_events for r in results), goal=0, digits=0),
        Figure(name=f"p50 with {last.vpcs:,} VPCs : with {first.vpcs}", value=ratio, unit="x"),
    ]
    for result in results:
        note = f"p99 {percentile(result.seconds, 99) * 1e3:.2f} ms, commit p50 {percentile(result.commits, 50) * 1e3:.2f} ms"
        name = f"{result.vpcs:,} VPCs: commit to kernel, p50"
        found.append(Figure(name=name, value=percentile(result.seconds, 50) * 1e3, unit="ms", goal=goal_ms, note=note))
    for result in results:
        name = f"{result.vpcs:,} VPCs: a foreign change, agent's CPU"
        note = f"agent's memory {result.rss / 2**20:.1f} MiB"
        found.append(Figure(name=name, value=result.foreign_cpu_s * 1e3, unit="ms", note=note))
    return found


def run(kind: str, title: str, goal_ms: float | None, cluster: Cluster | None = None) -> int:
    """Measure all sizes with one kind of kernel and of store, and print the table; return how many goals are missed."""
    results = []
    for vpcs in SIZES:
        with tempfile.TemporaryDirectory(prefix="netorch-bench-") as name:
            underlay = lab_underlay("hv1", HOSTS["hv1"]) if kind == "linux" else ""
            url = cluster.url(f"bench-{vpcs}") if cluster is not None else f"{name}/{vpcs}.db"
            results.append(measure(kind, vpcs, url, Path(name), underlay))
            for namespace in ("u-hv1", "netorch-hv1") if underlay else ():
                netns.remove(namespace)
    return show(title, figures(results, goal_ms))


def main(arguments: Sequence[str]) -> int:
    """Run both parts, or the part for this process."""
    match arguments:
        case ["--agent", kind, path, state_dir]:
            run_agent(kind, path, state_dir)
            return 0
        case ["--inside"]:
            return int(run("linux", "inside the lab kernel, with LinuxKernel", None) > 0)
    missed = run("fake", "on this machine, with a kernel in memory", 10.0)
    with running_cluster() as cluster:
        missed += run("fake", "the same, with three members of etcd on this machine", 10.0, cluster)
    return int(missed > 0) | run_in_kernel([sys.executable, __file__, "--inside"], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
