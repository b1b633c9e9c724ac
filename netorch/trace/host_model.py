"""One host's objects, indexed for look-ups: links, routes, next hops, tables; and the state of its connections to sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import msgspec

from netorch.model.addr import BITS, parse_ip, parse_prefix
from netorch.model.packet import Packet
from netorch.model.security import TCP
from netorch.state.base import OUTSIDE, OVERLAY, UNDERLAY, KernelObject, Key, link_key, up_key
from netorch.state.daemons.services.base import ServiceListener, SocketType
from netorch.state.l2 import Fdb
from netorch.state.l3 import LOCAL, MAIN_TABLE, Address, Neighbour, Route, Rule
from netorch.state.link import CableEnd, TapPort, Uplink, VethPort, Vrf, Vxlan
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_table
from netorch.state.nft import FlowtableDevice
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.tc import StrangeFilter, TcFilter
from netorch.trace.codes import Code
from netorch.trace.hooks.nft import Ruleset, table_of

Objects = Mapping[Key, KernelObject]
ToSite = Xfrm | Vlan
Device = VethPort | TapPort | Vxlan | CableEnd | ToSite  # a device that receives or sends packets
OutsideDevice = CableEnd | Uplink
_ANY_ADDRESS = "0.0.0.0"  # any address that the VRF routes to the host itself


class SiteEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a tunnel or VLAN to a customer's site."""

    words: str  # its description, with the other end
    code: Code  # for packets that end there while it is down
    problem: str = ""  # why it is down; empty: it is up
    learned: int = 0  # number of prefixes learned by BGP


class HostModel:
    """A host's objects, desired or dumped, read-only. `ends` are those of an edge's tunnels and VLANs, by device."""

    def __init__(self, name: str, objects: Objects, ends: Mapping[str, SiteEnd] | None = None) -> None:
        self.name = name
        self.objects = objects
        self.ends = ends or {}
        self._gateway_tables: dict[str, Ruleset | None] = {}

    @cached_property
    def ports(self) -> Ruleset | None:
        """Return the chains at the ingress of ports."""
        return table_of(self.objects, OVERLAY, "netdev")

    @cached_property
    def overlay(self) -> Ruleset | None:
        """Return the table of policy."""
        return table_of(self.objects, OVERLAY, "inet")

    @cached_property
    def underlay(self) -> Ruleset | None:
        """Return the table that verifies VXLAN packets."""
        return table_of(self.objects, UNDERLAY, "ip")

    @cached_property
    def outside(self) -> Ruleset | None:
        """Return the table between the internet and gateways."""
        return table_of(self.objects, OUTSIDE, "inet")

    def gateway_table(self, netns: str) -> Ruleset | None:
        """Return the table in the namespace of a gateway."""
        if netns not in self._gateway_tables:
            self._gateway_tables[netns] = table_of(self.objects, netns, "inet")
        return self._gateway_tables[netns]

    @cached_property
    def vxlans(self) -> dict[tuple[int, str], Vxlan]:
        """Return the VXLAN devices by VNI and VTEP."""
        return {(obj.vni, obj.local): obj for obj in self.objects.values() if isinstance(obj, Vxlan)}

    @cached_property
    def _routes(self) -> dict[tuple[str, int, int], dict[int, dict[int, Route]]]:
        """Return the best route by (namespace, table, IP version), prefix length, network."""
        found: dict[tuple[str, int, int], dict[int, dict[int, Route]]] = {}
        routes = (obj for obj in self.objects.values() if isinstance(obj, Route))
        for obj in (*routes, *self._networks()):
            prefix = parse_prefix(obj.dst)
            same_length = found.setdefault((obj.netns, obj.table, prefix.version), {}).setdefault(prefix.length, {})
            known = same_length.get(prefix.network)
            if known is None or obj.metric < known.metric:
                same_length[prefix.network] = obj
        return found

    def _networks(self) -> Iterator[Route]:
        """Yield the routes that Linux creates for the uplink's addresses."""
        for obj in self._outside_addresses:
            prefix = parse_prefix(obj.address, strict=False)
            yield Route(netns=OUTSIDE, table=MAIN_TABLE, dst=str(prefix), ifname=obj.ifname)

    @cached_property
    def _outside_addresses(self) -> list[Address]:
        return [obj for obj in self.objects.values() if isinstance(obj, Address) and obj.netns == OUTSIDE]

    def route(self, table: int, address: str, netns: str = OVERLAY) -> Route | None:
        """Return the route to an address: the longest prefix, then the lowest metric."""
        version, value = parse_ip(address)
        by_length = self._routes.get((netns, table, version), {})
        for length in sorted(by_length, reverse=True):
            host_bits = BITS[version] - length
            route = by_length[length].get(value >> host_bits << host_bits)
            if route is not None:
                return route
        return None

    def ways_to_site(self, vni: int, address: str) -> list[str]:
        """Return the devices of an edge that are up and have a route to an address at a VPC's sites."""
        table = vrf_table(vni, VPN_GATEWAY_NUMBER)
        routes = (
            obj for obj in self.objects.values() if isinstance(obj, Route) and obj.table == table and obj.ifname in self.ends
        )
        found = {route.ifname for route in routes if parse_prefix(route.dst).holds(*parse_ip(address))}
        return sorted(ifname for ifname in found if not self.ends[ifname].problem and self.link(ifname) is not None)

    def is_vrf(self, ifname: str) -> bool:
        """Return whether a device is a VRF."""
        return isinstance(self.objects.get(link_key(ifname)), Vrf)

    def way_out(self, address: str) -> Route | None:
        """Return the route to an address in the outside, if it has a device."""
        found = self.route(MAIN_TABLE, address, OUTSIDE)
        return found if found is not None and found.ifname else None

    def is_edge(self, address: str) -> bool:
        """Return whether an address is the edge's own in the outside."""
        return any(parse_ip(obj.address.partition("/")[0]) == parse_ip(address) for obj in self._outside_addresses)

    def has_address(self, netns: str, address: str) -> bool:
        """Return whether an address belongs to a namespace."""
        return address in self._addresses.get(netns, ())

    @cached_property
    def _addresses(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for obj in self.objects.values():
            if isinstance(obj, Address):
                found.setdefault(obj.netns, set()).add(obj.address.partition("/")[0])
        return found

    @cached_property
    def uplink(self) -> str:
        """Return the name of the uplink if it exists and is up, else ""."""
        uplinks = (obj.ifname for obj in self.objects.values() if isinstance(obj, Uplink))
        return next((ifname for ifname in uplinks if up_key(ifname, OUTSIDE) in self.objects), "")

    def outside_link(self, ifname: str) -> OutsideDevice | None:
        """Return an uplink or a cable's end in the outside, if it exists and is up."""
        found = self.objects.get(link_key(ifname, OUTSIDE))
        return found if isinstance(found, OutsideDevice) and up_key(ifname, OUTSIDE) in self.objects else None

    def link(self, ifname: str, netns: str = OVERLAY) -> Device | None:
        """Return a port, a VXLAN device, a cable's end or the device to a site, if it exists and is up."""
        found = self.objects.get(link_key(ifname, netns))
        return found if isinstance(found, Device) and up_key(ifname, netns) in self.objects else None

    def filters(self, ifname: str, hook: str) -> list[TcFilter | StrangeFilter]:
        """Return the filters of a device in the overlay."""
        return self._filters.get((ifname, hook), [])

    @cached_property
    def _filters(self) -> dict[tuple[str, str], list[TcFilter | StrangeFilter]]:
        found: dict[tuple[str, str], list[TcFilter | StrangeFilter]] = {}
        for obj in self.objects.values():
            if isinstance(obj, TcFilter | StrangeFilter) and obj.netns == OVERLAY:
                found.setdefault((obj.ifname, obj.hook), []).append(obj)
        return found

    def flowtable_of(self, ifname: str) -> str:
        """Return the flowtable that forwards a device's packets, or ""."""
        found = self.objects.get(("nft-flowtable-device", OVERLAY, ifname))
        return found.flowtable if isinstance(found, FlowtableDevice) else ""

    def table_of_vrf(self, vrf: str) -> int | None:
        """Return the routing table of a VRF, or None if the VRF is missing or down."""
        found = self.objects.get(link_key(vrf))
        return found.table if isinstance(found, Vrf) and up_key(vrf) in self.objects else None

    def is_router(self, vrf: str, address: str) -> bool:
        """Return whether the VRF itself has an address."""
        length = 128 if ":" in address else 32
        return isinstance(self.objects.get(("addr", OVERLAY, vrf, f"{address}/{length}")), Address)

    def is_served(self, table: int, vrf: str, address: str) -> bool:
        """Return whether a VRF routes an address to the host itself."""
        route = self.route(table, address)
        return route is not None and route.type == LOCAL and route.ifname == vrf

    def listener(self, vrf: str, packet: Packet) -> ServiceListener | None:
        """Return the listener in a VRF for a packet, or None."""
        type_ = SocketType.TCP if packet.protocol == TCP else SocketType.UDP
        for obj in self._listeners.get(vrf, ()):
            for socket in obj.sockets:
                is_meant = socket.address in (packet.destination, _ANY_ADDRESS)
                if is_meant and (socket.type, socket.port) == (type_, packet.destination_port):
                    return obj
        return None

    @cached_property
    def _listeners(self) -> dict[str, list[ServiceListener]]:
        found: dict[str, list[ServiceListener]] = {}
        for obj in self.objects.values():
            if isinstance(obj, ServiceListener):
                found.setdefault(obj.ifname, []).append(obj)
        return found

    def other_port(self, port: CableEnd) -> str:
        """Return the port of an endpoint's connection in the other VPC, or ""."""
        ends = (obj for obj in self.objects.values() if isinstance(obj, CableEnd) and obj.netns == port.peer_netns)
        return next((obj.peer for obj in ends if obj.ifname != port.peer), "")

    def table_by(self, ifname: str, netns: str) -> int:
        """Return the routing table for packets from a device of a namespace."""
        rules = (obj for obj in self.objects.values() if isinstance(obj, Rule) and (obj.netns, obj.iif) == (netns, ifname))
        first = min(rules, key=lambda rule: rule.priority, default=None)
        return first.table if first is not None else MAIN_TABLE

    def neighbour(self, ifname: str, address: str, netns: str = OVERLAY) -> str | None:
        """Return the MAC of a neighbour."""
        found = self.objects.get(("neigh", netns, ifname, address))
        return found.lladdr if isinstance(found, Neighbour) else None

    def vtep_of(self, ifname: str, lladdr: str) -> str | None:
        """Return the VTEP behind a router MAC."""
        found = self.objects.get(("fdb", OVERLAY, ifname, lladdr))
        return found.dst if isinstance(found, Fdb) else None
