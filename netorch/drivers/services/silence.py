"""What is known of a daemon that does not answer: one that works may be late, and to end it would end what all customers have."""

from __future__ import annotations

import math
import time
from typing import Final

from netorch.drivers.daemons.process import Process, Work

BUSY_S: Final = 20.0  # for longer nobody counts as busy
QUESTIONS: Final = 3  # without an answer, at least: who is asked seldom may have been late twice, and well in between


class Silence:
    """Begins with a question, and goes on over all that follow until one is answered."""

    def __init__(self, process: Process) -> None:
        """Take the process that is asked now."""
        self._work = Work(process, math.inf)
        self._ends = time.monotonic() + BUSY_S
        self._unanswered = 0

    def is_work(self) -> bool:
        """Note one more question that was not answered; return whether the daemon is still to be waited for."""
        self._unanswered += 1
        return self._work.goes_on() and (self._unanswered < QUESTIONS or time.monotonic() < self._ends)
