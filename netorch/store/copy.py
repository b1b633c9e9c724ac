"""Copies a store into another back end: for a move, a backup, or a restore.

The copy has the state of one revision, so the cloud may continue meanwhile. It is another store with its own revisions.
Agents of the first store refuse the copy until an operator confirms it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

from netorch.errors import StoreError
from netorch.store.base import DAMAGED, KeyValue, Put, Store
from netorch.store.rules import MAX_OPS

_BYTES: Final = 1 << 20  # of keys and values in one transaction


class Unfinished(Protocol):
    """A store that cannot be opened before it is complete."""

    @property
    def store(self) -> Store:
        """The store to write to."""
        ...

    def finish(self) -> None:
        """Make the store available to others. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Close the store. An unfinished one is useless until a new copy is started."""
        ...


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """The number of copied records, and the revision of the source."""

    records: int
    revision: int


def copy_store(source: Store, target: Unfinished) -> Copied:
    """Copy all records of one revision, read them back, and finish the target. Not keys with a lease: agents renew them.

    Raises:
      StoreError: a record is damaged, or the target differs from what was written.
      StoreUnavailable: one of the two cannot be used.

    Cost: all records in memory.
    """
    listing = source.list("")
    records = [kv for kv in listing.kvs if not kv.lease]
    for kv in records:
        if kv.value.startswith(DAMAGED):
            raise StoreError(f"store: key {kv.key} is damaged and cannot be copied; `netorch store check` shows how to repair it")
    for part in _parts(records):
        target.store.txn([], [Put(kv.key, kv.value) for kv in part])
    if [(kv.key, kv.value) for kv in target.store.list("").kvs] != [(kv.key, kv.value) for kv in records]:
        raise StoreError("store: the copy differs from what was written, so another program writes there; give another target")
    target.finish()
    return Copied(records=len(records), revision=listing.revision)


def _parts(records: Sequence[KeyValue]) -> Iterator[list[KeyValue]]:
    """Yield the records in parts of at most one transaction."""
    part: list[KeyValue] = []
    size = 0
    for kv in records:
        bytes_of_one = len(kv.key) + len(kv.value)
        if part and (len(part) == MAX_OPS or size + bytes_of_one > _BYTES):
            yield part
            part, size = [], 0
        part.append(kv)
        size += bytes_of_one
    if part:
        yield part
