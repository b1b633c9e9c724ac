"""How often something may happen that comes in bursts: so many times at once, and so many a second in the long run."""

from __future__ import annotations


class Pace:
    """Permits: `at_once` at first, and `per_s` more each second, but never more than `at_once`."""

    def __init__(self, at_once: float, per_s: float, now: float) -> None:
        """Take the time in seconds, as `take` does."""
        self._at_once = at_once
        self._per_s = per_s
        self._permits = at_once
        self._counted = now

    def take(self, now: float) -> float:
        """Take a permit and return 0; without one, return in how many seconds there will be one."""
        self._permits = min(self._at_once, self._permits + (now - self._counted) * self._per_s)
        self._counted = now
        if self._permits < 1:
            return (1 - self._permits) / self._per_s
        self._permits -= 1
        return 0.0
