"""The optimistic loop: an attempt's reads are compared, a lost race is retried, and a hopeless one ends."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netorch.errors import Conflict
from netorch.store.base import Compare, Delete, Put
from netorch.store.memory import MemoryStore
from netorch.store.transact import Snapshot, retry

Writes = tuple[Sequence[Compare], Sequence[Put | Delete]]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_an_attempt_that_lost_reads_again(store: MemoryStore) -> None:
    read: list[bytes | None] = []

    def attempt(snapshot: Snapshot) -> Writes:
        known = snapshot.get("k")
        read.append(known.value if known else None)
        if len(read) < 3:  # another writer is faster
            store.txn([], [Put("k", b"%d" % len(read))])
        return [], [Put("k", b"mine")]

    assert retry(store, attempt).revision == 4
    assert read == [None, b"1", b"2"]


def test_a_key_that_was_only_read_is_compared_too(store: MemoryStore) -> None:
    def attempt(snapshot: Snapshot) -> Writes:
        snapshot.get("guard")
        store.txn([], [Put("guard", b"")])
        return [], [Put("k", b"")]

    with pytest.raises(Conflict, match="3 times"):
        retry(store, attempt, tries=3)
    assert store.get("k") is None


def test_one_attempt_sees_a_key_once(store: MemoryStore) -> None:
    snapshot = Snapshot(store)
    assert snapshot.get("k") is None
    store.txn([], [Put("k", b"")])
    assert snapshot.get("k") is None
    assert len(snapshot.list("k").kvs) == 1
    assert snapshot.compares([Compare("k", 0), Compare("other", 3)]) == (Compare("k", 0), Compare("other", 3))


def test_an_attempt_may_add_its_own_conditions(store: MemoryStore) -> None:
    with pytest.raises(Conflict):
        retry(store, lambda snapshot: ([Compare("k", 5)], [Put("k", b"")]), tries=2)
    assert retry(store, lambda snapshot: ([Compare("k", 0)], [Put("k", b"")])).revision == 2
