"""A command line with a store of its own, and a file for it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli import called
from netorch.cli.main import cli
from netorch.errors import NetorchError
from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.rig.seats import let_run
from tests.unit.cli.whole_tree import tree
from tests.unit.sealing import publish_keys

Run = Callable[..., subprocess.CompletedProcess[str]]

CLOUD = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
vpcs:
- name: acme
  owner: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: web-1, host: hv1, address: 10.44.12.4}
  - {name: web-2, host: hv2}
- name: globex
  owner: globex
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances: [{name: web-1, host: hv1, address: 10.44.12.4}]
"""


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line like `run`, but in this process, which is many times faster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETORCH_STORE", str(tmp_path / "db"))

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(cli, arguments)
        error, found, said = done.exception, done.exit_code, done.stderr
        if isinstance(error, NetorchError):
            found, said = error.exit_code, f"{said}error: {called.as_called(str(error))}\n"
        assert found == code, f"{arguments}: {found}\n{done.stdout}\n{said}\n{error!r}"
        return subprocess.CompletedProcess(arguments, found, done.stdout, said)

    (tmp_path / "vpc.yaml").write_text(CLOUD)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line in an empty directory with its own store; fail on an unexpected exit code."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "netorch", *arguments],
            cwd=tmp_path,
            env={"NETORCH_STORE": str(tmp_path / "db"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    (tmp_path / "vpc.yaml").write_text(CLOUD)
    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a store with a resource of every kind, and one damaged record."""
    path = tmp_path_factory.mktemp("made")
    (path / "vpc.yaml").write_text(tree.CLOUD)
    with closing(SqliteStore(path / "db")) as store:
        publish_keys(store, "e1", "e2")
    for line in tree.SETUP:
        done = CliRunner().invoke(cli, ["--store", str(path / "db"), *shlex.split(line.format(path / "vpc.yaml"))])
        assert done.exit_code == 0, (line, done.output, done.exception)
    with closing(SqliteStore(path / "db")) as store:
        store.txn((), [Put("quota/damaged", b"{"), Put(keys.host_drained("drained"), b"{}")])
        let_run(store, "e2")
    return (path / "db").read_bytes()


@pytest.fixture
def busy(quick: Run, made: bytes, tmp_path: Path) -> Run:
    """Return the command line for a copy of that store."""
    (tmp_path / "db").write_bytes(made)
    (tmp_path / "vpc.yaml").write_text(tree.CLOUD.replace("- name: acme\n", "- name: acme\n  internet_gateway: {}\n"))
    (tmp_path / "changed.yaml").write_text("vpcs: [{name: more, cidrs: [10.7.0.0/16]}]")
    (tmp_path / "quota.json").write_text("{}")
    return quick
