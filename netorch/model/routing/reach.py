"""What edges reach through a virtual private gateway: which prefixes route tables learn, and to which edge a host sends."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from hashlib import blake2b

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import Reach, Seat
from netorch.model.outside.vpn import MAX_LEARNED
from netorch.model.routing.effective import Learned, Origin


def learned(reaches: Iterable[Reach], gateways: Container[str]) -> list[Learned]:
    """Return what a table learns from these gateways: of each gateway the best way to each prefix, MAX_LEARNED at most.

    One prefix more would make a difference to none of these: the prefixes that come first in their order stay.
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


def seat_towards(host: str, gateway: str, seats: Sequence[Seat], reaches: Iterable[Reach], prefix: Prefix) -> int | None:
    """Return the place of the seat by which a host sends to a prefix, or None if no edge reaches all of it.

    Of the edges that reach it, those with the best way to the longest prefix around it: EC2 prefers Direct Connect, then static
    routes of a VPN, then the shortest AS path. Hosts spread over what is left by rendezvous hash. An edge that does not answer is
    not looked at here: what is sent for it goes to the other one (`netorch.model.routing.seats.stand_in`).
    """
    ranks: dict[int, tuple[int, int, int]] = {}
    places = {seat.host: place for place, seat in enumerate(seats)}
    for reach in reaches:
        if reach.gateway != gateway or reach.edge not in places:
            continue
        around = ((parse_prefix(found.prefix), found) for found in reach.prefixes)
        found_ranks = [(-wide.length, found.origin, found.as_path_length) for wide, found in around if wide.contains(prefix)]
        if found_ranks:
            ranks[places[reach.edge]] = min(found_ranks)
    if not ranks:
        return None
    best = min(ranks.values())
    chosen = [place for place, rank in ranks.items() if rank == best]
    return max(chosen, key=lambda place: _weight(host, gateway, seats[place].host))


def reached_within(gateway: str, reaches: Iterable[Reach], prefix: Prefix) -> list[Prefix]:
    """Return the prefixes inside another one that edges reach through a gateway, in order."""
    texts = {found.prefix for reach in reaches if reach.gateway == gateway for found in reach.prefixes}
    inside = (parse_prefix(text) for text in texts)
    return sorted(found for found in inside if found != prefix and prefix.contains(found))


def _rank(one: Learned) -> tuple[int, int]:
    return (one.origin, one.as_path_length)


def _weight(*words: str) -> bytes:
    return blake2b("\0".join(words).encode(), digest_size=8).digest()
