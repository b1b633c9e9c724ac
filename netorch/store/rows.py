"""What stands in a SQLite file as values of the contract, whatever a disk or a hand has made of it.

Each row carries a checksum of its key, value and revisions. A row that does not match it, or holds another type than was written,
comes out as a record whose value begins with DAMAGED: no decoder takes it, so whatever it belongs to is left alone.
"""

from __future__ import annotations

import zlib
from typing import Any

from netorch.store.base import DAMAGED, Event, KeyValue

Row = tuple[Any, ...]  # what sqlite3 returns


def checksum(key: str, value: bytes | None, create_revision: int, mod_revision: int) -> int:
    """Return the CRC-32 of a record, or (`value` None) of its deletion."""
    head = f"{key}\0{create_revision}\0{mod_revision}\0{'-' if value is None else '+'}"
    return zlib.crc32(value or b"", zlib.crc32(head.encode()))


def text(stored: bytes) -> str:
    """Return TEXT of SQLite; bytes that are no UTF-8 are spelled out."""
    return stored.decode(errors="backslashreplace")


def revision_of(stored: object) -> int:
    """Return a column of revisions; 1, which no record has, when it holds none."""
    return stored if isinstance(stored, int) and stored > 0 else 1


def key_value(row: Row) -> KeyValue:
    """Return (key, value, create_rev, mod_rev, lease, sum) as a record."""
    key, value, created, modified, lease, _ = row
    known = value if _is_sound(row[:4], row[5]) else _damaged(value)
    return KeyValue(_key(key), known, revision_of(created), revision_of(modified), lease if isinstance(lease, int) else 0)


def event(row: Row) -> Event:
    """Return (key, value, rev, create_rev, sum) of the log as an event."""
    key, value, revision, created, total = row
    if not _is_sound((key, value, created, revision), total):
        return Event(_key(key), _damaged(value), revision, revision_of(created))
    return Event(key, value, revision, created)


def checksum_of(row: Row) -> int | None:
    """Return the checksum of (key, value, create_rev, mod_rev) as they stand; None: their types are not what was written."""
    key, value, created, modified = row
    types = isinstance(key, str) and isinstance(value, bytes | None) and isinstance(created, int) and isinstance(modified, int)
    return checksum(key, value, created, modified) if types else None


def _is_sound(record: Row, total: object) -> bool:
    return total is not None and checksum_of(record) == total


def _damaged(value: object) -> bytes:
    if isinstance(value, bytes):
        return DAMAGED + b"its checksum is wrong: " + value
    return DAMAGED + f"it is a {type(value).__name__} where bytes were written: {value!r}".encode(errors="replace")


def _key(key: object) -> str:
    return key if isinstance(key, str) else text(key) if isinstance(key, bytes) else repr(key)
