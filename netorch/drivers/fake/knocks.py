"""In-memory probes: every target answers, unless a test has muted it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterable

from netorch.drivers.base import Knock


class FakeKnocks:
    """Implements `netorch.drivers.base.Knocks`."""

    def __init__(self, muted: Collection[tuple[str, int]]) -> None:
        """Take the addresses and ports that do not answer; the collection may change."""
        self._muted = muted
        self._asked: set[Knock] = set()
        self._fd = os.eventfd(0)  # never readable: answers are available in the next turn
        self._end = weakref.finalize(self, os.close, self._fd)  # few tests end their agents

    def begin(self, knocks: Iterable[Knock]) -> None:
        """Probe each target."""
        self._asked = set(knocks)

    def answered(self) -> set[Knock]:
        """Return the probes answered since the last call."""
        asked, self._asked = self._asked, set()
        return {knock for knock in asked if (knock.address, knock.port) not in self._muted}

    def fileno(self) -> int:
        """Return a descriptor that is never readable."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor."""
        self._end()
