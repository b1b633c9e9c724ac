"""Watches in every back end, and the history that compaction leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from netorch.errors import Compacted, FutureRevision, StoreError
from netorch.store.base import Delete, Event, Put, Store
from netorch.store.replay import events_until
from tests.contract.store.conftest import arrived, keys, put, readable


class TestWatches:
    def test_events_of_several_prefixes_come_in_revision_order_each_once(self, store: Store) -> None:
        watch = store.watch(["b/", "a/", "a/1"], 1)
        put(store, "b/1")
        put(store, "a/1", "c/1", "b/2")
        store.txn([], [Delete("b/1"), Put("a/1", b"y")])
        assert arrived(store, watch) == (
            Event("b/1", b"x", 2, 2),
            Event("a/1", b"x", 3, 3),
            Event("b/2", b"x", 3, 3),
            Event("a/1", b"y", 4, 3),
            Event("b/1", None, 4, 0),
        )
        assert watch.poll() == ()
        assert watch.revision == 4
        watch.close()

    def test_a_watch_resumes_from_any_revision(self, store: Store) -> None:
        for n in range(5):
            put(store, f"k/{n}")
        for start in range(1, 9):
            watch = store.watch(["k/"], start)
            assert keys(arrived(store, watch)) == [(n + 2, f"k/{n}") for n in range(5) if n + 2 >= start]
            assert watch.revision == max(6, start - 1)
            watch.close()

    def test_a_watch_from_a_revision_to_come_is_silent_until_then(self, store: Store) -> None:
        watch = store.watch([""], 4)
        put(store, "a")
        put(store, "b")
        assert watch.poll() == ()
        assert not readable(watch, 0.2) or watch.poll() == ()
        put(store, "c")
        assert keys(arrived(store, watch)) == [(4, "c")]
        watch.close()

    def test_a_watch_must_begin_somewhere(self, store: Store) -> None:
        with pytest.raises(StoreError, match="revision 0"):
            store.watch(["a"], 0)

    def test_the_revision_moves_on_with_what_is_not_watched(self, store: Store) -> None:
        watch = store.watch(["a/"], 2)
        put(store, "b")
        assert arrived(store, watch) == ()
        assert watch.revision == 2
        watch.close()

    def test_the_descriptor_wakes_for_waiting_history_and_for_news(self, store: Store) -> None:
        put(store, "a")
        watch = store.watch(["a"], 2)
        assert readable(watch)
        assert keys(arrived(store, watch)) == [(2, "a")]
        woken = threading.Event()

        def wait() -> None:
            while not watch.poll():
                readable(watch)
            woken.set()

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        put(store, "a")
        waiter.join(5)
        assert woken.is_set()
        watch.close()

    def test_a_transaction_is_never_delivered_in_halves(self, store: Store) -> None:
        watch = store.watch(["p/", "q/"], 1)
        rounds = 60

        def write() -> None:
            for n in range(rounds):
                put(store, "p/1", "q/1", "q/2", value=b"%d" % n)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        seen: list[Event] = []
        while len(seen) < rounds * 3 and readable(watch):
            events = watch.poll()
            assert len(events) % 3 == 0
            seen += events
        writer.join()
        assert [event.mod_revision for event in seen] == sorted(event.mod_revision for event in seen)
        assert sorted(keys(tuple(seen))) == [(n + 2, key) for n in range(rounds) for key in ("p/1", "q/1", "q/2")]
        watch.close()

    def test_a_closed_watch_says_so(self, store: Store) -> None:
        watch = store.watch(["a"], 1)
        watch.close()
        watch.close()
        with pytest.raises(StoreError, match="closed"):
            watch.poll()


class TestCompaction:
    def test_what_stood_before_is_gone_and_the_rest_stays(self, store: Store) -> None:
        for n in range(4):
            put(store, "a", value=b"%d" % n)
        store.compact(4)
        with pytest.raises(Compacted) as caught:
            store.list("a", 3)
        assert caught.value.compact_revision == 4
        assert [kv.value for kv in store.list("a", 4).kvs] == [b"2"]
        watch = store.watch(["a"], 4)
        assert [event.value for event in arrived(store, watch)] == [b"2", b"3"]
        watch.close()

    def test_a_watch_that_needs_what_is_gone_says_so(self, store: Store) -> None:
        early = store.watch(["a"], 2)
        put(store, "a")
        put(store, "a")
        arrived(store, early)
        store.compact(3)
        late = store.watch(["a"], 2)
        assert arrived(store, early) == ()
        with pytest.raises(Compacted):
            events_until(late, 3)
        put(store, "a")
        assert keys(arrived(store, early)) == [(4, "a")]
        late.close()
        early.close()

    def test_a_watch_that_is_not_read_does_not_lose_what_is_forgotten_meanwhile_without_a_word(self, store: Store) -> None:
        watch = store.watch(["a"], 2)
        put(store, "a")
        put(store, "a")
        store.compact(3)
        try:
            assert keys(arrived(store, watch)) == [(2, "a"), (3, "a")]
        except Compacted:
            assert watch.revision == 1
        watch.close()

    def test_compacting_twice_or_what_has_not_come_is_refused(self, store: Store) -> None:
        put(store, "a")
        store.compact(2)
        with pytest.raises(Compacted):
            store.compact(2)
        with pytest.raises(FutureRevision):
            store.compact(3)

    def test_a_store_forgets_very_old_history_by_itself(self, make_embedded: Callable[[int], Store]) -> None:
        store = make_embedded(10)
        for n in range(30):
            put(store, "a", value=b"%d" % n)
        assert store.revision() == 31
        assert [kv.value for kv in store.list("", 21).kvs] == [b"19"]
        with pytest.raises(Compacted):
            store.list("", 20)
