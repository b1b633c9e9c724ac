"""Whether a history is linearizable: whether there is an order of its operations that explains every answer.

An operation takes place at one moment between its call and its return. The search is that of Wing and Gong (1993) with the
memory of Lowe (2017), as in porcupine: take any operation that may be next, and go back where no further one fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from tests.rig.linear.history import Operation

State = TypeVar("State", bound=Hashable)


def explained(
    history: Sequence[Operation], start: State, step: Callable[[State, Operation], State | None]
) -> tuple[bool, list[Operation]]:
    """Return whether the history is linearizable, and the longest part that is, in an order that explains it.

    `step` returns the state after an operation, or None where its answer would be another one.
    """
    operations = sorted(history, key=lambda operation: operation.called)
    known = sum(not math.isinf(operation.returned) for operation in operations)
    longest: list[int] = []
    order: list[int] = []
    visited: set[tuple[int, State]] = set()
    # Each entry: the state, what is done (bits), how many known ones of these, and which candidates are still to be tried.
    stack = [(start, 0, 0, _candidates(operations, 0, 0))]
    while stack:
        state, done, answered, candidates = stack[-1]
        if answered == known:
            return True, [operations[number] for number in order]
        if not candidates:
            stack.pop()
            if order:
                order.pop()
            continue
        number = candidates.pop()
        after = step(state, operations[number])
        if after is None:
            continue
        bits = done | 1 << number
        if (bits, after) in visited:
            continue
        visited.add((bits, after))
        order.append(number)
        if len(order) > len(longest):
            longest = list(order)
        is_known = not math.isinf(operations[number].returned)
        stack.append((after, bits, answered + is_known, _candidates(operations, bits, _first_left(bits))))
    return False, [operations[number] for number in longest]


def _first_left(bits: int) -> int:
    """Return the first operation that is not done."""
    return (~bits & (bits + 1)).bit_length() - 1


def _candidates(operations: Sequence[Operation], done: int, first: int) -> list[int]:
    """Return what may be next: what was called before anything that is not done returned; the last one is tried first."""
    found: list[int] = []
    ends = math.inf
    for number in range(first, len(operations)):
        operation = operations[number]
        if operation.called > ends:
            break
        if not done >> number & 1:
            found.append(number)
            ends = min(ends, operation.returned)
    # Known ones by their return: that is the usual order. Unknown ones last: mostly they never happened.
    return sorted((n for n in found if operations[n].called <= ends), key=lambda n: -operations[n].returned)
