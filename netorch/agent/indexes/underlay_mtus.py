"""The MTUs that other hosts publish of their underlays, and the mappings and gateways that lead to them.

A host of which nothing is known takes as much as this one sends: it has not started yet, or its agent is an older one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Final

from netorch.errors import UnreadableRecord
from netorch.model.mapping import GatewayMapping, Mapping
from netorch.model.status import HostMtu
from netorch.records import keys
from netorch.records.codec import decode_value

Place = tuple[int, str]  # (VNI, address or gateway)
Placed = Mapping | GatewayMapping | None
_NOWHERE: Final[frozenset[Place]] = frozenset()


class UnderlayMtus:
    """The MTU of each host's underlay, and what leads to it by host: one host's change touches what leads to it only."""

    def __init__(self) -> None:
        self.mtus: dict[str, int] = {}
        self._places: dict[str, set[Place]] = {}

    def update(self, host: str, value: bytes | None) -> Collection[Place]:
        """Take in a host's word, or that it is gone; return the mappings that are to be compiled again."""
        before = self.mtus.pop(host, None)
        if value is not None:
            with suppress(UnreadableRecord):  # no word, then
                self.mtus[host] = decode_value(keys.host_mtu(host), value, HostMtu).mtu
        return self._places.get(host, _NOWHERE) if self.mtus.get(host) != before else _NOWHERE

    def follow(self, place: Place, before: Placed, after: Placed) -> None:
        """Note where a mapping leads to now."""
        for host in _hosts(before):
            places = self._places.get(host, set())
            places.discard(place)
            if not places:
                self._places.pop(host, None)
        for host in _hosts(after):
            self._places.setdefault(host, set()).add(place)


def _hosts(placed: Placed) -> Iterator[str]:
    match placed:
        case Mapping():
            yield placed.host
            if placed.move is not None:
                yield placed.move.host
        case GatewayMapping():
            yield from {seat.host for seat in placed.seats}
