"""A packet's way from a port through the hosts that it passes, over what these hold: desired objects, or dumped ones.

    port        the chain at the port's ingress: is the sender who it says it is?
    zone        which VPC's connections are meant
    route       the VRF's table: a port here, another host, or nothing
    policy      the chains of sender and receiver, those of them that are on this host
    tunnel      neighbour, FDB entry, VTEP
    verify      the other host's underlay: may this host speak for the source?
                ... and again zone, route, policy on that host
    delivery    the receiver's port

Nothing is asked of anybody and nothing is changed. What connection tracking knows must be said (`Ct`); without a word a packet
that can begin a connection begins one, and any other belongs to none. The answer to a packet (`round_trip`) belongs to the
connection that the packet has begun, on all hosts that it has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NoReturn

import msgspec

from netorch.model.packet import Packet
from netorch.state.l3 import BLACKHOLE
from netorch.state.link import TapPort, VethPort, Vxlan
from netorch.state.names import vni_of_table
from netorch.trace.codes import OF_COUNTER, Code
from netorch.trace.machine import Machine
from netorch.trace.nft import Judgement, Ruleset
from netorch.trace.rules import Hit
from netorch.trace.skb import CT_DIRECTIONS, CT_STATES, Skb, arriving

_MAX_HOSTS = 4  # more than any packet passes: sender, one that relays, receiver


class Place(Enum):
    """Where on its way a packet is judged."""

    PORT = "port"
    ZONE = "zone"
    ROUTE = "route"
    POLICY = "policy"
    TUNNEL = "tunnel"
    VERIFY = "verify"
    ROUTER = "router"
    DELIVERY = "delivery"


class Ct(msgspec.Struct, frozen=True, kw_only=True):
    """What a host's connection tracking says of a packet."""

    state: str = "new"  # new, established, related, invalid
    direction: str = "original"  # or reply
    mark: int = 0


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet enters the overlay: a port, and the MAC that it is sent with."""

    host: str
    ifname: str
    mac: str


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided at one place; `said` is in people's words, `hits` are the rules that decided."""

    host: str
    place: Place
    said: str
    ok: bool = True
    hits: tuple[Hit, ...] = ()


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A whole way. `arrived_at` is a port or a router; else `code` says why the packet died, on the last hop's host."""

    hops: tuple[Hop, ...]
    arrived_at: str = ""
    code: Code | None = None
    counter: str = ""  # the drop counter that this packet would raise
    marks: dict[str, int] = {}  # what each host's connection mark is behind this packet

    @property
    def arrived(self) -> bool:
        """Return whether it was delivered."""
        return bool(self.arrived_at)

    @property
    def host(self) -> str:
        """Return the host where it ended."""
        return self.hops[-1].host


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """The ways of a packet and of the answer to it; there is none to a packet that died, nor one on a way from the router."""

    there: Walk
    back: Walk | None = None

    @property
    def succeeded(self) -> bool:
        """Return whether both were delivered."""
        return self.there.arrived and (self.back is None or self.back.arrived)


class _Died(Exception):
    """The packet goes no further."""

    def __init__(self, code: Code, counter: str = "") -> None:
        self.code = code
        self.counter = counter


def walk(machines: Mapping[str, Machine], start: Departure, packet: Packet, conntrack: Mapping[str, Ct] | None = None) -> Walk:
    """Return a packet's way. Raises TraceError when a host holds what cannot be followed."""
    walker = _Walker(machines, packet, conntrack or {})
    try:
        arrived_at = walker.from_port(start)
    except _Died as end:
        return Walk(hops=tuple(walker.hops), code=end.code, counter=end.counter, marks=walker.marks)
    return Walk(hops=tuple(walker.hops), arrived_at=arrived_at, marks=walker.marks)


def round_trip(machines: Mapping[str, Machine], start: Departure, packet: Packet) -> RoundTrip:
    """Return the ways of a packet that begins a connection and of the answer, which every host knows the connection of.

    Raises:
      TraceError: a host holds what cannot be followed.
    """
    there = walk(machines, start, packet)
    lladdr = machines[there.host].neighbour(there.arrived_at, packet.destination) if there.arrived else None
    if lladdr is None:
        return RoundTrip(there=there)
    known = {host: Ct(state="established", direction="reply", mark=mark) for host, mark in there.marks.items()}
    end = Departure(host=there.host, ifname=there.arrived_at, mac=lladdr)
    return RoundTrip(there=there, back=walk(machines, end, packet.answer(), known))


class _Walker:
    """One packet under way."""

    def __init__(self, machines: Mapping[str, Machine], packet: Packet, conntrack: Mapping[str, Ct]) -> None:
        self.hops: list[Hop] = []
        self.marks: dict[str, int] = {}
        self._machines = machines
        self._packet = packet
        self._conntrack = conntrack
        self._visited = 0

    def from_port(self, start: Departure) -> str:
        """Follow the packet from a port on."""
        machine = self._machines.get(start.host)
        link = machine.link(start.ifname) if machine is not None else None
        if machine is None or link is None:
            self._die(start.host, Place.PORT, f"no port {start.ifname} is up", Code.PORT_MISSING)
        skb = Skb(packet=self._packet, iifname=start.ifname, ether_source=start.mac)
        self._judge(machine, Place.PORT, machine.ports, start.ifname, skb, f"{start.ifname}: {start.mac} {self._packet.source}")
        return self._through(machine, link, skb)

    def _through(self, machine: Machine, link: VethPort | TapPort | Vxlan, skb: Skb) -> str:
        """Follow the packet through one host's overlay, from a device on."""
        self._visited += 1
        vrf, device = link.vrf, link.ifname
        table = machine.table_of_vrf(vrf)
        if table is None:
            self._die(machine.name, Place.ZONE, f"no VRF {vrf or 'of ' + device} is up", Code.PORT_MISSING)
        skb.ct_state = CT_STATES["invalid"]  # what nft says of a packet that is in no connection yet
        for iifname in (device, vrf):
            skb.iifname = iifname
            said = f"{iifname} belongs to VPC {vni_of_table(table)}"
            self._judge(machine, Place.ZONE, machine.overlay, "prerouting", skb, said, silent=iifname == vrf)
            if skb.is_tracked:
                self._recall(machine, skb)  # after the zone is known; the second time it is known already
        skb.sdifname = device
        destination = self._packet.destination
        if machine.is_router(vrf, destination):
            self._judge(machine, Place.ROUTER, machine.overlay, "input", skb, f"{destination} is the router")
            return vrf
        route = machine.route(table, destination)
        if route is not None and route.type == BLACKHOLE:
            self._die(machine.name, Place.ROUTE, f"{route.dst} is a black hole in table {table}", Code.BAD_STATE_ROUTE)
        if route is None or not route.ifname:
            self._die(machine.name, Place.ROUTE, f"{destination} is unreachable in table {table}", Code.NO_ROUTE_TO_DESTINATION)
        out = machine.link(route.ifname)
        via = f" via {route.via}" if route.via else ""
        if out is None:
            self._die(machine.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}, which is not up", Code.PORT_MISSING)
        mtu = f" mtu lock {route.mtu}" if route.mtu else ""
        self._note(machine.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}{mtu}")
        skb.oifname, skb.oifgroup = out.ifname, out.group if isinstance(out, Vxlan) else 0
        try:
            self._judge(machine, Place.POLICY, machine.overlay, "forward", skb, f"{device} -> {out.ifname}")
        finally:
            self.marks[machine.name] = skb.ct_mark
        if isinstance(out, Vxlan):
            return self._tunnel(machine, out, route.via)
        lladdr = machine.neighbour(out.ifname, destination)
        if lladdr is None:
            said = f"{out.ifname} has no neighbour {destination}"
            self._die(machine.name, Place.DELIVERY, said, Code.NEXT_HOP_MISSING)
        self._note(machine.name, Place.DELIVERY, f"{out.ifname}: {lladdr} {destination}")
        return out.ifname

    def _tunnel(self, machine: Machine, vxlan: Vxlan, next_hop: str) -> str:
        """Follow the packet to another host."""
        name = machine.name
        lladdr = machine.neighbour(vxlan.ifname, next_hop)
        vtep = machine.vtep_of(vxlan.ifname, lladdr) if lladdr is not None else None
        if vtep is None:
            missing = f"no neighbour {next_hop}" if lladdr is None else f"no FDB entry for {lladdr}"
            self._die(name, Place.TUNNEL, f"{vxlan.ifname} has {missing}", Code.NEXT_HOP_MISSING)
        there = next((other for other in self._machines.values() if (vxlan.vni, vtep) in other.vxlans), None)
        said = f"VXLAN {vxlan.vni} from {vxlan.local} to {vtep}"
        if there is None:
            self._die(name, Place.TUNNEL, f"{said}, where no host carries the VPC", Code.HOST_UNKNOWN)
        if self._visited >= _MAX_HOSTS:
            self._die(name, Place.TUNNEL, f"{said}: it goes round in circles", Code.STALE_MAPPING)
        self._note(name, Place.TUNNEL, f"{said} ({there.name})")
        outer = arriving(self._packet, vxlan.local, vtep, vxlan.vni)
        said = f"{self._packet.source} from {vxlan.local} ({name})"
        self._judge(there, Place.VERIFY, there.underlay, "input", outer, said)
        device = there.link(there.vxlans[vxlan.vni, vtep].ifname)
        if device is None:
            self._die(there.name, Place.VERIFY, f"the VXLAN device of {vxlan.vni} is not up", Code.PORT_MISSING)
        return self._through(there, device, Skb(packet=self._packet, priority=outer.priority))

    def _recall(self, machine: Machine, skb: Skb) -> None:
        """Put down what this host's connection tracking says of the packet."""
        known = self._conntrack.get(machine.name)
        if known is None:
            known = Ct(state="new" if self._packet.begins else "invalid")
        skb.ct_state, skb.ct_direction = CT_STATES[known.state], CT_DIRECTIONS[known.direction]
        skb.ct_mark = known.mark

    def _judge(
        self, machine: Machine, place: Place, ruleset: Ruleset | None, hook: str, skb: Skb, said: str, *, silent: bool = False
    ) -> None:
        """Let a hook decide; a missing table lets everything pass, as in a kernel. `silent`: a pass is not worth a hop."""
        judgement = ruleset.run(hook, skb) if ruleset is not None else Judgement(accepted=True)
        if not judgement.accepted:
            self.hops.append(Hop(host=machine.name, place=place, said=said, ok=False, hits=judgement.hits))
            raise _Died(OF_COUNTER.get(judgement.counter, Code.DROPPED), judgement.counter)
        if not silent:
            self._note(machine.name, place, said, judgement.hits)

    def _note(self, host: str, place: Place, said: str, hits: tuple[Hit, ...] = ()) -> None:
        self.hops.append(Hop(host=host, place=place, said=said, hits=hits))

    def _die(self, host: str, place: Place, said: str, code: Code) -> NoReturn:
        self.hops.append(Hop(host=host, place=place, said=said, ok=False))
        raise _Died(code)
