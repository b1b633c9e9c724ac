"""Clients and members that die under load: some order explains every answer, and watches report every change."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.store import open_store
from netorch.store.base import Event, Store, Watch
from netorch.store.replay import events_until, history
from tests.rig.etcd.cluster import Cluster, running_cluster
from tests.rig.linear.checker import explained
from tests.rig.linear.client import start_client
from tests.rig.linear.history import Operation, operations
from tests.rig.linear.model import EMPTY, step

CLIENTS = 4
ANSWERS = 25  # of each client after each fault
PREFIXES = ("p/", "q/")


class Load:
    """Clients of one store, each in a process, and a watch of everything that they write."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url, self._directory = url, directory
        self._count = 0
        self.store = open_store(url, create=True)
        self.watch = self.store.watch(PREFIXES, 2)
        self.clients = [self._start() for _ in range(CLIENTS)]

    def _start(self) -> tuple[Path, subprocess.Popen[bytes]]:
        self._count += 1
        output = self._directory / f"{self._count}.out"
        return output, start_client(self._url, self._count, output)

    def replace(self, number: int) -> None:
        """Kill a client, and start another one."""
        _kill(self.clients[number][1])
        self.clients[number] = self._start()

    def go_on(self) -> None:
        """Wait until each client has had some more answers."""
        wanted = {output: _lines(output) + 2 * ANSWERS for output, _ in self.clients}
        give_up = time.monotonic() + 60
        while any(_lines(output) < count for output, count in wanted.items()):
            assert time.monotonic() < give_up, "clients are stuck"
            time.sleep(0.02)

    def end(self) -> list[Operation]:
        """End the clients, and return the operations of all of them."""
        for _, process in self.clients:
            assert process.stdin is not None
            process.stdin.close()
        for _, process in self.clients:
            assert process.wait(30) == 0
        return operations(path.read_text() for path in sorted(self._directory.glob("*.out")))

    def close(self) -> None:
        for _, process in self.clients:
            _kill(process)
        self.watch.close()
        self.store.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@contextlib.contextmanager
def load(url: str, directory: Path) -> Iterator[Load]:
    made = Load(url, directory)
    try:
        yield made
    finally:
        made.close()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def in_order(events: tuple[Event, ...]) -> list[tuple[int, str, bytes | None]]:
    return sorted((event.mod_revision, event.key, event.value) for event in events)


def check(done: list[Operation], store: Store, watch: Watch) -> None:
    accepted, part = explained(done, EMPTY, step)
    assert accepted, f"no order explains more than {len(part)} of {len(done)} operations, the last one {part[-1:]}"
    watched = events_until(watch, store.revision())
    assert [event.mod_revision for event in watched] == sorted(event.mod_revision for event in watched)
    told = in_order(watched)
    assert told == in_order(history(store, PREFIXES, 2))  # no duplicate, no gap
    happened = {(revision, key): value for revision, key, value in told}
    written = [operation for operation in done if operation.puts and operation.succeeded]
    for operation in written:  # no acknowledged write is lost
        for key, value in operation.puts:
            if value is not None:
                assert happened[operation.revision, key] == value.encode()
    revisions: dict[bytes, set[int]] = defaultdict(set)
    for revision, _, content in told:
        if content is not None:
            revisions[content].add(revision)
    assert all(len(found) == 1 for found in revisions.values())  # no write happened twice
    assert len(written) > CLIENTS * ANSWERS
    unanswered = [operation for operation in done if math.isinf(operation.returned)]
    assert len(unanswered) <= 2 * CLIENTS


def wait_until_whole(cluster: Cluster) -> None:
    give_up = time.monotonic() + 60
    while not cluster.is_whole():
        assert time.monotonic() < give_up, "a member does not come back"
        time.sleep(0.05)


@pytest.mark.slow
def test_members_of_a_cluster_that_die_under_load_lose_nothing(tmp_path: Path) -> None:
    with running_cluster() as cluster, load(cluster.url("s"), tmp_path) as under_load:
        under_load.go_on()
        for member in (cluster.followers()[0], cluster.leader()):
            member.kill()
            under_load.go_on()
            cluster.start(member)
            wait_until_whole(cluster)
            under_load.go_on()
        leader = cluster.leader()
        leader.signal(signal.SIGSTOP)
        under_load.go_on()
        leader.signal(signal.SIGCONT)
        wait_until_whole(cluster)
        under_load.replace(0)
        under_load.go_on()
        check(under_load.end(), under_load.store, under_load.watch)


@pytest.mark.slow
def test_processes_with_a_sqlite_store_that_die_lose_nothing(tmp_path: Path) -> None:
    with load(str(tmp_path / "store.db"), tmp_path) as under_load:
        for number in range(CLIENTS):
            under_load.go_on()
            under_load.replace(number)
        under_load.go_on()
        check(under_load.end(), under_load.store, under_load.watch)
