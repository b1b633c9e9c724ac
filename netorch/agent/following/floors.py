"""The revisions at which prefixes were listed.

A watch of several prefixes has one position. A prefix that is listed later is ahead of it, so the watch still delivers earlier
events of that prefix. They would bring back keys that were deleted before the listing.
"""

from __future__ import annotations


class Floors:
    """Below each listed prefix, the events that the listing already includes. Cost of a look-up: the distinct lengths."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[str, int]] = {}
        self._highest = 0

    def listed(self, prefix: str, revision: int) -> None:
        """Note a listing."""
        self._by_length.setdefault(len(prefix), {})[prefix] = revision
        self._highest = max(self._highest, revision)

    def include(self, key: str, revision: int) -> bool:
        """Return whether a listing already includes the change of a key at a revision."""
        return any(revision <= group.get(key[:length], 0) for length, group in self._by_length.items())

    def passed(self, revision: int) -> bool:
        """Forget all listings if the watch has passed them; return whether none is left."""
        if revision >= self._highest:
            self._by_length.clear()
        return not self._by_length
