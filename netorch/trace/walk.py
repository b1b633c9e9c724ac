"""A packet's way from a port through the hosts that it passes, over what these hold: desired objects, or dumped ones.

    port        the chain at the port's ingress: is the sender who it says it is?
    zone        which VPC's connections are meant
    route       the VRF's table: a port here, another host, or nothing
    policy      the chains of sender and receiver, those of them that are on this host
    tunnel      neighbour, FDB entry, VTEP
    verify      the other host's underlay: may this host speak for the source?
                ... and again zone, route, policy on that host
    inlet       on the host of an interface that a route leads to: the filter that takes packets to its MAC, or the cable there
                ... and again zone, route, policy: the interface's own rules
    delivery    the receiver's port; an interface that is only on the way is taken to send the packet on as it is

Nothing is asked of anybody and nothing is changed. What connection tracking knows must be said (`Ct`); without a word a packet
that can begin a connection begins one, and any other belongs to none. The answer to a packet (`round_trip`) belongs to the
connection that the packet has begun, on all hosts that it has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NoReturn

import msgspec

from netorch.errors import TraceError
from netorch.model.packet import Packet
from netorch.state.l3 import BLACKHOLE, Route
from netorch.state.link import CableEnd, Vxlan
from netorch.state.names import is_inlet, vni_of_table
from netorch.state.tc import INGRESS, Receive, Redirect
from netorch.trace.codes import OF_COUNTER, Code
from netorch.trace.host_model import Device, HostModel
from netorch.trace.nft import HookVerdict, Ruleset
from netorch.trace.nft_rules import Hit
from netorch.trace.skb import CT_DIRECTIONS, CT_STATES, Skb, arriving

_MAX_HOSTS = 16  # more than any packet passes: sender, one that relays, receiver, and some appliances between these

Tracker = tuple[str, int]  # whose connections are meant: a host's, in one zone


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
    devices: tuple[str, str] = ("", "")  # where it came in, and where it would leave, as far as that was known


class Walk(msgspec.Struct, frozen=True, kw_only=True):
    """A whole way. `arrived_at` is a port or a router; else `code` says why the packet died, on the last hop's host."""

    hops: tuple[Hop, ...]
    arrived_at: str = ""
    code: Code | None = None
    counter: str = ""  # the drop counter that this packet would raise
    through: tuple[str, ...] = ()  # the ports of interfaces that are taken to send the packet on
    marks: dict[Tracker, int] = {}  # what the connection's mark is behind this packet, by host and zone

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


def walk(
    host_models: Mapping[str, HostModel], start: Departure, packet: Packet, conntrack: Mapping[Tracker, Ct] | None = None
) -> Walk:
    """Return a packet's way. Raises TraceError when a host holds what cannot be followed."""
    walker = _Walker(host_models, packet, conntrack or {})
    try:
        arrived_at = walker.from_port(start)
    except _Died as end:
        return Walk(hops=tuple(walker.hops), code=end.code, counter=end.counter, through=walker.through, marks=walker.marks)
    return Walk(hops=tuple(walker.hops), arrived_at=arrived_at, through=walker.through, marks=walker.marks)


def round_trip(host_models: Mapping[str, HostModel], start: Departure, packet: Packet) -> RoundTrip:
    """Return the ways of a packet that begins a connection and of the answer, which every host knows the connection of.

    Raises:
      TraceError: a host holds what cannot be followed.
    """
    there = walk(host_models, start, packet)
    lladdr = host_models[there.host].neighbour(there.arrived_at, packet.destination) if there.arrived else None
    if lladdr is None:
        return RoundTrip(there=there)
    known = {tracker: Ct(state="established", direction="reply", mark=mark) for tracker, mark in there.marks.items()}
    end = Departure(host=there.host, ifname=there.arrived_at, mac=lladdr)
    return RoundTrip(there=there, back=walk(host_models, end, packet.answer(), known))


class _Walker:
    """One packet under way."""

    def __init__(self, host_models: Mapping[str, HostModel], packet: Packet, conntrack: Mapping[Tracker, Ct]) -> None:
        self.hops: list[Hop] = []
        self.marks: dict[Tracker, int] = {}
        self._passed: list[tuple[str, str]] = []  # the hosts and ports of interfaces that have sent the packet on
        self._host_models = host_models
        self._packet = packet
        self._conntrack = conntrack
        self._visited = 0

    @property
    def through(self) -> tuple[str, ...]:
        """Return the ports of interfaces that have sent the packet on, in the order in which it passed them."""
        return tuple(port for _, port in self._passed)

    def from_port(self, start: Departure) -> str:
        """Follow the packet from a port on."""
        host_model = self._host_models.get(start.host)
        link = host_model.link(start.ifname) if host_model is not None else None
        if host_model is None or link is None:
            self._die(start.host, Place.PORT, f"no port {start.ifname} is up", Code.PORT_MISSING)
        skb = Skb(packet=self._packet, iifname=start.ifname, ether_source=start.mac)
        self._run_hook(
            host_model, Place.PORT, host_model.ports, start.ifname, skb, f"{start.ifname}: {start.mac} {self._packet.source}"
        )
        return self._through(host_model, link, skb)

    def _through(self, host_model: HostModel, link: Device, skb: Skb) -> str:
        """Follow the packet through one host's overlay, from a device on."""
        self._visited += 1
        table = self._enter(host_model, link, skb)
        destination = self._packet.destination
        if host_model.is_router(link.vrf, destination):
            self._run_hook(host_model, Place.ROUTER, host_model.overlay, "input", skb, f"{destination} is the router")
            return link.vrf
        route, out = self._route(host_model, link, table)
        skb.oifname, skb.oifgroup = out.ifname, out.group if isinstance(out, Vxlan | CableEnd) else 0
        skb.next_hop = route.via
        try:
            self._run_hook(host_model, Place.POLICY, host_model.overlay, "forward", skb, f"{link.ifname} -> {out.ifname}")
        finally:
            self.marks[host_model.name, skb.ct_zone] = skb.ct_mark
        if isinstance(out, Vxlan):
            return self._tunnel(host_model, out, route.via)
        if isinstance(out, CableEnd):
            return self._cable(host_model, out, route.via)
        return self._deliver(host_model, out, route.via)

    def _enter(self, host_model: HostModel, link: Device, skb: Skb) -> int:
        """Say in which zone a host's connection tracking knows the packet; return the routing table."""
        vrf, device = link.vrf, link.ifname
        table = host_model.table_of_vrf(vrf)
        if table is None:
            self._die(host_model.name, Place.ZONE, f"no VRF {vrf or 'of ' + device} is up", Code.PORT_MISSING)
        skb.ct_state = CT_STATES["invalid"]  # what nft says of a packet that is in no connection yet
        for iifname in (device, vrf):
            skb.iifname = iifname
            said = f"{iifname} belongs to VPC {vni_of_table(table)}"
            self._run_hook(host_model, Place.ZONE, host_model.overlay, "prerouting", skb, said, silent=iifname == vrf)
            if skb.is_tracked:
                self._recall(host_model, skb)  # after the zone is known; the second time it is known already
        skb.sdifname = device
        return table

    def _route(self, host_model: HostModel, link: Device, table: int) -> tuple[Route, Device]:
        """Look the destination up; return the route and the device that it leads to."""
        destination = self._packet.destination
        route = host_model.route(table, destination)
        if route is not None and route.type == BLACKHOLE:
            if is_inlet(link.ifname):  # its VRF leads to the interface, or to nothing
                said = f"{link.ifname} takes nothing for {destination}"
                self._die(host_model.name, Place.INLET, said, Code.ENI_SOURCE_DEST_CHECK_RESTRICTION, (link.ifname, ""))
            said = f"{route.dst} is a black hole in {link.vrf}"
            self._die(host_model.name, Place.ROUTE, said, Code.BAD_STATE_ROUTE, (link.ifname, ""))
        if route is None or not route.ifname:
            self._die(host_model.name, Place.ROUTE, f"{destination} is unreachable in {link.vrf}", Code.NO_ROUTE_TO_DESTINATION)
        out = host_model.link(route.ifname)
        via = f" via {route.via}" if route.via else ""
        if out is None:
            self._die(host_model.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}, which is not up", Code.PORT_MISSING)
        mtu = f" mtu lock {route.mtu}" if route.mtu else ""
        self._note(host_model.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}{mtu}")
        return route, out

    def _deliver(self, host_model: HostModel, port: Device, next_hop: str) -> str:
        """Hand the packet to an instance, which sends it on when it is for another address."""
        destination = self._packet.destination
        to = destination if host_model.neighbour(port.ifname, destination) is not None else next_hop or destination
        lladdr = host_model.neighbour(port.ifname, to)
        if lladdr is None:
            self._die(host_model.name, Place.DELIVERY, f"{port.ifname} has no neighbour {to}", Code.NEXT_HOP_MISSING)
        self._note(host_model.name, Place.DELIVERY, f"{port.ifname}: {lladdr} {to}")
        if to == destination:
            return port.ifname
        here = host_model.name, port.ifname
        if here in self._passed:
            self._die(host_model.name, Place.DELIVERY, f"{port.ifname} has sent it on before", Code.ROUTING_LOOP)
        self._passed.append(here)
        return self.from_port(Departure(host=host_model.name, ifname=port.ifname, mac=lladdr))

    def _cable(self, host_model: HostModel, near: CableEnd, next_hop: str) -> str:
        """Follow the packet to a cable's other end, where it comes in like any other."""
        lladdr, far = host_model.neighbour(near.ifname, next_hop), host_model.link(near.peer)
        if far is None or lladdr != far.lladdr:
            self._die(host_model.name, Place.INLET, f"{near.ifname}: {near.peer} is not there as {lladdr}", Code.NEXT_HOP_MISSING)
        self._note(host_model.name, Place.INLET, f"{near.ifname} to {far.ifname}")
        return self._through(host_model, far, Skb(packet=self._packet))

    def _receive(self, host_model: HostModel, vxlan: Vxlan, lladdr: str, skb: Skb) -> str:
        """Follow the packet from the VXLAN device on, or from the device that a filter redirects it to."""
        if lladdr == vxlan.lladdr:
            return self._through(host_model, vxlan, skb)
        found = host_model.filter(vxlan.ifname, lladdr)
        if found is None:
            self._die(host_model.name, Place.INLET, f"{vxlan.ifname}: nobody here is {lladdr}", Code.STALE_MAPPING)
        for action in found.actions:
            if isinstance(action, Receive):
                skb.mark = action.mark
                continue
            if not isinstance(action, Redirect) or action.hook != INGRESS:
                break
            inlet = host_model.link(action.ifname)
            if inlet is None:
                self._die(host_model.name, Place.INLET, f"{vxlan.ifname} to {action.ifname}, which is not up", Code.PORT_MISSING)
            self._note(host_model.name, Place.INLET, f"{vxlan.ifname} to {inlet.ifname}: {lladdr}")
            return self._through(host_model, inlet, skb)
        raise TraceError(f"{found.text()}: it leads to no inlet; the host's kernel has drifted")

    def _tunnel(self, host_model: HostModel, vxlan: Vxlan, next_hop: str) -> str:
        """Follow the packet to another host."""
        name = host_model.name
        lladdr = host_model.neighbour(vxlan.ifname, next_hop)
        vtep = host_model.vtep_of(vxlan.ifname, lladdr) if lladdr is not None else None
        if vtep is None:
            missing = f"no neighbour {next_hop}" if lladdr is None else f"no FDB entry for {lladdr}"
            self._die(name, Place.TUNNEL, f"{vxlan.ifname} has {missing}", Code.NEXT_HOP_MISSING)
        there = next((other for other in self._host_models.values() if (vxlan.vni, vtep) in other.vxlans), None)
        said = f"VXLAN {vxlan.vni} from {vxlan.local} to {vtep}"
        if there is None:
            self._die(name, Place.TUNNEL, f"{said}, where no host carries the VPC", Code.HOST_UNKNOWN)
        if self._visited >= _MAX_HOSTS:
            self._die(name, Place.TUNNEL, f"{said}: it goes round in circles", Code.STALE_MAPPING)
        self._note(name, Place.TUNNEL, f"{said} ({there.name})")
        outer = arriving(self._packet, vxlan.local, vtep, vxlan.vni)
        said = f"{self._packet.source} from {vxlan.local} ({name})"
        self._run_hook(there, Place.VERIFY, there.underlay, "input", outer, said)
        device = there.link(there.vxlans[vxlan.vni, vtep].ifname)
        if device is None:
            self._die(there.name, Place.VERIFY, f"the VXLAN device of {vxlan.vni} is not up", Code.PORT_MISSING)
        if not isinstance(device, Vxlan):
            raise TypeError(f"{device.ifname} is no VXLAN device")
        return self._receive(there, device, lladdr or "", Skb(packet=self._packet, priority=outer.priority))

    def _recall(self, host_model: HostModel, skb: Skb) -> None:
        """Put down what this host's connection tracking says of the packet."""
        tracker = host_model.name, skb.ct_zone
        known = self._conntrack.get(tracker)
        if known is None:
            known = Ct(state="new" if self._packet.begins else "invalid")
        skb.ct_state, skb.ct_direction = CT_STATES[known.state], CT_DIRECTIONS[known.direction]
        skb.ct_mark = self.marks.get(tracker, known.mark)  # it has passed here before, on its way to an appliance

    def _run_hook(
        self,
        host_model: HostModel,
        place: Place,
        ruleset: Ruleset | None,
        hook: str,
        skb: Skb,
        said: str,
        *,
        silent: bool = False,
    ) -> None:
        """Let a hook decide; a missing table lets everything pass, as in a kernel. `silent`: a pass is not worth a hop."""
        result = ruleset.run(hook, skb) if ruleset is not None else HookVerdict(accepted=True)
        if not result.accepted:
            devices = (skb.sdifname or skb.iifname, skb.oifname)
            self.hops.append(Hop(host=host_model.name, place=place, said=said, ok=False, hits=result.hits, devices=devices))
            raise _Died(OF_COUNTER.get(result.counter, Code.DROPPED), result.counter)
        if not silent:
            self._note(host_model.name, place, said, result.hits)

    def _note(self, host: str, place: Place, said: str, hits: tuple[Hit, ...] = ()) -> None:
        self.hops.append(Hop(host=host, place=place, said=said, hits=hits))

    def _die(self, host: str, place: Place, said: str, code: Code, devices: tuple[str, str] = ("", "")) -> NoReturn:
        self.hops.append(Hop(host=host, place=place, said=said, ok=False, devices=devices))
        raise _Died(code)
