"""The mapping: (VNI, virtual address) -> host. The heart of it all; stored at `map/<vni>/<address>`.

A mapping's generation is the store's mod_revision; nobody counts by hand. A moving address names two hosts:

    settled at A          {host: A}
    moving to B           {host: A, move: to B}     peers accept both hosts, A prepares to relay, B prepares the port
    moved, A still relays {host: B, move: from A}   peers send to B; what still reaches A is relayed for a grace period
    settled at B          {host: B}
"""

from __future__ import annotations

from enum import Enum

from netorch.model.record import Part, Record


class MoveDirection(Enum):
    """Whether the other host of a move is the next or the previous one."""

    TO = "to"
    FROM = "from"


class Move(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The other host of a moving address."""

    direction: MoveDirection
    host: str
    vtep: str


class Mapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where an address of a VPC lives."""

    vni: int
    address: str  # canonical
    eni: str
    mac: str
    host: str
    vtep: str  # the host's underlay address: the outer destination of packets to `address`, the outer source of its own
    groups: tuple[str, ...] = ()  # the interface's: rules that refer to one of these mean this address
    move: Move | None = None
