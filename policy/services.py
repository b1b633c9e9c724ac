"""Sets of services: protocols, and their ports or ICMP types and codes.

Every protocol has 65,536 services here: the ports of TCP and UDP, and for ICMP the type in the upper eight bits and the code in
the lower eight. Other protocols have services too, but a rule matches all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from netorch.model.security import ALL_PROTOCOLS, ANY, ICMP, ICMPV6, TCP, UDP

Range = tuple[int, int]  # first and last
Ranges = tuple[Range, ...]  # ascending, with gaps in between

LAST: Final = 0xFFFF
EVERY_PROTOCOL: Final = (1 << 256) - 1
WITH_PORTS: Final = (TCP, UDP)


class Services(msgspec.Struct, frozen=True):
    """A set of services: `whole` has a bit for each protocol that is in the set completely; `some` has parts of others."""

    whole: int = 0
    some: tuple[tuple[int, Ranges], ...] = ()  # protocol and services, ascending; no protocol of `whole`

    def __bool__(self) -> bool:
        return bool(self.whole or self.some)

    def of(self, protocol: int) -> Ranges:
        """Return the services of one protocol."""
        if self.whole >> protocol & 1:
            return ((0, LAST),)
        return next((ranges for known, ranges in self.some if known == protocol), ())

    def __or__(self, other: Services) -> Services:
        if self.whole == EVERY_PROTOCOL or not other:
            return self
        if not self:
            return other
        protocols = {protocol for protocol, _ in self.some + other.some}
        return _made(self.whole | other.whole, ((p, _merged(self.of(p) + other.of(p))) for p in protocols))

    def __sub__(self, other: Services) -> Services:
        if not other:
            return self
        split = {protocol for protocol, _ in self.some} | {protocol for protocol, _ in other.some if self.whole >> protocol & 1}
        whole = self.whole & ~other.whole
        for protocol in split:
            whole &= ~(1 << protocol)
        return _made(whole, ((p, _without(self.of(p), other.of(p))) for p in split))

    def __and__(self, other: Services) -> Services:
        return self if other.whole == EVERY_PROTOCOL else self - (self - other)

    def only(self, protocols: Iterable[int]) -> Services:
        """Return the part of the set with these protocols."""
        return _made(0, ((protocol, self.of(protocol)) for protocol in protocols))

    def whole_ranges(self) -> Iterator[Range]:
        """Yield the protocols that are in the set completely, as ranges."""
        first = 0
        while self.whole >> first:
            first += _trailing_zeros(self.whole >> first)
            length = _trailing_zeros(~(self.whole >> first))
            yield first, first + length - 1
            first += length


NOTHING: Final = Services()
EVERYTHING: Final = Services(EVERY_PROTOCOL)


@lru_cache(maxsize=1024)
def services(protocol: int, first: int, last: int) -> Services:
    """Return the services of a rule's or ACL entry's protocol and its two numbers, see netorch.model.security."""
    if protocol == ALL_PROTOCOLS:
        return EVERYTHING
    if protocol in WITH_PORTS:
        return _made(0, ((protocol, ((max(first, 0), last if last >= 0 else LAST),)),))
    if protocol in (ICMP, ICMPV6) and first != ANY:
        codes = (0, 0xFF) if last == ANY else (last, last)
        return _made(0, ((protocol, ((first << 8 | codes[0], first << 8 | codes[1]),)),))
    return Services(1 << protocol)


def type_intervals(ranges: Ranges) -> Iterator[tuple[Range, Range]]:
    """Yield the services of ICMP or ICMPv6 as intervals of types and codes."""
    for first, last in ranges:
        top, bottom = first >> 8, last >> 8
        if top == bottom:
            yield (top, top), (first & 0xFF, last & 0xFF)
            continue
        if first & 0xFF:
            yield (top, top), (first & 0xFF, 0xFF)
            top += 1
        if last & 0xFF != 0xFF:
            yield (bottom, bottom), (0, last & 0xFF)
            bottom -= 1
        if top <= bottom:
            yield (top, bottom), (0, 0xFF)


def _made(whole: int, some: Iterable[tuple[int, Ranges]]) -> Services:
    """Return the set in canonical form."""
    kept = []
    for protocol, ranges in sorted(some):
        if ranges == ((0, LAST),):
            whole |= 1 << protocol
        elif ranges and not whole >> protocol & 1:
            kept.append((protocol, ranges))
    return Services(whole, tuple(kept))


def _merged(ranges: Iterable[Range]) -> Ranges:
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(ranges: Ranges, gone: Ranges) -> Ranges:
    left: list[Range] = []
    for first, last in ranges:
        for start, end in gone:
            if end < first or start > last:
                continue
            if start > first:
                left.append((first, start - 1))
            first = end + 1
            if first > last:
                break
        if first <= last:
            left.append((first, last))
    return tuple(left)


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1
