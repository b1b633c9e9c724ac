"""Joins the events of several watches in one stream into whole revisions.

etcd keeps the order within one watch, but not between two: the events of a transaction on two prefixes may arrive at
different times. A revision is complete once every watch is known to be past it. A watch is past its delivered events,
and past the revision of a progress notification: etcd sends that after all events up to it.
"""

from __future__ import annotations

from typing import Final

from netorch.errors import Compacted, StoreDenied, StoreUnavailable
from netorch.store.base import Event
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.messages import Message

EVERY_WATCH: Final = -1  # the watch id of a progress notification for all


class Frontier:
    """The positions of `watches` watches in a stream, and their events that are not taken yet."""

    def __init__(self, keys: Keyspace, watches: int, delivered: int) -> None:
        self._keys = keys
        self._reached = [delivered] * watches
        self._everywhere = delivered
        self._delivered = delivered
        self._parts: list[list[Event]] = [[] for _ in range(watches)]  # of answers in fragments
        self._events: list[Event] = []

    def add(self, answer: Message) -> None:
        """Process an answer.

        Raises:
          Compacted: history that a watch needs is gone.
          StoreDenied: the user may not watch a range.
          StoreUnavailable: the cluster ended a watch.
        """
        if answer.canceled:
            if answer.compact_revision:
                raise Compacted(answer.compact_revision - self._keys.base)
            if "permission denied" in answer.cancel_reason:
                raise StoreDenied(
                    "store: the cluster ended a watch: permission denied; `netorch ca list`, run by an operator, lists its users"
                )
            raise StoreUnavailable(f"store: the cluster ended a watch: {answer.cancel_reason or 'no reason'}; connect again")
        if answer.created:  # its revision is the store's, not the watch's
            return
        if answer.watch_id == EVERY_WATCH:
            self._everywhere = max(self._everywhere, answer.header.revision - self._keys.base)
            return
        part = self._parts[answer.watch_id]
        part += map(self._keys.event, answer.events)
        if answer.fragment:
            return
        reached = part[-1].mod_revision if part else answer.header.revision - self._keys.base
        self._parts[answer.watch_id] = []
        self._events += [event for event in part if event.mod_revision > self._reached[answer.watch_id]]  # etcd issue 20221
        self._reached[answer.watch_id] = max(self._reached[answer.watch_id], reached)

    def whole(self) -> int:
        """Return the last complete revision. Cost: O(watches)."""
        return max(min(self._reached), self._everywhere)

    def waits(self) -> bool:
        """Return whether there are events after the last complete revision."""
        whole = self.whole()
        return any(event.mod_revision > whole for event in self._events)

    def take(self) -> tuple[int, tuple[Event, ...]]:
        """Return the last complete revision, and the events up to it since the last call, in order."""
        whole = self.whole()
        ready = sorted((event for event in self._events if event.mod_revision <= whole), key=lambda event: event.mod_revision)
        self._events = [event for event in self._events if event.mod_revision > whole]
        return whole, tuple(ready)
