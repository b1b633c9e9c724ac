"""Compare the agent's records with the store's, one prefix after the other.

A watch may lose an event or bring an old one: etcd has had such bugs. Nothing else would show it before the agent's next start.
The comparison is exact, because it reads the store at the revision that the watch has reached.
"""

from __future__ import annotations

import random

from netorch.errors import Compacted, StoreDenied, StoreError
from netorch.records.mirror import Mirror
from netorch.store.base import Store

AUDIT_S = 600.0  # in which every prefix is compared once


class RecordsAudit:
    """The comparison of one host's records."""

    def __init__(self, records: Mirror) -> None:
        self.due_at = 0.0
        self._records = records
        self._left: list[str] = []

    def resume(self, now: float, prefixes: frozenset[str]) -> None:
        """Go on with the round, or begin one: the store is back. Hosts that return together do not read together."""
        self._left = self._left or sorted(prefixes, reverse=True)
        if self.due_at <= now:
            self._pause(now, prefixes, 0.0)

    def turn(self, now: float, store: Store, prefixes: frozenset[str], revision: int) -> str | None:
        """Compare the next prefix, if it is due; return it if it was compared. `revision` is that of the records.

        Raises:
          StoreError: the records are not what the store held at that revision.
        """
        if now < self.due_at:
            return None
        while self._left and self._left[-1] not in prefixes:
            self._left.pop()
        compared = self._left.pop() if self._left else None
        if compared is not None and not self._compare(store, compared, revision):
            compared = None
        self._left = self._left or sorted(prefixes, reverse=True)
        self._pause(now, prefixes, 0.5)
        return compared

    def _pause(self, now: float, prefixes: frozenset[str], least: float) -> None:
        self.due_at = now + AUDIT_S / max(len(prefixes), 1) * random.uniform(least, 1.0)

    def _compare(self, store: Store, prefix: str, revision: int) -> bool:
        """Compare a prefix; return whether the store could show it. Raises StoreError."""
        try:
            stored = store.revisions(prefix, revision)
        except (Compacted, StoreDenied):
            return False  # the watch is about to say so
        known = self._records.revisions(prefix)
        differing = sorted(key for key in stored.keys() | known.keys() if stored.get(key) != known.get(key))
        if differing:
            more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
            raise StoreError(
                f"store: its watch did not deliver what happened to {differing[0]}{more}; this host lists everything again. "
                "If this comes back, see etcd's version and log (docs/design/store.md)"
            )
        return True
