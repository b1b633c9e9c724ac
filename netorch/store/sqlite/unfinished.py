"""A SQLite store under a temporary name until it is complete."""

from __future__ import annotations

import os
from pathlib import Path

from netorch.errors import StoreUnavailable
from netorch.store.sqlite.schema import check_exists
from netorch.store.sqlite.store import SqliteStore


class UnfinishedFile:
    """A new store for `path`, at first in a hidden file beside it. The remains of an earlier copy are deleted.

    Raises:
      StoreUnavailable: there is a store, or its directory is not writable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hidden = path.with_name(f".{path.name}.copying")
        if path.exists():
            raise StoreUnavailable(f"store: {path} exists; give a path that does not exist yet")
        check_exists(path, create=True)
        self._clean()
        self.store = SqliteStore(self._hidden)

    def finish(self) -> None:
        """Give the store its final name."""
        self.store.close()
        try:
            if Path(f"{self._hidden}-wal").exists():
                raise StoreUnavailable(f"store: {self._path}: its log could not be merged; check whether the disk is full")
            os.link(self._hidden, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreUnavailable(f"store: {self._path}: {error.strerror}; give another path") from error

    def close(self) -> None:
        """Delete the hidden files."""
        self.store.close()
        self._clean()

    def _clean(self) -> None:
        for suffix in ("", "-wal", "-shm", ".rev", ".lock"):
            Path(f"{self._hidden}{suffix}").unlink(missing_ok=True)
