"""The comparison of an agent's records with the store's, when the store comes and goes."""

from __future__ import annotations

import random

import pytest

from netorch.agent.following.audit import AUDIT_S
from netorch.agent.following.follower import Follower
from netorch.agent.records import Records
from netorch.store.base import Range
from netorch.store.memory import MemoryStore
from tests.unit.agent.world import Wire, WiredStore

CONNECTED_S = 30  # shorter than the pause between two prefixes


class NotedStore(WiredStore):
    """A store that notes the prefixes that are listed at a revision, as only the comparison does."""

    def __init__(self, store: MemoryStore, wire: Wire, compared: set[str]) -> None:
        super().__init__(store, wire)
        self._compared = compared

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return the keys of a prefix."""
        if revision:
            self._compared.add(prefix)
        return super().list(prefix, revision)


def test_an_agent_that_often_loses_the_store_compares_every_prefix_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
    store, wire, records, compared = MemoryStore(), Wire(), Records("hv1"), set[str]()
    follower = Follower(records, lambda: NotedStore(store, wire, compared), lambda: frozenset(records.prefixes))
    for second in range(int(6 * AUDIT_S)):
        wire.cut = second % CONNECTED_S == 0
        follower.pull(float(second))
    assert compared == records.prefixes
    follower.close()
