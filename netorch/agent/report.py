"""What the agent says of its host: records below hoststat/<host>/, underlay/mtu/<host>, and the lease of host/<host>/live.

Only differences are written. While the store is away they wait here.
"""

from __future__ import annotations

import msgspec

from netorch.model import keys
from netorch.store.base import Delete, Put, Store

LEASE_TTL_S = 15
LEASE_RENEW_S = 5.0
COUNT_EVERY_S = 1.0
_OPS_PER_TXN = 100


class Outbox:
    """The records that this host is to write, and those that it has written."""

    def __init__(self, host_name: str) -> None:
        self._host_name = host_name
        self._wanted: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._lease = 0
        self._renew_at = 0.0

    def adopt(self, store: Store) -> None:
        """Learn what stands in the store: what an earlier run has written, and what somebody has removed."""
        found = [*store.list(f"hoststat/{self._host_name}/").kvs, store.get(keys.host_mtu(self._host_name))]
        self._written = {kv.key: kv.value for kv in found if kv is not None}
        self._changed = set(self._wanted) | {key for key in self._written if key not in self._wanted}

    def say(self, key: str, record: msgspec.Struct | None) -> None:
        """Have `record` written at `key`, or the key removed."""
        value = msgspec.json.encode(record) if record is not None else None
        if value is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = value
        if self._written.get(key) != value:
            self._changed.add(key)

    def said(self) -> set[str]:
        """Return the keys that have, or wait for, a record."""
        return set(self._wanted)

    def flush(self, store: Store) -> None:
        """Write what is different. Raises StoreError; what was not written stays to be written."""
        while self._changed:
            batch = sorted(self._changed)[:_OPS_PER_TXN]
            ops: list[Put | Delete] = []
            for key in batch:
                wanted = self._wanted.get(key)
                if wanted == self._written.get(key):
                    continue
                ops.append(Put(key, wanted) if wanted is not None else Delete(key))
            if ops:
                store.txn((), ops)
            for op in ops:
                if isinstance(op, Put):
                    self._written[op.key] = op.value
                else:
                    self._written.pop(op.key, None)
            self._changed.difference_update(batch)

    def stay_alive(self, store: Store, now: float) -> None:
        """Renew the lease that says that this host lives. Raises StoreError."""
        if now < self._renew_at:
            return
        if not self._lease or store.keep_alive(self._lease) == 0:
            lease = store.grant(LEASE_TTL_S)
            store.txn((), [Put(keys.host_live(self._host_name), b"{}", lease)])
            self._lease = lease  # not before the key stands: a lease without it says nothing
        self._renew_at = now + LEASE_RENEW_S
