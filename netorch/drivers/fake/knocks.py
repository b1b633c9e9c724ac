"""Knocks in memory: everybody answers but those whom a test has muted."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from netorch.drivers.base import Knock


class FakeKnocks:
    """Implements `netorch.drivers.base.Knocks`."""

    def __init__(self, muted: Collection[tuple[str, int]]) -> None:
        """Take the addresses and ports that do not answer, which may change."""
        self._muted = muted
        self._asked: set[Knock] = set()
        self._fd = os.eventfd(0)  # never readable: answers are there with the next turn

    def begin(self, knocks: Iterable[Knock]) -> None:
        """Knock at each."""
        self._asked = set(knocks)

    def answered(self) -> set[Knock]:
        """Return who has answered since the last call."""
        asked, self._asked = self._asked, set()
        return {knock for knock in asked if (knock.address, knock.port) not in self._muted}

    def fileno(self) -> int:
        """Return a descriptor that is never readable."""
        return self._fd

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._fd)
