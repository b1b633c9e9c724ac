"""Egress-only internet gateways: IPv6 to the internet, and only replies back, by connection tracking in a namespace.

The path of a packet from instance 2001:db8:100::5 to 2001:db8:99::10, by the gateway with MAC E. The cable to the outside
(edges.cable) has MAC G, that of the VPC's internet gateway, or E if there is none:

    hypervisor   ::/0 via the gateway's hop dev vx5000               the instance's route table; inner destination MAC E
    vx5000       ingress: dst_mac E: redirected to e-001388abcdef0   verified packets only; no routing
    eigw-...     eth0 has E; a new connection; ::/0 via G
    e-...        ingress: dst_mac G: redirected to g-001388abcdef0   no routing
    g-...        egress: source in the VPC's public ranges: permitted
    outside      routed to the uplink

and of the reply:

    outside      2001:db8:100::/64 dev o-...                         the range of a subnet that uses the gateway; next hop
      with E
    g-...        ingress: dst_mac E: to e-..., or by vx5000 to the other edge if that is in use
    eigw-...     a reply; the VPC's range via the router
    e-...        in vrf5000: 2001:db8:100::5 via hv1 dev vx5000      mapped addresses only

So packets from outside for a subnet whose routes use the gateway pass its connection tracking, and those without a connection
are dropped there without an answer. Subnets that use the VPC's internet gateway are not affected: the outside has a route for
the VPC's whole range, and the subnet's route is more specific. For a subnet whose routes use both gateways, packets from
prefixes routed to the internet gateway are forwarded untracked.

A packet's source determines its direction: the VPC's own ranges are inside. No outside host can use such a source
(edges.outside, edges.cable), and packets from VXLAN were verified.

Both edges have all of this. Hosts send to the first edge that answers echoes as active (docs/design/nat.md), and the edges
themselves forward replies to it. The other edge knows none of its connections: with `tcp_loose` off, packets of instances are
invalid there, and are reset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.cable import TRACKED, Ends, public_ranges, redirected, refused, route_in, tc_filter
from edges.skeleton import passes
from edges.tracking import NO_NEW_PARTS, NO_NEW_RULES
from netorch.compiler.base import PORT_MAC, VpcView
from netorch.compiler.egress import EgressOnly, EgressSubnet
from netorch.model.addr import Prefix
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import IPV6_METRIC, MAIN_TABLE, Neighbour, Route
from netorch.state.link import LOOPBACK, AdminUp, CableEnd, Settings
from netorch.state.names import egress_only_port
from netorch.state.netns import Namespace
from netorch.state.nft import NftTable
from netorch.state.sysctls import CABLE_V6, device_sysctls, namespace_sysctls
from netorch.state.tc import EGRESS, INGRESS, IPV6, Clsact, Match, Redirect

INSIDE: Final = "eth0"  # the gateway's end of its cable
# Next hops: the VPC's router and the way out, in the namespace; the gateway, in the outside. They never appear on a wire.
ROUTER: Final = "fe80::4f:0:8"
WAY_OUT: Final = "fe80::4f:0:9"
HOP: Final = "fe80::4f:0:a"

_TABLE: Final = """
NO_NEW_PARTS
set inside {
    type ipv6_addr
    flags interval
    elements = { INSIDE }
}
counter unasked {
}
counter no_connection {
}
counter to_gateway {
}
counter bytes_in {
}
counter bytes_out {
}
CHAINS
chain untracked {
    type filter hook prerouting priority -300; policy accept;
    RULES
}
chain from_inside {
    NO_NEW_RULES
    ct state new accept
    meta l4proto tcp ct state invalid counter name "no_connection" reject with tcp reset
    counter name "no_connection" drop
}
chain forward {
    type filter hook forward priority 0; policy drop;
    ct direction reply counter name "bytes_in"
    ct direction original counter name "bytes_out"
    ct state established,related,untracked accept
    ip6 saddr @inside goto from_inside
    counter name "unasked" drop
}
chain input {
    type filter hook input priority 0; policy drop;
    counter name "to_gateway" drop
}
""".replace("NO_NEW_PARTS", NO_NEW_PARTS).replace("NO_NEW_RULES", NO_NEW_RULES)


def gateway_table(gateway_id: str, vni: int, inside: list[Prefix], subnets: tuple[EgressSubnet, ...]) -> NftTable:
    """Return the table of a gateway's namespace; `inside` are the VPC's public ranges, at least one."""
    mixed = [subnet for subnet in subnets if subnet.sources]
    chains = "\n".join(_sources(number, subnet) for number, subnet in enumerate(mixed))
    rules = "\n    ".join(f"ip6 daddr {subnet.range} goto sources_{number}" for number, subnet in enumerate(mixed))
    body = _TABLE.replace("INSIDE", ", ".join(map(str, inside))).replace("CHAINS", chains).replace("RULES", rules)
    return NftTable(netns=gateway_id, vni=vni, family="inet", body="\n".join(filter(str.strip, body.splitlines())))


def _sources(number: int, subnet: EgressSubnet) -> str:
    """Return the chain that forwards packets of the internet gateway untracked; the longest prefix comes first."""
    lines = [f"chain sources_{number} {{"]
    for source in subnet.sources:
        taken = f"ip6 saddr {source.prefix} " if source.prefix.length else ""
        lines.append(f"{taken}{'accept' if source.is_tracked else 'notrack'}")
    return "\n    ".join(lines) + "\n}"


def egress_only(view: VpcView, ends: Ends) -> Iterator[KernelObject]:
    """Yield the VPC's egress-only gateway, if it has a seat on this host; without a public range, packets to it are dropped."""
    ranges = public_ranges(view)
    for egress in view.of(EgressOnly):
        if ranges:
            yield from _namespace(view, egress, ends, ranges)
            yield from _port(view, egress, ends)
            yield from _answers(view, egress, ends, ranges)
        else:
            yield from refused(view, gateway_mac(egress.id))


def _namespace(view: VpcView, egress: EgressOnly, ends: Ends, ranges: list[Prefix]) -> Iterator[KernelObject]:
    """Yield the gateway's own namespace, a router with one interface."""
    vni, netns = view.vni, egress.id
    yield Namespace(vni=vni, label=netns)
    yield from namespace_sysctls(netns)
    yield gateway_table(netns, vni, ranges, egress.subnets)
    yield AdminUp(netns=netns, vni=vni, ifname=LOOPBACK)
    yield CableEnd(
        netns=netns,
        vni=vni,
        ifname=INSIDE,
        lladdr=gateway_mac(netns),
        mtu=view.mtu,
        vrf="",
        peer=egress_only_port(vni, netns),
        peer_netns=OVERLAY,
    )
    yield Settings(netns=netns, vni=vni, ifname=INSIDE)
    yield from device_sysctls(CABLE_V6, INSIDE, vni, netns)
    yield AdminUp(netns=netns, vni=vni, ifname=INSIDE)
    for hop, mac in ((ROUTER, PORT_MAC), (WAY_OUT, ends.mac)):
        yield Neighbour(netns=netns, vni=vni, ifname=INSIDE, dst=hop, lladdr=mac)
    for dst, hop in (("::/0", WAY_OUT), *((str(prefix), ROUTER) for prefix in ranges)):
        yield Route(netns=netns, vni=vni, table=MAIN_TABLE, dst=dst, via=hop, ifname=INSIDE, metric=IPV6_METRIC)


def _port(view: VpcView, egress: EgressOnly, ends: Ends) -> Iterator[KernelObject]:
    """Yield the overlay end of the gateway's cable, the redirection into it, and the path of packets from it."""
    vni, port = view.vni, egress_only_port(view.vni, egress.id)
    yield CableEnd(vni=vni, ifname=port, lladdr=PORT_MAC, mtu=view.mtu, vrf=view.vrf, peer=INSIDE, peer_netns=egress.id)
    yield Settings(vni=vni, ifname=port)
    yield from device_sysctls(CABLE_V6, port, vni)
    yield AdminUp(vni=vni, ifname=port)
    yield Clsact(vni=vni, ifname=port)
    yield tc_filter(vni, port, INGRESS, TRACKED, Match(protocol=IPV6, dst_mac=ends.mac), Redirect(ends.near, EGRESS))
    yield from redirected(view, gateway_mac(egress.id), port, IPV6)
    yield passes(port, view.vxlan, vni)


def _answers(view: VpcView, egress: EgressOnly, ends: Ends, ranges: list[Prefix]) -> Iterator[KernelObject]:
    """Yield the path of packets from outside for subnets that use the gateway: to the edge that is in use."""
    vni, mac, used = view.vni, gateway_mac(egress.id), egress.is_used_at(view.host.host.name)
    to = egress_only_port(vni, egress.id) if used else view.vxlan
    yield tc_filter(vni, ends.near, INGRESS, TRACKED, Match(protocol=IPV6, dst_mac=mac), Redirect(to, EGRESS))
    if not used:
        yield Fdb(vni=vni, ifname=view.vxlan, lladdr=mac, dst=egress.gateway.seat.vtep)
    yield Neighbour(netns=OUTSIDE, vni=vni, ifname=ends.far, dst=HOP, lladdr=mac)
    for subnet in egress.subnets:
        if any(prefix.contains(subnet.range) for prefix in ranges):
            yield route_in(view, str(subnet.range), ends, HOP)
