"""What an agent receives and holds does not depend on the VPCs of others: counted in keys, bytes and objects."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.records.caller import Caller
from netorch.store import open_store
from netorch.store.base import Event, Range, Store, Watch

OPERATOR = Caller(operator=True)
FEW, MANY = 2, 60
OWN_KEYS = 3  # that one more instance of the own VPC changes: itself, its interface, its mapping
PATIENCE_S = 60.0


class Received(msgspec.Struct):
    """What a host has read from a store."""

    keys: int = 0
    size: int = 0  # bytes of keys and values

    def count(self, found: Iterable[tuple[str, bytes | None]]) -> None:
        for key, value in found:
            self.keys += 1
            self.size += len(key) + len(value or b"")


class CountedWatch:
    """A watch that counts the events which it delivers."""

    def __init__(self, watch: Watch, received: Received) -> None:
        self._watch, self._received = watch, received

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a watch has
        return getattr(self._watch, name)

    def poll(self) -> tuple[Event, ...]:
        events = self._watch.poll()
        self._received.count((event.key, event.value) for event in events)
        return events


class Counted:
    """A store that counts what is listed and watched."""

    def __init__(self, store: Store, received: Received) -> None:
        self._store, self._received = store, received

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a store has
        return getattr(self._store, name)

    def list(self, prefix: str, revision: int = 0) -> Range:
        found = self._store.list(prefix, revision)
        self._received.count((kv.key, kv.value) for kv in found.kvs)
        return found

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> CountedWatch:
        return CountedWatch(self._store.watch(prefixes, from_revision, mark), self._received)


class Relay:
    """A TCP relay that counts the bytes from a server to its clients."""

    def __init__(self, port: int) -> None:
        self.passed = 0
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._open += [client, server]
                threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.passed += len(data) if counts else 0
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        for each in (self._server, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def vpc(name: str, hosts: Iterable[str]) -> VpcDecl:
    """Return a VPC with an instance on each of these hosts."""
    made = [InstanceDecl(name=f"i{number}", host=host) for number, host in enumerate(hosts)]
    subnets = [SubnetDecl(name="a", cidr="10.0.0.0/24")]
    return VpcDecl(name=name, owner=name, cidrs=["10.0.0.0/16"], subnets=subnets, instances=made)


def write(store: Store, own: int, foreign: int, each: int) -> None:
    """Let the cloud be a VPC with instances on both hosts, and foreign ones with so many instances on the other host each."""
    hosts = [HostDecl(name=f"hv{number}", underlay=f"192.0.2.{number}") for number in (1, 2)]
    others = [vpc(f"foreign-{number}", ["hv2"] * each) for number in range(foreign)]
    cloud = Cloud(hosts=hosts, vpcs=[vpc("own", ["hv1", *["hv2"] * own]), *others])
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud, source="/vpc.yaml"), allow_mass_delete=True)


class Host:
    """hv1's agent in this thread, with a kernel in memory, and what it has received."""

    def __init__(self, url: str, directory: Path) -> None:
        self.received = Received()
        self.agent = Agent(
            "hv1",
            FakeKernel(),
            lambda: Counted(open_store(url), self.received),
            SnapshotFile(directory / f"{secrets.token_hex(4)}.snapshot"),
            load_compilers(),
        )
        self.agent.start()
        self.until(lambda: self.agent.follower.in_sync)

    def until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up, self.agent.follower.trouble
            self.agent.step(0.02)

    def mappings(self) -> int:
        return sum(len(found.mappings) for found in self.agent.records.vpcs.values())

    def held(self) -> dict[str, int]:
        """Return how much the agent holds in memory, and in its kernel."""
        records, slices = self.agent.records, self.agent.reconciler.slices.values()
        return {
            "records": len(records.raw),
            "bytes": sum(len(key) + len(value) for key, (_, value) in records.raw.items()),
            "decoded": sum(len(table) for found in records.vpcs.values() for table in found.tables.values()),
            "followed": len(records.prefixes),
            "wanted": sum(len(target.desired) for target in slices),
            "in the kernel": len(self.agent.kernel.dump()),
        }


@contextmanager
def started(url: str, directory: Path) -> Iterator[Host]:
    host = Host(url, directory)
    with closing(host.agent):
        yield host


class Place(msgspec.Struct):
    """The URLs of a new store for writers and for hosts, and the relay before hosts, if the store is behind a network."""

    writers: str
    hosts: str
    relay: Relay | None = None

    def passed(self) -> int:
        """Return how many bytes hosts have received from the network."""
        return self.relay.passed if self.relay is not None else 0


@pytest.fixture(params=["sqlite", "etcd"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(str(tmp_path / "db"), str(tmp_path / "db"))
        return
    url = urlsplit(request.getfixturevalue("etcd").url(secrets.token_hex(4)))
    assert url.port is not None
    with closing(Relay(url.port)) as relay:
        yield Place(url.geturl(), f"etcd://127.0.0.1:{relay.port}{url.path}", relay)


def test_a_host_receives_and_holds_the_same_beside_few_and_many_foreign_vpcs(place: Place, tmp_path: Path) -> None:
    with closing(open_store(place.writers, create=True)) as store:
        write(store, 1, FEW, 1)
        with started(place.hosts, tmp_path):
            pass  # it leaves what every later start finds: the host's MTU, and its lease
        with started(place.hosts, tmp_path) as host:
            few = (host.received, host.held())
        write(store, 1, MANY, 1)
        with started(place.hosts, tmp_path) as host:
            assert (host.received, host.held()) == few
            keys, size, passed, first = host.received.keys, host.received.size, place.passed(), store.revision()
            write(store, 1, MANY, 3)
            written = sum(len(kv.key) + len(kv.value) for kv in store.list("").kvs if kv.mod_revision > first)
            write(store, 2, MANY, 3)  # the host hears of its own VPC after all that was written before
            host.until(lambda: host.mappings() == 3)
            assert host.received.keys - keys <= 2 * OWN_KEYS
            assert 20 * (host.received.size - size) < written, "of which the host needs nothing"
            assert 2 * (place.passed() - passed) < written, (
                "with what etcd says of its progress, which takes no account of changes"
            )
