"""The access log: a JSON line for each request. Each endpoint has at most two files of LOG_BYTES.

All files together have at most ALL_BYTES.

A line is written as soon as its request has ended, so a killed process loses none. One endpoint's requests do not
displace another endpoint's lines, except when ALL_BYTES is reached. A full disk loses lines, but no requests.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from netorch.services.proxy.journal.counts import Counts
from netorch.services.proxy.journal.line import Line

LOG_BYTES: Final = 4 << 20
ALL_BYTES: Final = 128 << 20  # /run is memory
KEPT_S: Final = 30 * 86_400
GONE_KEPT_S: Final = 86_400
_MODE: Final = 0o640
_OPEN: Final = 256  # files at once
_log = logging.getLogger(__name__)


class AccessLog:
    """The files below a directory."""

    def __init__(self, directory: Path, most: int = LOG_BYTES, most_of_all: int = ALL_BYTES) -> None:
        """Take the maximum bytes of a file, and of all files together."""
        self.counts = Counts()  # over all lines, including those that the disk did not take
        self._directory = directory
        self._most = most
        self._most_of_all = most_of_all
        self._written = 0  # bytes since `_size` was measured
        self._size = most_of_all  # so the first line measures it
        self._full = False
        self._open: dict[str, _Open] = {}  # by endpoint

    def tidy(self, now: float, living: Container[str]) -> None:
        """Remove the files of endpoints without lines for a long time. `now` is in seconds since the epoch.

        The time is KEPT_S for an existing endpoint, and GONE_KEPT_S for a deleted one.
        """
        self.let_go()
        for file in self._files():
            if file.written < now - (KEPT_S if file.endpoint in living else GONE_KEPT_S):
                _remove(file.path)

    def write(self, line: Line) -> None:
        """Write a line."""
        self.counts.add(line)
        try:
            text = _encoded(line)
            self._make_room(len(text))
            self._append(line.endpoint, text)
        except (OSError, ValueError) as error:
            if not self._full:
                _log.warning("%s: %s; requests are answered but not logged", self._directory, error)
            self._full = True
        else:
            self._full = False

    def let_go(self) -> None:
        """Close all files. A call each second keeps only files in use open, and stops writes to deleted files."""
        for file in self._open.values():
            os.close(file.fd)
        self._open.clear()

    def _append(self, endpoint: str, text: bytes) -> None:
        file = self._open.get(endpoint)
        if file is None:
            if len(self._open) >= _OPEN:
                self.let_go()
            fd = os.open(self._path(endpoint), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
            file = self._open[endpoint] = _Open(fd, os.fstat(fd).st_size)
        file.size += os.write(file.fd, text)
        if file.size > self._most:
            self.let_go()
            self._path(endpoint).replace(self._path(endpoint).with_suffix(".log.1"))

    def _path(self, endpoint: str) -> Path:
        return self._directory / f"{endpoint}.log"

    def _make_room(self, size: int) -> None:
        """Remove files if there are too many bytes: rotated files before current ones, in each group the oldest first.

        At least a quarter becomes free, so that the directory is rarely scanned.
        """
        self._written += size
        if self._size + self._written <= self._most_of_all:
            return
        self.let_go()
        files = sorted(self._files(), key=lambda file: (file.is_first, file.written))
        self._size, self._written = sum(file.size for file in files), size
        if self._size + size <= self._most_of_all * 7 // 8:
            return
        for file in files:
            if self._size + size <= self._most_of_all * 3 // 4:
                break
            _remove(file.path)
            self._size -= file.size

    def _files(self) -> Iterator[_File]:
        for path in (*self._directory.glob("*.log"), *self._directory.glob("*.log.1")):
            with suppress(OSError):
                found = path.stat()
                yield _File(path, path.name.partition(".")[0], path.suffix == ".log", found.st_mtime, found.st_size)


class _Open:
    """An open file for lines."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size


class _File(NamedTuple):
    path: Path
    endpoint: str
    is_first: bool  # the current file, not the rotated one
    written: float  # the last time, in seconds since the epoch
    size: int


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _encoded(line: Line) -> bytes:
    """Return a line as JSON. Question marks replace a client's bytes that are no text."""
    try:
        return msgspec.json.encode(line) + b"\n"
    except UnicodeEncodeError:
        texts = {
            name: value.encode(errors="replace").decode()
            for name, value in msgspec.structs.asdict(line).items()
            if isinstance(value, str)
        }
        return msgspec.json.encode(msgspec.structs.replace(line, **texts)) + b"\n"
