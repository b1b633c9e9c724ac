"""A restored copy of the store with new writes of its own is always refused, whatever its revision."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.actions import hosts, instances, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.drivers.fake.kernel import FakeKernel
from netorch.records.caller import Caller
from netorch.state.op import Delete
from netorch.store import open_store
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.store.processes import start

OPERATOR = Caller(operator=True)


class Site:
    """A host that follows a store in a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "store.db"
        self.kernel = FakeKernel()
        self.kernel.close = lambda: None  # type: ignore[method-assign]  # it outlives an agent
        self.now = 1000.0
        store = SqliteStore(self.path)
        hosts.create_host(store, OPERATOR, name="hv1", underlay="192.0.2.11")
        vpc = vpcs.create_vpc(store, OPERATOR, name="v", cidrs=["10.0.0.0/16"], ipv6_cidrs=[])
        self.subnet = subnets.create_subnet(store, OPERATOR, vpc.id, name="s", cidr="10.0.0.0/24").id
        store.close()
        self.agent = self.start()

    def start(self) -> Agent:
        agent = Agent(
            "hv1",
            self.kernel,
            lambda: open_store(str(self.path), patience_s=STORE_PATIENCE_S),
            SnapshotFile(self.directory / "hv1.snapshot"),
            load_compilers(),
            lambda: self.now,
        )
        agent.start()
        return agent

    def settle(self) -> None:
        for _ in range(30):
            self.now += 2.0
            self.agent.turn()

    def write(self, count: int) -> None:
        """Raise the store's revision."""
        store = SqliteStore(self.path)
        for n in range(count):
            store.txn([], [Put("quota/x", b"%d" % n)])
        store.close()

    def run_instance(self) -> None:
        store = SqliteStore(self.path)
        instances.run_instance(store, OPERATOR, RunRequest(subnet=self.subnet, host="hv1"))
        store.close()

    def backup(self) -> Path:
        kept = self.directory / "backup.db"
        with sqlite3.connect(self.path) as source, sqlite3.connect(kept) as target:
            source.backup(target)
        source.close()
        target.close()
        return kept

    def put_back(self, kept: Path, way: str) -> None:
        if way == "into the file":
            with sqlite3.connect(kept) as source, sqlite3.connect(self.path) as target:
                source.backup(target)
            source.close()
            target.close()
        else:
            os.replace(kept, self.path)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("way", ["into the file", "in its place"])
@pytest.mark.parametrize("agent", ["runs all the time", "is started again before", "is started again after"])
def test_a_copy_that_has_overtaken_what_was_seen_is_refused_across_restarts(site: Site, way: str, agent: str) -> None:
    kept = site.backup()
    site.run_instance()
    site.settle()
    before = dict(site.kernel.objects)
    seen = site.agent.follower.history.revision
    if agent == "is started again before":
        site.agent.close()
    site.put_back(kept, way)
    if agent == "is started again after":
        site.settle()
        assert site.agent.follower.refused
        site.agent.close()
    site.write(seen + 40)
    if agent != "runs all the time":
        site.agent = site.start()
    site.settle()
    assert site.agent.follower.refused
    assert "remove its snapshot file" in site.agent.follower.trouble
    assert site.kernel.objects == before
    site.agent.close()
    site.agent = site.start()
    site.settle()
    assert site.agent.follower.refused
    assert site.kernel.objects == before
    (site.directory / "hv1.snapshot").unlink()
    site.agent = site.start()
    site.settle()
    assert site.agent.follower.in_sync
    site.agent.close()


def test_a_refusal_is_remembered_though_no_record_of_the_host_had_changed(site: Site) -> None:
    site.settle()
    kept = site.backup()
    site.write(50)
    site.settle()
    site.put_back(kept, "in its place")
    site.write(100)
    site.settle()
    assert site.agent.follower.refused
    del site.agent  # killed
    site.agent = site.start()
    site.settle()
    assert site.agent.follower.refused
    site.agent.close()


def test_a_host_that_was_away_longer_than_the_history_is_kept_follows_its_own_store(site: Site) -> None:
    site.settle()
    site.agent.close()
    store = SqliteStore(site.path, keep_revisions=5)
    for n in range(1100):
        store.txn([], [Put("quota/x", b"%d" % n)])
    store.close()
    site.agent = site.start()
    site.settle()
    assert (site.agent.follower.in_sync, site.agent.follower.trouble) == (True, "")
    site.agent.close()


def test_a_snapshot_of_before_marks_goes_by_the_revision(site: Site) -> None:
    site.settle()
    site.agent.close()
    file = SnapshotFile(site.directory / "hv1.snapshot")
    saved = file.load()
    assert saved is not None
    uid, revision, records = saved.uid, saved.revision, saved.records
    file.save(type(saved)(uid=uid, revision=revision, records=records))
    site.agent = site.start()
    assert site.agent.follower.in_sync
    assert site.agent.follower.history.mark
    site.agent.close()


@pytest.mark.parametrize("loss", ["removed", "emptied", "removed with all beside it"])
def test_an_agent_makes_no_store_and_says_what_is_missing(site: Site, loss: str) -> None:
    site.run_instance()
    site.settle()
    before = dict(site.kernel.objects)
    if loss == "emptied":
        os.truncate(site.path, 0)
    else:
        site.path.unlink()
    for suffix in ("-wal", "-shm", ".rev", ".lock") if loss == "removed with all beside it" else ():
        Path(f"{site.path}{suffix}").unlink(missing_ok=True)
    site.settle()
    assert any(word in site.agent.follower.trouble for word in ("does not exist", "restore a backup"))
    assert loss == "emptied" or not site.path.exists()
    assert site.kernel.objects == before
    site.agent.close()


HOLD = """
    import fcntl, sys, time
    how, *paths = sys.argv[1:]
    files = [open(path, "rb" if how == "reads" else "r+b") for path in paths]
    for file in files:
        # sqlite.org/walformat.html: the locks of the index of the log; the pending byte of the file
        length, first = (8, 120) if file.name.endswith("-shm") else (1, 1 << 30)
        if how == "flock":
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            fcntl.lockf(file, fcntl.LOCK_SH if how == "reads" else fcntl.LOCK_EX, length, first)
    print("held", flush=True)
    time.sleep(60)
"""
HELD = [("flock", ("", ".rev", ".lock")), ("reads", ("", "-shm")), ("writes", ("-shm",)), ("writes", ("",))]


@pytest.mark.parametrize(("how", "suffixes"), HELD)
def test_the_kernel_is_repaired_while_somebody_holds_the_store(site: Site, how: str, suffixes: tuple[str, ...]) -> None:
    site.run_instance()
    site.settle()
    before = dict(site.kernel.objects)
    route = next(obj for key, obj in before.items() if key[0] == "route")
    holder = start(HOLD, how, *(f"{site.path}{suffix}" for suffix in suffixes))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    begun = time.monotonic()
    for _ in range(3):
        site.now += 6.0  # the lease needs renewal, and a report is pending
        site.kernel.disturb(Delete(route))
        site.agent.turn()
        assert site.kernel.objects.keys() == before.keys()
    assert time.monotonic() - begun < 6.0  # otherwise each turn waited for more than ten seconds
    holder.kill()
    holder.communicate()
    site.settle()
    assert site.agent.follower.in_sync
    store = SqliteStore(site.path)
    assert store.get("host/hv1/live") is not None
    store.close()
    site.agent.close()
