"""A packet's way through an edge, from the overlay to the internet or a site and back, and through gateways' namespaces.

gateway     the filters of the cable: translate the private address to a public one
outside     route and rules: to the uplink, or to the cable of another public address
uplink      the packet leaves or enters
site        likewise, over a tunnel or VLAN to a customer's site
nat         the namespace of a NAT gateway: its subnet's ACL, the gateway's address instead of the sender's, and back
egress-only the namespace of an egress-only internet gateway: from outside only answers to instances' connections pass
"""

from __future__ import annotations

from typing import Final, NoReturn

from netorch.errors import TraceError
from netorch.model.addr import parse_ip
from netorch.model.ids import is_id
from netorch.model.packet import Packet
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.state.base import OUTSIDE, OVERLAY
from netorch.state.l3 import MAIN_TABLE
from netorch.state.link import CableEnd, Vxlan
from netorch.state.names import is_private_end
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.tc import EGRESS, INGRESS, Drop, Match, Nat, Redirect, TcFilter
from netorch.trace.codes import Code
from netorch.trace.hooks.skb import Skb
from netorch.trace.hooks.tc import deciding, translated
from netorch.trace.host_model import Device, HostModel, OutsideDevice
from netorch.trace.regions import NOT_ROUTED
from netorch.trace.steps import MAX_VISITED, Steps
from netorch.trace.way import Arrival, Place

_PLACES: Final = {TargetKind.NAT_GATEWAY: Place.NAT, TargetKind.EGRESS_ONLY_GATEWAY: Place.EGRESS_ONLY}


class EdgeSteps(Steps):
    """The steps on an edge."""

    def _through(self, host_model: HostModel, link: Device, skb: Skb) -> str:
        """Follow the packet through one host's overlay, starting at a device."""
        raise NotImplementedError

    def _send(self, host_model: HostModel, vxlan: Vxlan, lladdr: str) -> str:
        """Follow the packet to the host with a router MAC."""
        raise NotImplementedError

    def _to_peer(self, host_model: HostModel, near: CableEnd) -> str:
        """Follow the packet over the cable of a mapped peering connection."""
        raise NotImplementedError

    def _endpoint(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet through the namespace of an interface endpoint's connection."""
        raise NotImplementedError

    def from_uplink(self, start: Arrival) -> str:
        """Follow the packet from an edge's uplink, or from the device to a site or to an endpoint's provider."""
        host_model = self._host_models.get(start.host)
        port = host_model.link(start.ifname) if host_model is not None else None
        if host_model is not None and isinstance(port, CableEnd) and is_connection(port.peer_netns):
            inside = host_model.link(port.peer, port.peer_netns)
            return self._endpoint(host_model, port, inside.lladdr if isinstance(inside, CableEnd) else "")
        if host_model is not None and is_private_end(start.ifname):
            return self._from_site(host_model, start.ifname)
        device = host_model.outside_link(start.ifname) if host_model is not None else None
        said = f"{self._packet.source} to {self._packet.destination}"
        if not isinstance(device, CableEnd):  # else the sender is not visible to the caller
            said = f"{start.ifname}: {said}"
        if host_model is None or device is None:
            self._die(start.host, Place.UPLINK, f"{said}; it is not up", Code.PORT_MISSING)
        self._note(start.host, Place.UPLINK, said)
        return self._outside(host_model, device)

    def _from_site(self, host_model: HostModel, ifname: str) -> str:
        """Follow the packet from a tunnel or VLAN."""
        device, said = host_model.link(ifname), f"{self._packet.source} to {self._packet.destination}"
        if device is None:
            self._die(host_model.name, Place.SITE, f"{ifname}: {said}; it is not up", Code.PORT_MISSING)
        end = host_model.ends.get(ifname)
        self._note(host_model.name, Place.SITE, f"{said} comes by {end.words}" if end is not None else f"{ifname}: {said}")
        return self._through(host_model, device, Skb(packet=self._packet))

    def _to_site(self, host_model: HostModel, device: Xfrm | Vlan) -> str:
        """Let the packet leave over a tunnel or VLAN, if that is up."""
        end = host_model.ends.get(device.ifname)
        if end is None:
            self._die(host_model.name, Place.SITE, f"{device.ifname} is of no tunnel or VLAN that is known", Code.STALE_MAPPING)
        if end.problem:
            self._die(host_model.name, Place.SITE, f"{end.words}: {end.problem}", end.code, (device.ifname, ""))
        self._note(host_model.name, Place.SITE, f"left by {end.words}", devices=(device.ifname, ""))
        return device.ifname

    def _leave(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet through a cable: to the outside, to a peer, or into the namespace of a gateway or endpoint."""
        if near.peer_netns == OVERLAY:
            return self._to_peer(host_model, near)
        if is_connection(near.peer_netns):
            return self._endpoint(host_model, near, lladdr)
        if near.peer_netns != OUTSIDE:
            return self._gateway(host_model, near, lladdr)
        self._translate(host_model, near, EGRESS, lladdr)
        far = host_model.outside_link(near.peer)
        if not isinstance(far, CableEnd) or far.lladdr != lladdr:
            said = f"{near.ifname}: {near.peer} is not there as {lladdr}"
            self._die(host_model.name, Place.GATEWAY, said, Code.NEXT_HOP_MISSING)
        return self._outside(host_model, far)

    def _gateway(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet through the namespace of a gateway that tracks connections, and back over the same cable."""
        name, netns, ends = host_model.name, near.peer_netns, (near.ifname, near.ifname)
        place = _PLACES[gateway_kind(netns)]
        far, table = host_model.link(near.peer, netns), host_model.gateway_table(netns)
        if not isinstance(far, CableEnd) or far.lladdr != lladdr or table is None:
            self._die(name, place, f"{near.ifname}: {netns} is not there as {lladdr}", Code.NEXT_HOP_MISSING)
        if self._visited >= MAX_VISITED:
            self._die(name, place, "it loops", Code.ROUTING_LOOP)
        came = self._packet
        skb = Skb(packet=came, iifname=far.ifname, oifname=far.ifname)
        known = self._recall(skb, self._tracker(host_model, 0, netns))
        said = f"{netns}: {ends_of(came)}"
        self._run_hook(host_model, place, table, "prerouting", skb, said, silent=True, devices=ends)
        if known.original is not None:
            self._packet = skb.packet = known.original.answer()
        if host_model.has_address(netns, skb.packet.destination):
            self._run_hook(host_model, place, table, "input", skb, f"{said}: no answer to any connection", devices=ends)
            return far.ifname
        route = host_model.route(MAIN_TABLE, skb.packet.destination, netns)
        if route is None:
            self._die(name, place, f"{said}: no route", Code.NO_ROUTE_TO_DESTINATION, ends)
        for hook in ("forward", "postrouting"):
            self._run_hook(host_model, place, table, hook, skb, said, silent=True, devices=ends)
        self._packet = skb.packet
        if known.original is None:
            self.translated[self._tracker(host_model, 0, netns)] = came
        self._note(name, place, f"{netns}: {becomes(came, self._packet)}", devices=ends)
        return self._enter_by(host_model, near, host_model.neighbour(far.ifname, route.via, netns) or "")

    def _enter_by(self, host_model: HostModel, near: CableEnd, lladdr: str) -> str:
        """Follow the packet from a cable's end in the overlay: to the device of a redirect, or along its route."""
        found = deciding(host_model.filters(near.ifname, INGRESS), self._packet, lladdr, 0)
        redirects = [action for action in found.actions if isinstance(action, Redirect)] if found is not None else []
        if not redirects:
            return self._through(host_model, near, Skb(packet=self._packet))
        to = host_model.link(redirects[0].ifname)
        self._note(host_model.name, Place.GATEWAY, f"{near.ifname} to {redirects[0].ifname}: {lladdr}")
        if isinstance(to, CableEnd):
            return self._leave(host_model, to, lladdr)
        if not isinstance(to, Vxlan):
            self._die(host_model.name, Place.GATEWAY, f"{redirects[0].ifname} is not up", Code.PORT_MISSING)
        return self._send(host_model, to, lladdr)

    def _outside(self, host_model: HostModel, device: OutsideDevice) -> str:
        """Follow the packet through the outside namespace of an edge."""
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
        unseen = isinstance(out, CableEnd) and self._seen is not None and out.vni not in self._seen
        said = f"{packet.destination} is on the internet" if unseen else f"{route.dst}{via} dev {out.ifname}"
        self._run_hook(host_model, Place.OUTSIDE, host_model.outside, "forward", skb, said)
        self._packet = skb.packet
        if unseen or not isinstance(out, CableEnd):
            ends = f"{packet.source} to {packet.destination}"
            self._note(name, Place.UPLINK, ends if unseen else f"{out.ifname}: {ends}")
            return out.ifname
        lladdr, near = host_model.neighbour(out.ifname, route.via, OUTSIDE), host_model.link(out.peer)
        if not isinstance(near, CableEnd) or lladdr is None:
            said = f"{out.ifname}: {out.peer} is not there as {lladdr}"
            self._die(name, Place.OUTSIDE, said, Code.NEXT_HOP_MISSING)
        if self._visited >= MAX_VISITED:
            self._die(name, Place.GATEWAY, "it loops", Code.ROUTING_LOOP)
        if lladdr != near.lladdr:  # for a gateway to which a filter redirects
            return self._enter_by(host_model, near, lladdr)
        self._translate(host_model, near, INGRESS, near.lladdr)
        return self._through(host_model, near, Skb(packet=self._packet))

    def _translate(self, host_model: HostModel, near: CableEnd, hook: str, lladdr: str) -> None:
        """Translate or drop the packet by the filters of a gateway's or a mapped peering connection's cable."""
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
                said = f"{near.ifname}: {words[0]} {words[1]} becomes {words[2]}{_by(action)}"
        self._note(host_model.name, Place.PEERING if near.peer_netns == OVERLAY else Place.GATEWAY, said)

    def _refuse(self, host_model: HostModel, near: CableEnd, hook: str, found: TcFilter) -> NoReturn:
        """End the packet at a gateway's cable, by a filter that drops it."""
        if near.peer_netns == OVERLAY:
            said = f"{near.ifname}: {self._packet.source} to {self._packet.destination} is not between a range and an alias"
            self._die(host_model.name, Place.PEERING, said, Code.PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE)
        code, said = Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, f"{self._packet.destination} is associated with nothing"
        if hook == EGRESS:
            code, said = Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, f"no public address is associated with {self._packet.source}"
        elif isinstance(found.match, Match) and found.match.src:
            code, said = Code.IGW_REJECTS_SPOOFED_TRAFFIC, f"{self._packet.source} is inside {found.match.src}"
        self._die(host_model.name, Place.GATEWAY, f"{near.ifname}: {said}", code)


def is_connection(netns: str) -> bool:
    """Return whether a namespace is that of an interface endpoint's connection."""
    return is_id(netns, TargetKind.ENDPOINT_CONNECTION.value)


def _group(device: OutsideDevice) -> int:
    return device.group if isinstance(device, CableEnd) else 0


def _code_outside(packet: Packet) -> Code:
    """Return the code for no route: the range is not on the internet, or the address is associated with nothing."""
    address = parse_ip(packet.destination)
    found = (code for prefix, code in NOT_ROUTED if prefix.holds(*address))
    return next(found, Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS)


def _by(action: Nat) -> str:
    """Return the ranges of a translation; "" if it translates a single address."""
    address, _, length = action.old.partition("/")
    return f" ({address}/{length} is {action.new}/{length})" if length != "32" else ""


def ends_of(packet: Packet) -> str:
    """Return the addresses of a packet, with ports if it has any."""
    return f"{_end(packet.source, packet.source_port)} to {_end(packet.destination, packet.destination_port)}"


def _end(address: str, port: int) -> str:
    return f"{address}:{port}" if port >= 0 else address


def becomes(before: Packet, after: Packet) -> str:
    """Return a gateway's changes to a packet."""
    sources, destinations = (
        [_end(*ends) for ends in pair]
        for pair in (
            [(packet.source, packet.source_port) for packet in (before, after)],
            [(packet.destination, packet.destination_port) for packet in (before, after)],
        )
    )
    changes = (("source", *sources), ("destination", *destinations))
    said = ", ".join(f"{word} {old} becomes {new}" for word, old, new in changes if old != new)
    return said or ends_of(after)
