"""Check whether a history is linearizable: whether some order of its operations explains every answer.

An operation takes place at one moment between its call and its return. The search is that of Wing and Gong (1993) with the
memory of Lowe (2017), as in porcupine: take any operation that may be next, and backtrack when none fits.
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
    """Return whether the history is linearizable, and its longest linearizable part, in an order that explains it.

    `step` returns the state after an operation, or None if the state does not allow its answer.
    """
    operations = sorted(history, key=lambda operation: operation.called)
    known = sum(not math.isinf(operation.returned) for operation in operations)
    longest: list[int] = []
    order: list[int] = []
    visited: set[tuple[int, State]] = set()
    # Each entry: the state, a bitmask of the done operations, how many of these returned, and the candidates still to try.
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
    """Return the operations that may be next: those called before any open one returned; the last one is tried first."""
    found: list[int] = []
    ends = math.inf
    for number in range(first, len(operations)):
        operation = operations[number]
        if operation.called > ends:
            break
        if not done >> number & 1:
            found.append(number)
            ends = min(ends, operation.returned)
    # Operations that returned are tried in the order of their return, the usual one; the others last: most never happened.
    return sorted((n for n in found if operations[n].called <= ends), key=lambda n: -operations[n].returned)
