"""Follows the store: list, watch from there, resume, list again when the history is compacted.

A store that is away changes nothing: the records stay. A store that is another one, or in which what was seen did not happen
(restored from a backup), is refused until an operator says that it is right: following it could take every instance off the host.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

from netorch.agent.history import History
from netorch.agent.records import Records
from netorch.agent.snapshot import Snapshot
from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreError
from netorch.store.base import Range, Store, Watch

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 15.0


class Prefixes(Protocol):
    """Says which keys the records need followed, given what they hold; the same object while that has not changed."""

    def __call__(self) -> frozenset[str]: ...


class Follower:
    """One host's connection to the store."""

    def __init__(self, records: Records, open_store: Callable[[], Store], prefixes: Prefixes) -> None:
        self.store: Store | None = None
        self.in_sync = False  # the records are what the store held at `revision`; only then may anything be deleted
        self.trouble = ""  # why not, for people
        self.refused = False  # what is there is not what this host has followed
        self.history = History()
        self.retry_at = 0.0
        self._records = records
        self._open_store = open_store
        self._prefixes = prefixes
        self._watch: Watch | None = None
        self._watched: frozenset[str] = frozenset()
        self._pause_s = RETRY_FIRST_S

    def boot(self, snapshot: Snapshot) -> None:
        """Take the records of the last run; what the store says later replaces them."""
        self.history.recall(snapshot)
        for key, (modified, value) in snapshot.records.items():
            self._records.put(key, value, modified)

    def fileno(self) -> int | None:
        """Return the descriptor that wakes for events, or None while there is no connection."""
        return self._watch.fileno() if self._watch is not None else None

    def pull(self, now: float) -> None:
        """Bring the records up to date; never raises for a store that is away."""
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
        """Let go of the store."""
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
        """Watch exactly what the records need, until listing what is new asks for nothing newer."""
        while (needed := self._prefixes()) is not self._watched and needed != self._watched:
            self._list(needed - self._watched)
            self._rewatch(needed)
        if not self.in_sync:
            log.info("in sync revision=%d store=%s", self.history.revision, self.history.uid)
        self.in_sync = True
        self._pause_s = RETRY_FIRST_S  # not before: a store that can be opened and not be read is asked less and less often

    def _list(self, prefixes: frozenset[str]) -> None:
        assert self.store is not None
        first: Range | None = None
        for prefix in sorted(prefixes):
            listing = self.store.list(prefix)
            self._records.replace([prefix], {kv.key: (kv.mod_revision, kv.value) for kv in listing.kvs}, listing.revision)
            first = first or listing
        # Prefixes already watched continue behind the last event; the listed ones behind the first listing. The earlier of the
        # two serves both, because a record that is not newer than the known one changes nothing.
        if first is not None and (not self._watched or first.revision < self.history.revision):
            self.history.saw(self.store, first.revision, first.mark)

    def _rewatch(self, prefixes: frozenset[str]) -> None:
        assert self.store is not None
        if self._watch is not None:
            self._watch.close()
        self._watch = self.store.watch(sorted(prefixes), self.history.revision + 1, self.history.mark)
        self._watched = prefixes
        self._records.forget_statuses(prefixes)
