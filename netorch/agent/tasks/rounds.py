"""Rounds of periodic reads, a few items per turn: the length of a turn does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

ROUND_S: Final = 10.0  # in which every item is read once
TURNS: Final = 10  # per round

T = TypeVar("T")


class Rounds(Generic[T]):
    """Which items are due, of items that come and go."""

    def __init__(self) -> None:
        self.next_at = 0.0  # when the next few items are due
        self._waiting: Sequence[T] = ()  # items not yet read in this round

    def is_due(self, now: float) -> bool:
        """Return whether the next few items are due; if so, schedule the ones after them."""
        if now < self.next_at:
            return False
        self.next_at = now + ROUND_S / TURNS
        return True

    def few(self, here: Sequence[T]) -> Sequence[T]:
        """Return the next few items; a new round starts with `here`. Items that have gone since then may be among them."""
        waiting, count = self._waiting or here, -(-len(here) // TURNS)
        self._waiting = waiting[count:]
        return waiting[:count]
