"""Each back end of the store as a fixture, with a clock that tests move; and what its tests do with one."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netorch.store.base import Event, Put, Store, Watch
from netorch.store.memory import MemoryStore
from netorch.store.sqlite import SqliteStore


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


BACK_ENDS: dict[str, Callable[[Path, Clock, int], Store]] = {
    "memory": lambda path, clock, keep: MemoryStore(clock=clock, keep_revisions=keep),
    "sqlite": lambda path, clock, keep: SqliteStore(path / "store.db", clock=clock, keep_revisions=keep),
}


@pytest.fixture(params=BACK_ENDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[[int], Store]]:
    """Make the back end under test with a number of revisions to keep."""
    made: list[Store] = []

    def make_one(keep: int) -> Store:
        made.append(BACK_ENDS[request.param](tmp_path, clock, keep))
        return made[-1]

    yield make_one
    for store in made:
        store.close()


@pytest.fixture
def store(make: Callable[[int], Store]) -> Store:
    return make(100_000)


def put(store: Store, *keys: str, value: bytes = b"x", lease: int = 0) -> int:
    result = store.txn([], [Put(key, value, lease) for key in keys])
    assert result.succeeded
    return result.revision


def readable(watch: Watch, timeout_s: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(watch.fileno(), select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def keys(events: tuple[Event, ...]) -> list[tuple[int, str]]:
    return [(event.mod_revision, event.key) for event in events]
