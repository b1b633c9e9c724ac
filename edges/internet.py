"""Internet gateways: one-to-one translation between public and private addresses, by filters on a cable to the outside.

The path of a packet from instance 10.0.1.5, whose public address is 198.51.100.5, to 203.0.113.10. The gateway has MAC G.

    hypervisor   0.0.0.0/0 via the gateway's hop dev vx5000          the instance's route table; inner destination MAC G
    vx5000       ingress: dst_mac G: redirected to g-001388abcdef0   verified packets only; no routing, no other MAC
    g-...        egress: src 10.0.1.5: source becomes 198.51.100.5   packets without a public address are dropped
    outside      routed to the uplink                                edges.outside

and of the reply, which may come by another edge of the pair, because translation is stateless:

    outside      route: 198.51.100.5/32 dev o-001388abcdef0
    g-...        ingress: dst 198.51.100.5: destination becomes 10.0.1.5
    vrf5000      10.0.1.5/32 via 192.0.2.11 dev vx5000               the mapping, as on every host

The translation of an ICMP error includes the quoted packet (net/sched/act_nat.c), so both ends see errors about their own
packets. Errors from the outside itself, e.g. that the uplink's MTU is exceeded, are addressed to the public address and
return the same way. The far end has MAC G, so it accepts redirected frames.

edges.cable yields the cable and its filters that drop.

IPv6 addresses are public: packets with a source in the VPC's ranges pass unchanged. Only ranges that the VPC got from a pool
of the pair pass: a VPC's owner may choose any other range, and must not attract other networks' traffic.

A public address is translated while its record exists, whether or not an ENI has the private address, as in EC2 for a stopped
instance. Packets to it are then dropped in the VRF, which has no route to the private address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.cable import (
    MEANT,
    Ends,
    cable,
    ends_of,
    inside_filters,
    is_of_pool,
    public_ranges,
    redirected,
    route_in,
    seated,
    tc_filter,
)
from edges.egress_only import egress_only
from edges.skeleton import passes
from netorch.compiler.base import Gateway, HostView, Part, Peer, ProblemPart, VpcPart, VpcView
from netorch.compiler.egress import EgressOnly
from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.eni import Role
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway
from netorch.model.routing.allowed import NOUNS
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.names import outside_cable
from netorch.state.tc import EGRESS, INGRESS, IP, IPV6, Match, Nat, Pass, Redirect


def _internet(view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's cable, and those of the two gateways that have a seat on this host."""
    ends = ends_of(view)
    if ends is not None:
        yield from cable(view, ends)
        yield from _gateway(view, ends)
        yield from egress_only(view, ends)


def _gateway(view: VpcView, ends: Ends) -> Iterator[KernelObject]:
    """Yield the internet gateway, if it has a seat on this host."""
    gateway = seated(view, TargetKind.INTERNET_GATEWAY)
    if gateway is None:
        return
    vni, mac = view.vni, gateway_mac(gateway.id)
    yield from redirected(view, mac, ends.near)
    yield passes(ends.near, view.vxlan, vni)
    for public in _translated(view):
        yield from _translation(vni, ends.near, public)
        yield route_in(view, f"{public.address}/32", ends)
    for prefix in map(str, public_ranges(view)):
        meant = Match(protocol=IPV6, dst_mac=mac, src=prefix)
        yield tc_filter(vni, view.vxlan, INGRESS, MEANT, meant, Redirect(ends.near, EGRESS))
        yield tc_filter(vni, ends.near, INGRESS, MEANT, Match(protocol=IPV6, dst=prefix), Pass())
        yield route_in(view, prefix, ends)


def _translation(vni: int, near: str, public: PublicMapping) -> Iterator[KernelObject]:
    """Yield the filters that translate between a public and a private address, in both directions."""
    outer, inner = f"{public.address}/32", f"{public.private_address}/32"
    yield tc_filter(vni, near, INGRESS, MEANT, Match(protocol=IP, dst=outer), Nat(INGRESS, outer, public.private_address))
    yield tc_filter(vni, near, EGRESS, MEANT, Match(protocol=IP, src=inner), Nat(EGRESS, inner, public.address))


# --- what is left out --------------------------------------------------------------------------------------------------------


def _translated(view: VpcView) -> Iterator[PublicMapping]:
    return (public for public, problem in _judged(view) if not problem)


def _judged(view: VpcView) -> Iterator[tuple[PublicMapping, str]]:
    """Yield each public address of the VPC with the reason why it is left out; empty if it is used.

    Both edges of a pair must decide the same: of two addresses for one private address, the first in key order is used.
    """
    pools = _pools(view)
    ranges = [parse_prefix(cidr) for cidr in view.vpc.cidrs]
    taken: dict[str, str] = {}
    for public in view.of(PublicMapping):
        first = taken.get(public.private_address)
        if not _holds(pools, public.address):
            yield public, "is in no address pool of this pair"
        elif not _holds(ranges, public.private_address):
            yield public, f"maps to {public.private_address}, which is not in the VPC's ranges"
        elif first is not None:
            yield public, f"maps to {public.private_address}, as {first} does"
        else:
            taken[public.private_address] = public.address
            yield public, ""


def _pools(view: VpcView) -> list[Prefix]:
    return [parse_prefix(cidr) for pool in view.host.pools for cidr in pool.cidrs]


def _holds(prefixes: list[Prefix], address: str) -> bool:
    version, value = parse_ip(address)
    return any(prefix.holds(version, value) for prefix in prefixes)


def _left_out(view: VpcView) -> str:
    """Return which public addresses are not translated on this edge, and which public ranges do not pass; empty if none."""
    gateway = seated(view, TargetKind.INTERNET_GATEWAY)
    found = gateway or seated(view, TargetKind.EGRESS_ONLY_GATEWAY)
    if found is None:
        return ""
    noun = NOUNS[found.kind]
    if inside_filters(view, outside_cable(view.vni, found.id)[0]) is None:
        return f"{noun}: the filters of ranges of the VPC and its peers collide; the gateway is left out"
    ranges = [(cidr, pool) for cidr, pool in view.vpc.ipv6_pools.items() if not is_of_pool(view, cidr, pool)]
    judged = _judged(view) if gateway is not None else ()
    texts = [f"the public address {public.address} {problem}" for public, problem in judged if problem]
    texts += [f"the range {cidr} is not in address pool {pool}, or the pool is not routed to this pair" for cidr, pool in ranges]
    more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
    return f"{noun}: {texts[0]}{more}; it is left out" if texts else ""


_INPUTS: Final = frozenset({HostView, Vpc, Gateway, PublicMapping, Peer, PeeringConnection})


class Internet:
    """Yields the internet gateway of a VPC, and the egress-only one, on the edges with their seats."""

    name: Final = "internet"
    reads: Final[frozenset[type]] = frozenset({InternetGateway, EgressOnlyInternetGateway, PublicMapping})
    parts: Final[tuple[Part, ...]] = (
        VpcPart(id="internet", compile=_internet, inputs=_INPUTS | {EgressOnly}, role=Role.EDGE),
        ProblemPart(id="internet.left_out", problem=_left_out, inputs=_INPUTS, role=Role.EDGE),
    )
