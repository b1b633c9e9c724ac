"""Converts rows of a SQLite file into values of the contract, whatever damage a disk or a manual edit has done.

Each row has a checksum of its key, value and revisions. A row that does not match its checksum, or has a wrong type,
becomes a record whose value starts with DAMAGED: no decoder accepts it, so the object that it belongs to is left alone.
"""

from __future__ import annotations

import zlib
from typing import Any

from netorch.store.base import DAMAGED, Event, KeyValue

Row = tuple[Any, ...]  # the result type of sqlite3


def checksum(key: str, value: bytes | None, create_revision: int, mod_revision: int) -> int:
    """Return the CRC-32 of a record, or (`value` None) of its deletion."""
    if value is None:
        return zlib.crc32(f"{key}\0{create_revision}\0{mod_revision}\0-".encode())
    return zlib.crc32(value, zlib.crc32(f"{key}\0{create_revision}\0{mod_revision}\0+".encode()))


def text(stored: bytes) -> str:
    """Return TEXT of SQLite; bytes that are not UTF-8 are escaped."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode(errors="backslashreplace")


def revision_of(stored: object) -> int:
    """Return a revision from a column, or 1, which no record has, for an invalid one."""
    return stored if isinstance(stored, int) and stored > 0 else 1


def key_value(row: Row) -> KeyValue:
    """Return (key, value, create_rev, mod_rev, lease, sum) as a record."""
    key, value, created, modified, lease, total = row
    if type(lease) is type(total) is int and value is not None and total == checksum_of(key, value, created, modified):
        return KeyValue(key, value, created, modified, lease)
    lease = lease if isinstance(lease, int) else 0
    return KeyValue(_key(key), _damaged(value), revision_of(created), revision_of(modified), lease)


def event(row: Row) -> Event:
    """Return (key, value, rev, create_rev, sum) of the log as an event."""
    key, value, revision, created, total = row
    if total is not None and total == checksum_of(key, value, created, revision):
        return Event(key, value, revision, created)
    return Event(_key(key), _damaged(value), revision, revision_of(created))


def checksum_of(key: object, value: object, created: object, modified: object) -> int | None:
    """Return the checksum for the contents of a row, or None for wrong types."""
    if type(key) is str and (type(value) is bytes or value is None) and type(created) is int and type(modified) is int:
        return checksum(key, value, created, modified)
    return None


def _damaged(value: object) -> bytes:
    if isinstance(value, bytes):
        return DAMAGED + b"its checksum is wrong: " + value
    return DAMAGED + f"it is a {type(value).__name__} instead of bytes: {value!r}".encode(errors="replace")


def _key(key: object) -> str:
    return key if isinstance(key, str) else text(key) if isinstance(key, bytes) else repr(key)
