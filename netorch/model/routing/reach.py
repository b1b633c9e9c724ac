"""Prefixes behind a virtual private gateway: the prefixes that route tables learn, and the edge that a host sends to."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import Reach, ReachedPrefix, Seat
from netorch.model.outside.vpn import MAX_LEARNED
from netorch.model.routing.effective import Learned, Origin


def best(found: Iterable[ReachedPrefix]) -> tuple[ReachedPrefix, ...]:
    """Return the best route for each prefix, sorted: the one that Linux uses, by lowest origin, then shortest AS path."""
    kept: dict[str, ReachedPrefix] = {}
    for one in found:
        known = kept.get(one.prefix)
        if known is None or _rank(one) < _rank(known):
            kept[one.prefix] = one
    return tuple(kept[prefix] for prefix in sorted(kept, key=parse_prefix))


def learned(reaches: Iterable[Reach], gateways: Container[str]) -> list[Learned]:
    """Return the routes that a table learns from these gateways: per gateway the best route to each prefix, at most MAX_LEARNED.

    Above the limit, the first prefixes in sort order stay, so one more prefix displaces at most one.
    """
    best: dict[tuple[str, str], Learned] = {}
    for reach in reaches:
        for found in reach.prefixes if reach.gateway in gateways else ():
            one = Learned(
                prefix=found.prefix,
                gateway=reach.gateway,
                origin=Origin(found.origin),
                as_path_length=found.as_path_length,
            )
            known = best.get((reach.gateway, found.prefix))
            if known is None or _rank(one) < _rank(known):
                best[reach.gateway, found.prefix] = one
    kept: dict[str, list[Learned]] = {}
    for (gateway, _), one in sorted(best.items(), key=lambda item: (item[0][0], parse_prefix(item[0][1]))):
        kept.setdefault(gateway, []).append(one)
    return [one for of_gateway in kept.values() for one in of_gateway[:MAX_LEARNED]]


class Ways:
    """The prefixes that a gateway's edges reach, indexed: a lookup checks only the prefixes around its own, not all of them.

    Reports from edges without a seat of the gateway are ignored.
    """

    def __init__(self, gateway: str, seats: Sequence[Seat], reaches: Iterable[Reach]) -> None:
        """Index the reports of a gateway's edges. Cost: O(prefixes)."""
        self._gateway, self._seats = gateway, seats
        self._reached = {
            reach.edge: {parse_prefix(found.prefix): (found.origin, found.as_path_length) for found in reach.prefixes}
            for reach in said_by_seats(reaches, {gateway: seats})
        }

    def towards(self, host: str, prefix: Prefix) -> int | None:
        """Return the index of the seat to which a host sends packets for a prefix, or None if no edge reaches all of the prefix.

        The candidates are the edges with the best route to the longest prefix around it: EC2 prefers Direct Connect, then static
        VPN routes, then the shortest AS path. Hosts choose among the candidates by rendezvous hash. This ignores dead edges:
        `netorch.model.routing.seats.stand_in` sends their packets to the other edge.
        """
        ranks: dict[int, tuple[int, int, int]] = {}
        for place, seat in enumerate(self._seats):
            known = self._reached.get(seat.host, {})
            around = next((wide for wide in _around(prefix) if wide in known), None)
            if around is not None:
                ranks[place] = (-around.length, *known[around])
        if not ranks:
            return None
        best = min(ranks.values())
        chosen = [place for place, rank in ranks.items() if rank == best]
        return max(chosen, key=lambda place: _weight(host, self._gateway, self._seats[place].host))

    def within(self, prefix: Prefix) -> list[Prefix]:
        """Return the reached prefixes inside a prefix, sorted."""
        found = {inside for known in self._reached.values() for inside in known}
        return sorted(inside for inside in found if inside != prefix and prefix.contains(inside))


def said_by_seats(reaches: Iterable[Reach], seats: Mapping[str, Iterable[Seat]]) -> list[Reach]:
    """Return the reports of edges that have a seat of the reported gateway. `seats` are by gateway."""
    edges = {gateway: {seat.host for seat in found} for gateway, found in seats.items()}
    return [reach for reach in reaches if reach.edge in edges.get(reach.gateway, ())]


def _around(prefix: Prefix) -> Iterator[Prefix]:
    """Yield an IPv4 prefix and all prefixes that contain it, the longest first."""
    for length in range(prefix.length, -1, -1):
        yield Prefix(4, prefix.network >> 32 - length << 32 - length, length)


def _rank(one: Learned | ReachedPrefix) -> tuple[int, int]:
    return (one.origin, one.as_path_length)


def _weight(*words: str) -> bytes:
    return blake2b("\0".join(words).encode(), digest_size=8).digest()
