"""The store's contract, which is etcd's: every back end passes tests/contract/store/.

A store is a sorted map from keys to bytes with one number, its *revision*, that every transaction which changes something raises
by one. Each key remembers the revision that created it and the one that last wrote it; a watch replays what happened since a
revision, in order and without gaps, until that history is *compacted*. A revision means something only together with the store's
`uid`: another uid is another history. Each revision has a random *mark*, so a reader knows whether the history that it has seen
is the beginning of the one before it: a copy of the store that goes on by itself gives its next revisions other marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

DAMAGED: Final = b"\0damaged: "  # how a value begins of which the back end knows that it is not what was written
KEEP_MARK_EVERY: Final = 1024  # marks of revisions that this divides outlive the history


class KeyValue(msgspec.Struct, frozen=True):
    """One key as it stands at a revision; `lease` 0 means that it stays until it is deleted."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


class Range(msgspec.Struct, frozen=True):
    """All keys of a prefix, sorted, as they stood at `revision`: watch from `revision + 1` to keep them current."""

    revision: int
    kvs: tuple[KeyValue, ...]
    mark: str  # of `revision`


class Compare(msgspec.Struct, frozen=True):
    """A condition of a transaction: the key was last written at `mod_revision`; 0: the key does not exist."""

    key: str
    mod_revision: int


class Put(msgspec.Struct, frozen=True):
    """Write a key. An identical value is a change too: compare before you put."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Remove a key; removing what is not there changes nothing and takes no revision."""

    key: str


class Event(msgspec.Struct, frozen=True):
    """What one revision did to one key; `value` None (and create_revision 0): it was deleted."""

    key: str
    value: bytes | None
    mod_revision: int
    create_revision: int


class TxnResult(msgspec.Struct, frozen=True):
    """Whether the compares held and the operations were done, and the store's revision after that."""

    succeeded: bool
    revision: int


class Watch(Protocol):
    """A place in the store's history that moves forward."""

    @property
    def revision(self) -> int:
        """Everything up to here has been delivered."""
        ...

    @property
    def mark(self) -> str:
        """The mark of `revision`; empty while that lies ahead."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `poll` may have something. It may be readable for nothing."""
        ...

    def poll(self) -> tuple[Event, ...]:
        """Return what happened since the last call, without waiting: whole revisions in order, each event once.

        A long history comes in several calls; the descriptor stays readable until all of it has come. What a server tells comes
        later than what is read: `revision` says how far the watch is. Within a revision events of several prefixes have no order.

        Raises:
          Compacted: history between the last call and now is gone; list again. The watch is of no further use.
          FutureRevision: the store has fallen behind what this watch has seen (restored from a backup); list again.
          OtherHistory: what this watch has seen did not happen in this store (restored, and written to since).
        """
        ...

    def close(self) -> None:
        """Give the descriptor back; closing twice is harmless."""
        ...


class Store(Protocol):
    """A store, connected. Its methods may be called from several threads.

    Any method raises StoreUnavailable when the back end cannot be used; for `txn` the outcome is then unknown.
    """

    @property
    def uid(self) -> str:
        """The history that revisions count: changes when the database is another one."""
        ...

    def revision(self) -> int:
        """Return the current revision; 1 in an empty store."""
        ...

    def mark(self, revision: int) -> str:
        """Return the random mark of a revision: where it is the same, so is everything before it.

        Raises:
          Compacted: it is forgotten; those of multiples of KEEP_MARK_EVERY never are.
          FutureRevision: that revision has not come.
        """
        ...

    def get(self, key: str) -> KeyValue | None:
        """Return the key as it stands now."""
        ...

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return all keys with `prefix` as they stood at `revision` (0: now).

        Raises:
          Compacted: that revision is gone.
          FutureRevision: that revision has not come.
        """
        ...

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Do all `ops` in one revision if every compare holds, else nothing; durable when it returns.

        Raises:
          StoreError: more than 126 operations or compares, more than 1.25 MiB, a key twice, a lease that is gone.
        """
        ...

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> Watch:
        """Return a watch of all keys with any of `prefixes`; `from_revision` is the first it delivers and may lie ahead.

        `mark` is that of the revision before, as it was seen: the watch delivers nothing of a store that has another one there.
        """
        ...

    def grant(self, ttl_s: int) -> int:
        """Return a new lease: keys put with it are deleted once it was not kept alive for `ttl_s` seconds."""
        ...

    def keep_alive(self, lease: int) -> int:
        """Restart the lease's time and return the seconds it has; 0: it is gone, and so are its keys."""
        ...

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys now; a lease that is gone already is no error."""
        ...

    def compact(self, revision: int) -> None:
        """Forget what stood before `revision`; the back end does this by itself for what is very old.

        Raises:
          Compacted: that was done already.
          FutureRevision: that revision has not come.
        """
        ...

    def close(self) -> None:
        """Give up the connection."""
        ...
