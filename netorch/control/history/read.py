"""The store's history as changes: the revisions of the cloud's records, with their author and what happened to each record.

Agents' writes without a command (ends of moves, what an edge reaches) have the author `agents`. Agent status is no change.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.control.history.signed import Signature
from netorch.errors import Compacted, StoreUnavailable
from netorch.records import keys
from netorch.records.kind import Scope
from netorch.records.kinds import BY_PREFIX
from netorch.store.base import Event, Store, Watch

AGENTS: Final = "agents"
_OF_AGENTS: Final = Signature(by=AGENTS, command="", at=0.0)
PATIENCE_S: Final = 10.0  # how long to wait for a part of the history
_OWNED: Final = frozenset(kind.root for kind in BY_PREFIX.values() if kind.scope is Scope.OWNER)
_OPERATORS: Final = frozenset(kind.at("").partition("/")[0] for kind in BY_PREFIX.values() if kind.at is not None)
_CLOUD: Final = tuple(f"{root}/" for root in sorted({"vpc", "map", "quota"} | _OWNED | _OPERATORS))
_LIVE: Final = "/live"  # of a host: its agent's lease


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One revision. `changed` has a word for each record: + created, ~ changed, - deleted."""

    revision: int
    at: float  # seconds since 1970, 0: unknown
    by: str
    command: str
    changed: tuple[str, ...]


def read_history(store: Store, vni: int | None, most: int) -> list[Change]:
    """Return the last `most` changes of a VPC, or of the cloud, newest first, as far back as the store's history goes.

    Raises:
      StoreUnavailable: the history does not arrive.
    Cost: O(history), 100,000 revisions at most.
    """
    end = store.revision()
    prefixes = _CLOUD if vni is None else (keys.vpc_prefix(vni), keys.map_prefix(vni))
    found: deque[Change] = deque(maxlen=most)
    with contextlib.closing(_Whole(store, (keys.last_change(), *prefixes))) as whole:
        for events in whole.revisions(end):
            if change := _change(events):
                found.append(change)
    return list(reversed(found))


class _Whole:
    """A watch from the oldest revision in the store."""

    def __init__(self, store: Store, prefixes: tuple[str, ...]) -> None:
        self._store, self._prefixes = store, prefixes
        self._watch: Watch = store.watch(prefixes, 1)

    def close(self) -> None:
        self._watch.close()

    def revisions(self, end: int) -> Iterator[list[Event]]:
        """Yield the events of each revision up to `end`."""
        pending: list[Event] = []
        give_up_at = time.monotonic() + PATIENCE_S
        while self._watch.revision < end:
            for event in self._poll():
                if pending and event.mod_revision != pending[0].mod_revision:
                    yield pending
                    pending = []
                pending.append(event)
                give_up_at = time.monotonic() + PATIENCE_S
            if self._watch.revision < end and time.monotonic() > give_up_at:
                raise StoreUnavailable(f"store: its history up to revision {end} is not available; try again")
        if pending:
            yield pending

    def _poll(self) -> tuple[Event, ...]:
        waiter = select.poll()  # select(2) takes no descriptor above 1023
        waiter.register(self._watch.fileno(), select.POLLIN)
        waiter.poll(100)
        try:
            return self._watch.poll()
        except Compacted as error:
            self._watch.close()
            self._watch = self._store.watch(self._prefixes, error.compact_revision + 1)
            return ()


def _change(events: list[Event]) -> Change | None:
    """Return a revision as a change; None if it concerns something else."""
    signatures = (_signature(event) for event in events if event.key == keys.last_change())
    changed = tuple(_word(event) for event in events if event.key != keys.last_change() and not event.key.endswith(_LIVE))
    if not changed:
        return None
    signature = next(signatures, None) or _OF_AGENTS
    return Change(revision=events[0].mod_revision, at=signature.at, by=signature.by, command=signature.command, changed=changed)


def _signature(event: Event) -> Signature | None:
    try:
        return msgspec.json.decode(event.value or b"", type=Signature)
    except msgspec.MsgspecError:
        return None


def _word(event: Event) -> str:
    """Return what happened to a record: a sign and its id or another name."""
    sign = "-" if event.value is None else "+" if event.create_revision == event.mod_revision else "~"
    root, _, rest = event.key.partition("/")
    if root == "vpc":
        vni, _, what = rest.partition("/")
        return f"{sign}{f'vpc {int(vni, 16)}' if what == 'vpc' else what.rpartition('/')[2]}"
    if root == "map":
        return f"{sign}mapping {rest.partition('/')[2]}"
    return f"{sign}{rest.rpartition('/')[2]}" if root in _OWNED else f"{sign}{root} {rest}"
