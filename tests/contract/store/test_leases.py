"""Leases in every back end."""

from __future__ import annotations

import pytest

from netorch.errors import StoreError
from netorch.store.base import Compare, Delete, Event, Put, Store, TxnResult
from tests.contract.store.conftest import Clock, keys, put


class TestLeases:
    def test_keys_live_as_long_as_their_lease(self, embedded: Store, clock: Clock) -> None:
        lease = embedded.grant(10)
        put(embedded, "live/b", "live/a", lease=lease)
        put(embedded, "stays")
        clock.now += 9.9
        assert embedded.keep_alive(lease) == 10
        clock.now += 9.9
        assert len(embedded.list("live/").kvs) == 2
        clock.now += 0.1
        assert embedded.list("live/").kvs == ()
        assert embedded.keep_alive(lease) == 0
        assert embedded.get("stays") is not None

    def test_expiry_is_one_revision_and_is_watched(self, embedded: Store, clock: Clock) -> None:
        lease = embedded.grant(10)
        put(embedded, "live/b", "live/a", lease=lease)
        watch = embedded.watch(["live/"], 3)
        clock.now += 10
        assert watch.poll() == (Event("live/a", None, 3, 0), Event("live/b", None, 3, 0))
        assert embedded.revision() == 3
        watch.close()

    def test_expiry_is_noticed_by_whoever_writes(self, embedded: Store, clock: Clock) -> None:
        put(embedded, "live", lease=embedded.grant(10))
        clock.now += 10
        assert embedded.txn([Compare("live", 2)], []) == TxnResult(False, 3)
        assert embedded.txn([Compare("live", 0)], [Put("live", b"")]) == TxnResult(True, 4)

    def test_a_key_put_without_its_lease_outlives_it(self, embedded: Store, clock: Clock) -> None:
        lease = embedded.grant(10)
        put(embedded, "a", "b", lease=lease)
        put(embedded, "a")
        embedded.txn([], [Delete("b")])
        put(embedded, "b")
        clock.now += 10
        assert [kv.key for kv in embedded.list("").kvs] == ["a", "b"]

    def test_a_lease_without_keys_ends_without_a_revision(self, embedded: Store, clock: Clock) -> None:
        embedded.grant(10)
        clock.now += 10
        assert embedded.revision() == 1

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

    def test_leases_end_in_the_order_of_their_times(self, embedded: Store, clock: Clock) -> None:
        put(embedded, "late", lease=embedded.grant(20))
        put(embedded, "early", lease=embedded.grant(10))
        watch = embedded.watch([""], 4)
        clock.now += 30
        assert keys(watch.poll()) == [(4, "early"), (5, "late")]
        watch.close()

    def test_a_put_with_an_ended_lease_is_refused(self, embedded: Store, clock: Clock) -> None:
        lease = embedded.grant(10)
        clock.now += 10
        with pytest.raises(StoreError, match=f"lease {lease}"):
            put(embedded, "a", lease=lease)
        assert embedded.get("a") is None

    def test_a_lease_needs_a_time(self, store: Store) -> None:
        with pytest.raises(StoreError, match="0 s"):
            store.grant(0)
