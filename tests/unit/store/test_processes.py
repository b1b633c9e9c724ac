"""Several processes on one SQLite file: no write is lost or seen twice, and every watch is woken."""

from __future__ import annotations

import select
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.errors import StoreUnavailable
from netorch.store.base import Event, Put
from netorch.store.sqlite.store import SqliteStore, SqliteWatch
from tests.unit.store.processes import in_user_namespace, is_stopped, run, start, user_namespaces_work

pytestmark = pytest.mark.slow

COUNTER = """
    import sys
    from pathlib import Path
    from netorch.store.base import Put
    from netorch.store.sqlite.store import SqliteStore
    from netorch.store.transact import retry

    def attempt(snapshot):
        known = snapshot.get("counter")
        return [], [Put("counter", b"%d" % (int(known.value) + 1 if known else 1)), Put(sys.argv[2], b"")]

    store = SqliteStore(Path(sys.argv[1]))
    for _ in range(int(sys.argv[3])):
        retry(store, attempt, tries=1000)
    store.close()
"""
# Writes pairs of keys and prints the acknowledged revisions, until it is killed.
ACKNOWLEDGED = """
    import sys
    from pathlib import Path
    from netorch.store.base import Put
    from netorch.store.sqlite.store import SqliteStore

    store = SqliteStore(Path(sys.argv[1]), keep_revisions=200)
    value = 0
    while True:
        value += 1
        result = store.txn([], [Put(f"{sys.argv[2]}/a", b"%d" % value), Put(f"{sys.argv[2]}/b", b"%d" % value)])
        print(result.revision, value, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def wait_for(watch: SqliteWatch, wanted: int, timeout_s: float = 20.0) -> list[Event]:
    """Return `wanted` events; sleep on the descriptor, like an agent."""
    poller, seen = select.poll(), list(watch.poll())
    poller.register(watch.fileno(), select.POLLIN)
    give_up = time.monotonic() + timeout_s
    while len(seen) < wanted and time.monotonic() < give_up:
        poller.poll(1000)
        seen += watch.poll()
    return seen


def test_writers_in_several_processes_lose_no_update(path: Path, store: SqliteStore) -> None:
    watch = store.watch(["counter"], 1)
    writers = [start(COUNTER, path, f"writer/{n}", 60) for n in range(3)]
    seen = wait_for(watch, 180)
    assert [writer.communicate(timeout=20)[1] for writer in writers] == ["", "", ""]
    assert [event.value for event in seen] == [b"%d" % n for n in range(1, 181)]
    assert [event.mod_revision for event in seen] == list(range(2, 182))
    watch.close()


def test_a_commit_of_another_process_wakes_a_watch_before_its_timer_does(path: Path, store: SqliteStore) -> None:
    watch = store.watch(["writer/"], 1)
    assert watch.notified
    watch.poll()
    latencies = []
    for _ in range(3):
        run(COUNTER, path, "writer/0", 1)
        committed = time.monotonic()
        assert len(wait_for(watch, 1)) == 1
        latencies.append(time.monotonic() - committed)
    assert min(latencies) < 0.1  # a tenth of the timer's period, measured from the end of the process
    watch.close()


def test_a_commit_whose_signal_was_lost_is_found_by_the_timer(path: Path, store: SqliteStore) -> None:
    watch = store.watch(["k"], 1)
    watch.poll()
    other = SqliteStore(path)
    other._revision_file.ring = lambda revision: None  # type: ignore[method-assign]  # as if killed right after COMMIT
    other.txn([], [Put("k", b"")])
    assert [event.key for event in wait_for(watch, 1)] == ["k"]
    other.close()
    watch.close()


def test_killed_writers_lose_nothing_acknowledged_and_leave_no_halves(path: Path, store: SqliteStore) -> None:
    watch = store.watch(["w"], 1)
    seen: list[Event] = []
    acknowledged: dict[int, tuple[str, int]] = {}
    for generation in range(12):
        names = [f"w{generation}{side}" for side in "lr"]
        writers = [start(ACKNOWLEDGED, path, name) for name in names]
        seen += wait_for(watch, 30 + generation)
        for name, writer in zip(names, writers, strict=True):
            writer.kill()
            for line in writer.communicate()[0].splitlines(keepends=True):
                if line.endswith("\n"):  # the last line may be incomplete
                    revision, value = map(int, line.split())
                    assert acknowledged.setdefault(revision, (name, value)) == (name, value)
        seen += watch.poll()
    happened = {(event.mod_revision, event.key): event.value for event in seen}
    assert len(happened) == len(seen)
    assert sorted({event.mod_revision for event in seen}) == list(range(2, store.revision() + 1))
    for known, (name, value) in acknowledged.items():
        assert happened[known, f"{name}/a"] == happened[known, f"{name}/b"] == b"%d" % value
    assert len(seen) == 2 * (store.revision() - 1)
    assert {kv.key for kv in store.list("").kvs} == {event.key for event in seen}
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    watch.close()


@pytest.mark.skipif(not user_namespaces_work(), reason="this user may not make user namespaces")
def test_without_inotify_instances_a_watch_polls(path: Path, store: SqliteStore) -> None:
    watching = start(
        """
        import select, sys, time
        from pathlib import Path
        from netorch.store.sqlite.store import SqliteStore

        store = SqliteStore(Path(sys.argv[1]))
        watch = store.watch(["k"], 1)
        assert not watch.notified
        watch.poll()
        print("watching", flush=True)
        seen, begun = [], time.process_time()
        while len(seen) < 2:
            select.select([watch], [], [])
            seen += watch.poll()
        print([event.key for event in seen], time.process_time() - begun < 0.2)
        """,
        path,
        wrapper=in_user_namespace("echo 0 > /proc/sys/user/max_inotify_instances"),
    )
    assert watching.stdout is not None
    assert watching.stdout.readline() == "watching\n"
    store.txn([], [Put("k/1", b"")])
    store.txn([], [Put("k/2", b"")])
    output, errors = watching.communicate(timeout=20)
    assert (output, errors) == ("['k/1', 'k/2'] True\n", "")


# Commits pairs of equal values; in the n-th commit it stops itself before the n-th statement, until there is none.
STOPPING = """
    import os, signal, sys
    from pathlib import Path
    from netorch.store.base import Compare, Put
    from netorch.store.sqlite.store import SqliteStore

    class Connection:
        def __init__(self, db):
            self.db, self.left = db, -1

        def __getattr__(self, name):
            found = getattr(self.db, name)
            return (lambda *arguments: self.counted(found, arguments)) if name.startswith("execute") else found

        def counted(self, call, arguments):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
            return call(*arguments)

    store = SqliteStore(Path(sys.argv[1]))
    statements = store._db = Connection(store._db)
    number = 0
    while True:
        number += 1
        value = b"%d" % number
        known = store.get("a")
        statements.left = number
        result = store.txn([Compare("a", known.mod_revision if known else 0)], [Put("a", value), Put("b", value)])
        print(number, result.succeeded, flush=True)
        if statements.left > 0:
            break
    store.close()
"""


def test_a_writer_that_is_stopped_anywhere_in_a_commit_leaves_no_half_and_is_named(path: Path, store: SqliteStore) -> None:
    second = SqliteStore(path, patience_s=0.02)
    writer = start(STOPPING, path)
    before = 0
    named = rf"it is locked by process {writer.pid} \(.*\), which is stopped; continue it \(kill -CONT {writer.pid}\) or kill it$"
    while is_stopped(writer):
        seen = [kv.value for kv in store.list("").kvs]
        assert seen == ([b"%d" % before] * 2 if before else []), "readers see all of the last commit, and nothing of this one"
        with pytest.raises(StoreUnavailable, match=named):
            second.txn([], [Put("other", b"")])
        before += 1
        writer.send_signal(signal.SIGCONT)
    output, errors = writer.communicate(timeout=20)
    assert errors == ""
    assert output.splitlines() == [f"{number} True" for number in range(1, before + 2)]
    assert before > 5
    assert second.txn([], [Put("other", b"")]).succeeded
    second.close()


def test_a_stopped_writer_that_is_killed_gives_way(path: Path, store: SqliteStore) -> None:
    writer = start(STOPPING, path)
    for _ in range(4):
        assert is_stopped(writer)
        writer.send_signal(signal.SIGCONT)
    assert is_stopped(writer)
    known = [kv.value for kv in store.list("").kvs]
    writer.kill()
    assert store.txn([], [Put("c", b"")]).succeeded
    assert [kv.value for kv in store.list("").kvs] == [*known, b""]
    writer.communicate(timeout=20)


HOLDING = """
    import sys, time
    from pathlib import Path
    from netorch.store.sqlite.store import SqliteStore

    store = SqliteStore(Path(sys.argv[1]))
    with store._revision_file.locked(1):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_process_that_keeps_the_lock_is_named(path: Path, store: SqliteStore) -> None:
    other = SqliteStore(path, patience_s=0.05)
    writer = start(HOLDING, path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "held\n"
    with pytest.raises(StoreUnavailable, match=rf"it is locked by process {writer.pid} \(.*\); wait, or end that one$"):
        other.txn([], [Put("k", b"")])
    assert other.get("k") is None
    writer.kill()
    writer.communicate(timeout=20)
    assert other.txn([], [Put("k", b"")]).succeeded
    other.close()
