"""The routes of route tables, as routes of their VRFs.

  in force in the table          in the VRF's
  local route of a VPC's range   nothing, if no route is wider: the table has the range's addresses one by one, as mappings and
                                 ports; otherwise `unreachable RANGE`, so that a wider route takes no packets to unused
                                 addresses, and proxy ARP does not answer for them
  black hole                     `blackhole PREFIX`
  route to an interface          `PREFIX via HOP`: a next hop for the interface, with its MAC as the neighbour, and its host's
                                 VTEP behind that MAC; or its inlet, if its port is on this host (netorch.compiler.inlets)
  route to a gateway             the same, with the MAC of the gateway and the VTEP of the edge that this host sends to; on the
                                 edges that carry it, for their NAT gateways, its cable to the outside: `PREFIX via HOP dev g-X`
  route to a virtual private     the same, with a hop and a MAC for each of its edges: for each prefix that the gateway reaches,
  gateway                        the edge with the best way (netorch.model.routing.reach); a black hole where none has one
  route to another target        the entry of its kind in `_WAYS`; without an entry, a black hole

The FDB entry of a gateway is a part of its own. All routes to the gateway share it, so a change of edge is one operation. The
same holds for each of the two edges of a virtual private gateway: while one is silent, the other gets its packets.

netorch.model.routing.effective decides which routes are in force, and which targets take packets. This module turns a kind of
target into kernel objects: a new kind is a function and its line in `_WAYS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from netorch.compiler.base import Gateway, HostView, Middlebox, TableRoutes, VpcPart, VpcView
from netorch.compiler.inlets import way_in
from netorch.model.mapping import Reach
from netorch.model.routing.effective import Effective, is_within
from netorch.model.routing.next_hop import gateway_mac, target_hop
from netorch.model.routing.reach import Ways
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, IPV6_METRIC, UNREACHABLE, Neighbour, Route
from netorch.state.names import outside_cable, vrf_table

# Less preferred than any route to an address of a peer: a route may be for a single address.
PEERING_METRIC: Final = 8192

Way = Callable[[VpcView, TableRoutes, Effective], Iterable[KernelObject]]


def _routes(view: VpcView) -> Iterator[KernelObject]:
    """Yield the routes of every table in use. Cost: O(routes of these tables)."""
    for table in view.of(TableRoutes):
        for route in table.routes:
            if route.prefix.version == 4 or view.dual_stack:
                yield from _WAYS.get(route.target.kind, _blackhole)(view, table, route)


def _local(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    if any(other is not route and other.prefix.contains(route.prefix) for other in table.routes):
        yield _nowhere(view, table, route, UNREACHABLE)


def _blackhole(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    yield _nowhere(view, table, route, BLACKHOLE)


def _interface(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    box = next((box for box in view.of(Middlebox) if box.eni.id == route.target.id), None)
    if box is None or box.mapping is None or (route.prefix.version == 6 and not box.eni.ipv6_address):
        yield _nowhere(view, table, route, BLACKHOLE)
    elif box.inlet is not None:
        yield way_in(view, box.eni, table.number, str(route.prefix))
    elif box.mapping.host == view.host.host.name:
        yield _nowhere(view, table, route, BLACKHOLE)  # its port is not on this host yet, or no longer
    else:
        yield from _way_out(view, table, route, box.eni.mac, box.underlay_mtu)
        yield Fdb(vni=view.vni, ifname=view.vxlan, lladdr=box.eni.mac, dst=box.mapping.vtep)


def _gateway(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    gateway = next((gateway for gateway in view.of(Gateway) if gateway.id == route.target.id), None)
    if gateway is None:
        yield _nowhere(view, table, route, BLACKHOLE)
    elif not gateway.is_at(view.host.host.name):
        yield from _way_out(view, table, route, gateway_mac(gateway.id), gateway.underlay_mtu)
    elif gateway.kind is TargetKind.INTERNET_GATEWAY and route.prefix.version == 4 and view.host.host.uplink is not None:
        yield from _way_outside(view, table, route)
    else:
        yield _nowhere(view, table, route, BLACKHOLE)


def _vpn_gateway(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    """Yield the routes for a route's prefix, and for reached prefixes inside it that no longer route of the table covers."""
    gateway = next((gateway for gateway in view.of(Gateway) if gateway.id == route.target.id), None)
    if gateway is None or gateway.is_at(view.host.host.name):
        yield _nowhere(view, table, route, BLACKHOLE)
        return
    ways = Ways(gateway.id, gateway.seats, view.of(Reach))
    longer = [other.prefix for other in table.routes if other is not route and route.prefix.contains(other.prefix)]
    for prefix in (route.prefix, *(found for found in ways.within(route.prefix) if not is_within(longer, found))):
        part = msgspec.structs.replace(route, prefix=prefix)
        place = ways.towards(view.host.host.name, prefix)
        if place is None:
            yield _nowhere(view, table, part, BLACKHOLE)
        else:
            mac = gateway_mac(gateway.id, place)
            yield from _way_out(view, table, part, mac, gateway.underlay_mtu, place)


def _seats(view: VpcView) -> Iterator[KernelObject]:
    """Yield for each gateway the FDB entry of the edge that this host sends to, or one for each of its edges."""
    for gateway in view.of(Gateway):
        if not gateway.is_at(view.host.host.name):
            for place, way in enumerate(gateway.ways or (gateway.seat,)):
                yield Fdb(vni=view.vni, ifname=view.vxlan, lladdr=gateway_mac(gateway.id, place), dst=way.vtep)


def _way_out(
    view: VpcView, table: TableRoutes, route: Effective, mac: str, underlay_mtu: int | None, place: int = 0
) -> Iterator[KernelObject]:
    """Yield the route to a target on another host: packets carry the target's MAC, whatever their destination."""
    vni, vxlan = view.vni, view.vxlan
    hop = target_hop(route.target.id, route.prefix.version, place)
    metric = IPV6_METRIC if route.prefix.version == 6 else 0
    mtu = view.mtu_over(underlay_mtu)
    where = vrf_table(vni, table.number)
    yield Route(vni=vni, table=where, dst=str(route.prefix), via=hop, ifname=vxlan, metric=metric, mtu=mtu)
    yield Neighbour(vni=vni, ifname=vxlan, dst=hop, lladdr=mac)


def _way_outside(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    """Yield the route to an internet gateway on this host: its cable, whose filters act as for all packets that leave."""
    near, _ = outside_cable(view.vni, route.target.id)
    hop = target_hop(route.target.id, 4)
    yield Route(vni=view.vni, table=vrf_table(view.vni, table.number), dst=str(route.prefix), via=hop, ifname=near)
    yield Neighbour(vni=view.vni, ifname=near, dst=hop, lladdr=gateway_mac(route.target.id))


def _nowhere(view: VpcView, table: TableRoutes, route: Effective, kind: str, metric: int = 0) -> Route:
    metric = metric or (IPV6_METRIC if route.prefix.version == 6 else 0)
    return Route(vni=view.vni, table=vrf_table(view.vni, table.number), dst=str(route.prefix), type=kind, metric=metric)


def _peering(view: VpcView, table: TableRoutes, route: Effective) -> Iterator[KernelObject]:
    """Yield a black hole: the table has the peer's addresses one by one, and the connection reaches nothing else.

    A mapped connection is a gateway, for IPv4.
    """
    gateway = next((gateway for gateway in view.of(Gateway) if gateway.id == route.target.id), None)
    if route.prefix.version == 4 and gateway is not None and not gateway.is_at(view.host.host.name):
        yield from _way_out(view, table, route, gateway_mac(gateway.id), gateway.underlay_mtu)
    else:
        yield _nowhere(view, table, route, BLACKHOLE, PEERING_METRIC)


_WAYS: Final[Mapping[TargetKind, Way]] = {
    TargetKind.LOCAL: _local,
    TargetKind.BLACKHOLE: _blackhole,
    TargetKind.INTERFACE: _interface,
    TargetKind.PEERING: _peering,
    TargetKind.INTERNET_GATEWAY: _gateway,
    TargetKind.EGRESS_ONLY_GATEWAY: _gateway,
    TargetKind.NAT_GATEWAY: _gateway,
    TargetKind.VPN_GATEWAY: _vpn_gateway,
    TargetKind.ENDPOINT: _gateway,
}

ROUTES: Final = VpcPart(
    id="vrf.routes", compile=_routes, inputs=frozenset({HostView, Vpc, TableRoutes, Middlebox, Gateway, Reach})
)
SEATS: Final = VpcPart(id="vrf.seats", compile=_seats, inputs=frozenset({HostView, Vpc, Gateway}))
