"""What is read again and again, a few things a turn: no turn takes longer where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

ROUND_S: Final = 10.0  # in which everything is read once
TURNS: Final = 10  # of a round

T = TypeVar("T")


class Rounds(Generic[T]):
    """Whose turn it is, of things that come and go."""

    def __init__(self) -> None:
        self.next_at = 0.0  # when the next few are due
        self._waiting: Sequence[T] = ()  # what this round has not read yet

    def is_due(self, now: float) -> bool:
        """Return whether the next few are due; if so, the ones after them are a turn later."""
        if now < self.next_at:
            return False
        self.next_at = now + ROUND_S / TURNS
        return True

    def few(self, here: Sequence[T]) -> Sequence[T]:
        """Return the next few; a round that begins takes in what is `here`. What has gone since then may be among them."""
        waiting, count = self._waiting or here, -(-len(here) // TURNS)
        self._waiting = waiting[count:]
        return waiting[:count]
