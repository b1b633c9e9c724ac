"""A packet's way from a port through hosts, based on their objects, desired or dumped.

    port        the chain at the port's ingress: checks the sender's addresses
    zone        determines the VPC's connection tracking zone
    route       the VRF's table: a port on this host, another host, or nothing
    policy      the chains of sender and receiver, as far as they are on this host
    tunnel      neighbour, FDB entry, VTEP
    verify      the other host's underlay: may this host send for the source?
                ... and again zone, route, policy on that host
    inlet       on the host of an interface that routes lead to: the filter for packets to its MAC, or the cable on its own host
                ... and again zone, route, policy: the interface's own rules
    delivery    the receiver's port; an interface in the middle of the way is assumed to forward the packet unchanged
    host        a program of the sender's own host answers: names, metadata
    service     a program of an edge answers: the proxy of a gateway endpoint

On an edge `netorch.trace.edge` continues: to the internet or a customer's site and back, and through the namespaces of
gateways; `netorch.trace.between` continues into another VPC, over a mapped peering connection or an interface endpoint.

The walk queries no host and changes nothing. The caller must supply the state of connection tracking (`Ct`). Without it, a
packet that can open a connection opens one, and any other belongs to none. The answer to a packet (`round_trip`) belongs to
the packet's connection on all hosts that it has passed. From the internet the answer may come through any edge, from a site
over any tunnel or VLAN.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from msgspec import structs

from netorch.errors import TraceError
from netorch.model.packet import ACK, Packet
from netorch.state.base import OVERLAY
from netorch.state.l3 import BLACKHOLE, Route
from netorch.state.link import CableEnd, Vxlan
from netorch.state.names import VPN_GATEWAY_NUMBER, is_inlet, is_private_end, vni_of_ifname, vni_of_table, vrf_number
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.tc import EGRESS, INGRESS, Drop, Match, Receive, Redirect
from netorch.trace.between import BetweenSteps
from netorch.trace.codes import Code
from netorch.trace.edge import ends_of
from netorch.trace.hooks.skb import CT_STATES, Skb, arriving
from netorch.trace.hooks.tc import deciding
from netorch.trace.host_model import Device, HostModel
from netorch.trace.steps import MAX_VISITED, Died
from netorch.trace.way import Arrival, Ct, Departure, Flow, Place, Reply, RoundTrip, Start, Tracker, Walk, connection_of


def walk(
    host_models: Mapping[str, HostModel],
    start: Start,
    packet: Packet,
    conntrack: Mapping[Tracker, Ct] | None = None,
    seen: Container[int] | None = None,
    offloaded: Container[Flow] = (),
) -> Walk:
    """Return a packet's way. `seen` has the VNIs of VPCs that may be shown, None: all; the way into others ends at the border.

    `offloaded` are the connections that flowtables forward.

    Raises:
      TraceError: a host has an object that cannot be evaluated.
    """
    walker = _Walker(host_models, packet, conntrack or {}, seen, offloaded)
    try:
        arrived_at = walker.from_start(start)
    except Died as end:
        return walker.walked(code=end.code, counter=end.counter)
    return walker.walked(arrived_at=arrived_at)


def round_trip(
    host_models: Mapping[str, HostModel], start: Start, packet: Packet, seen: Container[int] | None = None
) -> RoundTrip:
    """Return the ways of a packet that opens a connection and of its answer. Every host on the way knows the connection.

    `seen` has the VNIs of VPCs that may be shown, None: all.

    Raises:
      TraceError: a host has an object that cannot be evaluated.
    """
    there = walk(host_models, start, packet, seen=seen)
    known = {tracker: Ct(state="established", direction="reply", mark=mark) for tracker, mark in there.marks.items()}
    for tracker, packet in there.translated.items():
        known[tracker] = Ct(state="established", direction="reply", original=packet)
    backs = (walk(host_models, end, there.packet.answer(), known, seen) for end in _ends(host_models, there))
    trip = RoundTrip(there=there, backs=tuple(_recognised(packet, back) for back in backs))
    is_offered = packet.has_ports and trip.succeeded
    return structs.replace(trip, later=_later(host_models, start, packet, trip, seen)) if is_offered else trip


def _later(
    host_models: Mapping[str, HostModel], start: Start, first: Packet, trip: RoundTrip, seen: Container[int] | None
) -> Walk:
    """Return the way of a later packet: first rules judge one in each direction, and may add flows; then flowtables forward.

    The namespaces of gateways have no flowtables, and pass it like the first one.
    """
    marks = dict(tracker_and_mark for way in trip.ways for tracker_and_mark in way.marks.items())
    asked, answered = (
        {tracker: Ct(state="established", direction=direction, mark=mark, assured=True) for tracker, mark in marks.items()}
        for direction in ("original", "reply")
    )
    asked |= {tracker: Ct() for tracker in trip.there.gateways}
    answered |= {
        tracker: Ct(state="established", direction="reply", original=packet) for tracker, packet in trip.there.translated.items()
    }
    packet = structs.replace(first, flags=ACK)
    answer = structs.replace(trip.there.packet.answer(), flags=ACK)
    judged = [walk(host_models, start, packet, asked, seen)]
    judged += [walk(host_models, end, answer, answered, seen) for end in _ends(host_models, trip.there)]
    flows = frozenset(flow for way in judged for flow in way.flows)
    return walk(host_models, start, packet, asked, seen, flows) if flows else judged[0]


def _recognised(asked: Packet, back: Walk) -> Walk:
    """Return the way of an answer. It ends with an error if its addresses are not those that the receiver expects."""
    if not back.arrived or (back.packet.source, back.packet.destination) == (asked.destination, asked.source):
        return back
    last = structs.replace(back.hops[-1], ok=False)
    return structs.replace(back, hops=(*back.hops[:-1], last), arrived_at="", code=Code.ASYMMETRIC_ROUTES)


def _ends(host_models: Mapping[str, HostModel], there: Walk) -> list[Start]:
    """Return the possible starts of the answer to a packet."""
    if there.to_site:
        vni, site = vni_of_ifname(there.arrived_at), there.packet.destination
        models = sorted(host_models.items())
        return [Arrival(host=name, ifname=ifname) for name, found in models for ifname in found.ways_to_site(vni, site)]
    if there.left:
        edges = [(name, found) for name, found in sorted(host_models.items()) if found.uplink]
        if there.arrived_at == host_models[there.host].uplink:
            return [Arrival(host=name, ifname=found.uplink) for name, found in edges]
        return [Arrival(host=name, ifname=there.arrived_at) for name, found in edges if found.outside_link(there.arrived_at)]
    if there.handed_over:
        return [Arrival(host=there.host, ifname=there.arrived_at)]
    if there.served:  # a hypervisor's answers to its own instances bypass all rules
        is_edge = there.hops[-1].place is Place.SERVICE
        return [Reply(host=there.host, vrf=there.arrived_at)] if is_edge else []
    lladdr = host_models[there.host].neighbour(there.arrived_at, there.packet.destination) if there.arrived else None
    return [Departure(host=there.host, ifname=there.arrived_at, mac=lladdr)] if lladdr is not None else []


def _unreachable(link: Device) -> Code:
    """Return the code of a packet from a device for which there is no route."""
    if is_inlet(link.ifname) and vrf_number(link.vrf) == VPN_GATEWAY_NUMBER:
        return Code.VGW_REACHES_NO_SUCH_ADDRESS
    return Code.VGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS if is_private_end(link.ifname) else Code.NO_ROUTE_TO_DESTINATION


class _Walker(BetweenSteps):
    """One packet on its way."""

    def walked(self, *, arrived_at: str = "", code: Code | None = None, counter: str = "") -> Walk:
        """Return the way so far, and where and how it ended."""
        return Walk(
            hops=tuple(self.hops),
            arrived_at=arrived_at,
            code=code,
            counter=counter,
            through=tuple(port for _, port in self._passed),
            marks=self.marks,
            flows=frozenset(self.flows),
            gateways=frozenset(self.gateways),
            translated=self.translated,
        )

    def from_start(self, start: Start) -> str:
        """Follow the packet from its start."""
        match start:
            case Departure():
                return self.from_port(start)
            case Arrival():
                return self.from_uplink(start)
            case Reply():
                return self._from_service(start)

    def _from_service(self, start: Reply) -> str:
        """Follow the answer of an edge's program. It is routed in the VRF of the requested endpoint."""
        host_model, destination = self._host_models[start.host], self._packet.destination
        said = f"{self._packet.source} answers {destination} in {start.vrf}"
        table = host_model.table_of_vrf(start.vrf)
        route = host_model.route(table, destination) if table is not None else None
        out = host_model.link(route.ifname) if route is not None else None
        if route is None or not isinstance(out, Vxlan):
            self._die(start.host, Place.SERVICE, f"{said}: no route", Code.NO_ROUTE_TO_DESTINATION)
        self._vni = out.vni
        skb = Skb(packet=self._packet)
        for device in (out.vrf, out.ifname):  # Linux runs this hook for a local packet once with each device
            skb.oifname = device
            self._run_hook(host_model, Place.SERVICE, host_model.overlay, "output", skb, said, silent=device == out.vrf)
        return self._tunnel(host_model, out, route.via)

    def from_port(self, start: Departure) -> str:
        """Follow the packet from a port."""
        host_model = self._host_models.get(start.host)
        link = host_model.link(start.ifname) if host_model is not None else None
        if host_model is None or link is None:
            self._die(start.host, Place.PORT, f"no port {start.ifname} is up", Code.PORT_MISSING)
        self._vni = vni_of_ifname(start.ifname)
        skb = Skb(packet=self._packet, iifname=start.ifname, ether_source=start.mac)
        self._run_hook(
            host_model, Place.PORT, host_model.ports, start.ifname, skb, f"{start.ifname}: {start.mac} {self._packet.source}"
        )
        return self._through(host_model, link, skb)

    def _through(self, host_model: HostModel, link: Device, skb: Skb) -> str:
        """Follow the packet through one host's overlay, starting at a device."""
        self._visited += 1
        if (flowtable := host_model.flowtable_of(link.ifname)) and (found := self._offload(host_model, link, flowtable, skb)):
            return self._pass_on(host_model, *found)
        table = self._enter(host_model, link, skb)
        destination = self._packet.destination
        if host_model.is_router(link.vrf, destination):
            self._run_hook(host_model, Place.ROUTER, host_model.overlay, "input", skb, f"{destination} is the router")
            return link.vrf
        if host_model.is_served(table, link.vrf, destination):
            return self._serve(host_model, link, skb)
        route, out = self._route(host_model, link, table)
        skb.oifname, skb.oifgroup = out.ifname, out.group if isinstance(out, Vxlan | CableEnd) else 0
        skb.next_hop = route.via
        try:
            self._run_hook(host_model, Place.POLICY, host_model.overlay, "forward", skb, f"{link.ifname} -> {out.ifname}")
        finally:
            self.marks[self._tracker(host_model, skb.ct_zone)] = skb.ct_mark
        if skb.flowtable:
            added = (Flow(host_model.name, skb.flowtable, connection_of(self._packet), end.ifname) for end in (link, out))
            self.flows.update(added)  # packets of either direction, by its device
        return self._pass_on(host_model, route, out)

    def _offload(self, host_model: HostModel, link: Device, flowtable: str, skb: Skb) -> tuple[Route, Device] | None:
        """Let the guard of a device check the packet. Return its route and its device if the flowtable forwards it."""
        name, skb.iifname = host_model.name, link.ifname
        said = f"{link.ifname}, which is in {flowtable}"
        self._run_hook(host_model, Place.FLOWTABLE, host_model.overlay, link.ifname, skb, f"guard of {said}", silent=True)
        table = host_model.table_of_vrf(link.vrf)
        if table is None or Flow(name, flowtable, connection_of(self._packet), link.ifname) not in self._offloaded:
            return None
        route = host_model.route(table, self._packet.destination)
        out = host_model.link(route.ifname) if route is not None else None
        if route is None or out is None:  # Linux gives up such a flow
            return None
        self._note(name, Place.FLOWTABLE, f"{link.ifname} -> {out.ifname} by {flowtable}, behind its guard")
        return route, out

    def _pass_on(self, host_model: HostModel, route: Route, out: Device) -> str:
        """Follow the packet to the device of its route."""
        if isinstance(out, Vxlan):
            return self._tunnel(host_model, out, route.via)
        if isinstance(out, CableEnd):
            return self._cable(host_model, out, route.via or self._packet.destination)
        if isinstance(out, Xfrm | Vlan):
            return self._to_site(host_model, out)
        return self._deliver(host_model, out, route.via)

    def _serve(self, host_model: HostModel, link: Device, skb: Skb) -> str:
        """Deliver the packet to the host's program that listens in the VRF."""
        place, said = Place.SERVICE if is_inlet(link.ifname) else Place.HOST, ends_of(self._packet)
        self._run_hook(host_model, place, host_model.overlay, "input", skb, f"{said}, for the host itself", silent=True)
        found = host_model.listener(link.vrf, self._packet)
        if found is None:
            said = f"no daemon of {host_model.name} listens in {link.vrf} for {said}"
            self._die(host_model.name, place, said, Code.SERVICE_NOT_LISTENING, (link.ifname, ""))
        judged = ", which checks each request against policies" if place is Place.SERVICE else ""
        self._note(host_model.name, place, f"answered by the host: {found.text()}{judged}")
        return link.vrf

    def _enter(self, host_model: HostModel, link: Device, skb: Skb) -> int:
        """Determine the packet's zone in the host's connection tracking. Return the routing table."""
        vrf, device = link.vrf, link.ifname
        table = host_model.table_of_vrf(vrf)
        if table is None:
            self._die(host_model.name, Place.ZONE, f"no VRF {vrf or 'of ' + device} is up", Code.PORT_MISSING)
        self._vni = vni_of_table(table)
        skb.ct_state = CT_STATES["invalid"]  # nft's state of a packet before its conntrack lookup
        for iifname in (device, vrf):
            skb.iifname = iifname
            said = f"{iifname} belongs to VPC {vni_of_table(table)}"
            self._run_hook(host_model, Place.ZONE, host_model.overlay, "prerouting", skb, said, silent=iifname == vrf)
            if skb.is_tracked:
                # The zone is known only after the first pass.
                self._recall(skb, self._tracker(host_model, skb.ct_zone))
        skb.sdifname = device
        return table

    def _route(self, host_model: HostModel, link: Device, table: int) -> tuple[Route, Device]:
        """Look up the destination. Return the route and its device."""
        destination = self._packet.destination
        route = host_model.route(table, destination)
        if route is not None and route.type == BLACKHOLE:
            if is_inlet(link.ifname):  # its VRF leads to the interface, or to nothing
                said = f"{link.ifname} accepts nothing for {destination}"
                self._die(host_model.name, Place.INLET, said, Code.ENI_SOURCE_DEST_CHECK_RESTRICTION, (link.ifname, ""))
            said = f"{route.dst} is a black hole in {link.vrf}"
            self._die(host_model.name, Place.ROUTE, said, Code.BAD_STATE_ROUTE, (link.ifname, ""))
        if route is None or not route.ifname or host_model.is_vrf(route.ifname):  # only the router's errors go from VRF to VRF
            said = f"{destination} is unreachable in {link.vrf}"
            self._die(host_model.name, Place.ROUTE, said, _unreachable(link), (link.ifname, ""))
        out = host_model.link(route.ifname)
        via = f" via {route.via}" if route.via else ""
        if out is None:
            self._die(host_model.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}, which is not up", Code.PORT_MISSING)
        mtu = f" mtu lock {route.mtu}" if route.mtu else ""
        self._note(host_model.name, Place.ROUTE, f"{route.dst}{via} dev {route.ifname}{mtu}")
        return route, out

    def _deliver(self, host_model: HostModel, port: Device, next_hop: str) -> str:
        """Deliver the packet to an instance, which forwards it if it is for another address."""
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
        """Follow the packet to a cable's other end, where it enters like any other."""
        lladdr = host_model.neighbour(near.ifname, next_hop)
        if near.peer_netns != OVERLAY:
            return self._leave(host_model, near, lladdr or "")
        far = host_model.link(near.peer)
        if not isinstance(far, CableEnd) or lladdr != far.lladdr:
            self._die(host_model.name, Place.INLET, f"{near.ifname}: {near.peer} is not there as {lladdr}", Code.NEXT_HOP_MISSING)
        self._note(host_model.name, Place.INLET, f"{near.ifname} to {far.ifname}")
        return self._through(host_model, far, Skb(packet=self._packet))

    def _receive(self, host_model: HostModel, vxlan: Vxlan, lladdr: str, skb: Skb) -> str:
        """Follow the packet from the VXLAN device, or from the device to which a filter redirects it."""
        found = deciding(host_model.filters(vxlan.ifname, INGRESS), self._packet, lladdr, skb.priority)
        if found is None and lladdr == vxlan.lladdr:
            return self._through(host_model, vxlan, skb)
        if found is None:
            self._die(host_model.name, Place.INLET, f"{vxlan.ifname}: no port or cable has the MAC {lladdr}", Code.STALE_MAPPING)
        for action in found.actions:
            if isinstance(action, Drop):
                meant = isinstance(found.match, Match)  # for a gateway, but neither IPv4 nor of a public range
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
        raise TraceError(f"{found.text()}: leads to no inlet; the host's kernel has drifted")

    def _tunnel(self, host_model: HostModel, vxlan: Vxlan, next_hop: str) -> str:
        """Follow the packet to the next hop's host."""
        lladdr = host_model.neighbour(vxlan.ifname, next_hop)
        if lladdr is None:
            said = f"{vxlan.ifname} has no neighbour {next_hop}"
            self._die(host_model.name, Place.TUNNEL, said, Code.NEXT_HOP_MISSING)
        return self._send(host_model, vxlan, lladdr)

    def _send(self, host_model: HostModel, vxlan: Vxlan, lladdr: str) -> str:
        name, vtep = host_model.name, host_model.vtep_of(vxlan.ifname, lladdr)
        if vtep is None:
            self._die(name, Place.TUNNEL, f"{vxlan.ifname} has no FDB entry for {lladdr}", Code.NEXT_HOP_MISSING)
        there = next((other for other in self._host_models.values() if (vxlan.vni, vtep) in other.vxlans), None)
        said = f"VXLAN {vxlan.vni} from {vxlan.local} to {vtep}"
        if there is None:
            self._die(name, Place.TUNNEL, f"{said}, where no host carries the VPC", Code.HOST_UNKNOWN)
        if self._visited >= MAX_VISITED:
            self._die(name, Place.TUNNEL, f"{said}: it loops", Code.STALE_MAPPING)
        self._note(name, Place.TUNNEL, f"{said} ({there.name})")
        outer = arriving(self._packet, vxlan.local, vtep, vxlan.vni)
        said = f"{self._packet.source} from {vxlan.local} ({name})"
        self._run_hook(there, Place.VERIFY, there.underlay, "input", outer, said)
        device = there.link(there.vxlans[vxlan.vni, vtep].ifname)
        if device is None:
            self._die(there.name, Place.VERIFY, f"the VXLAN device of {vxlan.vni} is not up", Code.PORT_MISSING)
        if not isinstance(device, Vxlan):
            raise TypeError(f"{device.ifname} is no VXLAN device")
        return self._receive(there, device, lladdr, Skb(packet=self._packet, priority=outer.priority))
