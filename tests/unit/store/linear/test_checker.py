"""The checker finds invalid histories, and accepts valid ones."""

from __future__ import annotations

import math

import pytest

from tests.rig.linear.checker import explained
from tests.rig.linear.history import Operation
from tests.rig.linear.model import EMPTY, step


def put(called: float, returned: float, value: str, revision: int, *compares: tuple[str, int]) -> Operation:
    return Operation(
        client=0, called=called, returned=returned, puts=(("k", value),), compares=compares, succeeded=True, revision=revision
    )


def lost(called: float, value: str, *compares: tuple[str, int]) -> Operation:
    return Operation(client=0, called=called, puts=(("k", value),), compares=compares)


def failed(called: float, returned: float, revision: int, *compares: tuple[str, int]) -> Operation:
    return Operation(client=0, called=called, returned=returned, puts=(("k", "-"),), compares=compares, revision=revision)


def seen(called: float, returned: float, revision: int, **found: tuple[str, int]) -> Operation:
    return Operation(client=1, called=called, returned=returned, revision=revision, found=found)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [put(1, 2, "a", 2), seen(3, 4, 2, k=("a", 2))],
        [put(1, 5, "a", 2), seen(2, 3, 1)],  # the read came first
        [put(1, 5, "a", 2), seen(2, 3, 2, k=("a", 2))],  # the write came first
        [put(1, 5, "a", 3), put(2, 4, "b", 2), seen(6, 7, 3, k=("a", 3))],
        [put(1, 2, "a", 2), failed(3, 4, 2, ("k", 0))],
        [lost(1, "a"), seen(2, 3, 1)],  # the write never happened
        [lost(1, "a"), seen(2, 3, 1), seen(4, 5, 2, k=("a", 2))],  # the write happened late
        [lost(1, "a"), put(2, 3, "b", 3, ("k", 2)), seen(4, 5, 3, k=("b", 3))],
        [put(1, 2, "a", 2), seen(3, 4, 9, k=("a", 2))],  # other writers may use revisions
    ],
)
def test_what_one_order_explains_is_accepted(history: list[Operation]) -> None:
    assert explained(history, EMPTY, step)[0]


@pytest.mark.parametrize(
    "history",
    [
        [put(1, 2, "a", 2), seen(3, 4, 2)],  # an acknowledged write is lost
        [put(1, 2, "a", 2), seen(3, 4, 1)],  # a stale read
        [put(1, 2, "a", 2), put(3, 4, "b", 2)],  # the same revision twice
        [put(1, 2, "a", 3), put(3, 4, "b", 2)],  # a revision decreased
        [put(1, 2, "a", 2, ("k", 0)), put(3, 4, "b", 3, ("k", 0))],  # a compare that was false
        [failed(1, 2, 1, ("k", 0))],  # a compare that was true
        [lost(1, "a"), seen(2, 3, 2, k=("a", 2)), put(4, 5, "b", 3), seen(6, 7, 4, k=("a", 4))],  # a write that happened twice
        [seen(1, 2, 2, k=("a", 2)), lost(3, "a")],  # seen before it was written
        [put(1, 5, "a", 2), seen(2, 3, 2, k=("a", 2)), seen(4, 4.5, 2)],  # seen, and then gone
    ],
)
def test_what_no_order_explains_is_found(history: list[Operation]) -> None:
    accepted, part = explained(history, EMPTY, step)
    assert not accepted
    assert len([operation for operation in part if not math.isinf(operation.returned)]) < len(history)
