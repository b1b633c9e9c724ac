"""Waits until a watch has reached a revision."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterable
from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.base import Event, Store, Watch

PATIENCE_S: Final = 30.0


def events_until(watch: Watch, revision: int, patience_s: float = PATIENCE_S) -> tuple[Event, ...]:
    """Return the events of a watch up to `revision`. Raises as `Watch.poll`, and StoreUnavailable after `patience_s`."""
    events = list(watch.poll())
    poller, give_up = select.poll(), time.monotonic() + patience_s
    poller.register(watch.fileno(), select.POLLIN)
    while watch.revision < revision:
        if time.monotonic() > give_up:
            raise StoreUnavailable(f"store: a watch is stuck at revision {watch.revision}; try again")
        poller.poll(100)
        events += watch.poll()
    return tuple(events)


def history(store: Store, prefixes: Iterable[str], from_revision: int) -> tuple[Event, ...]:
    """Return the events from a revision until now. Raises as `Watch.poll`."""
    with contextlib.closing(store.watch(prefixes, from_revision)) as watch:
        return events_until(watch, store.revision())
