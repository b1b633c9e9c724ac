"""What every back end of the store must do: the same tests for all of them."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreError
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, Event, KeyValue, Put, Store, TxnResult, Watch
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_OPS, MAX_TXN_BYTES
from netorch.store.sqlite import SqliteStore


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


BACK_ENDS: dict[str, Callable[[Path, Clock, int], Store]] = {
    "memory": lambda path, clock, keep: MemoryStore(clock=clock, keep_revisions=keep),
    "sqlite": lambda path, clock, keep: SqliteStore(path / "store.db", clock=clock, keep_revisions=keep),
}


@pytest.fixture(params=BACK_ENDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[[int], Store]]:
    """Make the back end under test with a number of revisions to keep."""
    made: list[Store] = []

    def make_one(keep: int) -> Store:
        made.append(BACK_ENDS[request.param](tmp_path, clock, keep))
        return made[-1]

    yield make_one
    for store in made:
        store.close()


@pytest.fixture
def store(make: Callable[[int], Store]) -> Store:
    return make(100_000)


def put(store: Store, *keys: str, value: bytes = b"x", lease: int = 0) -> int:
    result = store.txn([], [Put(key, value, lease) for key in keys])
    assert result.succeeded
    return result.revision


def readable(watch: Watch, timeout_s: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(watch.fileno(), select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def keys(events: tuple[Event, ...]) -> list[tuple[int, str]]:
    return [(event.mod_revision, event.key) for event in events]


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

    def test_128_operations_and_128_compares_fit(self, store: Store) -> None:
        names = [f"k/{n}" for n in range(MAX_OPS)]
        assert store.txn([Compare(name, 0) for name in names], [Put(name, b"") for name in names]).succeeded
        assert len(store.list("k/").kvs) == MAX_OPS

    @pytest.mark.parametrize(
        ("compares", "ops", "text"),
        [
            ([], [Put(f"k/{n}", b"") for n in range(MAX_OPS + 1)], "129 operations"),
            ([Compare(f"k/{n}", 0) for n in range(MAX_OPS + 1)], [], "129 compares"),
            ([], [Put("k", b"1"), Put("k", b"2")], "key k twice"),
            ([], [Put("k", b"1"), Delete("k")], "key k twice"),
            ([], [Put("k", bytes(MAX_TXN_BYTES))], "1572865 bytes"),
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

    def test_a_listing_at_a_revision_to_come_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            store.list("", 2)


class TestWatches:
    def test_events_of_several_prefixes_come_in_revision_order_each_once(self, store: Store) -> None:
        watch = store.watch(["b/", "a/", "a/1"], 1)
        put(store, "b/1")
        put(store, "a/1", "c/1", "b/2")
        store.txn([], [Delete("b/1"), Put("a/1", b"y")])
        assert watch.poll() == (
            Event("b/1", b"x", 2, 2),
            Event("a/1", b"x", 3, 3),
            Event("b/2", b"x", 3, 3),
            Event("b/1", None, 4, 0),
            Event("a/1", b"y", 4, 3),
        )
        assert watch.poll() == ()
        assert watch.revision == 4
        watch.close()

    def test_a_watch_resumes_from_any_revision(self, store: Store) -> None:
        for n in range(5):
            put(store, f"k/{n}")
        for start in range(1, 9):
            watch = store.watch(["k/"], start)
            assert keys(watch.poll()) == [(n + 2, f"k/{n}") for n in range(5) if n + 2 >= start]
            assert watch.revision == max(6, start - 1)
            watch.close()

    def test_a_watch_from_a_revision_to_come_is_silent_until_then(self, store: Store) -> None:
        watch = store.watch([""], 4)
        put(store, "a")
        put(store, "b")
        assert watch.poll() == ()
        put(store, "c")
        assert keys(watch.poll()) == [(4, "c")]
        watch.close()

    def test_a_watch_must_begin_somewhere(self, store: Store) -> None:
        with pytest.raises(StoreError, match="revision 0"):
            store.watch(["a"], 0)

    def test_the_revision_moves_on_with_what_is_not_watched(self, store: Store) -> None:
        watch = store.watch(["a/"], 2)
        put(store, "b")
        assert watch.poll() == ()
        assert watch.revision == 2
        watch.close()

    def test_the_descriptor_wakes_for_waiting_history_and_for_news(self, store: Store) -> None:
        put(store, "a")
        watch = store.watch(["a"], 2)
        assert readable(watch)
        assert keys(watch.poll()) == [(2, "a")]
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
        assert keys(tuple(seen)) == [(n + 2, key) for n in range(rounds) for key in ("p/1", "q/1", "q/2")]
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
        assert [event.value for event in watch.poll()] == [b"2", b"3"]
        watch.close()

    def test_a_watch_that_needs_what_is_gone_says_so(self, store: Store) -> None:
        late, early = store.watch(["a"], 2), store.watch(["a"], 2)
        put(store, "a")
        put(store, "a")
        early.poll()
        store.compact(3)
        assert early.poll() == ()
        with pytest.raises(Compacted):
            late.poll()
        put(store, "a")
        assert keys(early.poll()) == [(4, "a")]
        late.close()
        early.close()

    def test_compacting_twice_or_what_has_not_come_is_refused(self, store: Store) -> None:
        put(store, "a")
        store.compact(2)
        with pytest.raises(Compacted):
            store.compact(2)
        with pytest.raises(FutureRevision):
            store.compact(3)

    def test_a_store_forgets_very_old_history_by_itself(self, make: Callable[[int], Store]) -> None:
        store = make(10)
        for n in range(30):
            put(store, "a", value=b"%d" % n)
        assert store.revision() == 31
        assert [kv.value for kv in store.list("", 21).kvs] == [b"19"]
        with pytest.raises(Compacted):
            store.list("", 20)


class TestLeases:
    def test_keys_live_as_long_as_their_lease(self, store: Store, clock: Clock) -> None:
        lease = store.grant(10)
        put(store, "live/b", "live/a", lease=lease)
        put(store, "stays")
        clock.now += 9.9
        assert store.keep_alive(lease) == 10
        clock.now += 9.9
        assert len(store.list("live/").kvs) == 2
        clock.now += 0.1
        assert store.list("live/").kvs == ()
        assert store.keep_alive(lease) == 0
        assert store.get("stays") is not None

    def test_expiry_is_one_revision_and_is_watched(self, store: Store, clock: Clock) -> None:
        lease = store.grant(10)
        put(store, "live/b", "live/a", lease=lease)
        watch = store.watch(["live/"], 3)
        clock.now += 10
        assert watch.poll() == (Event("live/a", None, 3, 0), Event("live/b", None, 3, 0))
        assert store.revision() == 3
        watch.close()

    def test_expiry_is_noticed_by_whoever_writes(self, store: Store, clock: Clock) -> None:
        put(store, "live", lease=store.grant(10))
        clock.now += 10
        assert store.txn([Compare("live", 2)], []) == TxnResult(False, 3)
        assert store.txn([Compare("live", 0)], [Put("live", b"")]) == TxnResult(True, 4)

    def test_a_key_put_without_its_lease_outlives_it(self, store: Store, clock: Clock) -> None:
        lease = store.grant(10)
        put(store, "a", "b", lease=lease)
        put(store, "a")
        store.txn([], [Delete("b")])
        put(store, "b")
        clock.now += 10
        assert [kv.key for kv in store.list("").kvs] == ["a", "b"]

    def test_a_lease_without_keys_ends_without_a_revision(self, store: Store, clock: Clock) -> None:
        store.grant(10)
        clock.now += 10
        assert store.revision() == 1

    def test_revoking_deletes_at_once_and_twice_is_no_error(self, store: Store) -> None:
        lease = store.grant(10)
        put(store, "a", lease=lease)
        store.revoke(lease)
        store.revoke(lease)
        assert store.get("a") is None
        assert store.revision() == 3
        assert store.keep_alive(lease) == 0

    def test_revoking_no_lease_deletes_nothing(self, store: Store) -> None:
        put(store, "a")
        store.revoke(0)
        assert store.get("a") is not None

    def test_leases_end_in_the_order_of_their_times(self, store: Store, clock: Clock) -> None:
        put(store, "late", lease=store.grant(20))
        put(store, "early", lease=store.grant(10))
        watch = store.watch([""], 4)
        clock.now += 30
        assert keys(watch.poll()) == [(4, "early"), (5, "late")]
        watch.close()

    def test_a_put_with_an_ended_lease_is_refused(self, store: Store, clock: Clock) -> None:
        lease = store.grant(10)
        clock.now += 10
        with pytest.raises(StoreError, match=f"lease {lease}"):
            put(store, "a", lease=lease)
        assert store.get("a") is None

    def test_a_lease_needs_a_time(self, store: Store) -> None:
        with pytest.raises(StoreError, match="0 s"):
            store.grant(0)


class TestMarks:
    def test_every_revision_has_a_mark_of_its_own_that_stays(self, store: Store) -> None:
        for _ in range(3):
            put(store, "a")
        marks = [store.mark(revision) for revision in range(1, 5)]
        put(store, "a")
        assert len({*marks, ""}) == 5
        assert [store.mark(revision) for revision in range(1, 5)] == marks

    def test_two_stores_of_the_same_writes_have_different_marks(self, make: Callable[[int], Store], tmp_path: Path) -> None:
        one, other = make(100), MemoryStore()
        assert put(one, "a") == put(other, "a")
        assert one.mark(2) != other.mark(2)

    def test_the_mark_of_a_revision_to_come_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            store.mark(2)

    def test_a_listing_and_a_watch_tell_the_mark_of_their_revision(self, store: Store) -> None:
        put(store, "a")
        put(store, "b")
        watch = store.watch([""], 2)
        assert (watch.revision, watch.mark) == (1, store.mark(1))
        watch.poll()
        assert (watch.revision, watch.mark) == (3, store.mark(3))
        assert (store.list("").mark, store.list("", 2).mark) == (store.mark(3), store.mark(2))
        watch.close()

    def test_a_watch_delivers_nothing_behind_a_mark_that_did_not_happen(self, store: Store) -> None:
        put(store, "a")
        put(store, "a")
        watch = store.watch([""], 3, "another")
        with pytest.raises(OtherHistory, match="revision 2 did not happen"):
            watch.poll()
        watch.close()
        watch = store.watch([""], 3, store.mark(2))
        assert keys(watch.poll()) == [(3, "a")]
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
        assert keys(watch.poll()) == [(4, "a"), (5, "a"), (6, "a")]
        watch.close()
