"""Each back end of the store as a fixture, with a clock that tests advance, and helpers for tests of a store."""

from __future__ import annotations

import secrets
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netorch.store.base import Event, Put, Store, Watch
from netorch.store.etcd.address import Address, parse_address
from netorch.store.etcd.store import EtcdStore
from netorch.store.memory import MemoryStore
from netorch.store.replay import events_until
from netorch.store.sqlite.store import SqliteStore


class Clock:
    """A clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class LeaselessEtcd(EtcdStore):
    """Revokes its leases on close: a lease that expired later would raise the revision during another test."""

    def __init__(self, address: Address) -> None:
        self._leases: list[int] = []
        super().__init__(address, create=True)

    def grant(self, ttl_s: int) -> int:
        self._leases.append(super().grant(ttl_s))
        return self._leases[-1]

    def close(self) -> None:
        for lease in self._leases:
            self.revoke(lease)
        super().close()


# Back ends in this process: they compact by themselves, and tests control their clock.
EMBEDDED: dict[str, Callable[[Path, Clock, int], Store]] = {
    "memory": lambda path, clock, keep: MemoryStore(clock=clock, keep_revisions=keep),
    "sqlite": lambda path, clock, keep: SqliteStore(path / "store.db", clock=clock, keep_revisions=keep),
}


@pytest.fixture(params=EMBEDDED)
def make_embedded(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[[int], Store]]:
    """Yield a function that makes the back end under test, given the number of revisions to keep."""
    made: list[Store] = []

    def make_one(keep: int) -> Store:
        made.append(EMBEDDED[request.param](tmp_path, clock, keep))
        return made[-1]

    yield make_one
    for store in made:
        store.close()


@pytest.fixture
def embedded(make_embedded: Callable[[int], Store]) -> Store:
    return make_embedded(100_000)


@pytest.fixture(params=[*EMBEDDED, "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """Each back end in turn."""
    if request.param == "etcd":
        made: Store = LeaselessEtcd(parse_address(request.getfixturevalue("etcd").url(secrets.token_hex(4))))
    else:
        made = EMBEDDED[request.param](tmp_path, clock, 100_000)
    yield made
    made.close()


def put(store: Store, *keys: str, value: bytes = b"x", lease: int = 0) -> int:
    result = store.txn([], [Put(key, value, lease) for key in keys])
    assert result.succeeded
    return result.revision


def readable(watch: Watch, timeout_s: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(watch.fileno(), select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def arrived(store: Store, watch: Watch) -> tuple[Event, ...]:
    """Return a watch's events up to the store's revision; those of one revision in the order of their keys."""
    return tuple(sorted(events_until(watch, store.revision()), key=lambda event: (event.mod_revision, event.key)))


def keys(events: tuple[Event, ...]) -> list[tuple[int, str]]:
    return [(event.mod_revision, event.key) for event in events]
