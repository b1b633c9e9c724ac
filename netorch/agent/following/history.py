"""The history of the store that this host has followed, and the check that the opened store continues it.

A revision number proves nothing: a restored copy continues to count and soon reaches every number of the lost history. The
random mark of a revision (netorch/store/base.py) is the proof.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from netorch.agent.snapshot import Snapshot
from netorch.errors import Compacted, OtherHistory
from netorch.store.base import KEEP_MARK_EVERY, Store


class History:
    """The last revision that this host has followed, with its mark."""

    def __init__(self) -> None:
        self.uid = ""  # empty: no store was followed yet
        self.revision = 0
        self.mark = ""
        self.kept = (0, "")  # an earlier revision and its mark, for when the store has dropped the last revision's mark

    def recall(self, snapshot: Snapshot) -> None:
        """Continue from the last run's snapshot."""
        self.uid, self.revision, self.mark, self.kept = snapshot.uid, snapshot.revision, snapshot.mark, snapshot.kept

    def stamp(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot stamped with the last revision followed."""
        return msgspec.structs.replace(snapshot, uid=self.uid, revision=self.revision, mark=self.mark, kept=self.kept)

    def saw(self, store: Store, revision: int, mark: str) -> None:
        """Note that everything up to a revision was delivered."""
        self.uid, self.revision, self.mark = store.uid, revision, mark
        kept = revision - revision % KEEP_MARK_EVERY
        if kept != self.kept[0] or not self.kept[1]:
            with suppress(Compacted):
                self.kept = (kept, store.mark(kept))

    def check(self, store: Store) -> int:
        """Return the store's revision.

        Raises:
          OtherHistory: the store does not contain the history that this host has followed.
        """
        current = store.revision()
        if not self.uid:
            return current
        if store.uid != self.uid:
            raise OtherHistory(_refusal(f"another store ({store.uid}, this host has followed {self.uid})"))
        if current < self.revision:
            raise OtherHistory(_refusal(f"an older store (revision {current} of {store.uid}, {self.revision} was seen)"))
        for revision, mark in ((self.revision, self.mark), self.kept):
            with suppress(Compacted):
                if mark and store.mark(revision) != mark:
                    raise OtherHistory(_refusal(f"a copy that was changed on its own (it differs at revision {revision})"))
                if mark:
                    return current
        if self.mark:
            raise OtherHistory(_refusal(f"a store that cannot tell whether its revision {self.revision} is the one seen here"))
        return current


def _refusal(what: str) -> str:
    return (
        f"store: this is {what}; the host keeps its present state. "
        "If the store is right, stop the agent, remove its snapshot file and start the agent again"
    )
