"""A thousand agents that lose the store and find it again at the same moment."""

from __future__ import annotations

import contextlib
import heapq
import random
from collections import Counter

import pytest

from netorch.agent.following.follower import RETRY_MAX_S, Follower
from netorch.agent.records import Records
from netorch.records import keys
from netorch.store.base import Put, Range, Store
from netorch.store.memory import MemoryStore
from tests.unit.agent.world import Wire, WiredStore

AGENTS = 1000


class CountedStore(WiredStore):
    """A store over a wire that counts listings."""

    listings = 0

    def list(self, prefix: str, revision: int = 0) -> Range:
        CountedStore.listings += 1
        return super().list(prefix, revision)


class Herd:
    """Agents' followers, each called when it wants to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
        self.store, self.wire, self.now = MemoryStore(), Wire(), 0.0
        self.tries: Counter[int] = Counter()  # by second
        self.followers = [self._follower(f"hv{number}") for number in range(AGENTS)]
        for follower in self.followers:
            follower.pull(self.now)
            follower.unwatch()  # its descriptor: a process may have a thousand

    def _follower(self, name: str) -> Follower:
        records = Records(name)
        self.store.txn([], [Put(keys.placement(name, "eni-00138800000000001"), b"{}"), Put(keys.host_drained(name), b"{}")])

        def opened() -> Store:
            self.tries[int(self.now)] += 1
            return CountedStore(self.store, self.wire)

        return Follower(records, opened, lambda: frozenset(records.prefixes))

    def away(self, seconds: float) -> None:
        """Cut the wire, and repair it after a while."""
        self.wire.cut = True
        for follower in self.followers:
            follower.pull(self.now)
        self.tries.clear()
        self._run(self.now + seconds)
        self.wire.cut = False

    def _run(self, until: float) -> None:
        due = [(follower.retry_at, number) for number, follower in enumerate(self.followers)]
        heapq.heapify(due)
        while due and due[0][0] < until:
            self.now, number = heapq.heappop(due)
            self.followers[number].pull(self.now)
            if self.followers[number].in_sync:
                self.followers[number].unwatch()
            else:
                heapq.heappush(due, (self.followers[number].retry_at, number))
        self.now = until

    def back(self) -> float:
        """Let all return; return the seconds until the last one is back."""
        began = self.now
        self._run(began + 10 * RETRY_MAX_S)
        assert all(follower.in_sync for follower in self.followers)
        return max(self.tries) + 1 - began

    def close(self) -> None:
        for follower in self.followers:
            follower.close()


@pytest.mark.slow
@pytest.mark.parametrize(("outage_s", "share"), [(3, 2), (30, 8), (600, 8)])
def test_agents_return_one_after_the_other_and_read_only_what_is_new(
    monkeypatch: pytest.MonkeyPatch, outage_s: int, share: int
) -> None:
    with contextlib.closing(Herd(monkeypatch)) as herd:
        herd.away(float(outage_s))
        assert max(herd.tries[second] for second in range(outage_s - 1, outage_s)) <= AGENTS / share
        CountedStore.listings = 0
        herd.tries.clear()
        took_s = herd.back()
        assert took_s <= min(3 * outage_s, 1.5 * RETRY_MAX_S) + 1
        assert max(herd.tries.values()) <= AGENTS / share
        assert sum(herd.tries.values()) == AGENTS
        assert CountedStore.listings == 0
