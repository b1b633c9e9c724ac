"""The one lock for which SQLite itself waits ten seconds, whatever its busy timeout: the read lock of the log's index.

Only the owner can take it (netorch/store/modes.py), and SQLite holds it for an instant only. The kernel's list of locks
shows its holder. To open the file and query the lock instead would, at the next close, release the locks of this
process.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from netorch.errors import StoreUnavailable

SQLITE_WAITS_S: Final = 10.0  # walTryBeginRead in wal.c
_LOCKS: Final = Path("/proc/locks")
_FIRST, _LAST = 122, 127  # recovery and the read marks; sqlite.org/walformat.html#wal_locks
_PAUSE_S: Final = 0.002


def await_index(database: Path, patience_s: float) -> None:
    """Return when the index can be read. Raises StoreUnavailable after `patience_s`. Cost: about 30 us."""
    give_up = time.monotonic() + patience_s
    while holder := _holder(Path(f"{database}-shm")):
        if time.monotonic() >= give_up:
            raise StoreUnavailable(f"store: {database}-shm: locked by process {holder} for {patience_s:g} s; end that one")
        time.sleep(_PAUSE_S)


def _holder(index: Path) -> int:
    """Return the process that blocks readers; 0: none."""
    try:
        found = index.stat()
        locks = _LOCKS.read_text()
    except OSError:
        return 0
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks.splitlines():
        match line.split():
            case [_, _, _, "WRITE", pid, where, first, last] if where == file and int(pid) != os.getpid():
                if int(first) <= _LAST and (last == "EOF" or int(last) >= _FIRST):
                    return int(pid)
    return 0
