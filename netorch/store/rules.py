"""Rules of all back ends: limits, keys, prefixes, time. Pure except for the clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Final

from netorch.errors import Compacted, FutureRevision, OtherHistory, StoreError
from netorch.store.base import KEEP_MARK_EVERY, Compare, Delete, Put

MAX_OPS: Final = 126  # etcd's --max-txn-ops is 128, separately for compares and operations; EtcdStore itself uses two of each
MAX_TXN_BYTES: Final = 5 << 18  # etcd's --max-request-bytes is 6 << 18, including the encoding around keys and values
KEEP_REVISIONS: Final = 100_000  # history that a store keeps by default
FIRST_REVISION: Final = 1  # of an empty store, as in etcd


def boot_clock() -> float:
    """Return seconds since the machine started: the same in all its processes, and independent of the wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_mark() -> str:
    """Return the mark for a new revision."""
    return secrets.token_hex(8)


def first_marks(revision: int) -> dict[int, str]:
    """Return the first marks of a history from `revision` on: its own, and that of the kept revision before it."""
    return {revision - revision % KEEP_MARK_EVERY: new_mark(), revision: new_mark()}


def check_mark(revision: int, seen: str, found: str) -> None:
    """Raise OtherHistory if a revision's mark differs from the known one. An empty known mark matches any."""
    if seen and seen != found:
        raise OtherHistory(
            f"store: the history up to revision {revision} differs from this store's: it is a copy that was changed on its own; "
            "restore the store that was in use"
        )


def check_key(key: str) -> None:
    """Raise StoreError for a key that a back end could not store or find again."""
    if not key or "\0" in key:
        raise StoreError(f"store: key {key!r} is empty or contains a NUL; use a path such as vpc/001389/vpc")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"store: key {key!r} is not Unicode text; use a path such as vpc/001389/vpc") from error


def check_txn(compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> None:
    """Raise StoreError for a transaction that etcd would refuse in any state of the store."""
    for what, count in (("compares", len(compares)), ("operations", len(ops))):
        if count > MAX_OPS:
            raise StoreError(f"store: a transaction of {count} {what}; at most {MAX_OPS} are allowed; split it")
    size = 0
    seen: set[str] = set()
    for compare in compares:
        check_key(compare.key)
        size += len(compare.key)
    for op in ops:
        check_key(op.key)
        if op.key in seen:
            raise StoreError(f"store: key {op.key} twice in one transaction; keep one operation for each key")
        seen.add(op.key)
        size += len(op.key) + (len(op.value) if isinstance(op, Put) else 0)
    if size > MAX_TXN_BYTES:
        raise StoreError(f"store: a transaction of {size} bytes; at most {MAX_TXN_BYTES} are allowed; split it")


def check_revision(wanted: int, compacted: int, current: int) -> None:
    """Raise Compacted or FutureRevision unless the store can show its state at `wanted`."""
    if wanted < compacted:
        raise Compacted(compacted)
    if wanted > current:
        raise FutureRevision(f"store: revision {wanted} does not exist yet, the store is at {current}; list again")


def check_compaction(wanted: int, compacted: int, current: int) -> None:
    """Raise Compacted or FutureRevision unless there is history to drop before `wanted`."""
    check_revision(wanted, compacted, current)
    if wanted == compacted:
        raise Compacted(compacted)


def check_from_revision(from_revision: int) -> None:
    """Raise StoreError for an invalid first revision of a watch."""
    if from_revision < 1:
        raise StoreError(f"store: watch from revision {from_revision}; start at the revision of a listing plus 1")


def prefix_end(prefix: str) -> str | None:
    """Return the least text above every key with `prefix`; None: there is none.

    Code points sort like their UTF-8 bytes, so this is also right for a back end that compares bytes.
    """
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return None
    last = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if last == 0xD800 else last)  # the surrogates in between are not characters


class PrefixSet:
    """A set of a few to some thousands of prefixes.

    Cost: a look-up for each distinct length, not for each prefix.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._by_length: dict[int, set[str]] = {}
        for prefix in prefixes:
            self._by_length.setdefault(len(prefix), set()).add(prefix)

    def __contains__(self, key: str) -> bool:
        return any(key[:length] in group for length, group in self._by_length.items())
