"""A store of each kind, and callers with the test's clock and random numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.control.actions import hosts
from netorch.errors import ApiError
from netorch.records.caller import Caller
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from netorch.store.sqlite.store import SqliteStore


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def refused(code: str, match: str | None = None) -> pytest.RaisesExc[ApiError]:
    """Return a context that expects an API error with that code."""
    return pytest.raises(ApiError, match=match, check=lambda error: error.code == code)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "netorch.db")
    yield found
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_caller(clock: Clock, owner: str = "acme", *, operator: bool = False) -> Caller:
    counter = itertools.count(sum(owner.encode()) << 20)
    return Caller(owner=owner, operator=operator, now=clock, entropy=lambda: next(counter) * 0x9E3779B97F4A7C15)


@pytest.fixture
def acme(clock: Clock) -> Caller:
    return make_caller(clock, "acme")


@pytest.fixture
def globex(clock: Clock) -> Caller:
    return make_caller(clock, "globex")


@pytest.fixture
def operator(clock: Clock) -> Caller:
    return make_caller(clock, "default", operator=True)


@pytest.fixture
def two_hosts(store: Store, operator: Caller) -> None:
    hosts.create_host(store, operator, name="hv1", underlay="192.0.2.11")
    hosts.create_host(store, operator, name="hv2", underlay="192.0.2.12")
