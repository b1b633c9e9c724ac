"""Permissions of a store's files; a store exists only where it was created."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from netorch.errors import StoreError, StoreUnavailable
from netorch.store import open_store, open_to_create, open_to_read
from netorch.store.base import Compare, Put
from netorch.store.sqlite.readonly import StoreCopy
from netorch.store.sqlite.store import SqliteStore
from tests.unit.store.processes import in_user_namespace, run, user_namespaces_work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    store.txn([], [Put("k", b"v")])
    yield store
    store.close()


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


class TestModes:
    def test_nobody_else_may_read_and_who_reads_cannot_lock(self, path: Path, store: SqliteStore) -> None:
        modes = {suffix: mode(f"{path}{suffix}") for suffix in ("", "-wal", ".rev", "-shm", ".lock")}
        assert modes == {"": 0o640, "-wal": 0o640, ".rev": 0o640, "-shm": 0o600, ".lock": 0o600}

    def test_files_that_were_open_to_all_are_closed_and_that_is_said(
        self, path: Path, store: SqliteStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.close()
        for suffix in ("", ".rev", ".lock"):
            os.chmod(f"{path}{suffix}", 0o666)
        SqliteStore(path).close()
        assert [mode(f"{path}{suffix}") for suffix in ("", ".rev", ".lock")] == [0o640, 0o640, 0o600]
        assert f"changed the mode of {path} from 0666 to 0640" in caplog.messages

    def test_a_lock_on_what_others_may_read_stops_no_writer(self, path: Path, store: SqliteStore) -> None:
        for suffix in ("", ".rev", "-wal"):
            with open(f"{path}{suffix}", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                assert store.txn([], [Put("k", suffix.encode())]).succeeded


class TestMissingStores:
    def test_who_reads_makes_no_store(self, path: Path) -> None:
        for opened in (open_to_read, open_store):
            with pytest.raises(StoreUnavailable, match="does not exist"):
                opened(str(path))
        assert list(path.parent.iterdir()) == []

    def test_a_store_is_made_by_the_first_write_and_not_before(self, path: Path) -> None:
        with closing(open_to_create(str(path))) as store:
            assert (store.revision(), store.list("").kvs, store.get("k")) == (1, (), None)
            assert list(path.parent.iterdir()) == []
            with pytest.raises(StoreError):
                store.txn([Compare("", 0)], [])
            assert store.txn([Compare("k", 0)], [Put("k", b"v")]).revision == 2
            assert store.get("k") is not None
        with closing(open_store(str(path))) as store:
            assert store.get("k") is not None

    @pytest.mark.parametrize("opened", [open_to_read, open_to_create, open_store, lambda url: open_store(url, create=True)])
    @pytest.mark.parametrize("loss", ["emptied", "removed", "all emptied"])
    def test_a_store_that_was_lost_is_no_new_one(self, path: Path, store: SqliteStore, loss: str, opened: object) -> None:
        store.close()
        if loss == "removed":
            path.unlink()
        else:
            os.truncate(path, 0)
        if loss == "all emptied":
            os.truncate(f"{path}.rev", 0)
        assert callable(opened)
        with pytest.raises(StoreUnavailable, match=r"s\.db (is empty|no longer exists)"):
            opened(str(path))
        assert not path.exists() or path.stat().st_size == 0

    def test_a_store_that_is_emptied_in_use_says_so_to_all_who_have_it_open(self, path: Path, store: SqliteStore) -> None:
        watch = store.watch([""], 1)
        watch.poll()
        os.truncate(path, 0)
        with pytest.raises(StoreUnavailable, match="it was emptied; restore a backup"):
            watch.poll()
        with pytest.raises(StoreUnavailable, match="it was emptied; restore a backup"):
            store.txn([], [Put("k", b"")])
        watch.close()

    def test_two_who_make_the_same_store_have_the_same(self, path: Path) -> None:
        one, other = open_to_create(str(path)), open_to_create(str(path))
        one.txn([], [Put("a", b"")])
        other.txn([], [Put("b", b"")])
        assert (one.uid, len(one.list("").kvs)) == (other.uid, 2)
        one.close()
        other.close()


class TestReadOnlyStores:
    def test_a_copy_shows_what_is_in_the_log_and_refuses_writes(self, path: Path, store: SqliteStore) -> None:
        with closing(StoreCopy(path)) as copy:
            assert copy.list("").kvs == store.list("").kvs
            assert (copy.uid, copy.revision(), copy.mark(2)) == (store.uid, 2, store.mark(2))
            for write in (lambda: copy.txn([], [Put("k", b"")]), lambda: copy.grant(3), lambda: copy.compact(2)):
                with pytest.raises(StoreUnavailable, match=f"{path} is readable by this user, but not writable"):
                    write()
        assert store.revision() == 2

    def test_a_copy_waits_for_no_lock(self, path: Path, store: SqliteStore) -> None:
        with store._revision_file.locked(1), sqlite3.connect(path) as raw:
            raw.execute("BEGIN IMMEDIATE")
            with closing(StoreCopy(path)) as copy:
                assert copy.get("k") is not None
        raw.close()

    def test_copies_of_a_store_in_use_hold_whole_revisions(self, path: Path, store: SqliteStore) -> None:
        for n in range(30):
            store.txn([], [Put("k", b"%d" % n), Put("l", b"%d" % n)])
            if n % 7 == 0:
                store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with closing(StoreCopy(path)) as copy:
                assert [kv.value for kv in copy.list("").kvs] == [b"%d" % n] * 2

    @pytest.mark.skipif(not user_namespaces_work(), reason="this user may not make user namespaces")
    @pytest.mark.parametrize("with_log", [False, True])
    def test_a_store_on_a_read_only_file_system_is_read(self, path: Path, store: SqliteStore, with_log: bool) -> None:
        if with_log:  # as after a crash: the log was not written back
            place = path.with_name("crashed")
            place.mkdir()
            for suffix in ("", "-wal", ".rev"):
                shutil.copy(f"{path}{suffix}", place)
        else:
            store.close()
            place = path.parent
        read_only = in_user_namespace(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")
        assert run(READ, place / "s.db", wrapper=read_only) == "b'v'\nbut not writable\n"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    @pytest.mark.parametrize("is_open", [False, True])
    def test_another_user_of_the_group_reads(self, path: Path, store: SqliteStore, is_open: bool) -> None:
        for place in [path.parent, *path.parent.parents[:-1]]:
            with suppress(PermissionError):
                os.chmod(place, stat.S_IMODE(place.stat().st_mode) | 0o011)
        for suffix in ("", "-wal", ".rev"):
            os.chown(f"{path}{suffix}", 0, 12345)
        if not is_open:
            store.close()
        user = ("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups")
        assert run(READ, path, wrapper=user) == "b'v'\nbut not writable\n"
        stranger = ("setpriv", "--reuid", "12346", "--regid", "12346", "--clear-groups")
        assert "Permission denied" in run(READ, path, wrapper=stranger)


READ = """
    import atexit
    import sys
    from netorch.errors import StoreUnavailable
    from netorch.store import open_to_read
    from netorch.store.base import Put

    try:
        store = open_to_read(sys.argv[1])
        atexit.register(store.close)
        print(store.get("k").value)
        store.txn([], [Put("k", b"")])
    except StoreUnavailable as error:
        print("but not writable" if "but not writable" in str(error) else error)
"""
