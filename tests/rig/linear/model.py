"""The store contract as a model: which answers it allows in a state."""

from __future__ import annotations

import math

from tests.rig.linear.history import Operation

# The revision, and sorted rows (key, value, revision of the write). Revision -1: the client never got it.
State = tuple[int, tuple[tuple[str, str, int], ...]]
EMPTY: State = (1, ())
UNKNOWN = -1


def step(state: State, operation: Operation) -> State | None:
    """Return the state after an operation, or None if the contract does not allow its answer."""
    revision, rows = state
    known = {key: (value, written) for key, value, written in rows}
    if not operation.puts:
        return _listed(revision, known, operation)
    holds = all(_is(known.get(key, ("", 0))[1], wanted) for key, wanted in operation.compares)
    if math.isinf(operation.returned):
        return _written(revision, known, operation, UNKNOWN) if holds else None
    if operation.succeeded != holds and not (holds and _is_unsure(known, operation)):
        return None
    changes = [key for key, value in operation.puts if value is not None or key in known]
    if not operation.succeeded or not changes:
        return (max(revision, operation.revision), rows) if operation.revision >= revision else None
    return _written(revision, known, operation, operation.revision) if operation.revision > revision else None


def _listed(revision: int, known: dict[str, tuple[str, int]], operation: Operation) -> State | None:
    if math.isinf(operation.returned):
        return revision, _rows(known)
    same = operation.found.keys() == known.keys() and all(
        operation.found[key][0] == value and _is(written, operation.found[key][1]) for key, (value, written) in known.items()
    )
    return (operation.revision, _rows(dict(operation.found))) if same and operation.revision >= revision else None


def _written(revision: int, known: dict[str, tuple[str, int]], operation: Operation, written: int) -> State:
    after = dict(known)
    for key, value in operation.puts:
        after.pop(key, None)
        if value is not None:
            after[key] = (value, written)
    return max(revision, written), _rows(after)


def _is(written: int, wanted: int) -> bool:
    return written == wanted or (written == UNKNOWN and wanted > 0)


def _is_unsure(known: dict[str, tuple[str, int]], operation: Operation) -> bool:
    return any(known.get(key, ("", 0))[1] == UNKNOWN for key, _ in operation.compares)


def _rows(known: dict[str, tuple[str, int]]) -> tuple[tuple[str, str, int], ...]:
    return tuple((key, value, written) for key, (value, written) in sorted(known.items()))
