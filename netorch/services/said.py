"""The process's log: a limited rate of lines, and a limited size of the file behind stderr."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

from netorch.services.pace import Pace

LINES: Final = 20.0  # at once
LINES_S: Final = 2.0  # per second, on average
LINE_CHARACTERS: Final = 4_096
FILE_BYTES: Final = 4 << 20
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class Said(logging.StreamHandler[TextIO]):
    """Writes to a stream. Nothing that triggers log lines, e.g. an instance, can fill the disk or memory."""

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic, most: int = FILE_BYTES) -> None:
        """Take the stream (default: stderr), a clock in seconds, and the size at which the file is truncated."""
        super().__init__(stream or sys.stderr)
        self._now = now
        self._most = most
        self._pace = Pace(LINES, LINES_S, now())
        self._unsaid = 0
        self.setFormatter(logging.Formatter(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it as left out."""
        if self._pace.take(self._now()):
            self._unsaid += 1
            return
        self._bound()
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return a line of limited length, with the number of lines left out before it."""
        unsaid, self._unsaid = self._unsaid, 0
        before = f"({unsaid} lines were left out) " if unsaid else ""
        return f"{before}{super().format(record)}"[:LINE_CHARACTERS]

    def _bound(self) -> None:
        """Truncate the file to zero if it is too large. It is open for appending, so the next line becomes the first."""
        with suppress(OSError, ValueError):
            found = os.fstat(self.stream.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_size > self._most:
                os.ftruncate(self.stream.fileno(), 0)
