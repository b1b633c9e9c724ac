"""How often something is said of each of many: a few times in a row at once, then at most once in a while.

Others can make such things change as fast as they like, and whatever one host says, many have to hear.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 10
EVERY_S: Final = 1.0

T = TypeVar("T")


class Bursts(Generic[T]):
    """When each was spoken of. Source: RFC 2698's token bucket, as the time at which it will be full again."""

    def __init__(self) -> None:
        self._full_at: dict[T, float] = {}

    def may_at(self, one: T) -> float:
        """Return from when on something may be said of one."""
        return self._full_at.get(one, 0.0) - (AT_ONCE - 1) * EVERY_S

    def said(self, one: T, now: float) -> None:
        """Take note that something was said of one."""
        self._full_at[one] = max(self._full_at.get(one, now), now) + EVERY_S

    def keep(self, those: Collection[T]) -> None:
        """Forget all others."""
        for gone in self._full_at.keys() - set(those):
            del self._full_at[gone]
