"""Properties of the SQLite store alone: damaged, foreign, replaced and full files, and history that is trimmed step by step."""

from __future__ import annotations

import os
import select
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.errors import FutureRevision, StoreUnavailable
from netorch.store.base import Compare, Put
from netorch.store.sqlite import store as sqlite_module
from netorch.store.sqlite.store import SqliteStore
from tests.unit.store.processes import in_user_namespace, run, user_namespaces_work

needs_user_namespaces = pytest.mark.skipif(not user_namespaces_work(), reason="this user may not make user namespaces")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def scribble(path: Path, statement: str) -> None:
    """Change the file without the store."""
    with sqlite3.connect(path) as raw:
        raw.execute(statement)
    raw.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class TestFiles:
    def test_what_was_written_is_there_after_opening_again(self, path: Path, store: SqliteStore) -> None:
        store.txn([], [Put("k", b"v")])
        store.close()
        again = SqliteStore(path)
        known = again.get("k")
        assert known is not None
        assert (again.uid, again.revision(), known.value) == (store.uid, 2, b"v")
        again.close()

    def test_another_file_has_another_uid(self, tmp_path: Path, store: SqliteStore) -> None:
        other = SqliteStore(tmp_path / "other.db")
        assert other.uid != store.uid
        other.close()

    def test_commits_reach_the_disk_before_they_are_acknowledged(self, store: SqliteStore) -> None:
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_closing_gives_every_descriptor_back(self, path: Path) -> None:
        before = descriptors()
        store = SqliteStore(path)
        watch = store.watch([""], 1)
        watch.close()
        store.close()
        store.close()
        assert descriptors() == before

    def test_a_store_that_cannot_be_opened_keeps_no_descriptor(self, path: Path) -> None:
        path.write_bytes(b"no database" * 1000)
        before = descriptors()
        with pytest.raises(StoreUnavailable):
            SqliteStore(path)
        assert descriptors() == before

    def test_a_closed_store_says_so(self, store: SqliteStore) -> None:
        store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            store.txn([], [])
        with pytest.raises(StoreUnavailable, match="closed"):
            store.get("k")


class TestRefusals:
    def test_a_missing_directory_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"No such file or directory: .*missing; create it"):
            SqliteStore(tmp_path / "missing" / "store.db")

    def test_a_directory_is_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match="is a directory"):
            SqliteStore(tmp_path)

    def test_a_text_file_is_refused_and_left_alone(self, path: Path) -> None:
        path.write_text("vpcs: []\n" * 100)
        with pytest.raises(StoreUnavailable, match="not a netorch store"):
            SqliteStore(path)
        assert path.read_text() == "vpcs: []\n" * 100
        assert os.listdir(path.parent) == [path.name]

    def test_another_programs_database_is_refused_and_left_alone(self, path: Path) -> None:
        scribble(path, "CREATE TABLE theirs (a)")
        before = path.read_bytes()
        with pytest.raises(StoreUnavailable, match="the database of another program"):
            SqliteStore(path)
        assert path.read_bytes() == before

    def test_a_newer_format_is_refused(self, path: Path, store: SqliteStore) -> None:
        store.close()
        scribble(path, "PRAGMA user_version = 3")
        with pytest.raises(StoreUnavailable, match="has format 3, and this netorch supports 2"):
            SqliteStore(path)

    @pytest.mark.parametrize("damage", [0, 1, 18, 100, 4096])
    def test_a_damaged_file_is_an_error(self, path: Path, store: SqliteStore, damage: int) -> None:
        written = {f"k/{n}": os.urandom(50) for n in range(100)}
        store.txn([], [Put(key, value) for key, value in written.items()])
        store.close()
        content = bytearray(path.read_bytes())
        content[damage : damage + 64] = bytes(byte ^ 0xFF for byte in content[damage : damage + 64])
        path.write_bytes(content)
        with pytest.raises(StoreUnavailable):
            use_all_of(path, written)

    def test_a_truncated_file_is_an_error(self, path: Path, store: SqliteStore) -> None:
        store.txn([], [Put(f"k/{n}", os.urandom(500)) for n in range(100)])
        store.close()
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(StoreUnavailable):
            use_all_of(path, {})

    @needs_user_namespaces
    def test_a_read_only_file_system_is_named(self, path: Path, store: SqliteStore) -> None:
        store.close()
        read_only = in_user_namespace(f"mount --bind {path.parent} {path.parent}; mount -o remount,bind,ro {path.parent}")
        assert "cannot be opened for writing" in run(OPEN_AND_FILL, path, wrapper=read_only)

    @needs_user_namespaces
    def test_a_full_disk_refuses_writes_and_answers_reads(self, path: Path) -> None:
        small = in_user_namespace(f"mount -t tmpfs -o size=2m none {path.parent}")
        output = run(OPEN_AND_FILL, path, wrapper=small)
        assert "the disk is full" in output
        assert "still reads True, writes again True" in output


OPEN_AND_FILL = """
    import os, sys
    from pathlib import Path
    from netorch.errors import StoreUnavailable
    from netorch.store.base import Put
    from netorch.store.sqlite.store import SqliteStore

    path = Path(sys.argv[1])
    ballast = path.with_name("ballast")
    try:
        store = SqliteStore(path)
        ballast.write_bytes(bytes(1 << 20))
        for n in range(1000):
            acknowledged = store.txn([], [Put(f"k/{n}", bytes(10000))]).revision
    except StoreUnavailable as error:
        print(error)
        if ballast.exists():
            ballast.unlink()
            reads = store.revision() == acknowledged and len(store.list("k/").kvs) == acknowledged - 1
            print(f"still reads {reads}, writes again {store.txn([], [Put('z', b'')]).revision == acknowledged + 1}")
"""


def use_all_of(path: Path, expected: dict[str, bytes]) -> None:
    store = SqliteStore(path)
    try:
        store.txn([], [Put(f"k/{n}", b"") for n in range(100, 120)])
        found = {kv.key: kv.value for kv in store.list("k/").kvs}
        assert {key: found.get(key) for key in expected} == expected
        store.watch([""], 1).poll()
        store.list("", 1)
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        store.close()


class TestReplacedFiles:
    def test_a_removed_file_takes_no_write_and_ends_its_watches(self, path: Path, store: SqliteStore) -> None:
        watch = store.watch([""], 1)
        path.unlink()
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            store.txn([], [Put("k", b"")])
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            watch.poll()
        watch.close()

    def test_a_replaced_lock_file_takes_no_write(self, path: Path, store: SqliteStore) -> None:
        os.replace(shutil.copy(f"{path}.rev", f"{path}.new"), f"{path}.rev")
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            store.txn([], [Put("k", b"")])

    def test_a_backup_played_back_into_the_file_is_noticed_by_its_watches(self, path: Path, store: SqliteStore) -> None:
        backup = sqlite3.connect(":memory:")
        store._db.backup(backup)
        store.txn([], [Put("k", b"")])
        watch = store.watch([""], 1)
        watch.poll()
        with sqlite3.connect(path) as raw:
            backup.backup(raw)
        raw.close()
        backup.close()
        with pytest.raises(FutureRevision, match="is at revision 1 and was at 2"):
            watch.poll()
        watch.close()

    def test_another_store_in_the_same_file_is_noticed(self, path: Path, store: SqliteStore) -> None:
        scribble(path, "UPDATE meta SET uid = 'other'")
        with pytest.raises(StoreUnavailable, match="now holds another store"):
            store.txn([], [Put("k", b"")])


class TestHistory:
    def test_a_long_history_comes_in_bites_of_whole_revisions(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_module, "POLL_EVENTS", 10)
        for n in range(20):
            store.txn([], [Put(f"k/{side}", b"%d" % n) for side in range(7)])
        watch = store.watch(["k/"], 1)
        sizes = []
        while select.select([watch], [], [], 0)[0]:
            sizes.append(len(watch.poll()))
        assert sum(sizes) == 140
        assert max(sizes) == 14
        assert {size % 7 for size in sizes} == {0}
        assert watch.revision == store.revision()
        watch.close()

    def test_old_history_leaves_the_file_with_the_commits(self, path: Path) -> None:
        store = SqliteStore(path, keep_revisions=1000)
        for n in range(100):
            store.txn([], [Put("k", b"%d" % n)])
        store.close()
        store = SqliteStore(path, keep_revisions=10)
        removed = []
        for n in range(120):
            before = store._db.execute("SELECT count(*) FROM log").fetchone()[0]
            store.txn([], [Put("k", b"%d" % n)])
            removed.append(before + 1 - store._db.execute("SELECT count(*) FROM log").fetchone()[0])
        assert max(removed) == 2  # no commit trims more than its share
        assert store._db.execute("SELECT count(*), min(rev) FROM log").fetchone() == (11, store.revision() - 10)
        store.close()

    def test_compaction_frees_all_that_it_forgets(self, store: SqliteStore) -> None:
        for n in range(50):
            store.txn([], [Put("k", b"%d" % n)])
        store.compact(40)
        assert store._db.execute("SELECT min(rev), max(rev) FROM log").fetchone() == (40, 51)


def test_leases_get_their_full_time_after_the_machine_has_restarted(path: Path) -> None:
    store = SqliteStore(path, clock=lambda: 1_000_000.0)
    lease = store.grant(10)
    store.txn([], [Put("live", b"", lease)])
    store.close()
    scribble(path, "UPDATE meta SET boot = 'the one before'")
    now = [5.0]
    store = SqliteStore(path, clock=lambda: now[0])
    assert store.txn([Compare("live", 2)], []).succeeded
    now[0] = 14.9
    assert store.get("live") is not None
    now[0] = 15.0
    assert store.get("live") is None
    store.close()
