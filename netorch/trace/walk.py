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

On an edge, from the VXLAN device to the internet, and in the other direction from there:

    gateway     the filters of the cable: a public address in place of the private one
    outside     route and rules: by the uplink, or by a cable to whom another public address stands for
    uplink      the packet has left, or comes

Nothing is asked of anybody and nothing is changed. What connection tracking knows must be said (`Ct`); without a word a packet
that can begin a connection begins one, and any other belongs to none. The answer to a packet (`round_trip`) belongs to the
connection that the packet has begun, on all hosts that it has passed; from the internet it may come by any edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from netorch.errors import TraceError
from netorch.model.addr import parse_ip
from netorch.model.packet import Packet
from netorch.state.base import OUTSIDE
from netorch.state.l3 import BLACKHOLE, Route
from netorch.state.link import CableEnd, Vxlan
from netorch.state.names import is_inlet, vni_of_table
from netorch.state.tc import EGRESS, INGRESS, Drop, Match, Nat, Receive, Redirect, TcFilter
from netorch.trace.codes import OF_COUNTER, Code
from netorch.trace.hooks.nft import HookVerdict, Ruleset
from netorch.trace.hooks.nft_rules import Hit
from netorch.trace.hooks.skb import CT_DIRECTIONS, CT_STATES, Skb, arriving
from netorch.trace.hooks.tc import deciding, translated
from netorch.trace.host_model import Device, HostModel, OutsideDevice
from netorch.trace.regions import NOT_ROUTED
from netorch.trace.way import Arrival, Ct, Departure, Hop, Place, RoundTrip, Start, Tracker, Walk, connection_of

_MAX_HOSTS = 16  # more than any packet passes: sender, one that relays, receiver, and some appliances between these


class _Died(Exception):
    """The packet goes no further."""

    def __init__(self, code: Code, counter: str = "") -> None:
        self.code = code
        self.counter = counter


def walk(
    host_models: Mapping[str, HostModel], start: Start, packet: Packet, conntrack: Mapping[Tracker, Ct] | None = None
) -> Walk:
    """Return a packet's way. Raises TraceError when a host holds what cannot be followed."""
    walker = _Walker(host_models, packet, conntrack or {})
    try:
        arrived_at = walker.from_port(start) if isinstance(start, Departure) else walker.from_uplink(start)
    except _Died as end:
        return Walk(hops=tuple(walker.hops), code=end.code, counter=end.counter, through=walker.through, marks=walker.marks)
    return Walk(hops=tuple(walker.hops), arrived_at=arrived_at, through=walker.through, marks=walker.marks)


def round_trip(host_models: Mapping[str, HostModel], start: Start, packet: Packet) -> RoundTrip:
    """Return the ways of a packet that begins a connection and of the answer, which every host knows the connection of.

    Raises:
      TraceError: a host holds what cannot be followed.
    """
    there = walk(host_models, start, packet)
    known = {tracker: Ct(state="established", direction="reply", mark=mark) for tracker, mark in there.marks.items()}
    ends = _ends(host_models, there)
    return RoundTrip(there=there, backs=tuple(walk(host_models, end, there.packet.answer(), known) for end in ends))


def _ends(host_models: Mapping[str, HostModel], there: Walk) -> list[Start]:
    """Return where the answer to a packet may begin."""
    if there.left:
        return [Arrival(host=name, ifname=found.uplink) for name, found in sorted(host_models.items()) if found.uplink]
    lladdr = host_models[there.host].neighbour(there.arrived_at, there.packet.destination) if there.arrived else None
    return [Departure(host=there.host, ifname=there.arrived_at, mac=lladdr)] if lladdr is not None else []


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
            self.marks[self._tracker(host_model, skb)] = skb.ct_mark
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
        found = deciding(host_model.filters(vxlan.ifname, INGRESS), self._packet, lladdr, skb.priority)
        if found is None and lladdr == vxlan.lladdr:
            return self._through(host_model, vxlan, skb)
        if found is None:
            self._die(host_model.name, Place.INLET, f"{vxlan.ifname}: nobody here is {lladdr}", Code.STALE_MAPPING)
        for action in found.actions:
            if isinstance(action, Drop):
                meant = isinstance(found.match, Match)  # for a gateway, and it is neither IPv4 nor of a public range
                code = Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS if meant else Code.MAPPING_VIOLATION
                self._die(host_model.name, Place.INLET, found.text(), code)
            if isinstance(action, Receive):
                skb.mark = action.mark
                continue
            if not isinstance(action, Redirect):
                break
            device = host_model.link(action.ifname)
            if device is None:
                self._die(host_model.name, Place.INLET, f"{vxlan.ifname} to {action.ifname}, which is not up", Code.PORT_MISSING)
            self._note(host_model.name, Place.INLET, f"{vxlan.ifname} to {device.ifname}: {lladdr}")
            if action.hook == EGRESS and isinstance(device, CableEnd):
                return self._leave(host_model, device, lladdr)
            return self._through(host_model, device, skb)
        raise TraceError(f"{found.text()}: it leads to no inlet; the host's kernel has drifted")

    def from_uplink(self, start: Arrival) -> str:
        """Follow the packet from an edge's uplink on."""
        host_model = self._host_models.get(start.host)
        device = host_model.outside_link(start.ifname) if host_model is not None else None
        said = f"{start.ifname}: {self._packet.source} to {self._packet.destination}"
        if host_model is None or device is None:
            self._die(start.host, Place.UPLINK, f"{said}; it is not up", Code.PORT_MISSING)
        self._note(start.host, Place.UPLINK, said)
        return self._outside(host_model, device)

    def _leave(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet through a gateway's cable to the outside."""
        self._translate(host_model, near, EGRESS, lladdr)
        far = host_model.outside_link(near.peer)
        if not isinstance(far, CableEnd) or far.lladdr != lladdr:
            said = f"{near.ifname}: {near.peer} is not there as {lladdr}"
            self._die(host_model.name, Place.GATEWAY, said, Code.NEXT_HOP_MISSING)
        return self._outside(host_model, far)

    def _outside(self, host_model: HostModel, device: OutsideDevice) -> str:
        """Follow the packet through the outside of an edge."""
        name, packet = host_model.name, self._packet
        back = host_model.way_out(packet.source)
        skb = Skb(packet=packet, iifname=device.ifname, iifgroup=_group(device))
        skb.returns = back is not None and back.ifname == device.ifname
        if host_model.is_edge(packet.destination):
            self._run_hook(host_model, Place.OUTSIDE, host_model.outside, "input", skb, f"{packet.destination} is the edge")
            return device.ifname
        route = host_model.way_out(packet.destination)
        out = host_model.outside_link(route.ifname) if route is not None else None
        if route is None or out is None:
            self._die(name, Place.OUTSIDE, f"{packet.destination} is unreachable outside", _code_outside(packet))
        skb.oifname, skb.oifgroup = out.ifname, _group(out)
        via = f" via {route.via}" if route.via else ""
        said = f"{route.dst}{via} dev {out.ifname}"
        self._run_hook(host_model, Place.OUTSIDE, host_model.outside, "forward", skb, said)
        if not isinstance(out, CableEnd):
            self._note(name, Place.UPLINK, f"{out.ifname}: {packet.source} to {packet.destination}")
            return out.ifname
        lladdr, near = host_model.neighbour(out.ifname, route.via, OUTSIDE), host_model.link(out.peer)
        if near is None or lladdr != near.lladdr:
            said = f"{out.ifname}: {out.peer} is not there as {lladdr}"
            self._die(name, Place.OUTSIDE, said, Code.NEXT_HOP_MISSING)
        self._translate(host_model, near, INGRESS, near.lladdr)
        if self._visited >= _MAX_HOSTS:
            self._die(name, Place.GATEWAY, "it goes round in circles", Code.ROUTING_LOOP)
        return self._through(host_model, near, Skb(packet=self._packet))

    def _translate(self, host_model: HostModel, near: Device, hook: str, lladdr: str) -> None:
        """Let the filters of a gateway's cable change the packet's address, or drop it."""
        found = deciding(host_model.filters(near.ifname, hook), self._packet, lladdr, 0)
        said = f"{near.ifname} {hook}"
        if found is None:
            raise TraceError(f"{said}: no filter takes {self._packet}; the host's kernel has drifted")
        for action in found.actions:
            if isinstance(action, Drop):
                self._refuse(host_model, near, hook, found)
            if isinstance(action, Nat):
                before, self._packet = self._packet, translated(self._packet, action)
                words = ("destination", before.destination, self._packet.destination)
                if hook == EGRESS:
                    words = ("source", before.source, self._packet.source)
                said = f"{near.ifname}: {words[0]} {words[1]} becomes {words[2]}"
        self._note(host_model.name, Place.GATEWAY, said)

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

    def _refuse(self, host_model: HostModel, near: Device, hook: str, found: TcFilter) -> NoReturn:
        """Let the packet end at a gateway's cable, by a filter that drops it."""
        code, said = Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, f"{self._packet.destination} stands for nothing"
        if hook == EGRESS:
            code, said = Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, f"nothing stands for {self._packet.source}"
        elif isinstance(found.match, Match) and found.match.src:
            code, said = Code.IGW_REJECTS_SPOOFED_TRAFFIC, f"{self._packet.source} is inside {found.match.src}"
        self._die(host_model.name, Place.GATEWAY, f"{near.ifname}: {said}", code)

    def _tracker(self, host_model: HostModel, skb: Skb) -> Tracker:
        return Tracker(host_model.name, skb.ct_zone, connection_of(self._packet))

    def _recall(self, host_model: HostModel, skb: Skb) -> None:
        """Put down what this host's connection tracking says of the packet."""
        tracker = self._tracker(host_model, skb)
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
            self._note(host_model.name, place, said, result.hits, ok=False, devices=devices)
            raise _Died(OF_COUNTER.get(result.counter, Code.DROPPED), result.counter)
        if not silent:
            self._note(host_model.name, place, said, result.hits)

    def _note(
        self,
        host: str,
        place: Place,
        said: str,
        hits: tuple[Hit, ...] = (),
        *,
        ok: bool = True,
        devices: tuple[str, str] = ("", ""),
    ) -> None:
        self.hops.append(Hop(host=host, place=place, said=said, packet=self._packet, ok=ok, hits=hits, devices=devices))

    def _die(self, host: str, place: Place, said: str, code: Code, devices: tuple[str, str] = ("", "")) -> NoReturn:
        self._note(host, place, said, ok=False, devices=devices)
        raise _Died(code)


def _group(device: OutsideDevice) -> int:
    return device.group if isinstance(device, CableEnd) else 0


def _code_outside(packet: Packet) -> Code:
    """Return why the outside has no route: the range is on no internet, or the public address stands for nothing."""
    address = parse_ip(packet.destination)
    found = (code for prefix, code in NOT_ROUTED if prefix.holds(*address))
    return next(found, Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS)
