"""The veth pair ("cable") between a VPC and the outside, shared by the VPC's internet gateways.

    overlay: vrf5000, vx5000   g-001388abcdef0 ---cable--- o-001388abcdef0   outside

Its name and the far end's MAC come from the VPC's internet gateway, or from the egress-only one if that is the only one. Only
packets that a filter permits pass, and none from outside with a source inside the VPC.

A filter that drops is created before, and deleted after, all filters that permit (netorch.state.tc): a half-applied set of
filters permits too little, never too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from netorch.compiler.base import Gateway, Peer, VpcView
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.routing.mapped import active_aliases
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject, Key
from netorch.state.l3 import MAIN_TABLE, Neighbour, Route
from netorch.state.link import OUTSIDE_GROUP, AdminUp, CableEnd, Settings
from netorch.state.names import outside_cable
from netorch.state.sysctls import CABLE_V6, device_sysctls
from netorch.state.tc import (
    EGRESS,
    INGRESS,
    IP,
    IPV6,
    VERIFIED,
    Action,
    Clsact,
    Drop,
    Match,
    OtherPriority,
    Pass,
    Redirect,
    TcFilter,
)

# The overlay end of every cable, and the next hops that represent it in the outside. They never appear on a wire.
NEAR_MAC: Final = "02:4f:ff:ff:ff:01"
HOPS: Final = {4: "192.0.0.8", 6: "fe80::4f:0:8"}  # RFC 7335 section 6
_PROTOCOLS: Final = {4: IP, 6: IPV6}

# Steps of filters; a lower one is evaluated first.
UNVERIFIED: Final = 1  # on the VXLAN device
INSIDE_SOURCES: Final = (5, 6, 7, 8, 1, 2, 3, 4)  # on the cable; only the first, unless ranges were chosen to clash
TRACKED: Final = 9  # on the cable: packets for the egress-only gateway
MEANT: Final = 10
REST: Final = 20


class Ends(NamedTuple):
    """The names of a cable's ends, and the MAC of the far end, the destination of all leaving packets."""

    near: str
    far: str
    mac: str


def seated(view: VpcView, kind: TargetKind) -> Gateway | None:
    """Return the VPC's gateway of a kind, if it has a seat on this host, and the host has an uplink."""
    host = view.host.host
    if host.uplink is None:
        return None
    return next((found for found in view.of(Gateway) if found.kind is kind and found.is_at(host.name)), None)


def ends_of(view: VpcView) -> Ends | None:
    """Return the ends of the VPC's cable on this host; None if it has none, or if its ranges make filters clash."""
    owner = seated(view, TargetKind.INTERNET_GATEWAY)
    if owner is None and view.dual_stack:
        owner = seated(view, TargetKind.EGRESS_ONLY_GATEWAY)
    if owner is None:
        return None
    near, far = outside_cable(view.vni, owner.id)
    return Ends(near, far, gateway_mac(owner.id)) if inside_filters(view, near) is not None else None


def cable(view: VpcView, ends: Ends) -> Iterator[KernelObject]:
    """Yield the cable, the filters that drop, and the filters that permit the VPC's public ranges to leave."""
    yield from _devices(view, ends)
    yield Clsact(vni=view.vni, ifname=ends.near)
    yield from inside_filters(view, ends.near) or ()
    for hook in (INGRESS, EGRESS):
        yield tc_filter(view.vni, ends.near, hook, REST, Match(), Drop())
    for prefix in public_ranges(view):
        yield tc_filter(view.vni, ends.near, EGRESS, MEANT, Match(protocol=IPV6, src=str(prefix)), Pass())


def _devices(view: VpcView, ends: Ends) -> Iterator[KernelObject]:
    """Yield the cable. Its MTU is the VPC's: a smaller one would lose packets, since redirection sends no ICMP errors."""
    vni, mtu, (near, far, mac) = view.vni, view.mtu, ends
    yield CableEnd(vni=vni, ifname=near, lladdr=NEAR_MAC, mtu=mtu, vrf=view.vrf, peer=far, peer_netns=OUTSIDE)
    yield CableEnd(
        netns=OUTSIDE,
        vni=vni,
        ifname=far,
        lladdr=mac,
        mtu=mtu,
        vrf="",
        peer=near,
        peer_netns=OVERLAY,
        group=OUTSIDE_GROUP,
    )
    for ifname, netns in ((near, OVERLAY), (far, OUTSIDE)):
        yield Settings(netns=netns, vni=vni, ifname=ifname)
        if view.dual_stack:
            yield from device_sysctls(CABLE_V6, ifname, vni, netns)
        yield AdminUp(netns=netns, vni=vni, ifname=ifname)
    for version in (4, 6) if view.dual_stack else (4,):
        yield Neighbour(netns=OUTSIDE, vni=vni, ifname=far, dst=HOPS[version], lladdr=NEAR_MAC)


def redirected(view: VpcView, mac: str, ifname: str, protocol: str = IP) -> Iterator[KernelObject]:
    """Yield filters that redirect a protocol's verified packets for a gateway's MAC to a device, and drop its others."""
    yield from refused(view, mac)
    meant = Match(protocol=protocol, dst_mac=mac)
    yield tc_filter(view.vni, view.vxlan, INGRESS, MEANT, meant, Redirect(ifname, EGRESS))


def refused(view: VpcView, mac: str) -> Iterator[KernelObject]:
    """Yield the filters that drop unverified packets, and packets to a gateway's MAC that no other filter takes."""
    yield Clsact(vni=view.vni, ifname=view.vxlan)
    yield tc_filter(view.vni, view.vxlan, INGRESS, UNVERIFIED, OtherPriority(VERIFIED), Drop())
    yield tc_filter(view.vni, view.vxlan, INGRESS, REST, Match(dst_mac=mac), Drop())


def inside_filters(view: VpcView, near: str) -> list[TcFilter] | None:
    """Return filters that drop packets from outside with an inside source; None if there is no free step for one of them.

    Customers choose the ranges, and may choose ranges whose filters have the same key. Such a filter takes the next free
    step.
    """
    found: dict[Key, TcFilter] = {}
    for prefix in sorted(set(_inside(view))):
        match = Match(protocol=_PROTOCOLS[prefix.version], src=str(prefix))
        tried = (tc_filter(view.vni, near, INGRESS, step, match, Drop()) for step in INSIDE_SOURCES)
        free = next((each for each in tried if each.key not in found), None)
        if free is None:
            return None
        found[free.key] = free
    return list(found.values())


def _inside(view: VpcView) -> list[Prefix]:
    """Return the ranges of the VPC, of its active peers and of their aliases: never valid sources outside."""
    own = [parse_prefix(cidr) for cidr in (*view.vpc.cidrs, *view.vpc.ipv6_cidrs)]
    aliases = active_aliases(view.of(PeeringConnection))
    return [*own, *aliases, *(prefix for peer in view.of(Peer) for prefix in peer.ranges)]


def tc_filter(vni: int, ifname: str, hook: str, step: int, match: Match | OtherPriority, action: Action) -> TcFilter:
    """Return a filter with one action."""
    return TcFilter(vni=vni, ifname=ifname, hook=hook, step=step, match=match, actions=(action,))


def route_in(view: VpcView, dst: str, ends: Ends, via: str = "") -> Route:
    """Return the outside's route via the cable.

    Its metric is the VNI: if the records of two VPCs claimed one address, which control never writes, each VPC's objects
    would be the same as without the other.
    """
    via = via or HOPS[6 if ":" in dst else 4]
    return Route(netns=OUTSIDE, vni=view.vni, table=MAIN_TABLE, dst=dst, via=via, ifname=ends.far, metric=view.vni)


def public_ranges(view: VpcView) -> list[Prefix]:
    """Return the VPC's IPv6 ranges from pools of this pair."""
    return [parse_prefix(cidr) for cidr, pool in view.vpc.ipv6_pools.items() if is_of_pool(view, cidr, pool)]


def is_of_pool(view: VpcView, cidr: str, name: str) -> bool:
    """Return whether a range is from a pool of this pair."""
    pools = [pool for pool in view.host.pools if pool.name == name]
    return any(parse_prefix(text).contains(parse_prefix(cidr)) for pool in pools for text in pool.cidrs)
