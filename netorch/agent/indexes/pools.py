"""The pools of public addresses. While a pool is unreadable, its last readable version is in use: its addresses have traffic."""

from __future__ import annotations

from netorch.errors import UnreadableRecord
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.codec import decode_value


class Pools:
    """The readable pools by name, and the keys of unreadable records."""

    def __init__(self) -> None:
        self.unreadable: set[str] = set()
        self._known: dict[str, AddressPool] = {}

    def update(self, name: str, value: bytes | None) -> None:
        """Record a pool, or its removal."""
        key = keys.pool(name)
        self.unreadable.discard(key)
        if value is None:
            self._known.pop(name, None)
            return
        try:
            self._known[name] = decode_value(key, value, AddressPool)
        except UnreadableRecord:
            self.unreadable.add(key)

    def of(self, pair: str) -> tuple[AddressPool, ...]:
        """Return the pools of a pair of edges, by name."""
        return tuple(pool for _, pool in sorted(self._known.items()) if pool.pair == pair)
