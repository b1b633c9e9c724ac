"""Virtual private gateways: the connection of an edge's tunnels and VLANs to a VPC.

The path of a packet from instance 10.0.1.5 to 10.44.0.9 at a customer's site. The gateway has one MAC per edge, G here.

    hypervisor   10.44.0.0/16 via the edge's hop dev vx5000    the instance's route table; inner destination MAC G
    vx5000       ingress: dst_mac G: redirected to m-...       verified packets only, with either of the two MACs
    vrf5000.254  10.44.0.0/16 dev x-...                        only the prefixes that this edge reaches
    x-...        a tunnel (edges.vpn), or d-... a VLAN (edges.direct_connect)

and of the reply:

    x-...        from a source that the gateway reaches        all else is dropped
    vrf5000      10.0.1.5/32 via 192.0.2.11 dev vx5000         the mapping, as on every host

So packets from a site only reach mapped addresses, and packets to a site only use the routes of this VRF: neither a withdrawn
route nor a tunnel that is down diverts them elsewhere. The VRF does not route to the VPC's other gateways, nor their VRFs to
it.

The two VRFs have routes to each other only for the router's own errors; forwarded packets must not use these routes. An error
about a packet too big for a tunnel goes back into the VPC, one about a packet too big for the VPC to the site. Their source
is 192.0.0.8, since the router has no address there (RFC 7600).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from edges.cable import MEANT, NEAR_MAC, refused, seated
from edges.skeleton import passes
from netorch.compiler.base import Gateway, HostView, VpcPart, VpcView
from netorch.compiler.private import LocalTunnel, LocalVif
from netorch.model.addr import BITS, Prefix, disjoint, parse_prefix
from netorch.model.eni import Role
from netorch.model.mapping import Reach
from netorch.model.outside.vpn import inside_ends
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.mapped import active_aliases
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.reach import said_by_seats
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Route
from netorch.state.link import VXLAN_GROUP, AdminUp, CableEnd, Settings, vrf_of
from netorch.state.names import VPN_GATEWAY_NUMBER, inlet_name, to_inlet_name, vrf_table
from netorch.state.nft import ChainSet, NftChain, NftElement
from netorch.state.tc import INGRESS, IP, REDIRECTED, Match, Receive, Redirect, TcFilter

SPEAKERS: Final = "speakers"  # peers that may use BGP with the edge, by device
STEPS_BACK: Final = 1  # the metric of routes for the router's own errors
_EVERYTHING: Final = "0.0.0.0/0"


def private_gateway(view: VpcView) -> Gateway | None:
    """Return the VPC's virtual private gateway, if it has a seat on this host."""
    return seated(view, TargetKind.VPN_GATEWAY)


def table_of_gateway(vni: int) -> int:
    """Return the routing table with the prefixes that a VPC's virtual private gateway reaches."""
    return vrf_table(vni, VPN_GATEWAY_NUMBER)


def _gateway(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VRF of the gateway, and the path into it."""
    gateway = private_gateway(view)
    if gateway is None:
        return
    yield from _vrf(view)
    yield from _cable(view, gateway)
    for place in range(2):
        mac = gateway_mac(gateway.id, place)
        yield from refused(view, mac)
        actions = (Receive(mark=REDIRECTED), Redirect(inlet_name(view.vni, gateway.id)))
        match = Match(protocol=IP, dst_mac=mac)
        yield TcFilter(vni=view.vni, ifname=view.vxlan, hook=INGRESS, step=MEANT, match=match, actions=actions)


def _vrf(view: VpcView) -> Iterator[KernelObject]:
    vni, vrf = view.vni, vrf_of(view.vni, VPN_GATEWAY_NUMBER)
    yield vrf
    yield Settings(vni=vni, ifname=vrf.ifname)
    yield AdminUp(vni=vni, ifname=vrf.ifname)
    yield Route(vni=vni, table=vrf.table, dst=_EVERYTHING, type=UNREACHABLE, metric=UNREACHABLE_METRIC)
    for prefix in _own(view):
        yield Route(vni=vni, table=vrf.table, dst=str(prefix), ifname=view.vrf, metric=STEPS_BACK)
    yield Route(vni=vni, table=vrf_table(vni), dst=_EVERYTHING, ifname=vrf.ifname, metric=STEPS_BACK)


def _cable(view: VpcView, gateway: Gateway) -> Iterator[KernelObject]:
    """Yield the cable whose far end receives packets in the gateway's VRF."""
    vni, far, near = view.vni, inlet_name(view.vni, gateway.id), to_inlet_name(view.vni, gateway.id)
    vrf = vrf_of(vni, VPN_GATEWAY_NUMBER).ifname
    mac = gateway_mac(gateway.id)
    yield CableEnd(vni=vni, ifname=far, lladdr=mac, mtu=view.mtu, vrf=vrf, peer=near, group=VXLAN_GROUP)
    yield CableEnd(vni=vni, ifname=near, lladdr=NEAR_MAC, mtu=view.mtu, vrf=view.vrf, peer=far, group=VXLAN_GROUP)
    for ifname in (far, near):
        yield Settings(vni=vni, ifname=ifname)
        yield AdminUp(vni=vni, ifname=ifname)


def _gate(view: VpcView) -> Iterator[KernelObject]:
    """Yield the chain that filters packets from sites: the gateway must reach their source, by any edge.

    Any edge counts, because a site may reply by its other tunnel. The VPC's own addresses are never accepted as sources:
    rules of security groups may refer to them.
    """
    gateway = private_gateway(view)
    ends: list[LocalTunnel | LocalVif] = [*view.of(LocalTunnel), *view.of(LocalVif)]
    if gateway is None or not ends:
        return
    said = said_by_seats(view.of(Reach), {gateway.id: gateway.seats})
    reached = (parse_prefix(found.prefix) for reach in said for found in reach.prefixes)
    name = gate_name(view.vni)
    sources = f"{name}.4"
    rules = (f"ip saddr @{sources} goto inward", "goto drop_unreached")
    inside = [*_own(view), *active_aliases(view.of(PeeringConnection))]
    known = disjoint([*reached, *(parse_prefix(f"{_far(end)}/32") for end in ends)])
    elements = [each for prefix in known for each in _without(prefix, inside)]
    held = ChainSet(name=sources, spec="type ipv4_addr; flags interval", elements=tuple(map(_element, elements)))
    yield NftChain(vni=view.vni, name=name, rules=rules, sets=(held,))


def end_objects(view: VpcView, gateway: Gateway, ifname: str, far: str, *, speaks_bgp: bool) -> Iterator[KernelObject]:
    """Yield the objects that connect a tunnel's or VLAN's device with a VPC; `far` is the address of its other end."""
    vni = view.vni
    inlet = inlet_name(vni, gateway.id)
    yield Settings(vni=vni, ifname=ifname)
    yield AdminUp(vni=vni, ifname=ifname)
    yield passes(inlet, ifname, vni, "goto outward")
    yield passes(ifname, view.vxlan, vni, f"goto {gate_name(vni)}")
    # A locally generated packet passes the output hook for the VRF, and again for the device.
    for device in (ifname, view.vrf) if speaks_bgp else ():
        yield NftElement(netns=OVERLAY, family="inet", set=SPEAKERS, items=(device, far), vni=vni)


def gate_name(vni: int) -> str:
    """Return the name of the chain that filters packets from a VPC's sites."""
    return f"gate-{vni:06x}"


def announced(view: VpcView) -> tuple[str, ...]:
    """Return the prefixes announced to sites: the VPC's whole ranges, never single addresses."""
    return tuple(str(prefix) for prefix in _own(view))


def _far(end: LocalTunnel | LocalVif) -> str:
    if isinstance(end, LocalVif):
        return end.vif.peer
    return inside_ends(end.connection.tunnels[end.place])[1]


def _own(view: VpcView) -> list[Prefix]:
    return sorted(prefix for prefix in ranges_of(view.vpc) if prefix.version == 4)


def _without(prefix: Prefix, holes: Iterable[Prefix]) -> Iterator[Prefix]:
    """Yield a prefix without some others, as the smallest number of prefixes."""
    inside = [hole for hole in holes if hole.overlaps(prefix)]
    if not inside:
        yield prefix
    elif not any(hole.contains(prefix) for hole in inside):
        length = prefix.length + 1
        for network in (prefix.network, prefix.network | 1 << (BITS[prefix.version] - length)):
            yield from _without(Prefix(prefix.version, network, length), inside)


def _element(prefix: Prefix) -> str:
    """Return a prefix as nft lists it in a set."""
    return str(prefix).removesuffix("/32")


GATEWAY_PART: Final = VpcPart(id="private.gateway", compile=_gateway, inputs=frozenset({HostView, Vpc, Gateway}), role=Role.EDGE)
GATE_PART: Final = VpcPart(
    id="private.gate",
    compile=_gate,
    inputs=frozenset({HostView, Vpc, Gateway, LocalTunnel, LocalVif, PeeringConnection, Reach}),
    role=Role.EDGE,
)
