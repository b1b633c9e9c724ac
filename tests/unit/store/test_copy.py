"""Stores copied between back ends."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing
from pathlib import Path

import pytest

from netorch.errors import StoreError, StoreUnavailable
from netorch.store import open_store, open_unfinished
from netorch.store.base import DAMAGED, KeyValue, Put, Range, Store
from netorch.store.copy import copy_store
from netorch.store.etcd import unfinished
from netorch.store.etcd.keyspace import Meta, decode_meta
from netorch.store.memory import MemoryStore
from tests.rig.etcd.cluster import Cluster

RECORDS = {f"vpc/{n:06x}/vpc": b"%d" % n * (n % 50) for n in range(500)} | {"big": bytes(1 << 20), "é\U0010ffff": b"\xff\0"}


@pytest.fixture(params=["sqlite", "etcd"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address for a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "copy.db")
    url: str = request.getfixturevalue("etcd").url(secrets.token_hex(4))
    return url


def filled() -> MemoryStore:
    store = MemoryStore()
    for key, value in RECORDS.items():
        store.txn([], [Put(key, value)])
    return store


def content(store: Store) -> dict[str, bytes]:
    return {kv.key: kv.value for kv in store.list("").kvs}


def copy(source: Store, place: str) -> int:
    target = open_unfinished(place, "the test's")
    try:
        return copy_store(source, target).records
    finally:
        target.close()


def test_a_copy_holds_every_record_and_is_another_store(place: str) -> None:
    source = filled()
    source.txn([], [Put("host/a/live", b"", lease=source.grant(60))])
    assert copy(source, place) == len(RECORDS)
    store = open_store(place)
    assert content(store) == RECORDS
    assert store.uid != source.uid
    assert store.txn([], [Put("k", b"")]).succeeded
    store.close()


def test_a_cloud_goes_to_etcd_and_comes_back(etcd: Cluster, tmp_path: Path) -> None:
    there, back = etcd.url(secrets.token_hex(4)), str(tmp_path / "back.db")
    copy(filled(), there)
    source = open_store(there)
    copy(source, back)
    source.close()
    store = open_store(back)
    assert content(store) == RECORDS
    store.close()


def test_nothing_is_copied_over_a_store(place: str) -> None:
    open_store(place, create=True).close()
    with pytest.raises(StoreUnavailable, match="exists; give"):
        open_unfinished(place, "the test's")


def test_an_interrupted_copy_is_of_no_use_until_it_is_begun_again(place: str) -> None:
    target = open_unfinished(place, "the test's")
    target.store.txn([], [Put("half", b"")])
    with pytest.raises(StoreUnavailable, match="is not complete" if place.startswith("etcd") else "does not exist"):
        open_store(place)
    target.store.close()  # as if killed
    copy(filled(), place)
    store = open_store(place)
    assert content(store) == RECORDS
    store.close()


def test_a_copy_is_of_one_revision_while_others_write(place: str) -> None:
    source, ended = filled(), threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            source.txn([], [Put("one", b"%d" % n), Put("two", b"%d" % n)])

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    copy(source, place)
    ended.set()
    writer.join()
    store = open_store(place)
    found = content(store)
    assert found.get("one") == found.get("two")
    store.close()


def test_a_damaged_record_is_not_copied_as_if_it_were_whole(place: str) -> None:
    class Damaged(MemoryStore):
        def list(self, prefix: str, revision: int = 0) -> Range:
            return Range(1, (KeyValue("k", DAMAGED + b"x", 1, 1),), "")

    with pytest.raises(StoreError, match="key k is damaged"):
        copy(Damaged(), place)
    with pytest.raises(StoreUnavailable):
        open_store(place)


def test_a_copy_that_is_finished_meanwhile_is_not_removed_by_another_one(etcd: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    place = etcd.url(secrets.token_hex(4))
    first = open_unfinished(place, "the first")
    first.store.txn([], [Put("a", b"1")])

    def decode_late(where: str, value: bytes) -> Meta:
        """Read the metadata of the copy, and then finish the copy."""
        found = decode_meta(where, value)
        first.finish()
        return found

    monkeypatch.setattr(unfinished, "decode_meta", decode_late)
    with pytest.raises(StoreUnavailable, match="another command is copying"):
        open_unfinished(place, "the second")
    with closing(open_store(place)) as store:
        assert content(store) == {"a": b"1"}
    first.close()
