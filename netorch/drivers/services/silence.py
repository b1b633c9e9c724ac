"""Tracking of a daemon that does not answer: a busy one may be late, and killing it would interrupt all customers."""

from __future__ import annotations

import math
import time
from typing import Final

from netorch.drivers.daemons.process import Process, Work

BUSY_S: Final = 20.0  # after that a daemon no longer counts as busy
QUESTIONS: Final = 3  # minimum number without an answer: a rarely queried daemon may have been late twice, and fine in between


class Silence:
    """Lasts from a request over all further ones until one is answered."""

    def __init__(self, process: Process) -> None:
        """Take the process that is being queried."""
        self._work = Work(process, math.inf)
        self._ends = time.monotonic() + BUSY_S
        self._unanswered = 0

    def is_work(self) -> bool:
        """Count one more unanswered request; return whether to keep waiting for the daemon."""
        self._unanswered += 1
        return self._work.goes_on() and (self._unanswered < QUESTIONS or time.monotonic() < self._ends)
