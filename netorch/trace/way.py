"""A packet's way: its start, the decisions on it, and its end."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from netorch.model.packet import ANSWER_TO, Packet
from netorch.state.base import OVERLAY
from netorch.trace.codes import Code
from netorch.trace.hooks.nft_rules import Hit

Connection = tuple[object, ...]  # equal for both directions of a connection


class Tracker(NamedTuple):
    """A tracked connection: a host and a zone. A packet may have two on one host, before and after translation."""

    host: str
    zone: int
    connection: Connection
    netns: str = OVERLAY


class Flow(NamedTuple):
    """A connection in a flowtable of a host, for the packets that come in by one device."""

    host: str
    flowtable: str
    connection: Connection
    ifname: str


def connection_of(packet: Packet) -> Connection:
    """Return the common identity of a connection's packets in connection tracking."""
    ends = (packet.source, packet.source_port), (packet.destination, packet.destination_port)
    if not packet.has_type:
        return (packet.protocol, *sorted(ends))
    asks = packet.icmp_type not in ANSWER_TO[packet.version].values()
    return (packet.protocol, *(ends if asks else ends[::-1]))


class Place(Enum):
    """The place on the way where a packet is evaluated."""

    PORT = "port"
    FLOWTABLE = "flowtable"  # past zone, route and policy of its host, behind the guard of the device
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
    GATEWAY = "gateway"  # the cable between overlay and outside, which translates private to public addresses
    OUTSIDE = "outside"
    UPLINK = "uplink"
    SERVICE = "service"  # a program of an edge for the gateway endpoint of a VPC
    HOST = "host"  # a program of the sender's own host for its instances: names, metadata
    PEERING = "peering"  # the cable of a mapped peering connection, which translates addresses to aliases
    ENDPOINT = "endpoint"  # the namespace of a connection of an interface endpoint
    SITE = "site"  # the tunnel or VLAN to a customer's site


class Ct(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a packet in a host's connection tracking."""

    state: str = "new"  # new, established, related, invalid
    direction: str = "original"  # or reply
    mark: int = 0
    assured: bool = False  # conntrack has seen both directions
    original: Packet | None = None  # if a gateway translates: the connection's first packet, before translation


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of a packet into the overlay: a port, and the packet's source MAC."""

    host: str
    ifname: str
    mac: str


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """The entry of a packet from outside of the walk: an edge, and a device there.

    The device is the edge's uplink, that of a tunnel or VLAN to a site, or the port of an endpoint's provider.
    """

    host: str
    ifname: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The start of an answer by an edge's own program: in the VRF of a gateway endpoint."""

    host: str
    vrf: str


Start = Departure | Arrival | Reply


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """The decision at one place. `said` is a text for people, `hits` are the rules that decided."""

    host: str
    place: Place
    said: str
    packet: Packet  # as it was at this place
    ok: bool = True
    hits: tuple[Hit, ...] = ()
    devices: tuple[str, str] = ("", "")  # the devices by which it came in and would leave, if known
    vni: int = 0  # of its VPC at this place; 0: of none


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A complete way. `arrived_at` is a port, a VRF of the host, an uplink, or the device to a site or an endpoint's provider.

    If it is empty, `code` is the reason for the packet's end on the last hop's host.
    """

    hops: tuple[Hop, ...]
    arrived_at: str = ""
    code: Code | None = None
    counter: str = ""  # the drop counter that this packet would increment
    through: tuple[str, ...] = ()  # the ports of interfaces that are assumed to forward the packet
    marks: dict[Tracker, int] = {}  # the connection's mark after this packet
    flows: frozenset[Flow] = frozenset()  # to which rules have added its connection
    gateways: frozenset[Tracker] = frozenset()  # its connection in the namespaces of gateways, as it came there
    translated: dict[Tracker, Packet] = {}  # as it was before a gateway's translation, by the connection after the translation

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
        """Return whether it was delivered to a host's own program: for a gateway endpoint, names or metadata."""
        return self.arrived and self.hops[-1].place in (Place.SERVICE, Place.HOST)

    @property
    def at_host(self) -> bool:
        """Return whether it was delivered to its sender's own host, where groups and ACLs do not apply."""
        return self.hops[-1].place is Place.HOST

    @property
    def offloaded_on(self) -> tuple[str, ...]:
        """Return the hosts where a flowtable forwards it."""
        return tuple(dict.fromkeys(hop.host for hop in self.hops if hop.place is Place.FLOWTABLE and hop.ok))

    @property
    def handed_over(self) -> bool:
        """Return whether the way ends at an interface endpoint: by a relay, or because the provider's VPC may not be shown."""
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
    """The ways of a packet and of its answer. A packet that died, or went to a router or its sender's host, has no answer.

    An answer from the internet may come through any edge of a pair, one from a site over any tunnel or VLAN: it has a
    way from each.
    """

    there: Walk
    backs: tuple[Walk, ...] = ()
    later: Walk | None = None  # of a later TCP or UDP packet, once both ends have sent some; None: the two ways do not succeed

    @property
    def back(self) -> Walk | None:
        """Return the way of the answer: the first on which it dies, else the first; None: there is none."""
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
