"""Which edge a host sends to, of those that carry a gateway."""

from __future__ import annotations

from collections.abc import Container
from hashlib import blake2b
from typing import Final

from netorch.model.ids import prefix_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.target import TargetKind

# Gateways that keep no state: hosts spread over the seats, and an answer may come by any of them. The others are at the first
# of the seats that live and are active.
STATELESS: Final = frozenset({TargetKind.INTERNET_GATEWAY, TargetKind.VPN_GATEWAY, TargetKind.ENDPOINT, TargetKind.PEERING})


def gateway_kind(gateway_id: str) -> TargetKind:
    """Return the kind of a gateway. Raises ValueError for an id of something else."""
    return TargetKind(prefix_of(gateway_id))


def is_stateless(gateway_id: str) -> bool:
    """Return whether a gateway keeps no state. Raises ValueError for an id of something else."""
    return gateway_kind(gateway_id) in STATELESS


def seat_for(
    host: str, mapping: GatewayMapping, silent: Container[str], dead: Container[str] = (), standby: Container[str] = ()
) -> Seat:
    """Return the seat that a host sends to.

    `silent` are the VTEPs that do not say to it that they are ready, `dead` those of them that do not answer at all. If all are
    silent, an edge that answers is the last resort: it is drained, or lacks something, and may forward. If all are dead, none
    counts as dead: a host that hears nobody has most likely lost its own underlay. Hosts choose among the seats of a stateless
    gateway by rendezvous hash: when one fails, only the hosts that sent there choose again. `standby` are the VTEPs that say that
    they are not active: gateways that keep state are used there only when nobody is active.
    """
    ready = [seat for seat in mapping.seats if seat.vtep not in silent]
    living = ready or [seat for seat in mapping.seats if seat.vtep not in dead] or list(mapping.seats)
    if not is_stateless(mapping.gateway):
        return next((seat for seat in living if seat.vtep not in standby), living[0])
    return max(living, key=lambda seat: _weight(host, mapping.gateway, seat.host))


def stand_in(place: int, mapping: GatewayMapping, silent: Container[str], dead: Container[str] = ()) -> Seat:
    """Return where packets go that are for the seat at a place: to another one while that seat is silent.

    The other one may have a way, too. If all are silent it is the last resort as in `seat_for`.
    """
    meant = mapping.seats[place]
    others = [meant, *(seat for seat in mapping.seats if seat is not meant)]
    ready = [seat for seat in others if seat.vtep not in silent]
    living = ready or [seat for seat in others if seat.vtep not in dead] or others
    return living[0]


def _weight(*words: str) -> bytes:
    return blake2b("\0".join(words).encode(), digest_size=8).digest()
