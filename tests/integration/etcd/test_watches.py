"""Watches of a real cluster with many events, or without a reader."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Iterator

import pytest

from netorch.errors import Compacted
from netorch.store import open_store
from netorch.store.base import Put, Store
from netorch.store.etcd import commit as commit_module
from netorch.store.etcd import messages as pb
from netorch.store.etcd import store as store_module
from netorch.store.etcd import watch as watch_module
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.store import EtcdStore
from netorch.store.replay import events_until
from tests.rig.etcd.cluster import Cluster, running_cluster


@pytest.fixture
def store(etcd: Cluster) -> Iterator[Store]:
    made = open_store(etcd.url(secrets.token_hex(4)), create=True)
    yield made
    made.close()


def test_revisions_larger_than_a_message_come_whole(store: Store) -> None:
    values = [bytes([n]) * (400 << 10) for n in range(3)]
    for n in range(6):
        store.txn([], [Put(f"{n}/{m}", value) for m, value in enumerate(values)])
    watch = store.watch([""], 2)
    events = events_until(watch, store.revision())
    assert [(event.mod_revision, event.key) for event in events] == [(n + 2, f"{n}/{m}") for n in range(6) for m in range(3)]
    assert all(event.value == values[int(event.key[2:])] for event in events)
    watch.close()


def test_what_is_not_read_waits_in_the_cluster(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WAITING_EVENTS", 20)
    watch = store.watch(["k/"], 2)
    for n in range(30):
        store.txn([], [Put(f"k/{m}", b"%d" % n) for m in range(10)])
    end = store.revision()
    time.sleep(0.5)  # long enough for a reader to take everything
    first = watch.poll()
    assert len(first) <= 30 * 10
    events = [*first, *events_until(watch, end)]
    assert [event.mod_revision for event in events] == [n + 2 for n in range(30) for _ in range(10)]
    watch.close()


def test_a_store_that_is_quiet_beside_a_busy_one_can_tell_its_history_after_compaction(
    etcd: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (commit_module, store_module):
        monkeypatch.setattr(module, "KEEP_MARK_EVERY", 8)
    quiet, busy = (EtcdStore(parse_address(etcd.url(secrets.token_hex(4))), create=True) for _ in range(2))
    quiet.txn([], [Put("a", b"1")])
    marks: dict[int, str] = {}
    for n in range(6):
        for _ in range(17):
            busy.txn([], [Put("b", b"x")])
        marks |= {revision: quiet.mark(revision) for revision in range(8, quiet.revision(), 8) if revision not in marks}
        quiet.txn([], [Put("a", b"%d" % n)])
    end = quiet.revision()
    quiet._client.call(pb.COMPACT, pb.CompactionRequest(revision=end + quiet._keys.base))  # as the cluster does by itself
    assert len(set(marks.values())) == 6
    with pytest.raises(Compacted):
        quiet.mark(end - 1)
    assert {revision: quiet.mark(revision) for revision in marks} == marks
    quiet.close()
    busy.close()


@pytest.mark.slow
def test_a_watch_leaves_a_member_that_stands_still() -> None:
    with running_cluster() as cluster:
        store = EtcdStore(parse_address(cluster.url("s")), create=True)
        watch = store.watch(["k"], 2)
        events_until(watch, store.txn([], [Put("k", b"1")]).revision)
        asked, _ = store._client.channel()
        cluster.members[asked].signal(signal.SIGSTOP)
        events = events_until(watch, store.txn([], [Put("k", b"2")]).revision)
        assert [event.value for event in events] == [b"2"]
        watch.close()
        store.close()
