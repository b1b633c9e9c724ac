"""Inlets: how packets to any address reach an interface that is a route target.

A packet to such a target has the interface's MAC as its inner destination: the sender's route table decides, and the packet
carries the decision. On the interface's host, for the interface X with the MAC G, 10.0.9.9 and the port v-X:

  from other hosts   filter on vx5000   to G: received, marked, redirected to m-X
  from this host     route              PREFIX via 240.x dev n-X         the other end of the cable to m-X; `target_hop`
  both               VRF of m-X         0.0.0.0/0 via 10.0.9.9 dev v-X

So the packets pass the rules of X's groups and ACL, and reach X whatever their destination is. Linux treats a packet with a MAC
other than the device's as addressed to another host, hence the filter. With source/destination check the VRF drops all packets:
EC2 also drops them at the interface, and the sender need not know.

m-X has its own conntrack zone. In the VPC's zone, a packet to X and the same packet forwarded by X would belong to one
connection: the receiver's rules would be skipped for a connection that X's rules permitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import HostView, Inlet, Middlebox, ProblemPart, VpcPart, VpcView, link_local
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.routing.next_hop import target_hop
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import BLACKHOLE, IPV6_METRIC, UNREACHABLE, UNREACHABLE_METRIC, Neighbour, Route
from netorch.state.link import VXLAN_GROUP, AdminUp, CableEnd, Settings, vrf_of
from netorch.state.names import inlet_name, to_inlet_name, vrf_table
from netorch.state.sysctls import CABLE_V6, VRF_V6, device_sysctls
from netorch.state.tc import REDIRECTED, Clsact, Match, Receive, Redirect, TcFilter

NEAR_MAC: Final = "02:4f:ff:ff:ff:01"  # of the near end of each cable to an inlet; never on a wire
STEP: Final = 10  # of a VXLAN device's filters
_EVERYTHING: Final = {4: "0.0.0.0/0", 6: "::/0"}
_METRIC: Final = {4: 0, 6: IPV6_METRIC}


def _inlets(view: VpcView) -> Iterator[KernelObject]:
    """Yield the objects of inlets for local interfaces that are route targets."""
    for box in view.of(Middlebox):
        if box.inlet is not None:
            yield from _vrf(view, box.eni, box.inlet)
            yield from _cable(view, box.eni, box.inlet)
            yield from _filter(view, box.eni)


def _without_inlet(view: VpcView) -> str:
    """Return which local route targets cannot receive packets for lack of an inlet, or nothing."""
    boxes = [box for box in view.of(Middlebox) if box.no_inlet]
    if not boxes:
        return ""
    names = ", ".join(box.eni.id for box in boxes)
    return f"routes to {names} are black holes on this host: {boxes[0].no_inlet}"


def _vrf(view: VpcView, eni: NetworkInterface, inlet: Inlet) -> Iterator[KernelObject]:
    """Yield the VRF that leads only to the interface."""
    vrf, port, vni = vrf_of(view.vni, inlet.number), port_name(eni.id), view.vni
    yield vrf
    yield Settings(vni=vni, ifname=vrf.ifname)
    yield AdminUp(vni=vni, ifname=vrf.ifname)
    if view.dual_stack:
        yield from device_sysctls(VRF_V6, vrf.ifname, vni)
    ways = {4: eni.address, 6: link_local(eni.mac) if eni.ipv6_address else ""}
    for version in _versions(view):
        everything = _EVERYTHING[version]
        yield Route(vni=vni, table=vrf.table, dst=everything, type=UNREACHABLE, metric=UNREACHABLE_METRIC)
        if eni.source_dest_check:
            yield Route(vni=vni, table=vrf.table, dst=everything, type=BLACKHOLE, metric=_METRIC[version])
        elif ways[version]:
            yield Route(vni=vni, table=vrf.table, dst=everything, ifname=port, via=ways[version], metric=_METRIC[version])


def _cable(view: VpcView, eni: NetworkInterface, inlet: Inlet) -> Iterator[KernelObject]:
    """Yield the cable by which ports of this host reach the inlet."""
    vni, far, near = view.vni, inlet_name(view.vni, eni.id), to_inlet_name(view.vni, eni.id)
    vrf = vrf_of(vni, inlet.number).ifname
    # In the group of VXLAN devices, on which the router itself sends neither ICMP errors nor MLD reports.
    yield CableEnd(vni=vni, ifname=far, lladdr=eni.mac, mtu=view.mtu, vrf=vrf, peer=near, group=VXLAN_GROUP)
    yield CableEnd(vni=vni, ifname=near, lladdr=NEAR_MAC, mtu=view.mtu, vrf=view.vrf, peer=far, group=VXLAN_GROUP)
    for ifname in (far, near):
        yield Settings(vni=vni, ifname=ifname)
        if view.dual_stack:
            yield from device_sysctls(CABLE_V6, ifname, vni)
        yield AdminUp(vni=vni, ifname=ifname)
    for version in _versions(view):
        yield Neighbour(vni=vni, ifname=near, dst=target_hop(eni.id, version), lladdr=eni.mac)


def _filter(view: VpcView, eni: NetworkInterface) -> Iterator[KernelObject]:
    """Yield the filter that takes packets to the interface's MAC off the VXLAN device."""
    yield Clsact(vni=view.vni, ifname=view.vxlan)
    actions = (Receive(mark=REDIRECTED), Redirect(inlet_name(view.vni, eni.id)))
    yield TcFilter(vni=view.vni, ifname=view.vxlan, step=STEP, match=Match(dst_mac=eni.mac), actions=actions)


def way_in(view: VpcView, eni: NetworkInterface, table: int, dst: str) -> Route:
    """Return a table's route to a local interface through its inlet."""
    version = 6 if ":" in dst else 4
    near = to_inlet_name(view.vni, eni.id)
    return Route(
        vni=view.vni,
        table=vrf_table(view.vni, table),
        dst=dst,
        via=target_hop(eni.id, version),
        ifname=near,
        metric=_METRIC[version],
    )


def _versions(view: VpcView) -> tuple[int, ...]:
    return (4, 6) if view.dual_stack else (4,)


INLETS: Final = VpcPart(id="vrf.inlets", compile=_inlets, inputs=frozenset({HostView, Vpc, Middlebox}))
MISSING_INLETS: Final = ProblemPart(id="vrf.inlets.missing", problem=_without_inlet, inputs=frozenset({Middlebox}))
