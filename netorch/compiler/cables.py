"""Peering on one host: a cable between the VRFs of two VPCs that both have interfaces on the host.

The path of a packet from an instance of VPC 5000 to 10.7.1.5, an interface of its peer 7000 on the same host:

  table of VPC 5000   10.7.1.5/32 via 192.0.0.9 dev p-001388abcdef0 onlink     where a route leads to the connection
  neighbour           192.0.0.9 on p-001388abcdef0 -> the MAC of q-001b58abcdef0
  q-001b58abcdef0     in the VRF of VPC 7000, whose table has the port's route

A packet to a peer's interface on another host takes no cable: it leaves by the peer's VXLAN device (netorch.compiler.overlay).
So each packet and its answer pass the connection tracking of each VPC once, in the VPC's own zone, on the host of that VPC's
interface. With a port's route in the other VPC's table, or with the other VPC's VXLAN device on this host, the answer would
start in a zone that has not seen the packet.

An edge has no such cable: its gateways serve only their own VPC.

A cable's routes are for single addresses of the peer, never for ranges. So destinations that the peer has routes to are not
reachable through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import HostView, LocalPeer, PeerMappingPart, RoutesToPeer, VpcPart, VpcView
from netorch.model.eni import Role
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import IPV6_METRIC, Neighbour, Route
from netorch.state.link import PEERING_GROUP, AdminUp, CableEnd, Settings
from netorch.state.names import vrf_table
from netorch.state.sysctls import PORT_V6, device_sysctls

NEXT_HOP: Final = "192.0.0.9"  # of a block that is never routed: RFC 7335 section 6
IPV6_NEXT_HOP: Final = "fe80::9"
MACS: Final = {"p": "02:4f:ff:ff:ff:01", "q": "02:4f:ff:ff:ff:02"}  # by the first character of an end's name
# Less preferred than the route to another host, which is in the peer's slice: while an address moves, both may exist.
METRIC: Final = 1
IPV6_CABLE_METRIC: Final = IPV6_METRIC + 1


def _ends(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's end of each cable; the other end belongs to the peer."""
    for peer in view.of(LocalPeer):
        ifname, other = peer.ends(view.vni)
        yield CableEnd(
            vni=view.vni, ifname=ifname, lladdr=MACS[ifname[0]], mtu=view.mtu, vrf=view.vrf, peer=other, group=PEERING_GROUP
        )
        yield Settings(vni=view.vni, ifname=ifname)
        yield AdminUp(vni=view.vni, ifname=ifname)
        yield Neighbour(vni=view.vni, ifname=ifname, dst=NEXT_HOP, lladdr=MACS[other[0]])
        if view.dual_stack:
            yield from device_sysctls(PORT_V6, ifname, view.vni)
            yield Neighbour(vni=view.vni, ifname=ifname, dst=IPV6_NEXT_HOP, lladdr=MACS[other[0]])


def _ways(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the routes to a peer's address on this host, in each table that leads there."""
    if mapping.host != view.host.host.name:
        return
    version6 = ":" in mapping.address
    for peer in view.of(LocalPeer):
        for routes in view.of(RoutesToPeer) if peer.vni == mapping.vni else ():
            if routes.peer == peer.vni and routes.leads_to(mapping.address):
                yield Route(
                    vni=view.vni,
                    table=vrf_table(view.vni, routes.number),
                    dst=f"{mapping.address}/{128 if version6 else 32}",
                    via=IPV6_NEXT_HOP if version6 else NEXT_HOP,
                    ifname=peer.ends(view.vni)[0],
                    metric=IPV6_CABLE_METRIC if version6 else METRIC,
                )


ENDS: Final = VpcPart(id="overlay.cables", compile=_ends, inputs=frozenset({HostView, Vpc, LocalPeer}), role=Role.HYPERVISOR)
WAYS: Final = PeerMappingPart(
    id="overlay.cables.peer", compile=_ways, inputs=frozenset({HostView, LocalPeer, RoutesToPeer}), role=Role.HYPERVISOR
)
