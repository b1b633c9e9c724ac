"""Optimistic transactions: read, decide, commit if all keys read are unchanged, else retry."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from netorch.errors import Conflict
from netorch.store.base import Compare, Delete, KeyValue, Put, Range, Store, TxnResult

TRIES: Final = 16
PAUSE_S: Final = 0.001  # after the first lost race; doubles, up to 64 of them


class Snapshot:
    """The reads of one attempt. Every key read by name is compared at the attempt's commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, KeyValue | None] = {}

    def get(self, key: str) -> KeyValue | None:
        """Return the key as of the attempt's first read."""
        if key not in self._read:
            self._read[key] = self._store.get(key)
        return self._read[key]

    def list(self, prefix: str) -> Range:
        """Return the current keys of a prefix. They are not compared: others may add a key during the attempt."""
        return self._store.list(prefix)

    def compares(self, others: Sequence[Compare] = ()) -> tuple[Compare, ...]:
        """Return the conditions that all keys read are unchanged, together with `others`."""
        own = (Compare(key, known.mod_revision if known else 0) for key, known in self._read.items())
        return tuple(dict.fromkeys([*own, *others]))


Attempt = Callable[[Snapshot], tuple[Sequence[Compare], Sequence[Put | Delete]]]


def retry(store: Store, attempt: Attempt, tries: int = TRIES) -> TxnResult:
    """Return the result of the first attempt whose compares held. `attempt` is called each time; it must be repeatable.

    Raises:
      Conflict: each of `tries` attempts lost to another writer.
    """
    for lost in range(tries):
        snapshot = Snapshot(store)
        compares, ops = attempt(snapshot)
        result = store.txn(snapshot.compares(compares), ops)
        if result.succeeded:
            return result
        if lost + 1 < tries:
            time.sleep(PAUSE_S * min(2**lost, 64) * random.random())
    raise Conflict(f"store: lost the race for the same keys {tries} times; try again when the other writers have finished")
