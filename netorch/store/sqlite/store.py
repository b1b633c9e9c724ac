"""A store in one SQLite file, shared by all processes of a machine: the command line writes, agents watch.

Every write holds the lock of `<db>.lock` from before BEGIN until after COMMIT, as does every checkpoint. SQLite before
3.51.3 can damage a file when two connections checkpoint and commit at the same instant
(sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from netorch.errors import Compacted, FutureRevision, StoreError, StoreUnavailable
from netorch.store.base import Compare, Delete, Event, KeyValue, Put, Range, TxnResult
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
    new_mark,
)
from netorch.store.sqlite.history import COLUMNS, forget_bite, mark_of, rows_of
from netorch.store.sqlite.index_lock import SQLITE_WAITS_S, await_index
from netorch.store.sqlite.rows import Row, checksum, event, key_value, revision_of
from netorch.store.sqlite.schema import check_not_emptied, open_database, translated
from netorch.store.sqlite.wakeup import LOCK_TIMEOUT_S, Wakeup

POLL_EVENTS: Final = 20_000  # approximate limit of events in one poll: a long history is read in parts
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class _State(msgspec.Struct):
    uid: str
    revision: int
    compacted: int


class SqliteStore:
    """A `Store` in the file `path`, created where none ever was, unless `create` is False. Not for use after fork.

    A write to a locked file gives up after `patience_s`. So does a read, which only SQLite's own lock can block.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = boot_clock,
        keep_revisions: int = KEEP_REVISIONS,
        *,
        create: bool = True,
        patience_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self.path = path.absolute()
        self._clock = clock
        self._keep = keep_revisions
        self._lock = threading.RLock()
        self._patience_s = patience_s
        self._db, self._revision_file = open_database(self.path, create, patience_s)
        try:
            self._file = os.stat(self.path)
            with translated(self.path):
                self._uid = self._meta().uid
            self._adopt_leases()
        except OSError as error:
            self.close()
            raise StoreUnavailable(f"store: {self.path}: {error.strerror}; connect again") from error
        except StoreError:
            self.close()
            raise

    @property
    def uid(self) -> str:
        """The identity of the history."""
        return self._uid

    def revision(self) -> int:
        """Return the current revision."""
        with self._reading():
            return self._state().revision

    def mark(self, revision: int) -> str:
        """Return the random mark of a revision."""
        with self._reading():
            found = mark_of(self._db, revision)
            if not found:
                state = self._state()
                check_revision(revision, state.compacted, state.revision)
                raise Compacted(state.compacted)
            return found

    def get(self, key: str) -> KeyValue | None:
        """Return the current state of a key."""
        with self._reading():
            row = self._db.execute(f"SELECT {COLUMNS} FROM cur WHERE key = ?", (key,)).fetchone()
            return key_value(row) if row else None

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` at `revision` (0: now)."""
        with self._reading():
            return self._list(prefix, revision)

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now)."""
        return {kv.key: kv.mod_revision for kv in self.list(prefix, revision).kvs}

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Execute all `ops` in one revision if every compare holds, else nothing; durable when it returns."""
        check_txn(compares, ops)
        with self._writing() as state:
            known = self._rows({item.key for items in (compares, ops) for item in items})
            for compare in compares:
                row = known.get(compare.key)
                if (revision_of(row[3]) if row else 0) != compare.mod_revision:
                    return TxnResult(False, state.revision)
            for lease in {op.lease for op in ops if isinstance(op, Put) and op.lease}:
                if not self._db.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone():
                    raise StoreError(f"store: lease {lease} no longer exists; grant a new one")
            self._commit(state, ops, known)
            return TxnResult(True, state.revision)

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> SqliteWatch:
        """Return a watch of all keys with any of `prefixes`."""
        check_from_revision(from_revision)
        with self._reading():  # detects a closed or replaced store
            seen = self._state().revision
            mark = mark or mark_of(self._db, from_revision - 1)
        return SqliteWatch(self, PrefixSet(prefixes), from_revision, mark, seen, Wakeup(self._revision_file.path))

    def grant(self, ttl_s: int) -> int:
        """Return a new lease."""
        if ttl_s < 1:
            raise StoreError(f"store: a lease of {ttl_s} s; give at least 1 s")
        lease = secrets.randbits(62) + 1
        with self._writing():
            self._db.execute("INSERT INTO lease VALUES (?, ?, ?)", (lease, ttl_s, self._clock() + ttl_s))
        return lease

    def keep_alive(self, lease: int) -> int:
        """Renew the lease and return its remaining seconds; 0: it is gone."""
        with self._writing():
            row = self._db.execute("SELECT ttl FROM lease WHERE id = ?", (lease,)).fetchone()
            if row is None or not isinstance(row[0], int):
                return 0
            ttl_s = row[0]
            self._db.execute("UPDATE lease SET deadline = ? WHERE id = ?", (self._clock() + ttl_s, lease))
            return ttl_s

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys now."""
        with self._writing() as state:
            self._end_lease(state, lease)

    def compact(self, revision: int) -> None:
        """Drop the history before `revision`."""
        with self._writing() as state:
            check_compaction(revision, state.compacted, state.revision)
            self._db.execute("UPDATE meta SET compacted = ?", (revision,))
        while self._forget():
            pass  # in parts, so that other writers need not wait for the whole

    def close(self) -> None:
        """Close the connection. Its watches are of no further use."""
        with self._lock:
            # The last connection to close writes a checkpoint, hence the lock. Without the lock, the next opener writes
            # it.
            with contextlib.suppress(StoreUnavailable), self._revision_file.locked(self._patience_s), translated(self.path):
                self._db.close()
            self._db.close()
            self._revision_file.close()

    def since(self, delivered: int, mark: str, seen: int, prefixes: PrefixSet) -> tuple[int, str, int, tuple[Event, ...]]:
        """Return the revision of the last event, its mark, the store's own revision, and the events; for watches."""
        self._check_file()
        with self._reading():
            state = self._state()
            if state.revision < seen:
                raise FutureRevision(f"store: {self.path} is at revision {state.revision} and was at {seen} before; list again")
            if delivered > state.revision:
                return delivered, mark, state.revision, ()
            if delivered + 1 < state.compacted:
                raise Compacted(state.compacted)
            check_mark(delivered, mark, mark_of(self._db, delivered))
            last = self._bite(delivered, state.revision)
            rows = self._db.execute(
                "SELECT key, value, rev, create_rev, sum FROM log WHERE rev > ? AND rev <= ? ORDER BY rev, sub", (delivered, last)
            ).fetchall()
            if len({row[2] for row in rows}) != last - max(delivered, FIRST_REVISION):  # damaged: each revision has a change
                raise Compacted(last)
            return last, mark_of(self._db, last), state.revision, tuple(event(row) for row in rows if row[0] in prefixes)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Show one state of the database to all reads inside."""
        with self._lock, translated(self.path):
            if self._patience_s < SQLITE_WAITS_S:
                await_index(self.path, self._patience_s)
            self._db.execute("BEGIN")
            try:
                if self._is_lease_due():
                    self._db.execute("ROLLBACK")
                    with contextlib.suppress(StoreUnavailable), self._writing(0):  # a full disk or a lock must not stop readers
                        pass
                    self._db.execute("BEGIN")
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _writing(self, patience_s: float | None = None) -> Iterator[_State]:
        """Hold the writers' lock around one SQLite transaction, which is committed at the end. Expired leases end first."""
        patience_s = self._patience_s if patience_s is None else patience_s
        with self._lock, translated(self.path), self._revision_file.locked(patience_s):
            self._check_file()
            if patience_s < SQLITE_WAITS_S:
                await_index(self.path, patience_s)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                state = self._state()
                before = state.revision
                self._end_due_leases(state)
                yield state
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            if state.revision != before:
                self._revision_file.ring(state.revision)

    def _state(self) -> _State:
        state = self._meta()
        if state.uid != self._uid:
            raise StoreUnavailable(f"store: {self.path} now holds another store ({state.uid}, was {self._uid}); connect again")
        return state

    def _meta(self) -> _State:
        row = self._db.execute("SELECT uid, rev, compacted, (SELECT max(rev) FROM mark) FROM meta").fetchone()
        if row is None or row[1] != row[3] or not isinstance(row[0], str) or not isinstance(row[2], int):
            raise StoreUnavailable(f"store: {self.path}: the file is damaged: its revision reads {row}; restore a backup")
        return _State(*row[:3])

    def _check_file(self) -> None:
        """Raise StoreUnavailable if the path leads to another file: writes would be lost."""
        try:
            same = os.path.samestat(self._file, os.stat(self.path))
        except OSError:
            same = False
        if not same or not self._revision_file.is_current():
            raise StoreUnavailable(f"store: {self.path} was removed or replaced while in use; connect again")
        check_not_emptied(self.path)

    def _list(self, prefix: str, revision: int) -> Range:
        state = self._state()
        if revision and revision != state.revision:
            check_revision(revision, state.compacted, state.revision)
            rows = rows_of(self._db, prefix, revision)
        else:
            revision, rows = state.revision, rows_of(self._db, prefix, None)
        return Range(revision, tuple(key_value(row) for row in rows), mark_of(self._db, revision))

    def _rows(self, keys: Iterable[str]) -> dict[str, Row]:
        wanted = msgspec.json.encode(list(keys)).decode()
        rows = self._db.execute(f"SELECT {COLUMNS} FROM cur WHERE key IN (SELECT value FROM json_each(?))", (wanted,))
        return {row[0]: row for row in rows.fetchall()}

    def _commit(self, state: _State, ops: Iterable[Put | Delete], known: dict[str, Row]) -> None:
        """Write one revision, unless nothing changes, and drop a little of the very old history."""
        revision = state.revision + 1
        current: list[Row] = []
        gone: list[Row] = []
        log: list[Row] = []
        for op in ops:
            old = known.get(op.key)
            *before, old_sum = old[1:] if old else (None,) * 5
            if isinstance(op, Put):
                created = revision_of(old[2]) if old else revision
                total = checksum(op.key, op.value, created, revision)
                current.append((op.key, op.value, created, revision, op.lease, total))
                log.append((revision, len(log), op.key, op.value, created, *before, total, old_sum))
            elif old:
                gone.append((op.key,))
                total = checksum(op.key, None, 0, revision)
                log.append((revision, len(log), op.key, None, 0, *before, total, old_sum))
        if not log:
            return
        state.revision = revision
        state.compacted = max(state.compacted, revision - self._keep)
        self._db.executemany("REPLACE INTO cur VALUES (?, ?, ?, ?, ?, ?)", current)
        self._db.executemany("DELETE FROM cur WHERE key = ?", gone)
        self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", log)
        self._db.execute("INSERT INTO mark VALUES (?, ?)", (revision, new_mark()))
        self._db.execute("UPDATE meta SET rev = ?, compacted = ?", (state.revision, state.compacted))
        if state.compacted:
            forget_bite(self._db, state.compacted, 2)  # two revisions for each new one: so it catches up

    def _forget(self) -> bool:
        """Delete a part of compacted history. Return whether there was any."""
        with self._writing() as state:
            return forget_bite(self._db, state.compacted, 1000)

    def _bite(self, delivered: int, current: int) -> int:
        """Return the last revision of at most about POLL_EVENTS events after `delivered`; a revision is never split."""
        row = self._db.execute(
            "SELECT rev FROM log WHERE rev > ? ORDER BY rev LIMIT 1 OFFSET ?", (delivered, POLL_EVENTS)
        ).fetchone()
        return row[0] if row else current

    def _adopt_leases(self) -> None:
        """Give all leases their full time after the machine has restarted, because the clock has restarted, too."""
        try:
            boot = _BOOT_ID.read_text().strip()
        except OSError:
            boot = "unknown"
        with self._lock, translated(self.path):
            if self._db.execute("SELECT 1 FROM meta WHERE boot = ?", (boot,)).fetchone():
                return
            with self._revision_file.locked(self._patience_s):
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("UPDATE lease SET deadline = ? + ttl", (self._clock(),))
                self._db.execute("UPDATE meta SET boot = ?", (boot,))
                self._db.execute("COMMIT")

    def _is_lease_due(self) -> bool:
        return self._db.execute("SELECT 1 FROM lease WHERE deadline <= ? LIMIT 1", (self._clock(),)).fetchone() is not None

    def _end_due_leases(self, state: _State) -> None:
        due = self._db.execute("SELECT id FROM lease WHERE deadline <= ? ORDER BY deadline", (self._clock(),)).fetchall()
        for (lease,) in due:
            self._end_lease(state, lease)

    def _end_lease(self, state: _State, lease: int) -> None:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM cur WHERE lease = ? AND lease <> 0 ORDER BY key", (lease,)).fetchall()
        self._commit(state, [Delete(row[0]) for row in rows if isinstance(row[0], str)], {row[0]: row for row in rows})
        self._db.execute("DELETE FROM lease WHERE id = ?", (lease,))


class SqliteWatch:
    """A watch of a SqliteStore."""

    def __init__(self, store: SqliteStore, prefixes: PrefixSet, from_revision: int, mark: str, seen: int, wakeup: Wakeup) -> None:
        self._store = store
        self._prefixes = prefixes
        self._delivered = from_revision - 1
        self._mark = mark
        self._seen = seen  # the store's own revision: less than `_delivered` while the first wanted one is in the future
        self._wakeup = wakeup

    @property
    def revision(self) -> int:
        """The revision up to which everything is delivered."""
        return self._delivered

    @property
    def mark(self) -> str:
        """The mark of `revision`."""
        return self._mark

    @property
    def notified(self) -> bool:
        """Whether the kernel reports commits; else they are found by polling."""
        return self._wakeup.notified

    def fileno(self) -> int:
        """Return the descriptor that is readable when there may be events."""
        return self._wakeup.fileno()

    def poll(self) -> tuple[Event, ...]:
        """Return the events since the last call, without waiting."""
        if self._wakeup.fileno() < 0:
            raise StoreError("store: this watch is closed; open another")
        self._wakeup.clear()  # before the look-up: later events wake the reader again
        self._delivered, self._mark, self._seen, events = self._store.since(
            self._delivered, self._mark, self._seen, self._prefixes
        )
        if self._delivered < self._seen:
            self._wakeup.again()
        return events

    def close(self) -> None:
        """Close the descriptors."""
        self._wakeup.close()
