"""The nftables table of an edge's overlay namespace, as text.

An edge tracks no connection, because no rule asks for one: answers may come by the other edge of the pair. What may be sent and
received is decided on the hypervisors, by the rules of the instance's groups and ACL. Here only the ways are decided on, from
gateways to instances:

* A VXLAN packet that the underlay's table has not verified is dropped, as on hypervisors. Those to a gateway never come here:
  filters of the VXLAN device look at the same priority and take them (edges.internet). There is no prerouting chain: a packet
  passes that hook twice, as the device's and as its VRF's, and what is not forwarded goes nowhere.
* What `passes` lets through from a VXLAN device, to a NAT gateway, that device's filter has verified: Linux gives a packet that
  it forwards the priority of its TOS field (ip_forward), so nothing can be told from it here.
* `passes` says from which device to which a packet may go, e.g. from the cable of an internet gateway to the VPC's VXLAN device.
  All else is dropped: what a hypervisor has sent to the edge's own MAC, and what would leave by another VPC's device. What comes
  from a site and goes anywhere but into its VPC counts as what has a source that nobody reaches.
* What comes from a site by a tunnel or a VLAN is decided on by its VPC's gate, to which `passes` leads, what goes to one by
  `outward` (edges.private). The first segment of a TCP connection is told what fits in a tunnel with ESP and a NAT's UDP: not all
  of a site's machines hear errors. The other direction is told what the tunnel's device takes, if that is less.
* Nothing of a VPC is for the edge itself: it has no address there, and answers nobody. At the inside address of a tunnel, or of a
  VLAN, it speaks BGP and BFD with the other end, whom `speakers` names, and answers its pings.
* It says nothing either, but that a packet is too big or has lived too long: to the VPC about a site, and to a site about the
  VPC. Those who send from the internet have no way back here.
* At the prefixes of a gateway endpoint's service a program of the host's answers, on TCP ports 80 and 443 (edges.endpoint). A
  packet is for the host itself only in the VRF of an endpoint, by whose inlet it comes; `inlets` has those. How many connections
  may begin a second is bounded for each endpoint, so that a flood by one VPC costs the edge no more than that. What the kernel
  keeps of connections that are not complete is the listening socket's, and each endpoint has its own.
* ARP by a VLAN is answered to its other end, and to 128 more by all VLANs together: Linux asks with any address that it has
  (arp_announce). Linux keeps a neighbour entry of everybody who asks, and all namespaces of a machine share one limit of them:
  beyond it the edge's own router, and those of other customers, cannot be resolved either.
* A drop is counted and logged as on hypervisors, for each VPC at a rate of its own.
* `notrack` is where no packet comes. Linux loads connection tracking for it, without which there would not be the sysctls that
  all namespaces have (netorch.state.sysctls).
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
INLETS: Final = "inlets"  # by which packets come to what answers for gateway endpoints
OUTLETS: Final = "outlets"  # by which its answers leave: in the endpoint's VRF, then by the VXLAN device
BEGINNINGS: Final = 1000  # connections that may begin a second by one endpoint of an edge
ANSWERED: Final = "answered"  # who is answered in ARP, by which device

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
    """Return the table that lets pass what comes from a gateway for its VPC, and that of ARP."""
    return NftTable(netns=OVERLAY, family="inet", body=OVERLAY_INET), NftTable(netns=OVERLAY, family="arp", body=OVERLAY_ARP)


def passes(source: str, destination: str, vni: int, verdict: str = "accept") -> NftElement:
    """Return the element that lets packets that came by one device leave by another, or has a chain decide on them.

    The first device's name has the VNI.
    """
    return NftElement(netns=OVERLAY, family="inet", set=PASSES, items=(source, destination), value=verdict, vni=vni)


def _table(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    yield from overlay_tables()


class EdgeSkeleton:
    """Yields the overlay's table of an edge, and whether the edge is ready."""

    name: Final = "edge"
    reads: Final[frozenset[type]] = frozenset()
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="edge.host", compile=_table, role=Role.EDGE),
        HostPart(id="edge.ready", compile=compile_readiness, role=Role.EDGE),
    )
