"""The one lock for which SQLite itself waits ten seconds, whatever its busy timeout: the read lock of the log's index.

Only the owner can take it (netorch/store/modes.py), and SQLite holds it for an instant only. The kernel's list of locks
shows its holder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.sqlite.holders import holder

SQLITE_WAITS_S: Final = 10.0  # walTryBeginRead in wal.c
_FIRST, _LAST = 122, 127  # recovery and the read marks; sqlite.org/walformat.html#wal_locks
_PAUSE_S: Final = 0.002


def await_index(database: Path, patience_s: float) -> None:
    """Return when the index can be read. Raises StoreUnavailable after `patience_s`. Cost: about 30 us."""
    give_up = time.monotonic() + patience_s
    index = Path(f"{database}-shm")
    while pid := holder(index, _FIRST, _LAST):
        if time.monotonic() >= give_up:
            raise StoreUnavailable(f"store: {index}: locked by process {pid} for {patience_s:g} s; end that process")
        time.sleep(_PAUSE_S)
