"""The operations of store clients, with the times of each call and answer."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call. Without an answer (`returned` infinite) it may have taken effect at any time after the call, or never.

    `puts` empty: a listing of all keys, with `found` as (value, revision) by key. A put of None deletes a key.
    """

    client: int
    called: float
    returned: float = math.inf
    compares: tuple[tuple[str, int], ...] = ()
    puts: tuple[tuple[str, str | None], ...] = ()
    succeeded: bool = False
    revision: int = 0
    found: dict[str, tuple[str, int]] = {}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a client's output: an operation when it is called, and again when it has returned."""

    number: int
    operation: Operation


def operations(outputs: Iterable[str]) -> list[Operation]:
    """Return the operations in the clients' outputs; the last line of a killed client may be incomplete."""
    found: list[Operation] = []
    for output in outputs:
        lines = [msgspec.json.decode(line, type=Line) for line in output.splitlines(keepends=True) if line.endswith("\n")]
        found += {line.number: line.operation for line in lines}.values()
    return sorted(found, key=lambda operation: operation.called)
