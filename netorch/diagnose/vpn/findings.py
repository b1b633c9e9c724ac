"""The problems of a VPN connection and their remedies: from IKE to the routes of the VPC; pure.

Each layer is examined only if those below it work: the edge, IKE and the CHILD_SA, packets, BGP, learned prefixes, the
VPC's route tables, its security groups. So a finding is a cause, not a consequence of another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from netorch.errors import printable
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import ReachedPrefix
from netorch.model.outside import tunnel_problems
from netorch.model.outside.vpn import MAX_LEARNED, Tunnel, VpnConnection, inside_ends, leads_to_aws
from netorch.model.status import ESTABLISHED, TunnelStatus

BOTH: Final = 0  # tunnel number of a finding about the whole connection
CONNECTING: Final = "CONNECTING"  # strongSwan's state of an IKE_SA under negotiation


class TunnelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A tunnel, and the state of its edge."""

    number: int  # 1 or 2
    tunnel: Tunnel
    has_secret: bool = True
    runs: bool = True  # whether the edge's agent is running
    not_ready: str = ""  # the edge's own reason for not being ready
    drained: bool = False
    said: TunnelStatus | None = None
    reached: tuple[ReachedPrefix, ...] = ()  # of all prefixes that the edge reaches through the gateway


class TableFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A route table in use by some subnet."""

    name: str
    leads: frozenset[str] = frozenset()  # those of the customer's networks for which it has a route to the gateway


class VpnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, and the parts of its VPC that packets depend on."""

    connection: VpnConnection
    asn: int  # the gateway's
    ranges: tuple[str, ...]  # of the VPC
    tunnels: tuple[TunnelFacts, ...]
    tables: tuple[TableFacts, ...] = ()
    admitted: frozenset[str] = frozenset()  # those of the networks that a security group of some interface admits


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A problem, in a sentence that ends with the remedy."""

    tunnel: int  # 1, 2, or BOTH
    word: str
    text: str
    works: bool = False  # whether packets pass nevertheless


def diagnose(facts: VpnFacts) -> list[Finding]:
    """Return the problems of a connection, tunnel by tunnel, then those of both; empty if there is none."""
    each = [_of_tunnel(facts, tunnel) for tunnel in facts.tunnels]
    found = [finding for findings in each for finding in findings]
    if all(_edge_is_lost(tunnel) for tunnel in facts.tunnels):
        text = "no edge of the pair carries a tunnel, so the customer is cut off; start the edges, or undrain one"
        found.append(Finding(tunnel=BOTH, word="edges_lost", text=text))
    if any(_carries(tunnel) for tunnel in facts.tunnels):
        found += _of_vpc(facts)
    return found


def networks(connection: VpnConnection, reached: Iterable[ReachedPrefix]) -> tuple[str, ...]:
    """Return the customer's networks: the static routes, or the prefixes that edges have learned."""
    texts = connection.routes if connection.static else {one.prefix for one in reached}
    return tuple(sorted(texts, key=parse_prefix))


def _of_tunnel(facts: VpnFacts, tunnel: TunnelFacts) -> Iterator[Finding]:
    cause = _edge(facts, tunnel) or _negotiation(tunnel) or _packets(tunnel) or _session(facts, tunnel) or _brought(facts, tunnel)
    if cause is not None:
        word, text = cause
        yield Finding(tunnel=tunnel.number, word=word, text=text)
    if tunnel.drained:
        edge, is_alone = tunnel.tunnel.edge, bool(tunnel.tunnel.remote)
        way = "and AWS knows no other edge, so the tunnel carries nothing" if is_alone else "so hosts send to the other edge"
        text = f"edge {edge} is drained, {way}; netorch host undrain {edge}"
        yield Finding(tunnel=tunnel.number, word="drained", text=text, works=not is_alone)


Cause = tuple[str, str] | None  # a word, a sentence


def _edge(facts: VpnFacts, tunnel: TunnelFacts) -> Cause:
    """Return the problem of the edge, or between the edge and the store."""
    edge, name = tunnel.tunnel.edge, facts.connection.name
    if not edge and leads_to_aws(facts.connection):
        what = "it ends at no edge, because the edge whose address AWS knows was deleted"
        return "no_edge", f"{what}; netorch vpn delete {name}, and import a connection to another edge"
    if not edge:
        return "no_edge", "it ends at no edge, because the pair has only one; ask the operator to add the second edge"
    if not tunnel.runs:
        return "no_agent", f"the agent of edge {edge} is not running, so the state of the tunnel is unknown; start the agent"
    if not tunnel.has_secret:
        return "no_secret", f"edge {edge} has no secret for it; netorch vpn rotate {name} --tunnel {tunnel.number}"
    if tunnel.said is None:
        return "nothing_said", f"edge {edge} has not reported anything yet; netorch status shows whether it carries the VPC"
    if tunnel.not_ready:
        return "edge_not_ready", f"edge {edge} is not ready: {printable(tunnel.not_ready)}"
    return None


def _negotiation(tunnel: TunnelFacts) -> Cause:
    """Return why there is no CHILD_SA."""
    said = tunnel.said
    if said is None or said.is_up:
        return None
    if said.ike == CONNECTING and not said.problem:
        return "connecting", "both ends are negotiating; check again in a few seconds"
    word = said.problem or tunnel_problems.WAITING
    return word, tunnel_problems.sentence(word, said.facts)


def _packets(tunnel: TunnelFacts) -> Cause:
    """Return the problem that the edge reports despite a CHILD_SA."""
    said = tunnel.said
    return (said.problem, tunnel_problems.sentence(said.problem, said.facts)) if said is not None and said.problem else None


_REFUSALS: Final = {  # part of bird's message about a session -> word, remedy
    "peer as": ("bgp_wrong_as", "the device has another AS number"),
    "route limit": ("bgp_limit", f"the device announces more than {MAX_LEARNED} prefixes; let it announce aggregates"),
    "hold timer": ("bgp_hold_timer", "the device no longer answers; check that its routing daemon is running"),
    "refused": ("bgp_refused", "nothing listens on the BGP port; start the routing daemon on the device"),
}


def _session(facts: VpnFacts, tunnel: TunnelFacts) -> Cause:
    """Return why no BGP session is established over a CHILD_SA."""
    said = tunnel.said
    if said is None or facts.connection.static or said.bgp == ESTABLISHED:
        return None
    near, far = inside_ends(tunnel.tunnel)
    asked = f"configure it to peer from {far}, AS {facts.connection.asn}, with {near}, AS {facts.asn}"
    reason = f" ({printable(said.bgp_reason)})" if said.bgp_reason else ""
    what = f"the tunnel is up, and BGP over it is {said.bgp or 'down'}{reason}"
    for part, (word, why) in _REFUSALS.items():
        if part in said.bgp_reason.lower():
            return word, f"{what}: {why}" if "let it" in why else f"{what}: {why}; {asked}"
    if not said.packets_in:
        return (
            "bgp_nothing_in",
            f"{what}, and no packet has arrived through the tunnel; check routes and firewalls of the device; {asked}",
        )
    return "bgp_down", f"{what}: the device does not speak BGP; {asked}"


def _brought(facts: VpnFacts, tunnel: TunnelFacts) -> Cause:
    """Return why a working tunnel has no routes."""
    said, connection = tunnel.said, facts.connection
    if said is None:
        return None
    if connection.static:
        if connection.routes:
            return None
        return (
            "no_static_route",
            f"it has no static route to the customer's networks; netorch vpn route add {connection.name} CIDR",
        )
    if not said.accepted:
        text = "BGP is established, but the device announces no prefix that the edge accepts"
        return "nothing_announced", f"{text}: let it announce its networks, which must not be inside {', '.join(facts.ranges)}"
    return None


def _of_vpc(facts: VpnFacts) -> Iterator[Finding]:
    """Yield the problems in the VPC that block a connection that works."""
    found = networks(facts.connection, (one for tunnel in facts.tunnels for one in tunnel.reached))
    ranges = [parse_prefix(text) for text in facts.ranges]
    inside = [text for text in found if _within(ranges, parse_prefix(text))]
    outside = [text for text in found if text not in inside]
    if inside:
        text = f"{', '.join(inside)} is inside the VPC's own ranges, so no route leads there; use another network at the site"
        yield Finding(tunnel=BOTH, word="own_range", text=text)
    lost = [text for text in outside if not any(text in table.leads for table in facts.tables)]
    if lost:
        names = ", ".join(table.name for table in facts.tables) or "TABLE"
        what = f"no route table in use has a route to {', '.join(lost)} through the gateway"
        yield Finding(tunnel=BOTH, word="not_propagated", text=f"{what}; netorch route-table propagate TABLE, for one of {names}")
    closed = [text for text in outside if text not in lost and text not in facts.admitted]
    if closed:
        what = f"no security group permits traffic from {', '.join(closed)}, so connections from there fail"
        yield Finding(tunnel=BOTH, word="closed", text=f"{what}; netorch sg rule add GROUP ingress tcp 443 --source {closed[0]}")


def _within(ranges: Sequence[Prefix], prefix: Prefix) -> bool:
    return any(wide.contains(prefix) for wide in ranges)


def _edge_is_lost(tunnel: TunnelFacts) -> bool:
    return not tunnel.tunnel.edge or not tunnel.runs or bool(tunnel.not_ready) or tunnel.drained


def _carries(tunnel: TunnelFacts) -> bool:
    return tunnel.said is not None and tunnel.runs and tunnel.said.is_up
