"""A rate limit with bursts (token bucket)."""

from __future__ import annotations


class Pace:
    """Hands out permits: `at_once` at first, then `per_s` more each second, up to `at_once`."""

    def __init__(self, at_once: float, per_s: float, now: float) -> None:
        """Take the current time in seconds, as for `take`."""
        self._at_once = at_once
        self._per_s = per_s
        self._permits = at_once
        self._counted = now

    def take(self, now: float) -> float:
        """Take a permit and return 0. If there is none, return the seconds until the next one."""
        self._permits = min(self._at_once, self._permits + (now - self._counted) * self._per_s)
        self._counted = now
        if self._permits < 1:
            return (1 - self._permits) / self._per_s
        self._permits -= 1
        return 0.0
