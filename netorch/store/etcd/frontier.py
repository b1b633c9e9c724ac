"""What several watches of one stream bring, put together to whole revisions again.

etcd keeps the order of one watch, and nothing between two of them: of a transaction in two prefixes one watch may tell now, the
other later. A revision is whole once every watch is known to be past it. A watch is past what it has delivered, and past what a
progress notification says: etcd sends that behind all events up to it.
"""

from __future__ import annotations

from typing import Final

from netorch.errors import Compacted, StoreUnavailable
from netorch.store.base import Event
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message

EVERY_WATCH: Final = -1  # the watch of a progress notification for all


class Frontier:
    """How far `watches` watches of a stream are, and what they brought that has not been taken."""

    def __init__(self, keys: Keyspace, watches: int, delivered: int) -> None:
        self.heard = delivered  # the highest revision that anything has told
        self._keys = keys
        self._reached = [delivered] * watches
        self._everywhere = delivered
        self._delivered = delivered
        self._parts: list[list[Event]] = [[] for _ in range(watches)]  # of answers that come in fragments
        self._events: list[Event] = []

    def add(self, answer: Message) -> None:
        """Take in an answer.

        Raises:
          Compacted: what a watch needs is gone.
          StoreUnavailable: the cluster ended a watch.
        """
        if answer.canceled:
            if answer.compact_revision:
                raise Compacted(answer.compact_revision - self._keys.base)
            raise StoreUnavailable(f"store: the cluster ended a watch: {answer.cancel_reason or 'no reason'}; connect again")
        if answer.created:  # its revision is the store's, not the watch's
            return
        if answer.watch_id == EVERY_WATCH:
            self._everywhere = max(self._everywhere, answer.header.revision - self._keys.base)
            self.heard = max(self.heard, self._everywhere)
            return
        part = self._parts[answer.watch_id]
        part += map(self._keys.event, answer.events)
        if answer.fragment:
            return
        reached = part[-1].mod_revision if part else answer.header.revision - self._keys.base
        self._parts[answer.watch_id] = []
        self._events += [event for event in part if event.mod_revision > self._reached[answer.watch_id]]  # etcd issue 20221
        self._reached[answer.watch_id] = max(self._reached[answer.watch_id], reached)
        self.heard = max(self.heard, reached)

    def whole(self) -> int:
        """Return the last revision that every watch is past. Cost: O(watches)."""
        return max(min(self._reached), self._everywhere)

    def waits(self) -> bool:
        """Return whether something came that is behind the last whole revision."""
        whole = self.whole()
        return any(event.mod_revision > whole for event in self._events)

    def take(self) -> tuple[int, tuple[Event, ...]]:
        """Return the last whole revision, and what happened up to it since the last call, in order."""
        whole = self.whole()
        ready = sorted((event for event in self._events if event.mod_revision <= whole), key=lambda event: event.mod_revision)
        self._events = [event for event in self._events if event.mod_revision > whole]
        return whole, tuple(ready)
