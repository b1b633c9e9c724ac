"""Stores that count keys, or whose writers die or meet concurrent writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netorch.store.base import Compare, Delete, KeyValue, Put, Range, TxnResult
from netorch.store.memory import MemoryStore


class Killed(BaseException):
    """The process died."""


class Troubled(MemoryStore):
    """A store whose writers die before or after a transaction, or meet other writers between their reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        self.before()
        result = super().txn(compares, ops)
        self.after()
        return result


class Counted(MemoryStore):
    """A store that counts the keys that are requested from it or returned."""

    keys = 0

    def get(self, key: str) -> KeyValue | None:
        self.keys += 1
        return super().get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        found = super().list(prefix, revision)
        self.keys += 1 + len(found.kvs)
        return found
