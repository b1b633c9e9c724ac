"""Transactions, listings and marks in every back end."""

from __future__ import annotations

import threading

import pytest

from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreError
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, KeyValue, Put, Store, TxnResult
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_OPS, MAX_TXN_BYTES
from tests.contract.store.conftest import arrived, keys, put


class TestTransactions:
    def test_an_empty_store_is_at_revision_one(self, store: Store) -> None:
        assert store.revision() == 1
        assert store.list("").kvs == ()

    def test_all_operations_of_a_transaction_share_one_revision(self, store: Store) -> None:
        assert store.txn([], [Put("a", b"1"), Put("b", b"2")]) == TxnResult(True, 2)
        assert store.get("a") == KeyValue("a", b"1", 2, 2)
        assert store.get("b") == KeyValue("b", b"2", 2, 2)

    def test_a_later_put_keeps_the_revision_of_creation(self, store: Store) -> None:
        put(store, "a")
        put(store, "a", value=b"")
        assert store.get("a") == KeyValue("a", b"", 2, 3)

    def test_a_key_created_again_counts_as_new(self, store: Store) -> None:
        put(store, "a")
        store.txn([], [Delete("a")])
        put(store, "a")
        assert store.get("a") == KeyValue("a", b"x", 4, 4)

    def test_an_identical_put_raises_the_revision(self, store: Store) -> None:
        assert put(store, "a") == 2
        assert put(store, "a") == 3

    def test_deleting_what_is_absent_takes_no_revision(self, store: Store) -> None:
        put(store, "a")
        assert store.txn([], [Delete("b")]) == TxnResult(True, 2)
        assert store.txn([], []) == TxnResult(True, 2)

    def test_a_failed_compare_changes_nothing_and_takes_no_revision(self, store: Store) -> None:
        put(store, "a")
        for compare in (Compare("a", 0), Compare("a", 1), Compare("a", 3), Compare("b", 2)):
            assert store.txn([Compare("a", 2), compare], [Put("a", b"new"), Put("c", b"")]) == TxnResult(False, 2)
        assert store.get("a") == KeyValue("a", b"x", 2, 2)
        assert store.get("c") is None

    def test_compares_hold_for_absent_and_for_unchanged_keys(self, store: Store) -> None:
        put(store, "a")
        assert store.txn([Compare("a", 2), Compare("b", 0)], [Delete("a"), Put("b", b"")]).succeeded
        assert [kv.key for kv in store.list("").kvs] == ["b"]

    def test_126_operations_and_126_compares_fit(self, store: Store) -> None:
        names = [f"k/{n}" for n in range(MAX_OPS)]
        assert store.txn([Compare(name, 0) for name in names], [Put(name, b"") for name in names]).succeeded
        assert len(store.list("k/").kvs) == MAX_OPS

    @pytest.mark.parametrize(
        ("compares", "ops", "text"),
        [
            ([], [Put(f"k/{n}", b"") for n in range(MAX_OPS + 1)], "127 operations"),
            ([Compare(f"k/{n}", 0) for n in range(MAX_OPS + 1)], [], "127 compares"),
            ([], [Put("k", b"1"), Put("k", b"2")], "key k twice"),
            ([], [Put("k", b"1"), Delete("k")], "key k twice"),
            ([], [Put("k", bytes(MAX_TXN_BYTES))], "1310721 bytes"),
            ([], [Put("", b"")], "is empty"),
            ([], [Put("a\0b", b"")], "NUL"),
            ([], [Put("\ud800", b"")], "not Unicode"),
            ([], [Put("k", b"", lease=4711)], "lease 4711"),
        ],
        ids=["ops", "compares", "put-put", "put-delete", "size", "empty", "nul", "surrogate", "lease"],
    )
    def test_what_etcd_refuses_is_refused_and_leaves_no_trace(
        self, store: Store, compares: list[Compare], ops: list[Put | Delete], text: str
    ) -> None:
        with pytest.raises(StoreError, match=text):
            store.txn(compares, ops)
        assert store.revision() == 1
        assert store.list("").kvs == ()

    def test_a_transaction_of_the_greatest_size_is_kept_whole(self, store: Store) -> None:
        value = bytes(range(256)) * (MAX_TXN_BYTES // 256)
        put(store, "k", value=value[1:])
        known = store.get("k")
        assert known is not None
        assert known.value == value[1:]

    def test_of_many_threads_one_wins_each_race(self, store: Store) -> None:
        won: list[int] = []

        def race(me: int) -> None:
            value = bytes([me])
            won.extend(n for n in range(25) if store.txn([Compare(f"race/{n}", 0)], [Put(f"race/{n}", value)]).succeeded)

        threads = [threading.Thread(target=race, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == list(range(25))
        assert store.revision() == 26


class TestListings:
    def test_a_prefix_ends_where_it_ends(self, store: Store) -> None:
        put(store, "vpc/1", "vpc/1/a", "vpc/1/b", "vpc/10/a", "vpc/2/a", "w")
        assert [kv.key for kv in store.list("vpc/1/").kvs] == ["vpc/1/a", "vpc/1/b"]
        assert [kv.key for kv in store.list("vpc/1").kvs] == ["vpc/1", "vpc/1/a", "vpc/1/b", "vpc/10/a"]
        assert len(store.list("").kvs) == 6

    @pytest.mark.parametrize("prefix", ["p\U0010ffff", "\U0010ffff", "p\ud7ff", "p\x7f", "p\xff"], ids=ascii)
    def test_a_prefix_that_ends_in_the_last_character_ends_right(self, store: Store, prefix: str) -> None:
        put(store, prefix, prefix + "\U0010ffff", prefix + "a", "p", "q", "\ue000")
        assert {kv.key for kv in store.list(prefix).kvs} == {prefix, prefix + "a", prefix + "\U0010ffff"}

    def test_keys_are_sorted_by_their_utf8_bytes(self, store: Store) -> None:
        names = ["B", "a", "a/", "a0", "é", "z", "\uffff", "\U00010000"]
        put(store, *reversed(names))
        assert [kv.key for kv in store.list("").kvs] == sorted(names, key=str.encode)

    def test_a_listing_at_a_past_revision_shows_what_stood_then(self, store: Store) -> None:
        put(store, "p/a", "p/b", "q")
        then = store.list("p/")
        put(store, "p/a", value=b"new")
        store.txn([], [Delete("p/b"), Put("p/c", b""), Delete("q")])
        put(store, "p/b")
        assert store.list("p/", then.revision) == then
        assert [(kv.key, kv.value) for kv in store.list("p/", 3).kvs] == [("p/a", b"new"), ("p/b", b"x")]
        assert store.list("p/", 1).kvs == ()
        assert store.list("p/", 5) == store.list("p/")
        for at in (0, 1, 3, then.revision):
            assert store.revisions("p/", at) == {kv.key: kv.mod_revision for kv in store.list("p/", at).kvs}

    def test_a_listing_at_a_revision_to_come_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            store.list("", 2)
        with pytest.raises(FutureRevision):
            store.revisions("", 2)


class TestMarks:
    def test_every_revision_has_a_mark_of_its_own_that_stays(self, store: Store) -> None:
        for _ in range(3):
            put(store, "a")
        marks = [store.mark(revision) for revision in range(5)]
        put(store, "a")
        assert len({*marks, ""}) == 6
        assert [store.mark(revision) for revision in range(5)] == marks

    def test_two_stores_of_the_same_writes_have_different_marks(self, store: Store) -> None:
        other = MemoryStore()
        assert put(store, "a") == put(other, "a")
        assert store.mark(2) != other.mark(2)

    def test_the_mark_of_a_revision_to_come_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            store.mark(2)

    def test_a_listing_and_a_watch_tell_the_mark_of_their_revision(self, store: Store) -> None:
        put(store, "a")
        put(store, "b")
        watch = store.watch([""], 2)
        assert (watch.revision, watch.mark) == (1, store.mark(1))
        arrived(store, watch)
        assert (watch.revision, watch.mark) == (3, store.mark(3))
        assert (store.list("").mark, store.list("", 2).mark) == (store.mark(3), store.mark(2))
        watch.close()

    def test_a_watch_delivers_nothing_behind_a_mark_that_did_not_happen(self, store: Store) -> None:
        put(store, "a")
        put(store, "a")
        watch = store.watch([""], 3, "another")
        with pytest.raises(OtherHistory, match="history up to revision 2 differs"):
            watch.poll()
        watch.close()
        watch = store.watch([""], 3, store.mark(2))
        assert keys(arrived(store, watch)) == [(3, "a")]
        watch.close()

    def test_marks_go_with_the_history_but_for_some_that_stay(self, store: Store) -> None:
        for _ in range(KEEP_MARK_EVERY + 10):
            put(store, "a")
        kept, last = store.mark(KEEP_MARK_EVERY), store.revision()
        store.compact(last)
        assert store.mark(KEEP_MARK_EVERY) == kept
        assert store.mark(last) == store.list("").mark
        with pytest.raises(Compacted):
            store.mark(KEEP_MARK_EVERY + 1)

    def test_a_watch_right_before_what_is_left_goes_on(self, store: Store) -> None:
        for _ in range(5):
            put(store, "a")
        watch = store.watch([""], 4, store.mark(3))
        store.compact(4)
        assert keys(arrived(store, watch)) == [(4, "a"), (5, "a"), (6, "a")]
        watch.close()
