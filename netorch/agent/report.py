"""The records that the agent publishes: below hoststat/<host>/, underlay/mtu/<host>, and host/<host>/live with a lease.

Only differences are written. While the store is away they wait in memory.

Of two machines that claim to be one host, the one that holds the live record speaks for the host; the other one says so below
hoststat/<host>/rival and writes nothing else. Each reports the other.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from netorch.decoding import decoder_of
from netorch.model.status import AgentRun
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Compare, Delete, KeyValue, Put, Store

log = logging.getLogger(__name__)

LEASE_TTL_S = 15
LEASE_RENEW_S = 5.0
COUNT_EVERY_S = 1.0
_ONE: Final = "stop the agent on one of the two, or give one a name of its own: netorch host create"
_OPS_PER_TXN: Final = 100
_BYTES_PER_TXN: Final = 1 << 20  # of keys and values; below MAX_TXN_BYTES of netorch.store.rules


class StatusPublisher:
    """The records that this host wants in the store, and those that it has written."""

    def __init__(self, host_name: str, kernel: str) -> None:
        """Publish for a host; `kernel` identifies its kernel (netorch.drivers.base.Kernel.identity)."""
        self._host_name = host_name
        self._run = AgentRun(kernel=kernel, run=secrets.token_hex(8), machine=os.uname().nodename)
        self._is_owner = False
        self.rival = ""  # the other machine's name, if it speaks for this host
        self.trouble = ""  # that another machine claims to be this host, or nothing
        self._wanted: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._renew_at = 0.0

    def speaks(self, now: float) -> bool:
        """Return whether this agent may write for the host: it holds the host's live record, whose lease has not ended since."""
        return self._is_owner and now < self._renew_at - LEASE_RENEW_S + LEASE_TTL_S

    def lost_store(self) -> None:
        """Note that the store is away. Another machine may speak for the host when it is back."""
        self._is_owner, self._renew_at = False, 0.0

    def adopt(self, store: Store) -> None:
        """Read the host's records in the store: records of an earlier run, and records that were removed."""
        found = {kv.key: kv for kv in store.list(keys.status_prefix(self._host_name)).kvs}
        rival = found.get(keys.host_rival(self._host_name))
        claim = None
        if rival is not None and rival.lease:  # one without a lease is a copy, and is deleted
            claim = _run_of(found.pop(rival.key))
        if claim is None or self._may_hold(claim):
            self._tell("")
        else:
            self._tell(f"another machine, {claim.machine}, claims to be this host and plugs the same interfaces; {_ONE}")
        mtu = store.get(keys.host_mtu(self._host_name))
        self._written = {kv.key: kv.value for kv in (*found.values(), mtu) if kv is not None}
        self._changed = set(self._wanted) | {key for key in self._written if key not in self._wanted}

    def publish(self, key: str, record: msgspec.Struct | None) -> None:
        """Queue `record` to be written at `key`, or the key's deletion."""
        value = encode(record) if record is not None else None
        if value is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = value
        if self._written.get(key) != value:
            self._changed.add(key)

    def published(self) -> set[str]:
        """Return the keys whose records are published or queued."""
        return set(self._wanted)

    def records(self) -> Mapping[str, bytes]:
        """Return the records that are published or queued, by key."""
        return self._wanted

    def flush(self, store: Store) -> None:
        """Write the differences. Raises StoreError; unwritten records stay queued."""
        self._changed = {key for key in self._changed if self._wanted.get(key) != self._written.get(key)}
        for ops in _transactions([self._op(key) for key in sorted(self._changed)]):
            store.txn((), ops)
            for op in ops:
                if isinstance(op, Put):
                    self._written[op.key] = op.value
                else:
                    self._written.pop(op.key, None)
                self._changed.discard(op.key)

    def _op(self, key: str) -> Put | Delete:
        wanted = self._wanted.get(key)
        return Put(key, wanted) if wanted is not None else Delete(key)

    def stay_alive(self, store: Store, now: float) -> bool:
        """Renew the lease that shows that this host lives; return whether this agent holds it and may publish for the host.

        The record names the host's kernel and the agent's run. An earlier run on the same kernel is dead (`netorch.agent.main`
        ensures this), so its record is taken over. A record of another kernel stays while its lease lives: of two machines that
        claim to be one host, at most one may be believed.

        Raises StoreError.
        """
        if now < self._renew_at:
            return self._is_owner
        live = store.get(keys.host_live(self._host_name))
        holder = _run_of(live)
        self._is_owner = self._may_hold(holder)
        if self._is_owner and not self._hold(store, keys.host_live(self._host_name), live):
            self._is_owner = False
            return False  # another agent was faster: check again in the next turn
        if holder is not None and not self._is_owner:
            self._claim(store, holder)
        elif self.rival:
            self.rival = ""
            self._tell("")
        self._renew_at = now + LEASE_RENEW_S
        return self._is_owner

    def _may_hold(self, holder: AgentRun | None) -> bool:
        """Return whether a record has no owner, or is of this kernel: an earlier run on the same kernel is dead."""
        return holder is None or holder.kernel in ("", self._run.kernel)

    def _hold(self, store: Store, key: str, found: KeyValue | None) -> bool:
        """Keep a key as this run's, with a lease; return whether it is. Raises StoreError."""
        if found is not None and _run_of(found) == self._run and store.keep_alive(found.lease):
            return True
        take = Put(key, msgspec.json.encode(self._run), store.grant(LEASE_TTL_S))
        return store.txn([Compare(key, found.mod_revision if found is not None else 0)], [take]).succeeded

    def _claim(self, store: Store, holder: AgentRun) -> None:
        """Report that this machine claims to be the host, too, unless a third one has reported it. Raises StoreError."""
        self.rival = holder.machine or "of an older version"
        self._tell(f"another machine, {self.rival}, speaks for this host, so this one tells the store nothing; {_ONE}")
        said = store.get(keys.host_rival(self._host_name))
        if self._may_hold(_run_of(said)):
            self._hold(store, keys.host_rival(self._host_name), said)

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("host=%s problem=%r", self._host_name, trouble)
        self.trouble = trouble


def _transactions(ops: Iterable[Put | Delete]) -> Iterator[list[Put | Delete]]:
    """Yield operations in the same order, in transactions that a store accepts."""
    part: list[Put | Delete] = []
    size = 0
    for op in ops:
        bytes_of = len(op.key) + (len(op.value) if isinstance(op, Put) else 0)
        if part and (len(part) == _OPS_PER_TXN or size + bytes_of > _BYTES_PER_TXN):
            yield part
            part, size = [], 0
        part.append(op)
        size += bytes_of
    if part:
        yield part


def _run_of(found: KeyValue | None) -> AgentRun | None:
    """Return the run in a host's live record; a damaged record gives an empty run."""
    try:
        return decoder_of(AgentRun).decode(found.value) if found is not None else None
    except msgspec.MsgspecError:
        return AgentRun()
