"""A store in this process's memory, for tests and trials."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import threading
import weakref
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence

import msgspec

from netorch.errors import Compacted, StoreError
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, Event, KeyValue, Put, Range, TxnResult
from netorch.store.rules import (
    FIRST_REVISION,
    KEEP_REVISIONS,
    PrefixSet,
    boot_clock,
    check_compaction,
    check_from_revision,
    check_mark,
    check_revision,
    check_txn,
    first_marks,
    new_mark,
    prefix_end,
)


class _Change(msgspec.Struct, frozen=True):
    event: Event
    before: KeyValue | None


class _Lease(msgspec.Struct):
    ttl_s: int
    deadline: float
    keys: set[str]


class MemoryStore:
    """A `Store` that ends with the process. All users of the same store share one object."""

    def __init__(self, clock: Callable[[], float] = boot_clock, keep_revisions: int = KEEP_REVISIONS) -> None:
        self._uid = secrets.token_hex(16)
        self._clock = clock
        self._keep = keep_revisions
        self._lock = threading.RLock()
        self._kvs: dict[str, KeyValue] = {}
        self._keys: list[str] = []  # sorted
        self._revision = FIRST_REVISION
        self._compacted = 0
        self._marks = first_marks(FIRST_REVISION)
        self._history: dict[int, tuple[_Change, ...]] = {}
        self._leases: dict[int, _Lease] = {}
        self._lease_ids = itertools.count(1)
        self._watches: list[MemoryWatch] = []

    @property
    def uid(self) -> str:
        """The identity of the history."""
        return self._uid

    def revision(self) -> int:
        """Return the current revision."""
        with self._lock:
            self._expire()
            return self._revision

    def mark(self, revision: int) -> str:
        """Return the random mark of a revision."""
        with self._lock:
            self._expire()
            if revision not in self._marks:
                check_revision(revision, self._compacted, self._revision)
                raise Compacted(self._compacted)
            return self._marks[revision]

    def get(self, key: str) -> KeyValue | None:
        """Return the current state of a key."""
        with self._lock:
            self._expire()
            return self._kvs.get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` at `revision` (0: now)."""
        with self._lock:
            self._expire()
            end = prefix_end(prefix)
            last = len(self._keys) if end is None else bisect_left(self._keys, end)
            found = {key: self._kvs[key] for key in self._keys[bisect_left(self._keys, prefix) : last]}
            if not revision or revision == self._revision:
                return Range(self._revision, tuple(found.values()), self._marks[self._revision])
            check_revision(revision, self._compacted, self._revision)
            for undone in range(self._revision, revision, -1):
                for change in self._history[undone]:
                    if not change.event.key.startswith(prefix):
                        continue
                    if change.before is None:
                        found.pop(change.event.key, None)
                    else:
                        found[change.event.key] = change.before
            return Range(revision, tuple(found[key] for key in sorted(found)), self._marks[revision])

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now)."""
        return {kv.key: kv.mod_revision for kv in self.list(prefix, revision).kvs}

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Execute all `ops` in one revision if every compare holds, else nothing."""
        check_txn(compares, ops)
        with self._lock:
            self._expire()
            for compare in compares:
                known = self._kvs.get(compare.key)
                if (known.mod_revision if known else 0) != compare.mod_revision:
                    return TxnResult(False, self._revision)
            for op in ops:
                if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                    raise StoreError(f"store: lease {op.lease} of key {op.key} no longer exists; grant a new one")
            self._commit(ops)
            return TxnResult(True, self._revision)

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> MemoryWatch:
        """Return a watch of all keys with any of `prefixes`."""
        check_from_revision(from_revision)
        with self._lock:
            watch = MemoryWatch(self, PrefixSet(prefixes), from_revision, mark or self._marks.get(from_revision - 1, ""))
            self._watches.append(watch)
            if from_revision <= self._revision:
                watch.wake()
            return watch

    def grant(self, ttl_s: int) -> int:
        """Return a new lease."""
        if ttl_s < 1:
            raise StoreError(f"store: a lease of {ttl_s} s; give at least 1 s")
        with self._lock:
            lease = next(self._lease_ids)
            self._leases[lease] = _Lease(ttl_s, self._clock() + ttl_s, set())
            return lease

    def keep_alive(self, lease: int) -> int:
        """Renew the lease and return its remaining seconds; 0: it is gone."""
        with self._lock:
            self._expire()
            held = self._leases.get(lease)
            if held is None:
                return 0
            held.deadline = self._clock() + held.ttl_s
            return held.ttl_s

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys now."""
        with self._lock:
            self._expire()
            self._end_lease(lease)

    def compact(self, revision: int) -> None:
        """Drop the history before `revision`."""
        with self._lock:
            check_compaction(revision, self._compacted, self._revision)
            self._forget_before(revision)

    def close(self) -> None:
        """Do nothing: others may share the object and its data, and a watch is closed by its opener."""

    def _commit(self, ops: Sequence[Put | Delete]) -> None:
        revision = self._revision + 1
        changes = tuple(self._apply(op, revision) for op in ops if isinstance(op, Put) or op.key in self._kvs)
        if not changes:
            return
        self._revision = revision
        self._marks[revision] = new_mark()
        self._history[revision] = changes
        if revision - self._keep > self._compacted:
            self._forget_before(revision - self._keep)
        for watch in self._watches:
            if any(change.event.key in watch.prefixes for change in changes):
                watch.wake()

    def _apply(self, op: Put | Delete, revision: int) -> _Change:
        before = self._kvs.get(op.key)
        if before is not None and before.lease:
            self._leases[before.lease].keys.discard(op.key)
        if isinstance(op, Delete):
            del self._kvs[op.key]
            del self._keys[bisect_left(self._keys, op.key)]
            return _Change(Event(op.key, None, revision, 0), before)
        created = before.create_revision if before else revision
        self._kvs[op.key] = KeyValue(op.key, op.value, created, revision, op.lease)
        if before is None:
            insort(self._keys, op.key)
        if op.lease:
            self._leases[op.lease].keys.add(op.key)
        return _Change(Event(op.key, op.value, revision, created), before)

    def _forget_before(self, revision: int) -> None:
        for old in range(self._compacted, revision):
            self._history.pop(old, None)
            if (old - 1) % KEEP_MARK_EVERY:  # a watch may still be just before the remaining history
                self._marks.pop(old - 1, None)
        self._compacted = revision

    def _expire(self) -> None:
        if self._leases:
            now = self._clock()
            due = [(held.deadline, lease) for lease, held in self._leases.items() if held.deadline <= now]
            for _, lease in sorted(due):
                self._end_lease(lease)

    def _end_lease(self, lease: int) -> None:
        held = self._leases.get(lease)
        if held is not None:
            self._commit([Delete(key) for key in sorted(held.keys)])
            del self._leases[lease]

    def _since(self, delivered: int, mark: str, prefixes: PrefixSet) -> tuple[int, str, tuple[Event, ...]]:
        """Return the current revision, its mark, and the events after `delivered`."""
        with self._lock:
            self._expire()
            if delivered > self._revision:
                return delivered, mark, ()
            if delivered + 1 < self._compacted:
                raise Compacted(self._compacted)
            check_mark(delivered, mark, self._marks[delivered])
            changes = (self._history.get(revision, ()) for revision in range(delivered + 1, self._revision + 1))
            events = (change.event for change in itertools.chain.from_iterable(changes))
            return self._revision, self._marks[self._revision], tuple(event for event in events if event.key in prefixes)

    def _forget_watch(self, watch: MemoryWatch) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._watches.remove(watch)


class MemoryWatch:
    """A watch of a MemoryStore; an eventfd wakes its reader."""

    def __init__(self, store: MemoryStore, prefixes: PrefixSet, from_revision: int, mark: str) -> None:
        self.prefixes = prefixes
        self._mark = mark
        self._store = store
        self._delivered = from_revision - 1
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._end = weakref.finalize(self, os.close, self._eventfd)  # few tests close their watches

    @property
    def revision(self) -> int:
        """The revision up to which everything is delivered."""
        return self._delivered

    @property
    def mark(self) -> str:
        """The mark of `revision`."""
        return self._mark

    def fileno(self) -> int:
        """Return the descriptor that is readable when there may be events."""
        return self._eventfd

    def poll(self) -> tuple[Event, ...]:
        """Return the events since the last call, without waiting."""
        if self._eventfd < 0:
            raise StoreError("store: this watch is closed; open another")
        with contextlib.suppress(BlockingIOError):  # before the look-up: later events wake the reader again
            os.eventfd_read(self._eventfd)
        self._delivered, self._mark, events = self._store._since(self._delivered, self._mark, self.prefixes)
        return events

    def wake(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self._eventfd, 1)

    def close(self) -> None:
        """Close the descriptor."""
        if self._eventfd >= 0:
            self._store._forget_watch(self)
            self._end()
            self._eventfd = -1
