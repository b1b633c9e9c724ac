"""A command that is stopped before or after one of its commits, and continued later: others go on, and nothing is half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.records.inventory import read_inventory
from netorch.store import open_store
from tests.rig.etcd.cluster import Cluster
from tests.unit.store.processes import is_stopped, start

pytestmark = pytest.mark.slow

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}, {name: db, cidr: 10.44.13.0/24}]
  instances:
  - {name: web-1, host: hv1, subnet: app}
  - {name: web-2, host: hv1, subnet: db}
"""
# Runs a command that stops itself before and after each commit.
STOPPING = """
    import os, signal, sys
    from netorch.cli.main import cli
    from netorch.store.etcd.store import EtcdStore
    from netorch.store.sqlite.store import SqliteStore

    def stopping(txn):
        def stopped(self, compares, ops):
            os.kill(os.getpid(), signal.SIGSTOP)
            result = txn(self, compares, ops)
            os.kill(os.getpid(), signal.SIGSTOP)
            return result
        return stopped

    for kind in (EtcdStore, SqliteStore):
        kind.txn = stopping(kind.txn)
    cli(sys.argv[1:])
"""


@pytest.fixture(params=["sqlite", "etcd"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The store's URL."""
    if request.param == "sqlite":
        return str(tmp_path / "netorch.db")
    cluster = request.getfixturevalue("etcd")
    assert isinstance(cluster, Cluster)
    return cluster.url(f"paused-{tmp_path.name}")


class Paused:
    """A declared cloud, and the process that applies it and stops at each commit."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self.file = directory / "vpc.yaml"
        self.file.write_text(CLOUD)
        self.run("host", "create", "hv1", "--underlay", "192.0.2.11")
        self.run("vpc", "create", "old", "--cidr", "10.44.0.0/16")
        self.run("subnet", "create", "app", "--vpc", "old", "--cidr", "10.44.12.0/24")
        self.store = open_store(url)
        self.process = start(STOPPING, "--store", url, "apply", "-f", self.file, "--no-wait")

    def run(self, *words: str, code: int = 0) -> str:
        """Run another command."""
        done = CliRunner().invoke(cli, ["--store", self._url, *words])
        assert done.exit_code == code, (words, done.output, done.exception)
        return done.output

    def is_stopped(self) -> bool:
        """Wait until the process is stopped or has ended; return which."""
        return is_stopped(self.process)

    def go_on(self) -> None:
        """Continue the process."""
        self.process.send_signal(signal.SIGCONT)

    def names(self) -> set[str]:
        """Return the names of all VPCs; nothing in the store may be half done."""
        inventory = read_inventory(self.store)
        assert inventory.unreadable == []
        self.run("store", "check")
        return {records.vpc.record.name for records in inventory.vpcs.values()}


@pytest.fixture
def paused(url: str, tmp_path: Path) -> Iterator[Paused]:
    made = Paused(url, tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()
    made.store.close()


def test_others_go_on_while_a_command_is_stopped_and_it_goes_on_too(paused: Paused) -> None:
    stops = 0
    while paused.is_stopped():
        assert paused.names() == ({"old"} if stops == 0 else {"old", "acme"})
        paused.run("instance", "run", f"other-{stops}", "--subnet", "old/app", "--host", "hv1", "--no-wait")
        stops += 1
        paused.go_on()
    assert paused.process.wait(60) == 0
    assert stops >= 2
    paused.run("plan", "-f", str(paused.file))


def test_a_command_that_wakes_up_after_another_has_done_the_same_does_nothing(paused: Paused) -> None:
    assert paused.is_stopped()
    paused.run("apply", "-f", str(paused.file), "--no-wait")
    before = paused.store.revision()
    paused.go_on()
    while paused.is_stopped():
        paused.go_on()
    output, errors = paused.process.communicate(timeout=60)
    assert (paused.process.returncode, errors) == (0, "")
    assert "Applied in 0 transactions" in output
    assert paused.store.revision() == before
    assert paused.names() == {"old", "acme"}
    paused.run("plan", "-f", str(paused.file))
