"""Limits against strangers: failed attempts in a time, and connections at once."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST_ADDRESSES: Final = 4096  # the longest silent one is forgotten first


class Attempts:
    """Counts failures by address. One may fail `burst` times, and again once every `every_s` seconds.

    There is no limit for all together: strangers with many addresses could shut hosts out by it, and nobody guesses a token.
    """

    def __init__(self, burst: int, every_s: float, clock: Callable[[], float]) -> None:
        self._burst, self._every_s, self._clock = burst, every_s, clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when an address has its whole burst again

    def may(self, address: str) -> bool:
        """Return whether an address may try."""
        return self._full_at.get(address, 0.0) - self._clock() <= self._every_s * (self._burst - 1)

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._full_at[address] = max(self._full_at.pop(address, 0.0), self._clock()) + self._every_s
        if len(self._full_at) > _MOST_ADDRESSES:
            self._full_at.popitem(last=False)


class Places:
    """Places for open connections: `most` at once, `each` of one address."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, each
        self._taken: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """Take a place; return whether there was one."""
        if sum(self._taken.values()) >= self._most or self._taken.get(address, 0) >= self._each:
            return False
        self._taken[address] = self._taken.get(address, 0) + 1
        return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 of an IPv6 address, because a client has the whole /64."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found if found.version == 4 else ipaddress.ip_network((found, 64), strict=False))
