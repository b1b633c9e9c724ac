"""The access log: a line of JSON for each request, in a file for each endpoint, and never more than two files of LOG_BYTES.

A line is written when its request has ended, and at once, so that a killed process has lost none. Nobody's requests push another
endpoint's lines out. A disk that is full costs lines and no request.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

LOG_BYTES: Final = 4 << 20
KEPT_S: Final = 30 * 86_400
_MODE: Final = 0o640
_log = logging.getLogger(__name__)


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said about one request, or about one tunnel of TLS."""

    time: str  # of its begin, RFC 3339
    vpc: str
    endpoint: str
    source: str  # the instance's address in its VPC
    status: int  # of the answer; 0: there was none, the connection was cut
    reason: str  # which statement of which policy decided, or what else did
    method: str = ""
    host: str = ""
    target: str = ""
    action: str = ""
    resource: str = ""
    received: int = 0  # bytes of the client's body
    sent: int = 0  # bytes of the answer's body
    seconds: float = 0.0


class AccessLog:
    """The files below a directory."""

    def __init__(self, directory: Path, most: int = LOG_BYTES) -> None:
        self._directory = directory
        self._most = most
        self._full = False

    def tidy(self, now: float) -> None:
        """Remove the files of endpoints that have said nothing for KEPT_S; `now` is in seconds of the epoch."""
        for path in (*self._directory.glob("*.log"), *self._directory.glob("*.log.1")):
            with suppress(OSError):
                if path.stat().st_mtime < now - KEPT_S:
                    path.unlink()

    def write(self, line: Line) -> None:
        """Write a line."""
        path = self._directory / f"{line.endpoint}.log"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
            try:
                os.write(fd, msgspec.json.encode(line) + b"\n")
                large = os.fstat(fd).st_size > self._most
            finally:
                os.close(fd)
            if large:
                path.replace(path.with_suffix(".log.1"))
        except OSError as error:
            if not self._full:
                _log.warning("%s: %s; requests are answered and not logged", path, error.strerror)
            self._full = True
        else:
            self._full = False
