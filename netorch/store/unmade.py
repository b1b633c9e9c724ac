"""A store that the first write creates: a refused command leaves none behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from netorch.store.base import Compare, Delete, Put, Store, TxnResult
from netorch.store.memory import MemoryStore


class UnmadeStore:
    """An empty store until the first transaction or lease, then the result of `make`; always a `Store`."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self._store: Store = MemoryStore()
        self._is_made = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a Store has
        return getattr(self._store, name)

    @property
    def uid(self) -> str:
        """The identity of the history; empty before the store is created."""
        return self._store.uid if self._is_made else ""

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Create the store, and write to it."""
        return self._made().txn(compares, ops)

    def grant(self, ttl_s: int) -> int:
        """Create the store, and return a new lease of it."""
        return self._made().grant(ttl_s)

    def _made(self) -> Store:
        if not self._is_made:
            self._store, self._is_made = self._make(), True
        return self._store
