"""Addresses of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.errors import StoreError
from netorch.store import open_store
from netorch.store.base import Put
from netorch.store.memory import MemoryStore
from netorch.store.sqlite.store import SqliteStore


def test_a_url_and_a_plain_path_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stores = [open_store(url, create=True) for url in (f"sqlite://{tmp_path}/a.db", f"{tmp_path}/a.db", "a.db")]
    stores[0].txn([], [Put("k", b"")])
    assert {store.uid for store in stores} == {stores[0].uid}
    assert all(isinstance(store, SqliteStore) and store.get("k") for store in stores)
    for store in stores:
        store.close()


def test_a_relative_path_stays_the_same_file_when_the_directory_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("a.db", create=True)
    monkeypatch.chdir("/")
    assert store.txn([], [Put("k", b"")]).succeeded
    store.close()


def test_every_memory_store_is_another_one() -> None:
    one, two = open_store("memory:"), open_store("memory:")
    assert isinstance(one, MemoryStore)
    assert one.uid != two.uid


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite://", "sqlite://relative.db", "sqlite:a.db", "http://h/x.db"])
def test_what_names_no_store_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="is not a store address"):
        open_store(url)
    assert list(tmp_path.iterdir()) == []
