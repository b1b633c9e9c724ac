"""A watch that reports no progress while the store is idle, as etcd's does for ten minutes unless it is asked."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from netorch.agent.following.audit import AUDIT_S
from netorch.store.base import Event, Put, Range
from tests.unit.agent.world import WiredStore, WiredWatch, World


class Still(WiredWatch):
    """A watch that stays where it began."""

    def poll(self) -> tuple[Event, ...]:
        """Return no event."""
        return ()


class StillStore(WiredStore):
    """A store to which others write between two listings."""

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return the keys of a prefix, after a write of somebody else."""
        self._store.txn((), [Put("quota/x", b"{}")])
        return super().list(prefix, revision)

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> Still:
        """Return a watch."""
        return Still(self._store.watch(prefixes, from_revision, mark), self._wire)


def test_an_agent_sleeps_until_its_watch_has_passed_all_listings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tests.unit.agent.world.WiredStore", StillStore)
        follower = world.start("hv1").follower
        assert follower.in_sync
        assert not follower._floors.passed(follower.history.revision)
        world.clock.now += 2 * AUDIT_S
        world.turn("hv1")  # fails if a deadline is past
        assert follower.wake_at() is None
    world.start("hv1")
    world.settle(3)
    world.assert_settled()
