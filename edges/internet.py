"""Internet gateways: translation between public and private addresses, one to one, by filters of a cable to the outside.

The walk of a packet of instance 10.0.1.5, for which 198.51.100.5 stands, to 203.0.113.10. The gateway has the MAC G.

    hypervisor   0.0.0.0/0 via the gateway's hop dev vx5000          the instance's route table; inner destination MAC G
    vx5000       ingress: dst_mac G: leaves by g-001388abcdef0       verified packets only; no routing, no other MAC
    g-...        egress: src 10.0.1.5: source becomes 198.51.100.5   what has no public address is dropped
    outside      route: by the uplink                                edges.outside

and of the answer, which may come by another edge of the pair, because nothing here remembers a packet:

    outside      route: 198.51.100.5/32 dev o-001388abcdef0
    g-...        ingress: dst 198.51.100.5: destination becomes 10.0.1.5
    vrf5000      10.0.1.5/32 via 192.0.2.11 dev vx5000               the mapping, as on every host

The translation of an ICMP error covers the packet that it quotes (net/sched/act_nat.c), so both ends see errors about their own
packets. Errors of the outside itself, e.g. that the uplink's MTU is exceeded, are addressed to the public address and come back
the same way. The far end bears G, so the redirected frame is for it.

IPv6 addresses are public: what has a source in the VPC's ranges passes as it is. Only ranges that the VPC got out of a pool of
the pair pass: the owner of a VPC may choose any other, and nobody must draw to his VPC what is on its way to somebody else.

An address stands for a private one as long as its record says so, whether an interface has that now or not, as in EC2 for an
instance that is stopped. What comes for it then ends in the VRF, which has no route to it.

Each filter that drops comes before all that let pass, and goes after them (netorch.state.tc): a set that is half applied passes
too little. The route of a public address has the VNI as its metric: should the records of two VPCs claim one address, which
control never writes, each VPC's objects are what they are without the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.skeleton import passes
from netorch.compiler.base import Gateway, HostView, Part, Peer, ProblemPart, VpcPart, VpcView
from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.eni import Role
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
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
    Nat,
    OtherPriority,
    Pass,
    Redirect,
    TcFilter,
)

# The overlay's end of every cable, and the addresses that stand for it in the outside. They are never on a wire.
NEAR_MAC: Final = "02:4f:ff:ff:ff:01"
HOPS: Final = {4: "192.0.0.8", 6: "fe80::4f:0:8"}  # RFC 7335 section 6
_PROTOCOLS: Final = {4: IP, 6: IPV6}

# Steps of filters; a lower one decides first.
UNVERIFIED: Final = 1  # on the VXLAN device
INSIDE_SOURCES: Final = (5, 6, 7, 8, 9, 1, 2, 3, 4)  # on the cable; the first, but for ranges that were chosen to clash
MEANT: Final = 10
REST: Final = 20


def _internet(view: VpcView) -> Iterator[KernelObject]:
    """Yield the internet gateway of the VPC, if it has a seat on this host."""
    gateway = _gateway(view)
    if gateway is None:
        return
    near, far = outside_cable(view.vni, gateway.id)
    inside = _inside_filters(view, near)
    if inside is None:
        return
    yield from _cable(view, gateway.id, near, far)
    yield from inside
    yield from _filters(view, gateway.id, near)
    yield passes(near, view.vxlan, view.vni)
    for public in _translated(view):
        yield from _translation(view.vni, near, public)
        yield _route(view.vni, f"{public.address}/32", far)
    for prefix in _public_ranges(view):
        yield from _untranslated(view.vni, near, str(prefix))
        yield _route(view.vni, str(prefix), far)


def _gateway(view: VpcView) -> Gateway | None:
    host = view.host.host
    if host.uplink is None:
        return None
    seated = (gateway for gateway in view.of(Gateway) if gateway.is_at(host.name))
    return next((gateway for gateway in seated if gateway.kind is TargetKind.INTERNET_GATEWAY), None)


def _cable(view: VpcView, gateway_id: str, near: str, far: str) -> Iterator[KernelObject]:
    """Yield the cable. Its MTU is the VPC's: a smaller one would swallow packets, because a redirection makes no errors."""
    vni, mtu = view.vni, view.mtu
    yield CableEnd(vni=vni, ifname=near, lladdr=NEAR_MAC, mtu=mtu, vrf=view.vrf, peer=far, peer_netns=OUTSIDE)
    yield CableEnd(
        netns=OUTSIDE,
        vni=vni,
        ifname=far,
        lladdr=gateway_mac(gateway_id),
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


def _filters(view: VpcView, gateway_id: str, near: str) -> Iterator[KernelObject]:
    """Yield what stands on the VPC's devices once: who comes to the gateway, and who never does."""
    vni, vxlan, mac = view.vni, view.vxlan, gateway_mac(gateway_id)
    yield from redirected(view, mac, near)
    for prefix in _public_ranges(view):
        meant = Match(protocol=IPV6, dst_mac=mac, src=str(prefix))
        yield _filter(vni, vxlan, INGRESS, MEANT, meant, Redirect(near, EGRESS))
    yield Clsact(vni=vni, ifname=near)
    for hook in (INGRESS, EGRESS):
        yield _filter(vni, near, hook, REST, Match(), Drop())


def redirected(view: VpcView, mac: str, ifname: str) -> Iterator[KernelObject]:
    """Yield the filters by which verified IPv4 packets to a gateway's MAC, and no others to it, leave by a device."""
    vni, vxlan = view.vni, view.vxlan
    yield Clsact(vni=vni, ifname=vxlan)
    yield _filter(vni, vxlan, INGRESS, UNVERIFIED, OtherPriority(VERIFIED), Drop())
    yield _filter(vni, vxlan, INGRESS, MEANT, Match(protocol=IP, dst_mac=mac), Redirect(ifname, EGRESS))
    yield _filter(vni, vxlan, INGRESS, REST, Match(dst_mac=mac), Drop())


def _inside_filters(view: VpcView, near: str) -> list[TcFilter] | None:
    """Return the filters that drop what comes from outside with a source inside; None: there is no place for one of them.

    Customers choose the ranges, and may choose some whose filters have one key. A filter then takes the next step that is free.
    """
    found: dict[Key, TcFilter] = {}
    for prefix in sorted(set(_inside(view))):
        match = Match(protocol=_PROTOCOLS[prefix.version], src=str(prefix))
        tried = (_filter(view.vni, near, INGRESS, step, match, Drop()) for step in INSIDE_SOURCES)
        free = next((each for each in tried if each.key not in found), None)
        if free is None:
            return None
        found[free.key] = free
    return list(found.values())


def _inside(view: VpcView) -> list[Prefix]:
    """Return the ranges of the VPC and of its active peers, in which nobody outside is."""
    own = [parse_prefix(cidr) for cidr in (*view.vpc.cidrs, *view.vpc.ipv6_cidrs)]
    return [*own, *(prefix for peer in view.of(Peer) for prefix in peer.ranges)]


def _translation(vni: int, near: str, public: PublicMapping) -> Iterator[KernelObject]:
    """Yield the filters by which a public address stands for a private one, in both directions."""
    outer, inner = f"{public.address}/32", f"{public.private_address}/32"
    yield _filter(vni, near, INGRESS, MEANT, Match(protocol=IP, dst=outer), Nat(INGRESS, outer, public.private_address))
    yield _filter(vni, near, EGRESS, MEANT, Match(protocol=IP, src=inner), Nat(EGRESS, inner, public.address))


def _untranslated(vni: int, near: str, prefix: str) -> Iterator[KernelObject]:
    """Yield the filters that let a range pass as it is, in both directions."""
    yield _filter(vni, near, INGRESS, MEANT, Match(protocol=IPV6, dst=prefix), Pass())
    yield _filter(vni, near, EGRESS, MEANT, Match(protocol=IPV6, src=prefix), Pass())


def _filter(vni: int, ifname: str, hook: str, step: int, match: Match | OtherPriority, action: Action) -> TcFilter:
    return TcFilter(vni=vni, ifname=ifname, hook=hook, step=step, match=match, actions=(action,))


def _route(vni: int, dst: str, far: str) -> Route:
    via = HOPS[6 if ":" in dst else 4]
    return Route(netns=OUTSIDE, vni=vni, table=MAIN_TABLE, dst=dst, via=via, ifname=far, metric=vni)


# --- what is left out --------------------------------------------------------------------------------------------------------


def _translated(view: VpcView) -> Iterator[PublicMapping]:
    return (public for public, problem in _judged(view) if not problem)


def _judged(view: VpcView) -> Iterator[tuple[PublicMapping, str]]:
    """Yield each public address of the VPC with why it is left out, or nothing.

    Both edges of a pair must choose alike: of two addresses for one private address the first in the order of their keys counts.
    """
    pools = _pools(view)
    ranges = [parse_prefix(cidr) for cidr in view.vpc.cidrs]
    taken: dict[str, str] = {}
    for public in view.of(PublicMapping):
        first = taken.get(public.private_address)
        if not _holds(pools, public.address):
            yield public, "is in no address pool of this pair"
        elif not _holds(ranges, public.private_address):
            yield public, f"stands for {public.private_address}, which is not in the VPC's ranges"
        elif first is not None:
            yield public, f"stands for {public.private_address}, as {first} does"
        else:
            taken[public.private_address] = public.address
            yield public, ""


def _pools(view: VpcView) -> list[Prefix]:
    return [parse_prefix(cidr) for pool in view.host.pools for cidr in pool.cidrs]


def _holds(prefixes: list[Prefix], address: str) -> bool:
    version, value = parse_ip(address)
    return any(prefix.holds(version, value) for prefix in prefixes)


def _public_ranges(view: VpcView) -> list[Prefix]:
    """Return the IPv6 ranges that the VPC got out of pools of this pair."""
    return [parse_prefix(cidr) for cidr, pool in view.vpc.ipv6_pools.items() if _is_of(view, cidr, pool)]


def _is_of(view: VpcView, cidr: str, name: str) -> bool:
    pools = [pool for pool in view.host.pools if pool.name == name]
    return any(parse_prefix(text).contains(parse_prefix(cidr)) for pool in pools for text in pool.cidrs)


def _left_out(view: VpcView) -> str:
    """Return which public addresses stand for nothing on this edge, and which public ranges do not pass, or nothing."""
    gateway = _gateway(view)
    if gateway is None:
        return ""
    if _inside_filters(view, outside_cable(view.vni, gateway.id)[0]) is None:
        return "internet gateway: ranges of the VPC and its peers were chosen so that their filters clash; all of it is left out"
    ranges = [(cidr, pool) for cidr, pool in view.vpc.ipv6_pools.items() if not _is_of(view, cidr, pool)]
    found = [f"the public address {public.address} {problem}" for public, problem in _judged(view) if problem]
    found += [
        f"the range {cidr} is of address pool {pool}, which is not one of this pair, or has it not" for cidr, pool in ranges
    ]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"internet gateway: {found[0]}{more}; it is left out" if found else ""


_INPUTS: Final = frozenset({HostView, Vpc, Gateway, PublicMapping})


class Internet:
    """Yields the internet gateway of a VPC on the edges that it has a seat on."""

    name: Final = "internet"
    reads: Final[frozenset[type]] = frozenset({InternetGateway, PublicMapping})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="internet", compile=_internet, inputs=_INPUTS | {Peer}, role=Role.EDGE),
        ProblemPart(id="internet.left_out", problem=_left_out, inputs=_INPUTS | {Peer}, role=Role.EDGE),
    )
