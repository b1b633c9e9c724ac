"""Follow the store: list, watch from that revision, resume, list again after a compaction.

While the store is away the records stay as they are. When it is back, the host resumes after the last revision that it has
followed. So a thousand hosts that return at once read what has changed, not everything.

A different store, or a store without the history that this host has followed (restored from a backup), is refused until an
operator confirms it: following it could remove every instance from the host.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Set
from typing import Protocol

from netorch.agent.following.absence import check_absence
from netorch.agent.following.audit import RecordsAudit
from netorch.agent.following.floors import Floors
from netorch.agent.following.history import History
from netorch.agent.records import Records
from netorch.agent.snapshot import Snapshot
from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreDenied, StoreError, StoreUnavailable
from netorch.records import keys
from netorch.store.base import Range, Store, Watch

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 15.0


class Prefixes(Protocol):
    """Returns the key prefixes that must be followed, given the records; the same object while they are unchanged."""

    def __call__(self) -> frozenset[str]: ...


class Follower:
    """One host's connection to the store."""

    def __init__(self, records: Records, open_store: Callable[[], Store], prefixes: Prefixes) -> None:
        self.store: Store | None = None
        self.in_sync = False  # all records are as new as the store when it was connected; only then may anything be deleted
        self.trouble = ""  # why not in sync, for people
        self.refused = False  # the store's history is not the one that this host has followed
        self.history = History()
        self._records = records
        self._open_store = open_store
        self._prefixes = prefixes
        self._watch: Watch | None = None
        self._watched: frozenset[str] = frozenset()  # the records below these are the store's at `history.revision`, or newer
        self._denied: dict[str, StoreDenied] = {}  # prefixes that this host may not read; it asks again at `retry_at`
        self._floors = Floors()
        self._audit = RecordsAudit(records)
        self._placed: frozenset[str] = frozenset()  # keys of the last run's placements, until the store has listed this host's
        self._compared_at = 0  # the last revision at which this host's own records were compared with the store's, or listed
        self._goal = 0  # the store's revision when it was connected
        self.retry_at = 0.0
        self._pause_s = RETRY_FIRST_S

    def recall(self, snapshot: Snapshot) -> None:
        """Expect the store that the last run followed, and what it had placed on this host."""
        self.history.recall(snapshot)
        own = keys.placement(self._records.host_name, "")
        self._placed = frozenset(key for key in snapshot.records if key.startswith(own))

    def boot(self, snapshot: Snapshot) -> None:
        """Load the records of the last run, unless the store has listed them already; its records replace them later."""
        for key, (modified, value) in snapshot.records.items():
            if not self._floors.include(key, modified):
                self._records.put(key, value, modified)

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable for events, or None while there is no connection."""
        return self._watch.fileno() if self._watch is not None else None

    def wake_at(self) -> float | None:
        """Return when `pull` has work to do even without events; None: only then."""
        if self.store is None or self._denied:
            return self.retry_at
        audits = self.in_sync and self._floors.passed(self.history.revision)
        return self._audit.due_at if audits else None

    def pull(self, now: float) -> None:
        """Bring the records up to date; never raises when the store is away."""
        try:
            if self.store is None:
                if now < self.retry_at:
                    return
                self._connect()
                self._follow_needed(now)
            self._deliver()
            self._follow_needed(now)
            self._note_sync(now)
        except StoreError as error:
            self.refused = isinstance(error, OtherHistory | FutureRevision)
            if not isinstance(error, StoreUnavailable):
                self._watched = frozenset()  # the records are not what the store had: list again
            self._disconnect(str(error), now)

    def unwatch(self) -> None:
        """Stop watching; the store stays open."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        """Close the store."""
        self.unwatch()
        if self.store is not None:
            self.store.close()
            self.store = None

    def _connect(self) -> None:
        self.store = self._open_store()  # before the check, so that a refused store is closed again
        self._goal = self.history.check(self.store)
        self.trouble, self.refused = "", False
        self._denied.clear()

    def _disconnect(self, reason: str, now: float) -> None:
        self._lose_sync(reason)
        self.close()
        self._retry_later(now)

    def _lose_sync(self, reason: str) -> None:
        if reason != self.trouble:
            log.warning("out of sync reason=%r", reason)
        self.trouble, self.in_sync = reason, False

    def _retry_later(self, now: float) -> None:
        self.retry_at = now + self._pause_s * random.uniform(0.5, 1.5)
        self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)

    def _deliver(self) -> None:
        if self._watch is None:
            return
        assert self.store is not None
        try:
            events = self._watch.poll()
        except Compacted:
            self.unwatch()
            self._watched = frozenset()
            self.history.check(self.store)
            return
        except StoreDenied:
            self._watched = frozenset()  # a listing says which prefix this host may not read
            raise
        for event in events:
            if self._floors.include(event.key, event.mod_revision):
                continue
            if event.value is None:
                self._records.drop(event.key, event.mod_revision)
            else:
                self._records.put(event.key, event.value, event.mod_revision)
        if self._watch.revision != self.history.revision:
            self.history.saw(self.store, self._watch.revision, self._watch.mark)

    def _follow_needed(self, now: float) -> None:
        """Watch exactly the prefixes that the records need and this host may read, until a listing adds no new prefix.

        Raises:
          StoreDenied: this host may read none of them.
        """
        if self._denied and now >= self.retry_at:
            self._denied.clear()
        while ((wanted := self._readable()) is not self._watched and wanted != self._watched) or self._watch is None:
            denied = self._list(wanted - self._watched)
            if denied.keys() == wanted:
                raise next(iter(denied.values()))
            self._rewatch(wanted - denied.keys())
            if denied:
                self._denied |= denied
                self._retry_later(now)

    def _readable(self) -> frozenset[str]:
        needed = self._prefixes()
        return needed - self._denied.keys() if self._denied else needed

    def _note_sync(self, now: float) -> None:
        """Note that the records have reached the store, and let the audit continue.

        A denied prefix keeps the host out of sync, unless what was read since says that it is not needed. What other hosts say to
        this one counts as missing instead: a host of a move, which may write the mapping, can name there whom to ask.
        """
        assert self.store is not None
        denied = self._denied.keys() & self._prefixes() if self._denied else set()
        if needed := denied & self._records.prefixes:
            self._lose_sync(str(self._denied[min(needed)]))
            return
        self._note_unheard(denied)
        has_passed = self._floors.passed(self.history.revision)
        if self.in_sync:
            compared = self._audit.turn(now, self.store, self._watched, self.history.revision) if has_passed else None
            if compared == keys.host_prefix(self._records.host_name):
                self._compared_at = self.history.revision
        elif self.history.revision >= self._goal:
            log.info("in sync revision=%d store=%s", self.history.revision, self.history.uid)
            self.in_sync = True
            self._audit.resume(now, self._watched)
        if self.in_sync and not denied:
            self._pause_s = RETRY_FIRST_S  # only now: a store that opens but cannot be read is retried less and less often

    def _note_unheard(self, denied: Set[str]) -> None:
        """Report what this host may not read of other hosts' words, or that it has no trouble."""
        trouble = str(self._denied[min(denied)]) if denied else ""
        if trouble and trouble != self.trouble:
            log.warning("not heard from another host reason=%r", trouble)
        self.trouble = trouble
        if not denied:
            self._denied.clear()

    def _list(self, prefixes: frozenset[str]) -> dict[str, StoreDenied]:
        """Replace the records below prefixes by the store's; return the errors of those that this host may not read.

        Raises:
          FutureRevision: the store is behind what this host has followed.
          OtherHistory: it lacks most of what this host carries.
        """
        assert self.store is not None
        first: Range | None = None
        denied: dict[str, StoreDenied] = {}
        for prefix in sorted(prefixes):
            try:
                listing = self.store.list(prefix)
            except StoreDenied as error:
                denied[prefix] = error
                continue
            self._check(prefix, listing)
            self._records.replace([prefix], {kv.key: (kv.mod_revision, kv.value) for kv in listing.kvs}, listing.revision)
            self._floors.listed(prefix, listing.revision)
            if prefix == keys.host_prefix(self._records.host_name):
                self._placed, self._compared_at = frozenset(), listing.revision
            first = first or listing
        if first is not None and not self._watched:  # else the watch goes on after its last event
            self.history.saw(self.store, first.revision, first.mark)
        return denied

    def _check(self, prefix: str, listing: Range) -> None:
        assert self.store is not None
        seen, host = self.history.revision, self._records.host_name
        if listing.revision < seen:
            raise FutureRevision(f"store: a listing is of revision {listing.revision}, but this host has seen {seen}")
        if prefix == keys.host_prefix(host):
            placed = self._placed | {keys.placement(host, known) for known in self._records.placements}
            check_absence(self.store, host, placed, listing, {seen, self._compared_at})

    def _rewatch(self, prefixes: frozenset[str]) -> None:
        assert self.store is not None
        self.unwatch()
        self._watch = self.store.watch(sorted(prefixes), self.history.revision + 1, self.history.mark)
        self._watched = prefixes
        self._records.forget_statuses(prefixes)
