"""A store that opens slowly: callers are not blocked, and get it later."""

from __future__ import annotations

import threading

import pytest

from netorch.errors import StoreUnavailable
from netorch.store.aside import OpenedAside
from netorch.store.base import Store
from netorch.store.memory import MemoryStore

WAIT_S = 0.01
PATIENT_S = 60.0


class Slow:
    """A store that opens, or reports that it is unavailable, once the test lets it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.calls = 0
        self.away = False
        self.let = threading.Event()
        self.done = threading.Event()

    def __call__(self) -> Store:
        """Open it."""
        self.calls += 1
        self.let.wait(PATIENT_S)
        self.done.set()
        if self.away:
            raise StoreUnavailable("store: away")
        return self.store


def test_a_slow_store_is_opened_once_and_handed_over_when_it_is_there() -> None:
    slow = Slow()
    opened = OpenedAside(slow, WAIT_S)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no answer yet"):
            opened()
    assert slow.calls == 1
    slow.let.set()
    slow.done.wait(PATIENT_S)
    opened._wait_s = PATIENT_S
    assert opened() is slow.store
    assert slow.calls == 1
    assert opened() is slow.store  # a closed one is opened again
    assert slow.calls == 2


def test_a_store_that_is_away_is_asked_again_and_meanwhile_said_to_be_away() -> None:
    slow = Slow()
    slow.away = True
    slow.let.set()
    opened = OpenedAside(slow, PATIENT_S)
    for calls in (1, 2):
        with pytest.raises(StoreUnavailable, match="away"):
            opened()
        assert slow.calls == calls
    slow.let.clear()
    opened._wait_s = WAIT_S
    with pytest.raises(StoreUnavailable, match="away"):
        opened()
    slow.away = False
    slow.let.set()
    opened._wait_s = PATIENT_S
    assert opened() is slow.store
    assert slow.calls == 3
