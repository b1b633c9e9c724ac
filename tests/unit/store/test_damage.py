"""SQLite store files that a disk or a person has changed: reads report a damaged record, never a traceback or a wrong value."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.control.actions.repair import damaged, discard, put_back
from netorch.errors import StoreError
from netorch.store.base import DAMAGED, Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.store.test_sqlite import scribble

KEY = "misc/001001/zz/one"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    store.txn([], [Put(KEY, b'{"a": 1}')])
    yield store
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "value = replace(value, '1', '3')",
        "value = CAST(value AS TEXT)",
        "value = 7",
        "value = 7.5",
        "value = x''",
        "create_rev = 1",
        "create_rev = 'x'",
        "mod_rev = 9",
        "mod_rev = x'00'",
        "mod_rev = 'later'",
        "sum = sum + 1",
        "sum = NULL",
        "sum = NULL, value = 7",
        "sum = 'x'",
    ],
)
def test_a_record_of_which_anything_has_changed_is_damaged(path: Path, store: SqliteStore, change: str) -> None:
    scribble(path, f"UPDATE cur SET {change}")
    (listed,) = store.list("misc/").kvs
    assert store.get(KEY) == listed
    assert listed.value.startswith(DAMAGED)
    assert list(damaged(store)) == [KEY]
    put_back(store, KEY, b'{"a": 1}')
    assert damaged(store) == {}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("key = 'misc/001001/zz/onf'", "misc/001001/zz/onf"),
        ("key = CAST(x'6d6973632f3030313030312f7a7aff' AS TEXT)", "misc/001001/zz\\xff"),
        ("key = x'6d6973632f3030313030312f7a7aff'", "misc/001001/zz\\xff"),
        ("key = 12", "12"),
    ],
)
def test_a_key_that_has_changed_is_named(path: Path, store: SqliteStore, change: str, key: str) -> None:
    scribble(path, f"UPDATE cur SET {change}")
    assert [kv.key for kv in store.list("").kvs] == [key]
    assert [kv.key for kv in store.list("", 2).kvs] == [key]
    assert list(damaged(store)) == [key]
    assert store.get(KEY) is None


def test_a_stray_record_of_a_changed_key_can_be_deleted(path: Path, store: SqliteStore) -> None:
    scribble(path, "UPDATE cur SET key = 'misc/001001/zz/onf'")
    discard(store, "misc/001001/zz/onf")
    assert store.list("").kvs == ()


@pytest.mark.parametrize(
    "change", ["value = x'7b7d'", "value = NULL", "value = 3", "value = 'x'", "create_rev = 7", "create_rev = 'x'", "sum = NULL"]
)
def test_an_event_of_which_anything_has_changed_is_damaged_and_no_deletion(path: Path, store: SqliteStore, change: str) -> None:
    scribble(path, f"UPDATE log SET {change}")
    watch = store.watch(["misc/"], 1)
    (event,) = watch.poll()
    assert event.value is not None
    assert event.value.startswith(DAMAGED)
    watch.close()


def test_a_deletion_that_has_changed_is_no_deletion(path: Path, store: SqliteStore) -> None:
    store.txn([], [Delete(KEY)])
    scribble(path, "UPDATE log SET sum = sum + 1 WHERE rev = 3")
    watch = store.watch(["misc/"], 3)
    (event,) = watch.poll()
    assert event.value is not None
    watch.close()


def test_a_hole_in_the_history_has_its_readers_list_again(path: Path, store: SqliteStore) -> None:
    store.txn([], [Put(KEY, b"{}")])
    scribble(path, "DELETE FROM log WHERE rev = 2")
    watch = store.watch(["misc/"], 1)
    with pytest.raises(StoreError, match="list again"):
        watch.poll()
    watch.close()


def test_a_past_value_that_has_changed_is_not_put_back(path: Path, store: SqliteStore) -> None:
    store.txn([], [Put(KEY, b"{}")])
    scribble(path, "UPDATE log SET old_value = x'7b7d' WHERE rev = 3")
    (past,) = store.list("", 2).kvs
    assert past.value.startswith(DAMAGED)


@pytest.mark.parametrize("change", ["rev = 1", "rev = 9", "rev = 'x'", "uid = x'ff'", "compacted = 'x'", "one = 1"])
def test_a_store_of_which_the_revision_has_changed_says_so(path: Path, store: SqliteStore, change: str) -> None:
    store.close()
    scribble(path, "DELETE FROM meta" if change == "one = 1" else f"UPDATE meta SET {change}")
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path).revision()


FORMAT_1 = """
    CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1),
        uid TEXT NOT NULL, rev INTEGER NOT NULL, compacted INTEGER NOT NULL, boot TEXT NOT NULL);
    CREATE TABLE cur (key TEXT PRIMARY KEY, value BLOB NOT NULL, create_rev INTEGER NOT NULL, mod_rev INTEGER NOT NULL,
        lease INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX cur_lease ON cur (lease) WHERE lease <> 0;
    CREATE TABLE log (rev INTEGER NOT NULL, sub INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, create_rev INTEGER NOT NULL,
        old_value BLOB, old_create_rev INTEGER, old_mod_rev INTEGER, old_lease INTEGER, PRIMARY KEY (rev, sub)) WITHOUT ROWID;
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, deadline REAL NOT NULL);
    CREATE INDEX lease_deadline ON lease (deadline);
    INSERT INTO meta VALUES (1, 'old', 4, 0, '');
    INSERT INTO cur VALUES ('a', x'32', 2, 3, 0);
    INSERT INTO log VALUES (2, 0, 'a', x'31', 2, NULL, NULL, NULL, NULL), (2, 1, 'b', x'31', 2, NULL, NULL, NULL, NULL),
        (3, 0, 'a', x'32', 2, x'31', 2, 2, 0), (4, 0, 'b', NULL, 0, x'31', 2, 2, 0);
    PRAGMA application_id = 1852142703;
    PRAGMA user_version = 1;
"""


def test_a_store_of_the_format_before_keeps_its_records_and_its_history(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.executescript("PRAGMA journal_mode = WAL;" + FORMAT_1)
    raw.close()
    store = SqliteStore(path)
    assert (store.uid, store.revision()) == ("old", 4)
    assert [(kv.key, kv.value) for kv in store.list("").kvs] == [("a", b"2")]
    assert [(kv.key, kv.value) for kv in store.list("", 2).kvs] == [("a", b"1"), ("b", b"1")]
    watch = store.watch([""], 1)
    assert [(event.key, event.value) for event in watch.poll()] == [("a", b"1"), ("b", b"1"), ("a", b"2"), ("b", None)]
    mark = watch.mark
    watch.close()
    store.txn([], [Put("a", b"3"), Put("c", b"1")])
    assert [kv.value for kv in store.list("", 4).kvs] == [b"2"]
    store.close()
    store = SqliteStore(path)
    assert (store.mark(4), len({store.mark(0), store.mark(5), mark})) == (mark, 3)
    store.close()
