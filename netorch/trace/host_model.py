"""One host's objects, arranged for look-ups: links, routes, next hops, tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from netorch.errors import TraceError
from netorch.model.addr import BITS, parse_ip, parse_prefix
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject, Key, link_key, up_key
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route
from netorch.state.link import CableEnd, TapPort, VethPort, Vrf, Vxlan
from netorch.state.tc import INGRESS, Match, StrangeFilter, TcFilter
from netorch.trace.nft import Ruleset, table_of

Objects = Mapping[Key, KernelObject]
Device = VethPort | TapPort | Vxlan | CableEnd  # that packets come in or leave by


class HostModel:
    """What a host holds, desired or dumped; nothing is changed."""

    def __init__(self, name: str, objects: Objects) -> None:
        self.name = name
        self.objects = objects

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
    def vxlans(self) -> dict[tuple[int, str], Vxlan]:
        """Return the VXLAN devices by VNI and VTEP."""
        return {(obj.vni, obj.local): obj for obj in self.objects.values() if isinstance(obj, Vxlan)}

    @cached_property
    def _routes(self) -> dict[tuple[int, int], dict[int, dict[int, Route]]]:
        """Return the best route by (table, IP version), prefix length, network."""
        found: dict[tuple[int, int], dict[int, dict[int, Route]]] = {}
        for obj in self.objects.values():
            if isinstance(obj, Route) and obj.netns == OVERLAY:
                prefix = parse_prefix(obj.dst)
                same_length = found.setdefault((obj.table, prefix.version), {}).setdefault(prefix.length, {})
                known = same_length.get(prefix.network)
                if known is None or obj.metric < known.metric:
                    same_length[prefix.network] = obj
        return found

    def route(self, table: int, address: str) -> Route | None:
        """Return the route to an address: of the longest prefixes the one with the lowest metric."""
        version, value = parse_ip(address)
        by_length = self._routes.get((table, version), {})
        for length in sorted(by_length, reverse=True):
            host_bits = BITS[version] - length
            route = by_length[length].get(value >> host_bits << host_bits)
            if route is not None:
                return route
        return None

    def link(self, ifname: str) -> Device | None:
        """Return a port, a VXLAN device or a cable's end that is there and up."""
        found = self.objects.get(link_key(ifname))
        return found if isinstance(found, Device) and up_key(ifname) in self.objects else None

    def filter(self, ifname: str, lladdr: str) -> TcFilter | None:
        """Return what a device does with packets to a MAC. Raises TraceError where there is a filter that is not netorch's."""
        for obj in self._filters:
            if isinstance(obj, StrangeFilter) and obj.ifname == ifname:
                raise TraceError(f"{obj.text()}: it is not netorch's; the host's kernel has drifted")
        ours = (obj for obj in self._filters if isinstance(obj, TcFilter) and (obj.ifname, obj.hook) == (ifname, INGRESS))
        return min((obj for obj in ours if obj.match == Match(dst_mac=lladdr)), key=lambda obj: obj.pref, default=None)

    @cached_property
    def _filters(self) -> list[TcFilter | StrangeFilter]:
        return [obj for obj in self.objects.values() if isinstance(obj, TcFilter | StrangeFilter) and obj.netns == OVERLAY]

    def table_of_vrf(self, vrf: str) -> int | None:
        """Return the routing table of a VRF, or None when it is not there or not up."""
        found = self.objects.get(link_key(vrf))
        return found.table if isinstance(found, Vrf) and up_key(vrf) in self.objects else None

    def is_router(self, vrf: str, address: str) -> bool:
        """Return whether the VRF itself has an address."""
        length = 128 if ":" in address else 32
        return isinstance(self.objects.get(("addr", OVERLAY, vrf, f"{address}/{length}")), Address)

    def neighbour(self, ifname: str, address: str) -> str | None:
        """Return the MAC of a neighbour."""
        found = self.objects.get(("neigh", OVERLAY, ifname, address))
        return found.lladdr if isinstance(found, Neighbour) else None

    def vtep_of(self, ifname: str, lladdr: str) -> str | None:
        """Return the VTEP behind a router MAC."""
        found = self.objects.get(("fdb", OVERLAY, ifname, lladdr))
        return found.dst if isinstance(found, Fdb) else None
