"""The choice of an edge for a host, among the edges that carry a gateway."""

from __future__ import annotations

from collections.abc import Container
from hashlib import blake2b
from typing import Final

from netorch.model.ids import prefix_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.target import TargetKind

# Gateways without state: hosts spread over all seats, and replies may use any seat. Stateful gateways use the first seat that is
# alive and active.
STATELESS: Final = frozenset({TargetKind.INTERNET_GATEWAY, TargetKind.VPN_GATEWAY, TargetKind.ENDPOINT, TargetKind.PEERING})


def gateway_kind(gateway_id: str) -> TargetKind:
    """Return the kind of a gateway. Raises ValueError for other ids."""
    return TargetKind(prefix_of(gateway_id))


def is_stateless(gateway_id: str) -> bool:
    """Return whether a gateway keeps no state. Raises ValueError for other ids."""
    return gateway_kind(gateway_id) in STATELESS


def seat_for(
    host: str, mapping: GatewayMapping, silent: Container[str], dead: Container[str] = (), standby: Container[str] = ()
) -> Seat:
    """Return the seat that a host sends to.

    `silent` are the VTEPs that do not report to the host that they are ready; `dead` are those of them that do not answer at all.
    If all are silent, an edge that answers is the last resort: it is drained or incomplete, but may forward. If all are dead, all
    count as alive: a host that reaches no edge has most likely lost its own underlay. For a stateless gateway, hosts choose by
    rendezvous hash: when an edge fails, only its hosts choose again. `standby` are the VTEPs that report that they are not
    active: the host uses stateful gateways there only if no edge is active.
    """
    ready = [seat for seat in mapping.seats if seat.vtep not in silent]
    living = ready or [seat for seat in mapping.seats if seat.vtep not in dead] or list(mapping.seats)
    if not is_stateless(mapping.gateway):
        return next((seat for seat in living if seat.vtep not in standby), living[0])
    return max(living, key=lambda seat: _weight(host, mapping.gateway, seat.host))


def stand_in(place: int, mapping: GatewayMapping, silent: Container[str], dead: Container[str] = ()) -> Seat:
    """Return the seat for packets to the seat with index `place`: the other seat, while that seat is silent.

    The other edge may also have a route. If all are silent, the last resort is as in `seat_for`.
    """
    meant = mapping.seats[place]
    others = [meant, *(seat for seat in mapping.seats if seat is not meant)]
    ready = [seat for seat in others if seat.vtep not in silent]
    living = ready or [seat for seat in others if seat.vtep not in dead] or others
    return living[0]


def _weight(*words: str) -> bytes:
    return blake2b("\0".join(words).encode(), digest_size=8).digest()
