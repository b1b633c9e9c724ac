"""Mapped peering: two VPCs that may have the same addresses, with a range of each translated one-to-one to an alias.

The path of a packet from instance 10.0.1.5 of VPC 5000 to 100.65.1.6, by the connection with MAC G. Range and alias are
10.0.0.0/16 and 100.66.0.0/16 of VPC 5000, 10.0.0.0/16 and 100.65.0.0/16 of VPC 7000.

    hypervisor   100.65.0.0/16 via the connection's hop dev vx5000     the instance's route table; inner destination MAC G
    vx5000       ingress: dst_mac G: redirected to p-001388abcdef0     verified packets only
    p-...        egress: 10.0.0.0/16 to 100.65.0.0/16:                 source becomes 100.66.1.5; all else is dropped
    q-...        ingress: 100.66.0.0/16 to 100.65.0.0/16:              destination becomes 10.0.1.6; all else is dropped
    vrf7000      10.0.1.6/32 via 192.0.2.12 dev vx7000                 the mapping, as on every host

Its reply takes the same way back, or that by the other edge: translation is stateless. Each end translates the range of its
own VPC, in both directions, so each VPC's slice has its own part.

Not transitive: packets from an end only leave by its VPC's VXLAN device, to mapped addresses of the range. Packets from
outside the range at one end, or not to the alias of the other, never enter a cable.

The translation of an ICMP error includes the quoted packet (net/sched/act_nat.c), so both ends see errors about their own
packets. The edge's own errors, e.g. that a host's underlay has a smaller MTU, are about a packet that arrived by an end. They
leave by that end again, with the source 192.0.0.8, which is not translated. Only ICMP may have that source: otherwise an
instance without source/destination check could send anything to the peer with a source that identifies nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.cable import MEANT, REST, redirected, tc_filter
from edges.skeleton import passes
from netorch.compiler.base import Gateway, HostView, LocalPeer, Part, VpcPart, VpcView
from netorch.compiler.cables import METRIC, NEXT_HOP
from netorch.model.eni import Role
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import ICMP
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import Neighbour, Route
from netorch.state.link import AdminUp, CableEnd, Settings
from netorch.state.tc import EGRESS, INGRESS, IP, Clsact, Drop, Match, Nat

ROUTER: Final = "192.0.0.8/32"  # the source of errors from routers without an address: RFC 7600


def _mapped(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's end of each mapped connection on this host."""
    seated = {gateway.id for gateway in view.of(Gateway) if gateway.is_at(view.host.host.name)}
    for connection in view.of(PeeringConnection):
        if connection.is_mapped and connection.id in seated:
            near, far = LocalPeer(vni=connection.peer_vni, connection=connection.id).ends(view.vni)
            yield from _end(view, connection, near, far)
            yield from _translation(view, connection, near)
            yield from redirected(view, gateway_mac(connection.id), near)
            yield passes(near, view.vxlan, view.vni)


def _end(view: VpcView, connection: PeeringConnection, near: str, far: str) -> Iterator[KernelObject]:
    """Yield one end of the cable, and the route for the edge's own errors. Both ends have the connection's MAC."""
    vni, mac, alias = view.vni, gateway_mac(connection.id), connection.peer.alias
    yield CableEnd(vni=vni, ifname=near, lladdr=mac, mtu=view.mtu, vrf=view.vrf, peer=far)
    yield Settings(vni=vni, ifname=near)
    yield AdminUp(vni=vni, ifname=near)
    yield Neighbour(vni=vni, ifname=near, dst=NEXT_HOP, lladdr=mac)
    yield Route(vni=vni, table=vni, dst=alias, via=NEXT_HOP, ifname=near, metric=METRIC)


def _translation(view: VpcView, connection: PeeringConnection, near: str) -> Iterator[KernelObject]:
    """Yield an end's filters: the VPC's range becomes its alias on the way out, and the reverse on the way in."""
    vni, own, far = view.vni, connection.own, connection.peer.alias
    outward = Nat(EGRESS, own.range, own.alias.partition("/")[0])
    inward = Nat(INGRESS, own.alias, own.range.partition("/")[0])
    yield Clsact(vni=vni, ifname=near)
    for hook in (EGRESS, INGRESS):
        yield tc_filter(vni, near, hook, REST, Match(), Drop())
    for source, inside in ((own.range, 0), (ROUTER, ICMP)):
        yield tc_filter(vni, near, EGRESS, MEANT, Match(protocol=IP, src=source, dst=far, ip_proto=inside), outward)
    for source, inside in ((far, 0), (ROUTER, ICMP)):
        yield tc_filter(vni, near, INGRESS, MEANT, Match(protocol=IP, src=source, dst=own.alias, ip_proto=inside), inward)


class MappedPeering:
    """Yields the mapped peering connections of a VPC on the edges that carry them."""

    name: Final = "peering"
    reads: Final[frozenset[type]] = frozenset({PeeringConnection})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(
            id="peering",
            compile=_mapped,
            inputs=frozenset({HostView, Vpc, Gateway, PeeringConnection}),
            role=Role.EDGE,
        ),
    )
