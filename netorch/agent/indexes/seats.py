"""Gateways of the VPCs on this host, the edges that carry them, and which edges answer: an index by edge.

An edge that falls silent affects only the VPCs with a gateway there.
"""

from __future__ import annotations

from collections.abc import Set

from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.seats import gateway_kind, seat_for, stand_in
from netorch.model.routing.target import TargetKind


class Seats:
    """The edges of the known VPCs' gateways."""

    def __init__(self) -> None:
        self.silent: frozenset[str] = frozenset()  # VTEPs that do not report ready
        self.dead: frozenset[str] = frozenset()  # silent VTEPs that do not answer at all
        self.standby: frozenset[str] = frozenset()  # VTEPs that are not active, possibly this host's own
        self.hosts: dict[str, str] = {}  # the edges by VTEP
        self._vteps: dict[tuple[int, str], frozenset[str]] = {}  # (VNI, gateway) -> the VTEPs of its seats
        self._at: dict[str, set[tuple[int, str]]] = {}  # VTEP -> the gateways there

    def vteps(self) -> Set[str]:
        """Return the VTEPs of all seats, as a live view: the edges to probe."""
        return self._at.keys()

    def partner_of(self, vtep: str) -> str:
        """Return the name of the edge that carries the same gateways as an edge, by its VTEP; empty if there is none."""
        others = (other for gateway in self._at.get(vtep, ()) for other in self._vteps[gateway] if other != vtep)
        return next((self.hosts[other] for other in others), "")

    def seat_of(self, host: str, mapping: GatewayMapping) -> Seat:
        """Return the seat that this host sends to now, for a gateway that has seats."""
        return seat_for(host, mapping, self.silent, self.dead, self.standby)

    def ways_of(self, mapping: GatewayMapping) -> tuple[Seat, ...]:
        """Return the next hop for each seat of a virtual private gateway; nothing for other gateways."""
        if gateway_kind(mapping.gateway) is not TargetKind.VPN_GATEWAY:
            return ()
        return tuple(stand_in(place, mapping, self.silent, self.dead) for place in range(len(mapping.seats)))

    def is_at(self, host: str, mapping: GatewayMapping) -> bool:
        """Return whether this host is the seat in use of a gateway."""
        return bool(mapping.seats) and self.seat_of(host, mapping).host == host

    def update(self, vni: int, gateway: str, mapping: GatewayMapping | None) -> None:
        """Record a gateway's mapping, or its removal. Cost: O(seats of the gateway).

        An edge added to a gateway that has other seats counts as silent until it answers: it answers once it has all gateways.
        """
        before = self._vteps.pop((vni, gateway), frozenset())
        if before and mapping is not None:
            self.silent |= {seat.vtep for seat in mapping.seats if seat.vtep not in self._at}
        for vtep in before:
            others = self._at[vtep]
            others.discard((vni, gateway))
            if not others:
                del self._at[vtep], self.hosts[vtep]
        if mapping is not None and mapping.seats:
            self._vteps[vni, gateway] = frozenset(seat.vtep for seat in mapping.seats)
            self.hosts |= {seat.vtep: seat.host for seat in mapping.seats}
            for vtep in self._vteps[vni, gateway]:
                self._at.setdefault(vtep, set()).add((vni, gateway))

    def forget(self, vni: int) -> None:
        """Forget a VPC. Cost: O(known gateways)."""
        for known, gateway in [place for place in self._vteps if place[0] == vni]:
            self.update(known, gateway, None)

    def set_silent(self, silent: Set[str], dead: Set[str]) -> set[int]:
        """Record the silent and dead edges; return the VNIs with a gateway at an edge that changed."""
        changed = (self.silent ^ silent) | (self.dead ^ dead)
        self.silent, self.dead = frozenset(silent), frozenset(dead)
        return self._with_gateways_at(changed)

    def set_standby(self, vteps: Set[str]) -> set[int]:
        """Record the edges that are not active; return the VNIs with a gateway at an edge that changed."""
        changed, self.standby = self.standby ^ vteps, frozenset(vteps)
        return self._with_gateways_at(changed)

    def _with_gateways_at(self, vteps: Set[str]) -> set[int]:
        return {vni for vtep in vteps for vni, _ in self._at.get(vtep, ())}
