"""A store for trial transactions: they succeed or fail as in the real store, but their writes stay invisible to others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from netorch.errors import StoreError
from netorch.store.base import Compare, Delete, KeyValue, Put, Range, Store, TxnResult, Watch
from netorch.store.leaseless import Leaseless
from netorch.store.rules import check_txn


class TrialStore(Leaseless):
    """A `Store` in front of another one, which it only reads. Writes are kept in this object, and reads include them.

    Watches and marks are the other store's, so they do not include the trial. A trial has no leases.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: dict[str, KeyValue | None] = {}  # None: deleted
        self._transactions = 0
        self._last = 0  # revision of the store itself at the first trial transaction

    @property
    def uid(self) -> str:
        """The identity of the history."""
        return self._store.uid

    def revision(self) -> int:
        """Return the store's revision as of the trial."""
        return self._store.revision() + self._transactions

    def mark(self, revision: int) -> str:
        """Return the mark of a revision of the store itself."""
        return self._store.mark(revision)

    def get(self, key: str) -> KeyValue | None:
        """Return the state of a key as of the trial."""
        return self._written[key] if key in self._written else self._store.get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` as of the trial, or at a past revision of the store itself."""
        if revision and (not self._transactions or revision <= self._last):
            return self._store.list(prefix, revision)
        listing = self._store.list(prefix)
        found: dict[str, KeyValue | None] = {kv.key: kv for kv in listing.kvs}
        found |= {key: kv for key, kv in self._written.items() if key.startswith(prefix)}
        kvs = tuple(kv for _, kv in sorted(found.items()) if kv is not None)
        return Range(listing.revision + self._transactions, kvs, listing.mark)

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now)."""
        return {kv.key: kv.mod_revision for kv in self.list(prefix, revision).kvs}

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Try a transaction, and keep its writes."""
        check_txn(compares, ops)
        for compare in compares:
            known = self.get(compare.key)
            if (known.mod_revision if known is not None else 0) != compare.mod_revision:
                return TxnResult(False, self.revision())
        changes = [op for op in ops if isinstance(op, Put) or self.get(op.key) is not None]
        if changes and not self._transactions:
            self._last = self._store.revision()
        self._transactions += bool(changes)
        revision = self.revision()
        for op in changes:
            before = self.get(op.key)
            created = before.create_revision if before is not None else revision
            self._written[op.key] = KeyValue(op.key, op.value, created, revision) if isinstance(op, Put) else None
        return TxnResult(True, revision)

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> Watch:
        """Return a watch of the store itself."""
        return self._store.watch(prefixes, from_revision, mark)

    def close(self) -> None:
        """Close the connection of the store itself."""
        self._store.close()

    def _refuse(self) -> NoReturn:
        raise StoreError("store: a trial has no leases and no compaction; use the store itself")
