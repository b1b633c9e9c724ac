"""How an interface moves from host A to host B without loss of traffic.

control   mapping {host A, move to B}, B has the placement
peers     accept B as its source beside A
A         adds a less preferred route for its address to B (the kernel relays once the port is gone), publishes OUTGOING
B         prepares everything but the port; waits for A's status and a moment for the peers; plugs the port
B         mapping {host B, move from A}: peers send to B
A         relays for a grace period, then forgets the interface: mapping {host B}

All state is read from records and the kernel, so either agent may die at any point and continue later.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.agent.records import Records
from netorch.compiler.base import Phase
from netorch.model.eni import EniState, NetworkInterface
from netorch.model.ids import port_name, vni_of
from netorch.model.mapping import Mapping, MoveDirection
from netorch.records import keys

SETTLE_S = 0.1  # after A's status, for peers that do not know B yet: hosts see a change 1 to 100 ms apart
DEAD_S = 3.0  # without a status from A for so long, A counts as dead and the interface is plugged
GRACE_S = 2.0  # how long A relays packets from peers with an old mapping
AGAIN_S = 1.0  # between two attempts to report to the store that the relay has ended


class Arrival(msgspec.Struct):
    """The clock of one arrival: when it was first seen, when A's status arrived (seconds, monotonic)."""

    seen_at: float
    released_at: float | None = None
    plugged: bool = False  # the time has come; the kernel and the store do the rest

    def due_at(self) -> float:
        """Return when the port may be plugged, as far as known now."""
        return self.seen_at + DEAD_S if self.released_at is None else self.released_at + SETTLE_S


def mapping_of(records: Records, eni_id: str) -> Mapping | None:
    """Return the mapping that decides an interface's place: that of its primary address."""
    vpc = records.vpcs.get(vni_of(eni_id))
    eni = vpc.one(NetworkInterface, eni_id) if vpc is not None else None
    return vpc.one(Mapping, eni.address) if vpc is not None and eni is not None else None


def deciding(records: Records) -> list[Mapping]:
    """Return the deciding mappings of the moving interfaces that are placed on this host. Cost: O(moves).

    A host of a move may write the moving interface's mapping. It must not decide about another interface by naming it there.
    """
    moving = records.moving.values()
    return [found for found in moving if found.eni in records.placements and mapping_of(records, found.eni) is found]


def is_incoming(mapping: Mapping, me: str) -> bool:
    """Return whether the address is moving to this host."""
    return mapping.move is not None and mapping.move.direction is MoveDirection.TO and mapping.move.host == me


def has_left(mapping: Mapping, me: str) -> bool:
    """Return whether the address has moved away from this host, which still relays for it."""
    return mapping.move is not None and mapping.move.direction is MoveDirection.FROM and mapping.move.host == me


class Moves:
    """The clocks of the moves that this host takes part in; everything else is derived."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._arrivals: dict[str, Arrival] = {}
        self._relays: dict[str, float] = {}  # interface that has left -> when this host stops relaying for it

    def phases(self, vni: int, has_device: Callable[[str], bool], now: float) -> dict[str, Phase]:
        """Return the phase of each interface of a VPC on this host; `has_device` says whether the kernel holds a device."""
        phases = {}
        for eni_id in self._records.placements_of(vni):
            mapping = mapping_of(self._records, eni_id)
            phase = self._phase(eni_id, mapping, has_device, now)
            if phase is not None:
                phases[eni_id] = phase
        return phases

    def _phase(self, eni_id: str, mapping: Mapping | None, has_device: Callable[[str], bool], now: float) -> Phase | None:
        me = self._records.host_name
        if mapping is None or not is_incoming(mapping, me):
            self._arrivals.pop(eni_id, None)
        if mapping is None or not has_left(mapping, me):
            self._relays.pop(eni_id, None)
        if mapping is None:
            return None
        if mapping.host == me:
            leaving = mapping.move is not None and mapping.move.direction is MoveDirection.TO
            return Phase.OUTGOING if leaving else Phase.ACTIVE
        if is_incoming(mapping, me):
            arrival = self._arrivals.setdefault(eni_id, Arrival(now))
            status = self._records.statuses.get(keys.eni_status(mapping.host, eni_id))
            if arrival.released_at is None and status is not None and status.state is EniState.OUTGOING:
                arrival.released_at = now
            arrival.plugged = has_device(port_name(eni_id)) or now >= arrival.due_at()
            return Phase.ACTIVE if arrival.plugged else Phase.INCOMING
        if has_left(mapping, me):
            self._relays.setdefault(eni_id, now + GRACE_S)
        return None

    def watched_prefixes(self) -> set[str]:
        """Return the keys under which other hosts publish that they release an interface to this host, and its connections."""
        watched, me = set(), self._records.host_name
        for mapping in deciding(self._records):
            move = mapping.move
            if is_incoming(mapping, me):
                watched |= {keys.eni_status(mapping.host, mapping.eni), keys.eni_flows(mapping.host, mapping.eni)}
            elif mapping.host == me and move is not None and move.direction is MoveDirection.FROM:
                watched.add(keys.eni_flows(move.host, mapping.eni))  # the former host publishes once more when it has let go
        return watched

    def incoming(self) -> list[Mapping]:
        """Return the deciding mappings of the interfaces that are moving to this host."""
        return [mapping for mapping in deciding(self._records) if is_incoming(mapping, self._records.host_name)]

    def arrivals_due(self, now: float) -> set[int]:
        """Return the VPCs with an arrival that is due."""
        self._forget_unwanted(self._arrivals)
        return {vni_of(eni_id) for eni_id, arrival in self._arrivals.items() if not arrival.plugged and now >= arrival.due_at()}

    def departures_due(self, now: float) -> list[str]:
        """Return the interfaces that were relayed long enough; again after a while if they are still placed on this host."""
        self._forget_unwanted(self._relays)
        due = [eni_id for eni_id, until in self._relays.items() if now >= until]
        for eni_id in due:
            self._relays[eni_id] = now + AGAIN_S
        return due

    def next_deadline(self, in_sync: bool) -> float | None:
        """Return the next time for `arrivals_due`, or for `departures_due` if it can be published."""
        deadlines = [arrival.due_at() for arrival in self._arrivals.values() if not arrival.plugged]
        return min((*deadlines, *(self._relays.values() if in_sync else ())), default=None)

    def _forget_unwanted(self, clocks: dict[str, Arrival] | dict[str, float]) -> None:
        for eni_id in [eni_id for eni_id in clocks if eni_id not in self._records.placements]:
            del clocks[eni_id]
