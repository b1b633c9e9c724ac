"""Random transactions, leases, compactions and watches: every back end behaves like a dictionary and a list of states."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from netorch.errors import Compacted, FutureRevision
from netorch.store.base import Compare, Delete, Event, KeyValue, Put, Store, Watch
from netorch.store.memory import MemoryStore
from netorch.store.sqlite.store import SqliteStore

KEYS = st.sampled_from(["a", "a/1", "a/2", "a/\U0010ffff", "b/1", "b/2"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/\U0010ffff", "b/", "c"])
VALUES = st.sampled_from([b"", b"1", b"2"])
KEEP = 12
TICK_S = 1 / 1024


class Model:
    """The store as a list of states, one per revision, and of the events between them."""

    def __init__(self) -> None:
        self.states: list[dict[str, KeyValue]] = [{}, {}]  # by revision; an empty store is at 1
        self.events: list[list[Event]] = [[], []]
        self.compacted = 0

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def txn(self, compares: list[Compare], ops: list[Put | Delete]) -> bool:
        state = dict(self.states[-1])
        if any((state[c.key].mod_revision if c.key in state else 0) != c.mod_revision for c in compares):
            return False
        revision, events = self.revision + 1, []
        for op in ops:
            old = state.pop(op.key, None)
            if isinstance(op, Put):
                state[op.key] = KeyValue(op.key, op.value, old.create_revision if old else revision, revision, op.lease)
                events.append(Event(op.key, op.value, revision, state[op.key].create_revision))
            elif old:
                events.append(Event(op.key, None, revision, 0))
        if events:
            self.states.append(state)
            self.events.append(events)
            self.compacted = max(self.compacted, revision - KEEP)
        return True

    def end_lease(self, lease: int) -> None:
        self.txn([], [Delete(key) for key, kv in sorted(self.states[-1].items()) if kv.lease == lease])


class StoreMachine(RuleBasedStateMachine):
    """Runs the same steps on a store and the model; a subclass chooses the store."""

    make: Callable[[Path, Callable[[], float]], Store]
    watches: Bundle[tuple[Watch, str]] = Bundle("watches")
    leases: Bundle[int] = Bundle("leases")

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.model = Model()
        self.deadlines: dict[int, float] = {}
        self.store = type(self).make(Path(self.directory.name), lambda: self.now)
        self.open: list[Watch] = []

    @rule(
        compares=st.lists(st.tuples(KEYS, st.booleans()), max_size=2),
        ops=st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=4, unique_by=lambda op: op[0]),
        lease=st.none() | leases,
    )
    def transact(self, compares: list[tuple[str, bool]], ops: list[tuple[str, bytes | None]], lease: int | None) -> None:
        state = self.model.states[-1]
        held = lease if lease in self.deadlines else 0
        wanted = [Compare(key, (state[key].mod_revision if key in state else 0) + wrong) for key, wrong in compares]
        operations = [Delete(key) if value is None else Put(key, value, held or 0) for key, value in ops]
        expected = self.model.txn(wanted, operations)
        result = self.store.txn(wanted, operations)
        assert (result.succeeded, result.revision) == (expected, self.model.revision)

    @rule(target=leases, ttl_s=st.integers(1, 5))
    def grant(self, ttl_s: int) -> int:
        while self.now + ttl_s in self.deadlines.values():  # the order of leases that expire together is undefined
            self._wait_until(self.now + TICK_S)
        lease = self.store.grant(ttl_s)
        self.deadlines[lease] = self.now + ttl_s
        return lease

    @rule(lease=consumes(leases))
    def revoke(self, lease: int) -> None:
        self.store.revoke(lease)
        self.model.end_lease(lease)
        self.deadlines.pop(lease, None)

    @rule(wait_s=st.integers(1, 6))
    def wait(self, wait_s: int) -> None:
        self._wait_until(self.now + wait_s)

    def _wait_until(self, moment: float) -> None:
        self.now = moment
        for lease in sorted(self.deadlines, key=self.deadlines.__getitem__):
            if self.deadlines[lease] <= moment:
                self.model.end_lease(lease)
                del self.deadlines[lease]

    @rule(target=watches, prefix=PREFIXES, back=st.integers(-2, 20))
    def watch(self, prefix: str, back: int) -> tuple[Watch, str]:
        watch = self.store.watch([prefix, "b/1"], max(1, self.model.revision - back))
        self.open.append(watch)
        return watch, prefix

    @rule(watched=watches)
    def poll(self, watched: tuple[Watch, str]) -> None:
        watch, prefix = watched
        first = watch.revision + 1
        if first <= self.model.revision and first < self.model.compacted:
            with pytest.raises(Compacted):
                watch.poll()
            return
        passed = [event for events in self.model.events[first:] for event in events]
        assert list(watch.poll()) == [e for e in passed if e.key.startswith((prefix, "b/1"))]
        assert watch.revision == max(first - 1, self.model.revision)

    @rule(back=st.integers(-1, 5))
    def compact(self, back: int) -> None:
        wanted = self.model.revision - back
        if wanted > self.model.revision or wanted <= self.model.compacted:
            with pytest.raises(FutureRevision if wanted > self.model.revision else Compacted):
                self.store.compact(wanted)
            return
        self.store.compact(wanted)
        self.model.compacted = wanted

    @rule(prefix=PREFIXES, back=st.integers(0, 15))
    def list_the_past(self, prefix: str, back: int) -> None:
        wanted = max(1, self.model.revision - back)
        if wanted < self.model.compacted:
            with pytest.raises(Compacted):
                self.store.list(prefix, wanted)
            return
        then = self.model.states[wanted]
        assert self.store.list(prefix, wanted).kvs == tuple(then[key] for key in sorted(then) if key.startswith(prefix))

    @invariant()
    def the_present_is_the_same(self) -> None:
        listing = self.store.list("")
        assert listing.revision == self.model.revision == self.store.revision()
        assert {kv.key: kv for kv in listing.kvs} == self.model.states[-1]

    def teardown(self) -> None:
        for watch in self.open:
            watch.close()
        self.store.close()
        self.directory.cleanup()


class MemoryMachine(StoreMachine):
    make = staticmethod(lambda path, clock: MemoryStore(clock, KEEP))


class SqliteMachine(StoreMachine):
    make = staticmethod(lambda path, clock: SqliteStore(path / "store.db", clock, KEEP))


SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None)
TestMemory = pytest.mark.slow(MemoryMachine.TestCase)
TestMemory.settings = SETTINGS
TestSqlite = pytest.mark.slow(SqliteMachine.TestCase)
TestSqlite.settings = SETTINGS
