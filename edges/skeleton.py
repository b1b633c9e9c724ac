"""The nftables table of an edge's overlay namespace, as text.

An edge tracks no connections here, because no rule requires it: replies may come by the other edge of the pair. Hypervisors
decide what may be sent and received, by the rules of the instance's groups and ACL. The edge only decides on paths from
gateways to instances:

* A VXLAN packet that the underlay's table has not verified is dropped, as on hypervisors. Packets to a gateway never reach
  this table: filters on the VXLAN device check the same priority and redirect them (edges.internet). There is no prerouting
  chain: a packet passes that hook twice, for the device and for its VRF, and packets that are not forwarded go nowhere.
* Packets that `passes` permits from a VXLAN device to a NAT gateway were verified by that device's filter: Linux sets a
  forwarded packet's priority from its TOS field (ip_forward), so this table cannot check it.
* `passes` lists the permitted pairs of input and output device, e.g. from the cable of an internet gateway to the VPC's VXLAN
  device. All other packets are dropped: those that a hypervisor sent to the edge's own MAC, and those that would leave by
  another VPC's device. Packets from a site to anywhere but its VPC are counted as packets from an unreached source.
* `passes` leads packets from a site, by a tunnel or VLAN, to the gate of its VPC, and packets to a site to `outward`
  (edges.private). From a site, the MSS in the first segment of a TCP connection is set to what fits into a tunnel with ESP
  and NAT-T: not all machines of a site receive errors. In the other direction it is set to the MTU of the tunnel's device, if
  that is less.
* No packets of a VPC are for the edge itself: it has no address there, and answers nothing. At the inside address of a tunnel
  or VLAN, it uses BGP and BFD with the other end, listed in `speakers`, and answers its pings.
* It also sends nothing itself, except errors about too big packets and expired TTLs: to the VPC about a site, and to a site
  about the VPC. Senders on the internet cannot be reached from here.
* At the prefixes of a gateway endpoint's service, a program of the host answers on TCP ports 80 and 443 (edges.endpoint). A
  packet is only for the host itself in the VRF of an endpoint, if it arrives by the endpoint's inlet; `inlets` lists these.
  The rate of new connections is limited per endpoint, which bounds the cost of a flood by one VPC. The kernel keeps
  incomplete connections per listening socket, and each endpoint has its own.
* ARP on a VLAN is answered to its other end, and to 128 more neighbours on all VLANs together: Linux asks from any local
  address (arp_announce). Linux keeps a neighbour entry for everyone who asks, and all namespaces of a machine share one
  limit: beyond it even the edge's own router, and those of other customers, cannot be resolved.
* Drops are counted and logged as on hypervisors, with a rate limit per VPC.
* `notrack` makes Linux load connection tracking. Without it, the sysctls that all namespaces have (netorch.state.sysctls)
  would be missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.readiness import compile_readiness
from netorch.compiler.base import Carried, HostPart, HostView, Part
from netorch.model.eni import Role
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.nft import VERIFIED_TEXT, VPC_DROP_SETS, NftElement, NftTable, vpc_drop_chain

PASSES: Final = "passes"
INLETS: Final = "inlets"  # input devices of packets to gateway endpoints' listeners
OUTLETS: Final = "outlets"  # output devices of their replies: the endpoint's VRF, then the VXLAN device
BEGINNINGS: Final = 1000  # new connections per second at one endpoint of an edge
ANSWERED: Final = "answered"  # neighbours that get ARP answers, by device

OVERLAY_INET: Final = (
    """
map passes {
    type ifname . ifname : verdict
    size 65535
}
set speakers {
    type ifname . ipv4_addr
}
set inlets {
    type ifname
}
set outlets {
    type ifname
}
set beginnings {
    type ifname
    size 65536
    flags dynamic,timeout
    timeout 1m
}
DROP_SETS
counter endpoint_floods {
}
counter endpoint_port {
}
counter unproven {
}
counter no_gateway {
}
counter to_router {
}
counter unreached {
}
counter suppressed {
}
DROP_UNPROVEN
DROP_NO_GATEWAY
DROP_UNREACHED
chain outward {
    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    accept
}
chain inward {
    tcp flags & (syn | rst) == syn tcp option maxseg size set 1386
    accept
}
chain forward {
    type filter hook forward priority -20; policy drop;
    meta sdifname . oifname vmap @passes
    meta sdifname { "x-*", "y-*", "d-*" } goto drop_unreached
    meta priority != VERIFIED meta sdifname "vx*" goto drop_unproven
    goto drop_no_gateway
}
chain input {
    type filter hook input priority 0; policy drop;
    meta pkttype { broadcast, multicast } drop
    meta sdifname . ip saddr @speakers goto spoken
    meta sdifname @inlets goto asked
    counter name "to_router" drop
}
chain flooded {
    counter name "endpoint_floods" drop
}
chain asked {
    tcp flags & (fin | syn | rst | ack) == syn update @beginnings { OF_ENDPOINT } goto flooded
    tcp dport { 80, 443 } accept
    counter name "endpoint_port" drop
}
chain spoken {
    tcp dport 179 accept
    tcp sport 179 accept
    udp dport 3784 accept
    icmp type { echo-request, echo-reply } accept
    counter name "to_router" drop
}
chain output {
    type filter hook output priority 0; policy drop;
    notrack
    oifname . ip daddr @speakers accept
    oifname @outlets tcp sport { 80, 443 } accept
    ip saddr 192.0.0.8 icmp type { destination-unreachable, time-exceeded } accept
    drop
}
""".replace("DROP_SETS", VPC_DROP_SETS)
    .replace("DROP_UNPROVEN", vpc_drop_chain("unproven"))
    .replace("DROP_NO_GATEWAY", vpc_drop_chain("no_gateway"))
    .replace("DROP_UNREACHED", vpc_drop_chain("unreached"))
    .replace("VERIFIED", VERIFIED_TEXT)
    .replace("OF_ENDPOINT", f"meta sdifname limit rate over {BEGINNINGS}/second burst {BEGINNINGS} packets")
)


OVERLAY_ARP: Final = """
set answered {
    type ifname . ipv4_addr
}
set neighbours {
    type ifname . ipv4_addr
    size 128
    flags dynamic,timeout
    timeout 1h
}
counter vlan_arp {
}
chain input {
    type filter hook input priority 0; policy accept;
    iifname . arp saddr ip @answered accept
    iifname "d-*" update @neighbours { iifname . arp saddr ip } accept
    iifname "d-*" counter name "vlan_arp" drop
}
"""


def overlay_tables() -> tuple[NftTable, NftTable]:
    """Return the table that permits packets from a gateway to its VPC, and the ARP table."""
    return NftTable(netns=OVERLAY, family="inet", body=OVERLAY_INET), NftTable(netns=OVERLAY, family="arp", body=OVERLAY_ARP)


def passes(source: str, destination: str, vni: int, verdict: str = "accept") -> NftElement:
    """Return the element that permits packets from one device to another, or passes them to a chain.

    The VNI is that in the first device's name.
    """
    return NftElement(netns=OVERLAY, family="inet", set=PASSES, items=(source, destination), value=verdict, vni=vni)


def _table(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    yield from overlay_tables()


class EdgeSkeleton:
    """Yields the overlay's table of an edge, and its readiness."""

    name: Final = "edge"
    reads: Final[frozenset[type]] = frozenset()
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="edge.host", compile=_table, role=Role.EDGE),
        HostPart(id="edge.ready", compile=compile_readiness, role=Role.EDGE),
    )
