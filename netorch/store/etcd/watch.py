"""A watch of an `EtcdStore`: a thread follows the cluster from member to member, and its reader never waits.

Before each stream, also at another member, the thread compares the store's revision and the mark of the last delivered
one. So a cluster restored from a backup is detected before any of its events are delivered.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from netorch.errors import Compacted, FutureRevision, StoreError, StoreUnavailable
from netorch.store.base import Event
from netorch.store.etcd.client import Client, Unanswered
from netorch.store.etcd.frontier import EVERY_WATCH, Frontier
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.stream import Stream
from netorch.store.rules import check_mark

WAITING_EVENTS: Final = 20_000  # approximate limit of events that wait for the reader; further ones wait in the cluster
_TICK_S: Final = 0.5
_ASK_EVERY_S: Final = 10.0  # for progress, so that a watch of rarely changed keys can be resumed after compaction
_ASK_AGAIN_S: Final = 0.5
_PAUSE_S: Final = 0.05

History = Callable[[int], tuple[int, str]]  # from a revision to the store's current one and the mark of the given one


class EtcdWatch:
    """A `Watch` of all keys with any of `prefixes`."""

    def __init__(
        self, client: Client, keys: Keyspace, history: History, prefixes: Iterable[str], from_revision: int, mark: str
    ) -> None:
        self._client = client
        self._keys = keys
        self._history = history
        self._ranges = [keys.range(prefix) for prefix in _widest(prefixes)]
        self._lock = threading.Condition()
        self._events: list[Event] = []
        self._failure: StoreError | None = None
        self._followed = self._delivered = from_revision - 1
        self._mark = self._followed_mark = mark
        self._seen = 0  # the highest known revision of the store
        self._stopped = False
        self._heard = False  # whether the current stream has received anything
        self._stream: Stream | None = None
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._prove()
        except StoreUnavailable:
            self.close()
            raise
        except StoreError as error:
            self._fail(error)
        self._mark = self._followed_mark
        if self._failure is None:
            threading.Thread(target=self._run, name="etcd watch", daemon=True).start()

    @property
    def revision(self) -> int:
        """The revision up to which everything is delivered."""
        return self._delivered

    @property
    def mark(self) -> str:
        """The mark of `revision`."""
        return self._mark

    def fileno(self) -> int:
        """Return the descriptor that is readable when there may be events; -1 once closed."""
        return self._eventfd

    def poll(self) -> tuple[Event, ...]:
        """Return the events since the last call, without waiting."""
        with self._lock:
            if self._eventfd < 0:
                raise StoreError("store: this watch is closed; open another")
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._eventfd)
            if self._failure is not None and not self._events:
                os.eventfd_write(self._eventfd, 1)
                raise self._failure
            events, self._events = tuple(self._events), []
            self._delivered, self._mark = self._followed, self._followed_mark
            if self._failure is not None:
                os.eventfd_write(self._eventfd, 1)
            self._lock.notify()
            return events

    def stop(self) -> None:
        """Stop following. Events that have arrived can still be read."""
        self._fail(StoreUnavailable("store: the store is closed; connect again"))

    def close(self) -> None:
        """Close the descriptor."""
        with self._lock:
            if self._eventfd >= 0:
                os.close(self._eventfd)
                self._eventfd = -1
            self._halt()

    def _halt(self) -> None:
        self._stopped = True
        self._lock.notify()
        if self._stream is not None:
            self._stream.close()

    def _fail(self, error: StoreError) -> None:
        with self._lock:
            self._failure = self._failure or error
            if self._eventfd >= 0:
                os.eventfd_write(self._eventfd, 1)
            self._halt()

    def _run(self) -> None:
        """Follow until stopped. Leave a failing member. Report an error if all fail for longer than the client's patience."""
        pause, give_up = _PAUSE_S, time.monotonic() + self._client.patience_s
        while not self._stopped:
            try:
                if self._stream is not None:
                    self._prove()
                self._heard = False
                self._follow()
            except Unanswered as error:
                if self._heard:
                    pause, give_up = _PAUSE_S, time.monotonic() + self._client.patience_s
                elif time.monotonic() >= give_up:
                    return self._fail(self._client.unavailable(error))
            except StoreError as error:
                return self._fail(error)
            with self._lock:
                if not self._stopped:
                    self._lock.wait(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 1.0)
        return None

    def _prove(self) -> None:
        """Compare the store's history with the one followed so far.

        Raises:
          Compacted, FutureRevision, OtherHistory: as `Watch.poll`.
        """
        try:
            current, mark = self._history(self._followed)
        except Compacted:
            if self._followed_mark:
                raise
            current, mark = self._history(0)  # there is no known mark to compare; the stream itself reports what is gone
        if current < self._seen:
            raise FutureRevision(f"store: the cluster is at revision {current} and was at {self._seen} before; list again")
        self._seen = current
        if self._followed <= current:
            check_mark(self._followed, self._followed_mark, mark or self._followed_mark)
            self._followed_mark = mark

    def _follow(self) -> None:
        """Read one stream until it ends. Raises as the stream."""
        stream = Stream(self._client, self._ranges, self._followed + 1 + self._keys.base)
        with self._lock:
            self._stream = stream
            if self._stopped:
                stream.close()
        frontier = Frontier(self._keys, len(self._ranges), self._followed)
        asked, ask_at, pause = False, 0.0, _ASK_AGAIN_S  # `asked`: for events that wait
        try:
            while not self._stopped:
                for answer in stream.answers(_TICK_S):
                    self._heard = True
                    if answer.watch_id == EVERY_WATCH:
                        asked, ask_at, pause = False, time.monotonic() + _ASK_EVERY_S, _ASK_AGAIN_S
                    frontier.add(answer)
                if frontier.whole() > self._followed:
                    self._deliver(*frontier.take())
                now, waits = time.monotonic(), frontier.waits()
                if stream.can_ask and (now >= ask_at or (waits and not asked)):
                    stream.ask_progress()  # a member sends no progress by itself before a watch has caught up or has started
                    pause = _ASK_AGAIN_S if waits else min(pause * 2, _ASK_EVERY_S)
                    asked, ask_at = waits, now + pause
        finally:
            stream.close()

    def _deliver(self, revision: int, events: tuple[Event, ...]) -> None:
        """Pass events on once the mark of their revision is known."""
        _, mark = self._history(revision)
        with self._lock:
            self._events += events
            self._followed, self._followed_mark, self._seen = revision, mark, max(self._seen, revision)
            if self._eventfd >= 0:
                os.eventfd_write(self._eventfd, 1)
            while len(self._events) > WAITING_EVENTS and not self._stopped:
                self._lock.wait()


def _widest(prefixes: Iterable[str]) -> list[str]:
    """Return the prefixes that are not covered by another one."""
    widest: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not widest or not prefix.startswith(widest[-1]):
            widest.append(prefix)
    return widest
