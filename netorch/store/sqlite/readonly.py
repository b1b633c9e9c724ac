"""A SQLite store that this user may only read. Readers of a WAL must write beside the file, so they get their own copy."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from netorch.errors import StoreUnavailable
from netorch.store.base import Compare, Delete, Put, TxnResult
from netorch.store.leaseless import Leaseless
from netorch.store.sqlite.schema import check_exists
from netorch.store.sqlite.store import SqliteStore, SqliteWatch

_TRIES: Final = 50
_PAUSE_S: Final = 0.02
_WAL_HEADER_BYTES: Final = 32  # its salts change whenever the log restarts at the front; sqlite.org/fileformat2.html#walformat


def may_only_be_read(path: Path) -> bool:
    """Return whether there is a store that this user cannot write."""
    files = [path.parent, path, *(Path(f"{path}{suffix}") for suffix in (".rev", ".lock", "-wal", "-shm"))]
    found = [file for file in files if file.exists()]
    return path.exists() and not all(os.access(file, os.W_OK, effective_ids=True) for file in found)


class StoreCopy(Leaseless, SqliteStore):
    """The store at the time when it was opened. It takes no lock, so a reader never blocks others."""

    def __init__(self, path: Path) -> None:
        self._original = path.absolute()
        check_exists(self._original, create=False)
        self._directory = tempfile.mkdtemp(prefix="netorch-")  # accessible to its owner only
        copy = Path(self._directory, path.name)
        try:
            _copy(self._original, copy)
            super().__init__(copy, create=False)
        except StoreUnavailable as error:
            shutil.rmtree(self._directory)
            raise StoreUnavailable(str(error).replace(str(copy), str(self._original))) from error

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Refuse."""
        self._refuse()

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> SqliteWatch:
        """Return a watch of past events. Refuse one of future events, which a copy never gets."""
        if from_revision > self.revision():
            self._refuse()
        return super().watch(prefixes, from_revision, mark)

    def close(self) -> None:
        """Delete the copy."""
        super().close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _refuse(self) -> NoReturn:
        raise StoreUnavailable(f"store: {self._original} is readable by this user, but not writable; run this as its owner")


def _copy(path: Path, copy: Path) -> None:
    """Copy the file, then its log. If the log did not restart at the front meanwhile, it has all that the file may lack."""
    logs = Path(f"{path}-wal"), Path(f"{copy}-wal")
    try:
        for _ in range(_TRIES):
            before = _state(path, logs[0])
            shutil.copyfile(path, copy)
            logs[1].unlink(missing_ok=True)
            if before[0]:
                shutil.copyfile(*logs)
            if _state(path, logs[0]) == before:
                return
            time.sleep(_PAUSE_S)
    except OSError as error:
        raise StoreUnavailable(f"store: {error.filename}: {error.strerror}; run this as its owner, or in its group") from error
    raise StoreUnavailable(f"store: {path} changes too fast to be copied; try again, or run this as its owner")


def _state(path: Path, log: Path) -> tuple[bytes, tuple[int, int]]:
    """Return the log's header, and the file's size and modification time if there is no log."""
    try:
        with log.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    found = path.stat()
    return header, (0, 0) if header else (found.st_size, found.st_mtime_ns)
