"""A packet's way: where it begins, what is decided on it, and where it ends."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from netorch.model.packet import ANSWER_TO, Packet
from netorch.state.base import OVERLAY
from netorch.trace.codes import Code
from netorch.trace.hooks.nft_rules import Hit

Connection = tuple[object, ...]  # equal for the packets of a connection, in both directions


class Tracker(NamedTuple):
    """Whose connection is meant: a host's, in one zone. One packet may be of two there, before and after it is translated."""

    host: str
    zone: int
    connection: Connection
    netns: str = OVERLAY


def connection_of(packet: Packet) -> Connection:
    """Return what the packets of a connection have in common, as connection tracking sees it."""
    ends = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    if not packet.has_type:
        return (packet.protocol, *sorted(ends))
    asks = packet.icmp_type not in ANSWER_TO[packet.version].values()
    return (packet.protocol, *(ends if asks else ends[::-1]))


class Place(Enum):
    """Where on its path a packet is evaluated."""

    PORT = "port"
    ZONE = "zone"
    ROUTE = "route"
    POLICY = "policy"
    TUNNEL = "tunnel"
    VERIFY = "verify"
    INLET = "inlet"
    ROUTER = "router"
    DELIVERY = "delivery"
    NAT = "nat"  # the namespace of a NAT gateway
    EGRESS_ONLY = "egress-only"  # the namespace of an egress-only internet gateway
    GATEWAY = "gateway"  # the cable between overlay and outside, where public addresses stand for private ones
    OUTSIDE = "outside"
    UPLINK = "uplink"
    SERVICE = "service"  # what an edge has for the gateway endpoint of a VPC
    HOST = "host"  # what the sender's own host has for its instances: names, metadata
    PEERING = "peering"  # the cable of a mapped peering connection, where aliases stand for addresses
    ENDPOINT = "endpoint"  # the namespace of a connection of an interface endpoint
    SITE = "site"  # the tunnel or VLAN to a customer's site


class Ct(msgspec.Struct, frozen=True, kw_only=True):
    """What a host's connection tracking says of a packet."""

    state: str = "new"  # new, established, related, invalid
    direction: str = "original"  # or reply
    mark: int = 0
    original: Packet | None = None  # the one that has begun it, where a gateway translates: before it was translated


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet enters the overlay: a port, and the MAC that it is sent with."""

    host: str
    ifname: str
    mac: str


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet comes from what is not followed: an edge, and a device there.

    That is its uplink, the device of a tunnel or VLAN to a site, or the port of an endpoint's provider.
    """

    host: str
    ifname: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Where an answer comes from a program of an edge's own: in the VRF of a gateway endpoint."""

    host: str
    vrf: str


Start = Departure | Arrival | Reply


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided at one place; `said` is in people's words, `hits` are the rules that decided."""

    host: str
    place: Place
    said: str
    packet: Packet  # as it was there
    ok: bool = True
    hits: tuple[Hit, ...] = ()
    devices: tuple[str, str] = ("", "")  # where it came in, and where it would leave, as far as that was known
    vni: int = 0  # of the VPC that it was in; 0: of none


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A whole way. `arrived_at` is a port, a VRF of the host's own, an uplink, or the device to a site or an endpoint's provider.

    Without it `code` says why the packet died, on the last hop's host.
    """

    hops: tuple[Hop, ...]
    arrived_at: str = ""
    code: Code | None = None
    counter: str = ""  # the drop counter that this packet would raise
    through: tuple[str, ...] = ()  # the ports of interfaces that are taken to send the packet on
    marks: dict[Tracker, int] = {}  # what the connection's mark is behind this packet
    translated: dict[Tracker, Packet] = {}  # as it was before a gateway has translated it, by the connection behind that

    @property
    def arrived(self) -> bool:
        """Return whether it was delivered, or has left for the internet or a site."""
        return bool(self.arrived_at)

    @property
    def left(self) -> bool:
        """Return whether it has left for the internet, or for a site."""
        return self.arrived and self.hops[-1].place in (Place.UPLINK, Place.SITE)

    @property
    def to_site(self) -> bool:
        """Return whether it has left for a site."""
        return self.arrived and self.hops[-1].place is Place.SITE

    @property
    def served(self) -> bool:
        """Return whether it has come to a program of a host's own: to what serves a gateway endpoint, names or metadata."""
        return self.arrived and self.hops[-1].place in (Place.SERVICE, Place.HOST)

    @property
    def at_host(self) -> bool:
        """Return whether it came to its sender's own host, which asks no groups and no ACL about it."""
        return self.hops[-1].place is Place.HOST

    @property
    def handed_over(self) -> bool:
        """Return whether it is followed to an interface endpoint only: it is relayed, or the provider's VPC may not be shown."""
        return self.arrived and self.hops[-1].place is Place.ENDPOINT

    @property
    def host(self) -> str:
        """Return the host where it ended."""
        return self.hops[-1].host

    @property
    def packet(self) -> Packet:
        """Return the packet as it was where it ended."""
        return self.hops[-1].packet


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """The ways of a packet and of the answer to it; there is none to a packet that died, nor one on a way from the router.

    An answer from the internet may come by any edge of a pair, one from a site by any tunnel or VLAN: it has a way from each.
    """

    there: Walk
    backs: tuple[Walk, ...] = ()

    @property
    def back(self) -> Walk | None:
        """Return the way of the answer, of several the first on which it dies; None: there is none."""
        dying = (found for found in self.backs if not found.arrived)
        return next(dying, self.backs[0] if self.backs else None)

    @property
    def ways(self) -> tuple[Walk, ...]:
        """Return all ways."""
        return (self.there, *self.backs)

    @property
    def succeeded(self) -> bool:
        """Return whether all were delivered."""
        return all(found.arrived for found in self.ways)
