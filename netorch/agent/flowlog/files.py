"""Flow logs as files: DIRECTORY/<owner>/<vpc>/<flow log>/<host>.log. Owners can be given read access to their own directory.

A file that reaches its limit becomes <host>.log.1, the previous .1 becomes .2, and so on; the oldest file is deleted.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from netorch.agent.flowlog.ledger import Finished
from netorch.errors import NetorchError
from netorch.store.modes import FILE_MODE, make_directory

log = logging.getLogger(__name__)

FILE_BYTES: Final = 16 << 20
OLD_FILES: Final = 4


def log_directory(root: Path, owner: str, vpc: str, flow_log: str) -> Path:
    """Return the directory of a flow log. It holds the current and older files of each host."""
    return root / owner / vpc / flow_log


class LogFiles:
    """The files of one host."""

    def __init__(self, root: Path, host: str, file_bytes: int = FILE_BYTES) -> None:
        self._root = root
        self._name = f"{host}.log"
        self._file_bytes = file_bytes
        self._trouble = ""

    def exists(self, owner: str, vpc: str, flow_log: str) -> bool:
        """Return whether this host has written to a log before."""
        return (log_directory(self._root, owner, vpc, flow_log) / self._name).exists()

    def append(self, finished: Finished) -> bool:
        """Write the lines of an interval; return whether this succeeded. A full disk does not stop the agent."""
        directory = log_directory(self._root, finished.owner, finished.vpc, finished.log.id)
        try:
            self._make(directory)
            path = directory / self._name
            self._rotate(path)
            data = "".join(f"{line}\n" for line in finished.lines).encode()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
            try:
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, data) < len(data):
                    os.ftruncate(descriptor, size)  # no half lines
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            self._tell(f"{directory}: {error.strerror}")
            return False
        self._tell("")
        return True

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            make_directory(self._root)
            make_directory(directory)

    def _rotate(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            if path.stat().st_size < self._file_bytes:
                return
            for number in range(OLD_FILES - 1, 0, -1):
                with suppress(FileNotFoundError):
                    os.replace(f"{path}.{number}", f"{path}.{number + 1}")
            os.replace(path, f"{path}.1")

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("flow logs cannot be written reason=%r", trouble)
        self._trouble = trouble


def _no_link(path: str, flags: int) -> int:
    """Open a file, but not a symbolic link: a user who may write the directory could link to a file of another user."""
    return os.open(path, flags | os.O_NOFOLLOW)


def read_lines(directory: Path, host: str | None = None) -> Iterator[str]:
    """Yield the lines of a flow log, of one host or of all in turn, oldest first.

    Raises:
      NetorchError: this user may not read a file.
    """
    names = sorted(path.name for path in directory.glob("*.log") if host in (None, path.stem))
    for name in names:
        for suffix in (*(f".{number}" for number in range(OLD_FILES, 0, -1)), ""):
            path = directory / f"{name}{suffix}"
            try:
                with open(path, encoding="ascii", errors="replace", opener=_no_link) as file:
                    yield from (line.rstrip("\n") for line in file)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise NetorchError(f"flow log: {path}: {error.strerror}; read it as a user who may") from error
