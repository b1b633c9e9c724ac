"""How many requests of one interface are answered in a second, by however many connections."""

from __future__ import annotations

import time
from typing import Final

ANSWERS_PER_S: Final = 100
BURST: Final = 200  # at once: more than who reads the whole tree asks for


class Pace:
    """Permits for answers: BURST at first, and ANSWERS_PER_S more each second, but never more than BURST."""

    def __init__(self, now: float) -> None:
        self._permits = float(BURST)
        self._counted = now

    def take(self, now: float) -> float:
        """Take a permit and return 0; without one, return in how many seconds there will be one."""
        self._permits = min(float(BURST), self._permits + (now - self._counted) * ANSWERS_PER_S)
        self._counted = now
        if self._permits < 1:
            return (1 - self._permits) / ANSWERS_PER_S
        self._permits -= 1
        return 0.0

    def pause(self) -> float:
        """Take a permit now; see `take`."""
        return self.take(time.monotonic())
