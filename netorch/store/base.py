"""The store's contract, which is etcd's: every back end passes tests/contract/store/.

A store is a sorted map from keys to bytes with one number, its *revision*. Every transaction that changes something
raises it by one. Each key has the revision that created it and the one that last wrote it. A watch replays all changes
since a revision, in order and without gaps, until that history is *compacted*. A revision is only meaningful together
with the store's `uid`: another uid is another history. Each revision has a random *mark*, so a reader can verify that
the history that it knows is the beginning of the current one: if a copy of the store continues separately, its new
revisions get other marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

DAMAGED: Final = b"\0damaged: "  # the prefix of a value that the back end knows to be corrupted
KEEP_MARK_EVERY: Final = 1024  # marks of multiples of this revision outlive the history


class KeyValue(msgspec.Struct, frozen=True):
    """One key at a revision; `lease` 0 means that it stays until it is deleted."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


class Range(msgspec.Struct, frozen=True):
    """All keys of a prefix, sorted, at `revision`: watch from `revision + 1` to keep them current."""

    revision: int
    kvs: tuple[KeyValue, ...]
    mark: str  # of `revision`


class Compare(msgspec.Struct, frozen=True):
    """A condition of a transaction: the key was last written at `mod_revision`; 0: the key does not exist."""

    key: str
    mod_revision: int


class Put(msgspec.Struct, frozen=True):
    """Write a key. An identical value is a change, too: compare before you put."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Delete a key. Deleting a missing key changes nothing and takes no revision."""

    key: str


class Event(msgspec.Struct, frozen=True):
    """The change of one key in one revision; `value` None (and create_revision 0): it was deleted."""

    key: str
    value: bytes | None
    mod_revision: int
    create_revision: int


class TxnResult(msgspec.Struct, frozen=True):
    """Whether the compares held and the operations were executed, and the store's revision after that."""

    succeeded: bool
    revision: int


class Watch(Protocol):
    """A position in the store's history that moves forward."""

    @property
    def revision(self) -> int:
        """The revision up to which everything is delivered."""
        ...

    @property
    def mark(self) -> str:
        """The mark of `revision`; empty while that revision is in the future."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` may have events. It may be readable without any."""
        ...

    def poll(self) -> tuple[Event, ...]:
        """Return the events since the last call, without waiting: whole revisions in order, each event once.

        A long history takes several calls; the descriptor stays readable until all of it is delivered. A server's
        events may lag behind reads: `revision` is the position of the watch. Within a revision, events of several
        prefixes have no order.

        Raises:
          Compacted: history between the last call and now is gone; list again. The watch is of no further use.
          FutureRevision: the store is behind the position of this watch (restored from a backup); list again.
          OtherHistory: this watch's events did not happen in this store (restored, and written to since).
        """
        ...

    def close(self) -> None:
        """Close the descriptor; closing twice is harmless."""
        ...


class Store(Protocol):
    """A connection to a store. Its methods may be called from several threads.

    Any method raises StoreUnavailable when the back end cannot be used; for `txn` the outcome is then unknown.
    """

    @property
    def uid(self) -> str:
        """The identity of the history: another database has another one."""
        ...

    def revision(self) -> int:
        """Return the current revision; 1 in an empty store."""
        ...

    def mark(self, revision: int) -> str:
        """Return the random mark of a revision. Two histories with the same mark are identical up to this revision.

        Raises:
          Compacted: it is gone; marks of multiples of KEEP_MARK_EVERY are kept.
          FutureRevision: the revision is in the future.
        """
        ...

    def get(self, key: str) -> KeyValue | None:
        """Return the current state of a key."""
        ...

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` at `revision` (0: now).

        Raises:
          Compacted: that revision is gone.
          FutureRevision: the revision is in the future.
        """
        ...

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now), without reading values.

        Raises:
          Compacted: that revision is gone.
          FutureRevision: the revision is in the future.
        """
        ...

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Execute all `ops` in one revision if every compare holds, else nothing; durable when it returns.

        Raises:
          StoreError: more than 126 operations or compares, more than 1.25 MiB, a key twice, a missing lease.
        """
        ...

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> Watch:
        """Return a watch of all keys with any of `prefixes`. `from_revision` is the first to deliver, and may be in the future.

        `mark` is the known mark of the revision before. If the store has another mark there, the watch delivers
        nothing.
        """
        ...

    def grant(self, ttl_s: int) -> int:
        """Return a new lease. Its keys are deleted once it was not kept alive for `ttl_s` seconds."""
        ...

    def keep_alive(self, lease: int) -> int:
        """Renew the lease and return its remaining seconds; 0: it and its keys are gone."""
        ...

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys now. A missing lease is no error."""
        ...

    def compact(self, revision: int) -> None:
        """Drop the history before `revision`. The back end drops very old history by itself.

        Raises:
          Compacted: that history is gone already.
          FutureRevision: the revision is in the future.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
