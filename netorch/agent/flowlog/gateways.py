"""Flow-log legs at the interface of a NAT gateway: four per connection, two in each direction, as in EC2.

  original   arrives from 10.0.1.5:40000 for the gateway      packet's destination: 203.0.113.10:443
             leaves from the gateway's address and new port   to 203.0.113.10:443
  reply      arrives from 203.0.113.10:443 at that port
             leaves the gateway for 10.0.1.5:40000            packet's source: 203.0.113.10

A dropped packet is logged as it arrived, or translated back. It never has the gateway's source, since the ACL is checked before
source translation (edges.nat). The ACL has let in packets that the gateway itself drops, so they are accepted, as in EC2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from netorch.agent.flowlog.lines import Ends
from netorch.drivers.conntrack.attrs import Connection, Counts, Tuple
from netorch.model.security import ICMP


class Leg(NamedTuple):
    """One of the four legs: a flow with one end at the gateway, and the packet's own addresses if they differ."""

    flow: Tuple
    egress: bool
    packet: Ends | None = None


class FlowDirection(NamedTuple):
    """One direction of a connection: the tuples that its dropped packets can have, and the legs of its packets."""

    seen: tuple[Tuple, ...]
    legs: tuple[Leg, ...]


class GatewayDrop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a packet was dropped in a gateway's namespace, and its connection tracking state."""

    reason: str  # the counter's name
    established: bool  # whether a connection has counted the packet
    reply: bool

    @property
    def by_acl(self) -> bool:
        """Return whether the ACL of the gateway's subnet denies the packet; otherwise the gateway does not carry it."""
        return self.reason.startswith("acl_")

    @property
    def by_rules(self) -> bool:
        """Return whether a customer's rules deny the packet: an ACL, or the security groups of an endpoint."""
        return self.by_acl or self.reason.startswith("sg_")

    @property
    def leaving(self) -> bool:
        """Return whether the packet had been let in."""
        return self.reason == "acl_egress"


class Dropped(msgspec.Struct):
    """Packets counted by a connection and then dropped, on the way in or on the way out."""

    arriving: Counts = Counts()
    leaving: Counts = Counts()

    def add(self, length: int, *, leaving: bool) -> None:
        """Count a packet."""
        if leaving:
            self.leaving = _sum(self.leaving, Counts(1, length))
        else:
            self.arriving = _sum(self.arriving, Counts(1, length))

    def before(self, leg: Leg) -> Counts:
        """Return the packets that did not pass a leg."""
        return _sum(self.arriving, self.leaving) if leg.egress else self.arriving


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(one.packets + other.packets, one.bytes + other.bytes)


def directions_of(connection: Connection) -> tuple[FlowDirection, FlowDirection]:
    """Return both directions of a connection that a gateway translates: the initiator's packets, and the answers."""
    original, reply = connection.original, connection.reply
    here, protocol = reply.destination, original.protocol
    if protocol == ICMP:
        back = Tuple(reply.source, original.source, protocol, original.source_port, reply.destination_port)
    else:
        back = original.reversed()
    return (
        FlowDirection((original,), _outward(original, here, reply.destination_port)),
        FlowDirection((reply, back), (Leg(reply, egress=False), _inward(back, here))),
    )


def dropped_legs(flow: Tuple, addresses: Sequence[bytes], drop: GatewayDrop) -> tuple[Leg, Leg]:
    """Return the leg on which a dropped packet came and the one for leaving; `addresses` are the gateway's own."""
    here = addresses[0]
    if drop.reply and drop.leaving:
        leg = _inward(flow, here)
        return leg, leg
    if flow.destination in addresses:
        leg = Leg(flow, egress=False)
        return leg, leg
    return _outward(flow, here, flow.source_port)


def _outward(flow: Tuple, here: bytes, port: int) -> tuple[Leg, Leg]:
    """Return the legs of an outgoing packet: it leaves from the gateway's address and a port of the gateway."""
    came = Tuple(flow.source, here, flow.protocol, flow.source_port, flow.destination_port)
    goes = Tuple(here, flow.destination, flow.protocol, port, flow.destination_port)
    return Leg(came, False, (flow.source, flow.destination)), Leg(goes, True)


def _inward(flow: Tuple, here: bytes) -> Leg:
    """Return the leg of an answer to the initiator of the connection."""
    goes = Tuple(here, flow.destination, flow.protocol, flow.source_port, flow.destination_port)
    return Leg(goes, True, (flow.source, flow.destination))
