"""Follow the store: list, watch from that revision, resume, list again after a compaction.

While the store is away the records stay as they are. A different store, or a store without the history that this host has
followed (restored from a backup), is refused until an operator confirms it: following it could remove every instance from the
host.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

from netorch.agent.history import History
from netorch.agent.records import Records
from netorch.agent.snapshot import Snapshot
from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreDenied, StoreError
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
        self.in_sync = False  # the records equal the store at `revision`; only then may anything be deleted
        self.trouble = ""  # why not in sync, for people
        self.refused = False  # the store's history is not the one that this host has followed
        self.history = History()
        self.retry_at = 0.0
        self._records = records
        self._open_store = open_store
        self._prefixes = prefixes
        self._watch: Watch | None = None
        self._watched: frozenset[str] = frozenset()
        self._pause_s = RETRY_FIRST_S

    def boot(self, snapshot: Snapshot) -> None:
        """Load the records of the last run; the store's records replace them later."""
        self.history.recall(snapshot)
        for key, (modified, value) in snapshot.records.items():
            self._records.put(key, value, modified)

    def fileno(self) -> int | None:
        """Return the descriptor that becomes readable for events, or None while there is no connection."""
        return self._watch.fileno() if self._watch is not None else None

    def pull(self, now: float) -> None:
        """Bring the records up to date; never raises when the store is away."""
        try:
            if self.store is None:
                if now < self.retry_at:
                    return
                self._connect()
            self._deliver()
            self._follow_needed()
        except StoreError as error:
            self.refused = isinstance(error, OtherHistory | FutureRevision)
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
        self.history.check(self.store)
        self.trouble, self.refused = "", False
        self._watched = frozenset()

    def _disconnect(self, reason: str, now: float) -> None:
        if reason != self.trouble:
            log.warning("out of sync reason=%r", reason)
        self.trouble, self.in_sync = reason, False
        self.close()
        self.retry_at = now + self._pause_s * random.uniform(0.5, 1.5)
        self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)

    def _deliver(self) -> None:
        if self._watch is None:
            return
        try:
            events = self._watch.poll()
        except Compacted:
            self._watch.close()
            self._watch, self._watched = None, frozenset()
            assert self.store is not None
            self.history.check(self.store)
            return
        for event in events:
            if event.value is None:
                self._records.drop(event.key, event.mod_revision)
            else:
                self._records.put(event.key, event.value, event.mod_revision)
        if self._watch.revision != self.history.revision:
            assert self.store is not None
            self.history.saw(self.store, self._watch.revision, self._watch.mark)

    def _follow_needed(self) -> None:
        """Watch exactly the prefixes that the records need, until a listing adds no new prefix.

        Raises:
          StoreDenied: this host may not read one that it needs. Others are read first: they may say that it is not needed.
        """
        while (needed := self._prefixes()) is not self._watched and needed != self._watched:
            denied = self._list(needed - self._watched)
            self._rewatch(needed - denied.keys())
            if denied and self._prefixes() == needed:
                raise next(iter(denied.values()))
        if not self.in_sync:
            log.info("in sync revision=%d store=%s", self.history.revision, self.history.uid)
        self.in_sync = True
        self._pause_s = RETRY_FIRST_S  # only now: a store that opens but cannot be read is retried less and less often

    def _list(self, prefixes: frozenset[str]) -> dict[str, StoreDenied]:
        """Replace the records below prefixes by the store's; return the errors of those that this host may not read."""
        assert self.store is not None
        first: Range | None = None
        denied: dict[str, StoreDenied] = {}
        for prefix in sorted(prefixes):
            try:
                listing = self.store.list(prefix)
            except StoreDenied as error:
                denied[prefix] = error
                continue
            self._records.replace([prefix], {kv.key: (kv.mod_revision, kv.value) for kv in listing.kvs}, listing.revision)
            first = first or listing
        # Prefixes already watched continue after the last event; listed prefixes continue after the first listing. The earlier
        # of the two revisions serves both, because a record that is not newer than the known one changes nothing.
        if first is not None and (not self._watched or first.revision < self.history.revision):
            self.history.saw(self.store, first.revision, first.mark)
        return denied

    def _rewatch(self, prefixes: frozenset[str]) -> None:
        assert self.store is not None
        if self._watch is not None:
            self._watch.close()
        self._watch = self.store.watch(sorted(prefixes), self.history.revision + 1, self.history.mark)
        self._watched = prefixes
        self._records.forget_statuses(prefixes)
