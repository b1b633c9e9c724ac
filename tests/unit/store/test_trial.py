"""A trial gives the store's answer, and leaves the store unchanged."""

from __future__ import annotations

import random

import pytest

from netorch.errors import StoreError
from netorch.store.base import Compare, Delete, Put
from netorch.store.memory import MemoryStore
from netorch.store.trial import TrialStore

KEYS = [f"{root}/{number}" for root in ("a", "b") for number in range(4)]


@pytest.mark.parametrize("seed", range(20))
def test_it_answers_as_the_store_itself_would(seed: int) -> None:
    chance = random.Random(seed)
    stores = [MemoryStore(), MemoryStore()]
    for store in stores:
        store.txn((), [Put(key, b"before") for key in KEYS[::2]])
    trial, real = TrialStore(stores[0]), stores[1]
    before = stores[0].list("")
    for step in range(30):
        known = {key: kv.mod_revision if (kv := real.get(key)) is not None else 0 for key in KEYS}
        compares = [Compare(key, known[key] + (chance.random() < 0.1)) for key in chance.sample(KEYS, 2)]
        ops = [Put(key, b"%d" % step) if chance.random() < 0.5 else Delete(key) for key in chance.sample(KEYS, 3)]
        assert trial.txn(compares, ops) == real.txn(compares, ops)
        assert trial.revision() == real.revision()
        assert [trial.get(key) for key in KEYS] == [real.get(key) for key in KEYS]
        for prefix in ("", "a/", "b/3", "c"):
            found, wanted = trial.list(prefix), real.list(prefix)
            assert (found.revision, found.kvs) == (wanted.revision, wanted.kvs)
    assert stores[0].list("") == before


def test_what_it_shows_of_the_past_is_the_stores_own() -> None:
    store = MemoryStore()
    past = store.txn((), [Put("a", b"1")]).revision
    store.txn((), [Put("a", b"2")])
    trial = TrialStore(store)
    trial.txn((), [Put("a", b"3"), Put("b", b"3")])
    assert [kv.value for kv in trial.list("", past).kvs] == [b"1"]


def test_it_refuses_what_a_store_would_refuse() -> None:
    with pytest.raises(StoreError, match="129 operations"):
        TrialStore(MemoryStore()).txn((), [Put(f"k/{number}", b"") for number in range(129)])
    with pytest.raises(StoreError, match="no leases"):
        TrialStore(MemoryStore()).grant(5)
