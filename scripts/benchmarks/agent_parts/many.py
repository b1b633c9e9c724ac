"""Many agents on one etcd: the time until a change is in their memory, bytes received, and their return after a restart of etcd.

Real: etcd, its client, one connection for each agent, the follower and the records of netorch's agent. Simulated: the hosts. An
agent here is a thread that follows and decodes what a host of its place would; it compiles nothing and has no kernel. All agents,
etcd and the writer share this machine, so the figures include waiting for its processors.
Half of the instances are in VPCs of four, the others in larger ones, and one VPC is on every host (`VPCS`).
Debian's etcd answers requests for progress, but lets the answer overtake events for watches that have not caught up
(docs/design/store.md). So agents here request it only from two seconds after the beginning of a stream; later it costs what it
costs with versions for production. An etcd of 3.5.8 or newer that is first in PATH is asked at once. Only with such a one are
1,000 agents on two processors a fair test: watches of a starved etcd are late at any time.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Final

import msgspec
from common import Figure, anonymous_bytes, percentile, show

from agent_parts import following
from agent_parts.following import Report, host_name
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.mapping import Mapping
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.store import open_store
from netorch.store.alloc import mac_address
from netorch.store.base import Put, Store
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_OPS
from tests.rig.etcd.cluster import Cluster, running_cluster

OF_A_PROCESS: Final = 50
# Instances of a VPC as a share of the hosts, but at least 2 -> VPCs for OF_HOSTS.
VPCS: Final = {1.0: 1, 0.1: 10, 0.02: 200, 0.004: 2_000}
OF_HOSTS: Final = 1_000
FIRST_VNI: Final = 0x10000
# Changes a second -> how many are measured. With 1,000 hosts, 20 a second are a change of each instance in twelve minutes, and 4
# a second one in an hour.
PACES: Final = {20.0: 300, 4.0: 60}
EVERYWHERE: Final = 10  # changes of the VPC that is on every host
IDLE_S: Final = 10.0
DOWN_S: Final = 3.0
PATIENCE_S: Final = 300.0


# --- the cloud ------------------------------------------------------------------------------------------------------------------


def placed(agents: int) -> Iterator[list[int]]:
    """Yield the hosts of each VPC's instances, the VPC on every host first."""
    offset = 0
    for share, vpcs in VPCS.items():
        size = max(2, round(agents * share))
        for _ in range(max(1, vpcs * agents // OF_HOSTS)):
            yield [(offset + each * max(1, agents // size)) % agents for each in range(size)]
            offset += 7


def cloud(agents: int) -> Cloud:
    """Return the hosts and VPCs."""
    hosts = [HostDecl(name=host_name(number), underlay=f"198.18.{number // 250}.{number % 250 + 1}") for number in range(agents)]
    vpcs = [
        VpcDecl(
            name="net",
            owner=f"customer-{number}",
            vni=FIRST_VNI + number,
            cidrs=["10.0.0.0/16"],
            subnets=[SubnetDecl(name="web", cidr="10.0.0.0/20")],
            instances=[InstanceDecl(name=f"i{each}", host=host_name(host)) for each, host in enumerate(of)],
        )
        for number, of in enumerate(placed(agents))
    ]
    return Cloud(hosts=hosts, vpcs=vpcs)


def fill(store: Store, agents: int) -> None:
    """Write the cloud."""
    made = MemoryStore()
    apply_cloud(made, plan_cloud(made, Caller(operator=True), cloud(agents)))
    puts = [Put(kv.key, kv.value) for kv in made.list("").kvs]
    for first in range(0, len(puts), MAX_OPS):
        store.txn((), puts[first : first + MAX_OPS])


# --- the bench ------------------------------------------------------------------------------------------------------------------


class AgentsProcess:
    """A process with some of the agents."""

    def __init__(self, url: str, first: int, count: int) -> None:
        command = [sys.executable, following.__file__, url, str(first), str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def report(self) -> Report:
        """Return what its agents have received since the last report."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "a process with agents died"
        return msgspec.json.decode(line, type=Report)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Fleet:
    """All agents, and a writer."""

    def __init__(self, store: Store, url: str, agents: int, stack: ExitStack) -> None:
        self.agents, self._store = agents, store
        self._processes: list[AgentsProcess] = []
        self._reports: list[Report] = []
        self._delivered: dict[int, list[float]] = {}
        for first in range(0, agents, OF_A_PROCESS):  # one after the other: here 1,000 agents share what 1,000 hosts would have
            count = min(OF_A_PROCESS, agents - first)
            self._processes.append(stack.enter_context(closing(AgentsProcess(url, first, count))))
            self.wait({}, first + count)

    def total(self, field: str) -> int:
        """Return a sum over the last reports."""
        return sum(getattr(report, field) for report in self._reports)

    def take(self) -> None:
        """Get a report of each process."""
        self._reports = [process.report() for process in self._processes]
        for report in self._reports:
            for delivery in report.deliveries:
                self._delivered.setdefault(delivery.revision, []).append(delivery.at)

    def wait(self, written: dict[int, int], agents: int = 0) -> None:
        """Wait until all agents, or so many, are in sync, and as many as carry its VPC have each written revision."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            self.take()
            missing = sum(max(0, count - len(self._delivered.get(revision, ()))) for revision, count in written.items())
            if self.total("in_sync") == (agents or self.agents) and not missing:
                return
            assert time.monotonic() < give_up, f"{self.total('in_sync')} agents in sync, {missing} deliveries missing"
            time.sleep(0.2)

    def change(self, vni: int) -> tuple[int, float]:
        """Give an instance another MAC; return the revision, and when the transaction began: figures include its commit."""
        known = self._store.list(keys.map_prefix(vni)).kvs[0]
        changed = msgspec.structs.replace(decode(known, Mapping), mac=mac_address(random.getrandbits(40)))
        begin = time.monotonic()
        return self._store.txn((), [Put(known.key, encode(changed))]).revision, begin

    def spread(self, written: dict[int, float]) -> list[float]:
        """Return the seconds from the beginning of each transaction until each agent had it."""
        return [at - begin for revision, begin in written.items() for at in self._delivered[revision]]

    def each(self, field: str) -> float:
        """Return a mean of an agent."""
        return self.total(field) / self.agents


def idle(fleet: Fleet) -> float:
    """Return the bytes that an agent receives in a second while nothing changes."""
    fleet.take()
    before = fleet.each("received")
    time.sleep(IDLE_S)
    fleet.take()
    return (fleet.each("received") - before) / IDLE_S


def steady(fleet: Fleet, hosts_of: Sequence[Sequence[int]], rate: float) -> list[Figure]:
    """Measure changes of VPCs at so many a second, each VPC as often as it has instances."""
    written, expected, begin = dict[int, float](), dict[int, int](), time.monotonic()
    received, changes = fleet.total("received"), PACES[rate]
    for number, at in enumerate(random.choices(range(1, len(hosts_of)), [len(hosts) for hosts in hosts_of[1:]], k=changes)):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        revision, began = fleet.change(FIRST_VNI + at)
        written[revision], expected[revision] = began, len(hosts_of[at])
    fleet.wait(expected)
    received = fleet.total("received") - received
    seconds = fleet.spread(written)
    note = f"{len(seconds):,} deliveries of {changes} changes"
    return [
        Figure(
            name=f"{rate:.0f} changes/s: commit and until in memory, p50",
            value=percentile(seconds, 50) * 1e3,
            unit="ms",
            goal=5.0,
            note=note,
        ),
        Figure(name="  p99", value=percentile(seconds, 99) * 1e3, unit="ms", goal=100.0, note=f"max {max(seconds) * 1e3:.0f} ms"),
        Figure(name="  more deliveries than carriers", value=len(seconds) - sum(expected.values()), goal=0, digits=0),
        Figure(name="  bytes received for a delivery", value=received / len(seconds), unit="B", digits=0, note="all bytes"),
    ]


def everywhere(fleet: Fleet) -> list[Figure]:
    """Measure changes of the VPC that is on every host."""
    written = {}
    for _ in range(EVERYWHERE):
        revision, began = fleet.change(FIRST_VNI)
        written[revision] = began
        fleet.wait({revision: fleet.agents})
    seconds = fleet.spread(written)
    note = f"max {max(seconds) * 1e3:.0f} ms"
    return [
        Figure(name=f"a change on all {fleet.agents:,} hosts, p50", value=percentile(seconds, 50) * 1e3, unit="ms"),
        Figure(name="  p99", value=percentile(seconds, 99) * 1e3, unit="ms", note=note),
    ]


def restart(fleet: Fleet, cluster: Cluster) -> list[Figure]:
    """Kill all of etcd, start it again, and measure the return of all agents: a change made then must reach each."""
    listings, listed = fleet.total("listings"), fleet.total("listed")
    for member in cluster.members:
        member.kill()
    time.sleep(DOWN_S)
    for member in cluster.members:
        cluster.start(member)
    cluster.leader()
    served = time.monotonic()
    revision, began = fleet.change(FIRST_VNI)
    fleet.wait({revision: fleet.agents})
    seconds = [one + began - served for one in fleet.spread({revision: began})]
    note = f"p50 {percentile(seconds, 50):.1f} s; {DOWN_S:.0f} s away"
    return [
        Figure(name="all agents back after etcd serves again", value=max(seconds), unit="s", goal=60.0, note=note),
        Figure(
            name="  listings for it, an agent",
            value=(fleet.total("listings") - listings) / fleet.agents,
            goal=0,
            note=f"{(fleet.total('listed') - listed) / fleet.agents:.1f} keys",
        ),
        Figure(name="  bytes received for it, an agent", value=fleet.each("received"), unit="B", digits=0),
    ]


def measure(agents: int, members: int) -> int:
    """Print the figures of so many agents; return the number of missed goals."""
    hosts_of = list(placed(agents))
    random.seed(1)
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(members, progress_ms=600_000))
        url = cluster.url("agents")
        store = stack.enter_context(closing(open_store(url, create=True)))
        fill(store, agents)
        begin = time.monotonic()
        fleet = Fleet(store, url, agents, stack)
        watches = sum(len(hosts) for hosts in hosts_of) / agents
        figures = [
            Figure(
                name="VPCs of a host, mean",
                value=watches,
                digits=1,
                note=f"{len(hosts_of):,} VPCs, {sum(map(len, hosts_of)):,} instances",
            ),
            Figure(name="all agents started and in sync", value=time.monotonic() - begin, unit="s", digits=1),
            Figure(
                name="  keys listed, an agent",
                value=fleet.each("listed"),
                digits=0,
                note=f"{fleet.each('listings'):.0f} listings",
            ),
            Figure(name="  bytes received, an agent", value=fleet.each("received"), unit="B", digits=0),
            Figure(
                name="  RAM, an agent", value=fleet.each("rss") / 2**20, unit="MiB", note=f"{OF_A_PROCESS} agents share a process"
            ),
        ]
        note = "an agent; progress, marks and its audit"
        figures.append(Figure(name="bytes received while nothing changes", value=idle(fleet), unit="B/s", digits=0, note=note))
        for rate in PACES:
            figures += steady(fleet, hosts_of, rate)
        figures += everywhere(fleet)
        rss = sum(anonymous_bytes(member.pid) for member in cluster.members) / members / 2**20
        figures.append(Figure(name="RAM of a member", value=rss, unit="MiB", digits=0, note="anonymous"))
        figures += restart(fleet, cluster)
        return show(f"{agents:,} agents on {members} member{'s' if members > 1 else ''} of etcd", figures)
