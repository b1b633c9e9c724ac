"""A cloud with identities: an etcd that admits users only, the enrolment service, two hosts that have joined."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.errors import StoreError
from netorch.store import open_store
from netorch.store.base import Store
from tests.rig.etcd.secured import SecuredCluster, secured_cluster

PATIENCE_S = 60.0
CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances: [{name: web-1, host: hv1, address: 10.44.12.4}]
- name: globex
  cidrs: [10.45.0.0/16]
  subnets: [{name: app, cidr: 10.45.12.0/24}]
  instances: [{name: web-1, host: hv2, address: 10.45.12.4}]
"""


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def _lasting_port() -> int:
    """Return a free port that no outgoing connection takes while the service is down: below net.ipv4.ip_local_port_range."""
    for port in range(20_000 + os.getpid() % 9_000, 32_000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class Service:
    """The enrolment service as a process."""

    def __init__(self, cloud: Cloud) -> None:
        self._command = [
            sys.executable, "-m", "netorch", "--store", cloud.operator_url, "ca", "serve",
            "--listen", cloud.service, "--address", cloud.service, "--dir", str(cloud.secured.directory),
        ]  # fmt: skip
        self.log = cloud.secured.directory / "service.log"
        self._where = cloud.service
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until(self._listens)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; wait for the end if that ends it."""
        assert self._process is not None
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(PATIENCE_S)

    def argv(self) -> bytes:
        """Return the command line as others see it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/cmdline").read_bytes()

    def close(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        host, _, port = self._where.partition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return True
        return False


class Cloud:
    """The command line of the operator, and of hosts."""

    def __init__(self, secured: SecuredCluster) -> None:
        self.secured = secured
        self.operator_url = secured.url(secured.operator)
        self.service = f"127.0.0.1:{_lasting_port()}"

    def run(self, *arguments: str, code: int = 0, given: str | None = None, url: str = "") -> str:
        """Run a command; as the operator, unless another URL is named."""
        done = CliRunner().invoke(cli, ["--store", url or self.operator_url, *arguments], input=given)
        assert done.exit_code == code, (arguments[:2], done.output, done.exception)
        return done.stdout if code == 0 else f"{done.output}{done.exception}"

    def token(self, host: str, *options: str) -> str:
        """Return a new token of a host."""
        return self.run("host", "token", host, *options).strip()

    def state(self, name: str) -> Path:
        """Return a machine's state directory."""
        return self.secured.directory / "machines" / name

    def join(self, machine: str, token: str, code: int = 0) -> str:
        """Let a machine join; return its URL of the store, or why it was refused."""
        said = self.run("host", "join", "--state-dir", str(self.state(machine)), given=f"{token}\n", code=code, url="memory:")
        return said.split('store = "')[1].split('"')[0] if code == 0 else said

    def store(self, url: str = "", patience_s: float = 10.0) -> Store:
        """Open the store, as the operator or by another URL."""
        return open_store(url or self.operator_url, patience_s=patience_s)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud with two customers, each on a host of its own; the service has not been started."""
    directory = tmp_path_factory.mktemp("identities")
    with secured_cluster(directory) as secured:
        made = Cloud(secured)
        for number in (1, 2):
            made.run("host", "create", f"hv{number}", "--underlay", f"192.0.2.1{number}")
        (directory / "vpc.yaml").write_text(CLOUD)
        made.run("apply", "-f", str(directory / "vpc.yaml"), "--no-wait")
        yield made


@pytest.fixture(scope="module")
def service(cloud: Cloud) -> Iterator[Service]:
    made = Service(cloud)
    yield made
    made.close()


@pytest.fixture(scope="module")
def hosts(cloud: Cloud, service: Service) -> dict[str, str]:
    """The stores' URLs of two joined hosts."""
    return {name: cloud.join(name, cloud.token(name)) for name in ("hv1", "hv2")}


def refused(error: type[StoreError], call: Callable[[], object]) -> None:
    """Assert that a call is refused with an error of a type."""
    with pytest.raises(error):
        call()
