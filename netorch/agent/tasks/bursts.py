"""Rate limit of reports on each of many items: a few at once, then at most one per interval.

Customers can make such items change as fast as they like, and many hosts read each report.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 10
EVERY_S: Final = 1.0

T = TypeVar("T")


class Bursts(Generic[T]):
    """The time of each item's reports. Source: RFC 2698's token bucket, stored as the time when it will be full again."""

    def __init__(self) -> None:
        self._full_at: dict[T, float] = {}

    def may_at(self, one: T) -> float:
        """Return when an item may be reported next."""
        return self._full_at.get(one, 0.0) - (AT_ONCE - 1) * EVERY_S

    def said(self, one: T, now: float) -> None:
        """Note that an item was reported."""
        self._full_at[one] = max(self._full_at.get(one, now), now) + EVERY_S

    def keep(self, those: Collection[T]) -> None:
        """Forget all other items."""
        for gone in self._full_at.keys() - set(those):
            del self._full_at[gone]
