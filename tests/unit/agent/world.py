"""Several hosts with their agents in one process: a store and kernels in memory, and one clock that the test advances."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.agent.tasks.moves import MoveEnds
from netorch.compiler.base import Compiler
from netorch.compiler.registry import load_compilers
from netorch.control.actions import hosts, instances, subnets, vpcs
from netorch.control.actions.instances import Placed, RunRequest
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import StoreUnavailable
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.state.base import HOST_SLICE
from netorch.state.link import VethPort
from netorch.state.op import Create, Op
from netorch.store.base import Compare, Delete, Event, KeyValue, Put, Range, Store, TxnResult, Watch
from netorch.store.memory import MemoryStore


class Clock:
    """A clock that the test advances, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Wire:
    """The connection between one host and the store: a test can cut it, at once or at one of the next calls."""

    def __init__(self) -> None:
        self.cut = False
        self.cut_after: int | None = None  # the number of calls that still succeed before one fails
        self.lose_answer = False  # whether the failing call is carried out all the same
        self.delivered: list[Event] = []
        self.writes: list[Put | Delete] = []

    def fails(self) -> bool:
        """Return whether this call fails."""
        if self.cut_after is None:
            return self.cut
        self.cut_after -= 1
        if self.cut_after >= 0:
            return self.cut
        self.cut_after = None
        return True

    def check(self) -> None:
        """Raise StoreUnavailable when this call fails."""
        if self.fails():
            raise StoreUnavailable("store: the wire is cut; repair it")


class WiredWatch:
    """A watch of the store over a wire."""

    def __init__(self, watch: Watch, wire: Wire) -> None:
        self._watch, self._wire = watch, wire

    @property
    def revision(self) -> int:
        """The revision up to which everything has been delivered."""
        return self._watch.revision

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._watch.fileno()

    @property
    def mark(self) -> str:
        """The mark of `revision`."""
        return self._watch.mark

    def poll(self) -> tuple[Event, ...]:
        """Return the new events."""
        self._wire.check()
        events = self._watch.poll()
        self._wire.delivered += events
        return events

    def close(self) -> None:
        """Close the descriptor."""
        self._watch.close()


class WiredStore:
    """The store over a wire."""

    def __init__(self, store: Store, wire: Wire) -> None:
        self._store, self._wire = store, wire
        wire.check()

    @property
    def uid(self) -> str:
        """The history that revisions count."""
        return self._store.uid

    def revision(self) -> int:
        """Return the current revision."""
        self._wire.check()
        return self._store.revision()

    def mark(self, revision: int) -> str:
        """Return the mark of a revision."""
        self._wire.check()
        return self._store.mark(revision)

    def get(self, key: str) -> KeyValue | None:
        """Return a key's value."""
        self._wire.check()
        return self._store.get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return the keys of a prefix."""
        self._wire.check()
        return self._store.list(prefix, revision)

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the revisions of a prefix's keys, from the listing: a test that changes one changes both."""
        return {kv.key: kv.mod_revision for kv in self.list(prefix, revision).kvs}

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Commit, whether or not the answer arrives."""
        failed = self._wire.fails()
        if not failed or self._wire.lose_answer:
            result = self._store.txn(compares, ops)
            self._wire.writes += ops if result.succeeded else ()
        if failed:
            raise StoreUnavailable("store: the wire is cut; repair it")
        return result

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> WiredWatch:
        """Return a watch."""
        self._wire.check()
        return WiredWatch(self._store.watch(prefixes, from_revision, mark), self._wire)

    def grant(self, ttl_s: int) -> int:
        """Return a lease."""
        self._wire.check()
        return self._store.grant(ttl_s)

    def keep_alive(self, lease: int) -> int:
        """Renew a lease."""
        self._wire.check()
        return self._store.keep_alive(lease)

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self._wire.check()
        self._store.revoke(lease)

    def compact(self, revision: int) -> None:
        """Delete history."""
        self._wire.check()
        self._store.compact(revision)

    def close(self) -> None:
        """Do nothing: other hosts use the store."""


class World:
    """Hosts hv1, hv2, ... with underlay addresses 192.0.2.11, ..."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path = path
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.stores: dict[str, Store] = {}  # by host, if it sees another store
        counter = itertools.count(1)
        self.operator = Caller(operator=True, now=lambda: self.clock.now, entropy=lambda: next(counter) * 0x9E3779B97F4A7C15)
        self.compilers: Sequence[Compiler] = load_compilers()
        self.kernels: dict[str, FakeKernel] = {}
        self.wires: dict[str, Wire] = {}
        self.agents: dict[str, Agent] = {}
        self._looked_at: dict[str, int] = {}
        for name in names:
            self.create_host(name)
            self.start(name)

    def create_host(self, name: str) -> None:
        """Store a host's record."""
        hosts.create_host(self.store, self.operator, name=name, underlay=f"192.0.2.{10 + int(name[2:])}")

    def start(self, name: str, kernel: FakeKernel | None = None) -> Agent:
        """Start a host's agent; kill an earlier one as by kill -9; its kernel and its snapshot stay."""
        self.kill(name)
        wire = self.wires.setdefault(name, Wire())
        if name not in self.kernels:
            self.kernels[name] = kernel if kernel is not None else FakeKernel()
        found = self.kernels[name]
        agent = Agent(
            name,
            found,
            lambda: WiredStore(self.stores.get(name, self.store), wire),
            SnapshotFile(self.path / f"{name}.snapshot"),
            self.compilers,
            self.clock,
        )
        self.agents[name] = agent
        agent.start()
        self._plugged(name)
        return agent

    def kill(self, name: str) -> None:
        """Remove a host's agent, without any cleanup."""
        agent = self.agents.pop(name, None)
        if agent is not None and agent.follower._watch is not None:
            agent.follower._watch.close()

    def turn(self, *names: str, audits: bool = True) -> None:
        """Let the agents of these hosts, or all, take a turn."""
        for name in names or sorted(self.agents):
            agent = self.agents[name]
            audit_at, begun = agent._audit_at, self.clock.now
            if not audits:
                agent._audit_at = float("inf")
            agent.turn()
            self._assert_sleeps(agent, begun)
            agent._audit_at = min(agent._audit_at, max(audit_at, self.clock.now)) if not audits else agent._audit_at
            self._plugged(name)

    def _assert_sleeps(self, agent: Agent, begun: float) -> None:
        """Check that a turn has handled everything that was due when it began, so that the agent never spins."""
        ends = [task.wake_at(self.clock.now) for task in agent.tasks if isinstance(task, MoveEnds)]
        deadlines = (*ends, agent.reconciler.next_retry(), agent.follower.wake_at())
        assert all(deadline > begun for deadline in deadlines if deadline is not None)

    def _plugged(self, name: str) -> None:
        """Remove the ports that this host has plugged from every other host, as between hosts on one machine."""
        applied = self.kernels[name].applied
        for op in applied[self._looked_at.get(name, 0) :]:
            for other, kernel in self.kernels.items():
                if isinstance(op, Create) and isinstance(op.obj, VethPort) and other != name and op.obj.key in kernel.objects:
                    kernel.take_over(op.obj)
        self._looked_at[name] = len(applied)

    def settle(self, seconds: float = 40.0, *, audits: bool = True) -> None:
        """Let time pass; the agents take a turn every second."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.turn(audits=audits)
            self.clock.now += 1.0

    def new_ops(self, name: str) -> list[Op]:
        """Return the operations of the host's kernel since the last call."""
        applied = self.kernels[name].applied
        ops = applied[:]
        applied.clear()
        self._looked_at[name] = 0
        return ops

    def vpc(self, name: str, cidr: str = "10.0.0.0/16", ipv6: str = "") -> tuple[Vpc, Subnet]:
        """Store a VPC with one subnet."""
        vpc = vpcs.create_vpc(self.store, self.operator, name=name, cidrs=[cidr], ipv6_cidrs=[ipv6] if ipv6 else [])
        base = cidr.rpartition("/")[0]
        ipv6_cidr = ipv6.replace("/56", "/64")
        return vpc, subnets.create_subnet(self.store, self.operator, vpc.id, name="a", cidr=f"{base}/24", ipv6_cidr=ipv6_cidr)

    def run(self, subnet: Subnet, host: str, name: str = "") -> Placed:
        """Store an instance on a host."""
        return instances.run_instance(self.store, self.operator, RunRequest(subnet=subnet.id, host=host, name=name))

    def put(self, key: str, value: bytes) -> None:
        """Write a key of the store."""
        self.store.txn((), [Put(key, value)])

    def delete(self, key: str) -> None:
        """Delete a key of the store."""
        self.store.txn((), [Delete(key)])

    def assert_settled(self) -> None:
        """Check that every host is settled, and that a new agent would change nothing."""
        for name in sorted(self.agents):
            self.assert_host_settled(name)
        for name in sorted(self.agents):
            self.new_ops(name)
            self.start(name)
            assert self.new_ops(name) == []
            self.assert_host_settled(name)

    def assert_host_settled(self, name: str) -> None:
        """Check a host: its kernel equals its desired objects, and these equal a new compilation of the records."""
        agent, kernel = self.agents[name], self.kernels[name]
        reconciler = agent.reconciler
        assert reconciler.problems == {}
        assert agent.follower.trouble == ""
        desired = {key: obj for target in reconciler.slices.values() for key, obj in target.desired.items()}
        actual = {key: obj for target in reconciler.slices.values() for key, obj in target.actual.items()}
        assert actual.keys() == kernel.objects.keys()
        assert desired.keys() == kernel.objects.keys()
        assert all(obj.matches(kernel.objects[key]) and obj.matches(actual[key]) for key, obj in desired.items())
        for vni, target in reconciler.slices.items():
            if vni > HOST_SLICE:
                assert target.desired == reconciler.recomputed(vni)
                assert vni in agent.records.carried()
