"""MTUs of other hosts' underlays, and the mappings and gateways that lead to those hosts.

A host without a published MTU is taken to have this host's MTU: it has not started yet, or its agent is older.
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
    """The underlay MTU of each host, and what leads to it: a host's change touches only its own mappings and gateways."""

    def __init__(self) -> None:
        self.mtus: dict[str, int] = {}
        self._places: dict[str, set[Place]] = {}

    def update(self, host: str, value: bytes | None) -> Collection[Place]:
        """Record a host's MTU, or its removal; return the places that must be compiled again."""
        before = self.mtus.pop(host, None)
        if value is not None:
            with suppress(UnreadableRecord):  # an unreadable record counts as missing
                self.mtus[host] = decode_value(keys.host_mtu(host), value, HostMtu).mtu
        return self._places.get(host, _NOWHERE) if self.mtus.get(host) != before else _NOWHERE

    def follow(self, place: Place, before: Placed, after: Placed) -> None:
        """Record where a mapping leads to now."""
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
