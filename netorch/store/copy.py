"""A store copied into another back end: a move, a backup, and the way back from one.

The copy is of one revision, so the cloud may go on meanwhile. It is another store: its revisions begin again, and agents that
followed the first one refuse it until an operator says that it is right.
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
    """A store that nobody can open before it is complete."""

    @property
    def store(self) -> Store:
        """What is written to."""
        ...

    def finish(self) -> None:
        """Let others open it. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Let go of it; unfinished, it is of no use until a copy is begun again."""
        ...


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """How many records were copied, and of which revision of the source."""

    records: int
    revision: int


def copy_store(source: Store, target: Unfinished) -> Copied:
    """Copy all records of one revision, read them back, and finish the target. Keys of leases stay behind: agents renew them.

    Raises:
      StoreError: a record is damaged, or the target has others than were written.
      StoreUnavailable: one of the two cannot be used.
    Cost: all records in memory.
    """
    listing = source.list("")
    records = [kv for kv in listing.kvs if not kv.lease]
    for kv in records:
        if kv.value.startswith(DAMAGED):
            raise StoreError(f"store: key {kv.key} is damaged and cannot be copied; `netorch store check` tells how to repair it")
    for part in _parts(records):
        target.store.txn([], [Put(kv.key, kv.value) for kv in part])
    if [(kv.key, kv.value) for kv in target.store.list("").kvs] != [(kv.key, kv.value) for kv in records]:
        raise StoreError("store: the copy does not hold what was written; somebody else writes there, so give another place")
    target.finish()
    return Copied(records=len(records), revision=listing.revision)


def _parts(records: Sequence[KeyValue]) -> Iterator[list[KeyValue]]:
    """Yield the records in parts that fit into one transaction."""
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
