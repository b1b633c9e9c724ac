"""The overlay: the only place where a mapping becomes kernel entries.

The path of a packet from a local instance to 10.44.12.4 at the host with VTEP 192.0.2.12, in VPC 5000:

  VRF's table    10.44.12.4/32 via 192.0.2.12 dev vx5000 onlink       the mapping, in each route table's VRF
  neighbour      192.0.2.12 on vx5000 -> 02:4e:c0:00:02:0c            its router MAC, the inner Ethernet destination
  FDB of vx5000  02:4e:c0:00:02:0c -> 192.0.2.12                      the outer IP destination

If the other host has a smaller MTU, the route has an MTU: this host's router then reports it to the sender. An active peer
whose route tables lead to the connection has the same route in its tables: its packets carry this VPC's VNI. There is one
neighbour and one FDB entry per VTEP, and one route per address in every route table that leads there. IPv6 differs only in the
next hop: it must be an IPv6 address, so a link-local address stands for the VTEP.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from netorch.compiler.base import (
    HostView,
    LocalTable,
    MappingPart,
    Part,
    RoutesFromPeer,
    VpcPart,
    VpcView,
    ipv6_next_hop,
    router_mac,
)
from netorch.compiler.cables import ENDS, WAYS
from netorch.compiler.interface_endpoint import ENDPOINT_WAYS
from netorch.compiler.nat import NAT_WAYS
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.peering import PeeringConnection
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import IPV6_METRIC, Neighbour, Route
from netorch.state.link import AdminUp, Gro, Settings, Vxlan
from netorch.state.sysctls import VXLAN_V4, VXLAN_V6, device_sysctls

# Less preferred than a port's route of either IP version (0 and IPV6_METRIC): the fallback behind it.
RELAY_METRIC: Final = 4096


def _device(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VXLAN device. It never resolves neighbours: an unmapped address does not exist."""
    vxlan = view.vxlan
    yield Vxlan(
        ifname=vxlan,
        vni=view.vni,
        local=view.host.vtep,
        lladdr=router_mac(view.host.vtep),
        mtu=view.mtu,
        vrf=view.vrf,
    )
    # The underlay device has already merged the packets of a tunnelled stream; a second attempt costs time and finds nothing.
    yield Gro(vni=view.vni, ifname=vxlan, on=False)
    yield Settings(vni=view.vni, ifname=vxlan)
    yield from device_sysctls(VXLAN_V4, vxlan, view.vni)
    if view.dual_stack:
        yield from device_sysctls(VXLAN_V6, vxlan, view.vni)
    yield AdminUp(vni=view.vni, ifname=vxlan)


def _ways(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the route to a remote address; to a local one only while it is leaving.

    While an address moves away from this host, the route to its next host stands behind the port's own route: the kernel relays
    as soon as the port is gone. While an address moves to this host, its route is the ordinary one until the port exists; the
    port's route then has the same key.
    """
    if mapping.host == view.host.host.name:
        move = mapping.move
        if move is not None and move.direction is MoveDirection.TO:
            yield from _way(view, mapping.address, move, RELAY_METRIC, RELAY_METRIC)
    else:
        yield from _way(view, mapping.address, mapping, 0, IPV6_METRIC, own=mapping.address not in view.active)


def _way(
    view: VpcView, address: str, to: Mapping | Move, metric4: int, metric6: int, *, own: bool = True
) -> Iterator[KernelObject]:
    """Yield the route to a host in peers' tables, and with `own` in the VPC's own tables."""
    version, prefix, metric = (6, f"{address}/128", metric6) if ":" in address else (4, f"{address}/32", metric4)
    via, neighbour, fdb = _next_hop(view.vni, view.vxlan, to.vtep, version)
    mtu = view.mtu_to(to.host)
    tables = [*(view.tables_to(address) if own else ()), *view.peers_tables_to(address)]
    for table in tables:
        yield Route(vni=view.vni, table=table, dst=prefix, via=via, ifname=view.vxlan, metric=metric, mtu=mtu)
    if tables:
        yield neighbour
        yield fdb


@lru_cache(maxsize=65536)
def _next_hop(vni: int, vxlan: str, vtep: str, version: int) -> tuple[str, Neighbour, Fdb]:
    """Return the next hop for a VTEP, and its entries; cached, because few VTEPs serve many mappings."""
    via = vtep if version == 4 else ipv6_next_hop(vtep)
    mac = router_mac(vtep)
    return via, Neighbour(vni=vni, ifname=vxlan, dst=via, lladdr=mac), Fdb(vni=vni, ifname=vxlan, lladdr=mac, dst=vtep)


class OverlayCompiler:
    """Yields the VXLAN device of a VPC, the route to each mapping, NAT gateway and endpoint, and cables to peers."""

    name: Final = "overlay"
    reads: Final[frozenset[type]] = frozenset({Vpc, Mapping, PeeringConnection, NatGateway})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="overlay", compile=_device, inputs=frozenset({HostView, Vpc})),
        MappingPart(id="overlay.mapping", compile=_ways, inputs=frozenset({HostView, Vpc, LocalTable, RoutesFromPeer})),
        NAT_WAYS,
        ENDPOINT_WAYS,
        ENDS,
        WAYS,
    )
