"""Disjoint intervals: permissions as sets (protocols x services x addresses) without common packets.

The kernel looks a packet up in a set of thousands of boxes as fast as in one of ten, but it rejects a box that overlaps
another. So a customer's rules are split. For groups, where the order of rules does not matter, each prefix keeps what it adds
to the prefixes around it. For ACLs, where the order decides, addresses are split into stretches on which the rules agree.
Source: net/netfilter/nft_set_pipapo.c, nft_pipapo_insert: -EEXIST, -ENOTEMPTY.

A few intervals become one rule each instead of a set. A packet then costs less, and so do changes: the kernel finds a set by a
linear search for its name in its table, whenever the set is used or read (4 us for a VPC's set at 2,000 VPCs).
Source: net/netfilter/nf_tables_api.c, nft_set_lookup.

The order of the fields decides the speed: the kernel goes from field to field, with a list of the boxes that match so far. So
the address comes first, which the fewest boxes have in common, and the protocol last, which most share. A peer with many ports
has its own set, where the port comes first.
Source: nft_pipapo_lookup, pipapo_refill.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from netorch.model.addr import BITS, Prefix, format_ip
from netorch.model.security import ICMP, ICMPV6
from netorch.state.nft import ChainSet
from policy.services import EVERYTHING, NOTHING, WITH_PORTS, Range, Services, type_intervals

ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
ICMP_OF = {4: ICMP, 6: ICMPV6}
ICMP_WORD = {4: "icmp", 6: "icmpv6"}
_FEW = 8  # ranges of ports of one peer
_RULES = 4  # boxes compared one by one


class Stretch(msgspec.Struct, frozen=True):
    """Addresses from first to last, and the services permitted for each of them."""

    version: int
    first: int
    last: int
    services: Services

    @property
    def text(self) -> str:
        """Return the addresses as nft lists them: a single one, a prefix, or a range."""
        size = self.last - self.first + 1
        if size == 1:
            return format_ip(self.version, self.first)
        if size & (size - 1) == 0 and self.first % size == 0:
            return f"{format_ip(self.version, self.first)}/{BITS[self.version] - size.bit_length() + 1}"
        return f"{format_ip(self.version, self.first)}-{format_ip(self.version, self.last)}"

    @property
    def everywhere(self) -> bool:
        """Return whether it covers all addresses of its version."""
        return self.first == 0 and self.last == (1 << BITS[self.version]) - 1


def union(permitted: Mapping[Prefix, Services]) -> list[Stretch]:
    """Return the prefixes, each with the services that it adds to those around it. Cost: O(n log n) set operations."""
    stretches = []
    around: list[tuple[Prefix, Services]] = []  # the prefixes around the current one, each with all services permitted in it
    for prefix in sorted(permitted):
        while around and not around[-1][0].contains(prefix):
            around.pop()
        known = around[-1][1] if around else NOTHING
        beyond = permitted[prefix] - known
        if beyond:
            stretches.append(Stretch(prefix.version, prefix.network, prefix.last, beyond))
        around.append((prefix, known | permitted[prefix]))
    return stretches


def ordered(version: int, entries: Sequence[tuple[Prefix, Services, bool]]) -> list[Stretch]:
    """Return the stretches that ordered entries allow; an entry is (prefix, services, allow). Equal neighbours are merged.

    Cost: O(n^2) set operations for n entries, of which an ACL has a few dozen.
    """
    borders = {0, 1 << BITS[version]}
    for prefix, _, _ in entries:
        borders |= {prefix.network, prefix.last + 1}
    starts = sorted(borders)
    stretches: list[Stretch] = []
    for first, after in pairwise(starts):
        allowed, open_ = NOTHING, EVERYTHING
        for prefix, services, allow in entries:
            if prefix.network <= first <= prefix.last:
                decided = services & open_
                allowed = allowed | decided if allow else allowed
                open_ = open_ - decided
        if stretches and stretches[-1].last == first - 1 and stretches[-1].services == allowed:
            stretches[-1] = msgspec.structs.replace(stretches[-1], last=after - 1)
        elif allowed:
            stretches.append(Stretch(version, first, after - 1, allowed))
    return stretches


class Lookup(msgspec.Struct, frozen=True):
    """A look-up of a packet among boxes: in a set of one chain, or one box after the other."""

    match: str  # the packet's fields, e.g. "ip saddr . th dport . meta l4proto"
    intervals: tuple[str, ...]  # sorted, e.g. "10.0.0.0/8 . 80-443 . 6"
    set: ChainSet | None  # of the boxes

    def rules(self, verdict: str) -> Iterator[str]:
        """Yield the rules with this verdict for packets in a box."""
        if self.set is not None:
            yield f"{self.match} @{self.set.name} {verdict}"
            return
        for interval in self.intervals:
            spans = zip(self.match.split(" . "), interval.split(" . "), strict=True)
            yield f"{' '.join(f'{field} {span}' for field, span in spans)} {verdict}"


def lookups(chain: str, version: int, peer: str, stretches: Iterable[Stretch], port: str = "dport") -> Iterator[Lookup]:
    """Yield the look-ups of one IP version; `peer` is `ip saddr`, `ip6 daddr` and so on. Sets without elements are left out."""
    kinds = _sorted_by_kind((stretch.text, stretch.services) for stretch in stretches)
    word, address = ICMP_WORD[version], ADDRESS[version]
    yield from _lookup(
        f"{chain}.port{version}", f"{peer} . th {port} . meta l4proto", f"{address} . inet_service . inet_proto", kinds.ports
    )
    yield from _lookup(f"{chain}.net{version}", f"{peer} . meta l4proto", f"{address} . inet_proto", kinds.nets)
    yield from _lookup(
        f"{chain}.many{version}", f"th {port} . meta l4proto . {peer}", f"inet_service . inet_proto . {address}", kinds.many_ports
    )
    types = f"{address} . {word}_type . {word}_code"
    yield from _lookup(f"{chain}.icmp{version}", f"{peer} . {word} type . {word} code", types, kinds.types[ICMP_OF[version]])


def identity_lookups(chain: str, permitted: Mapping[int, Services]) -> Iterator[Lookup]:
    """Yield the look-ups by the other end's identity in the packet's mark; IPv4 and IPv6 share them.

    They are always sets: an identity that comes or goes with its members is an element of some of them.
    """
    kinds = _sorted_by_kind((hex(number), permitted[number]) for number in permitted)
    port, net = "mark . inet_service . inet_proto", "mark . inet_proto"
    yield from _in_set(f"{chain}.peer_port", "meta mark . th dport . meta l4proto", port, kinds.ports)
    many = "inet_service . inet_proto . mark"
    yield from _in_set(f"{chain}.peer_many", "th dport . meta l4proto . meta mark", many, kinds.many_ports)
    yield from _in_set(f"{chain}.peer_net", "meta mark . meta l4proto", net, kinds.nets)
    for version, word in ICMP_WORD.items():
        types = f"mark . {word}_type . {word}_code"
        match = f"meta mark . {word} type . {word} code"
        yield from _in_set(f"{chain}.peer_icmp{version}", match, types, kinds.types[ICMP_OF[version]])


def port_lookup(name: str, version: int, port: str, services: Services) -> Iterator[Lookup]:
    """Yield the look-up of TCP and UDP ports alone, `dport` or `sport`, for all addresses."""
    elements = [f"{_span(ports)} . {protocol}" for protocol in WITH_PORTS for ports in services.of(protocol)]
    match = f"meta nfproto ipv{version} th {port} . meta l4proto"
    yield from _lookup(name, match, "inet_service . inet_proto", elements)


class _Kinds(msgspec.Struct):
    """Elements by the packet fields that they need."""

    ports: list[str] = msgspec.field(default_factory=list)
    many_ports: list[str] = msgspec.field(default_factory=list)  # of a peer with many ports; the peer comes last
    nets: list[str] = msgspec.field(default_factory=list)
    types: dict[int, list[str]] = msgspec.field(default_factory=lambda: {ICMP: [], ICMPV6: []})


def _sorted_by_kind(permitted: Iterable[tuple[str, Services]]) -> _Kinds:
    """Return the elements for peers and services."""
    kinds = _Kinds()
    for peer, services in permitted:
        kinds.nets += [f"{peer} . {_span(protocols)}" for protocols in services.whole_ranges()]
        for protocol, ranges in services.some:
            if protocol in WITH_PORTS and len(ranges) > _FEW:
                kinds.many_ports += [f"{_span(ports)} . {protocol} . {peer}" for ports in ranges]
            elif protocol in WITH_PORTS:
                kinds.ports += [f"{peer} . {_span(ports)} . {protocol}" for ports in ranges]
            else:
                kinds.types[protocol] += [f"{peer} . {_span(types)} . {_span(codes)}" for types, codes in type_intervals(ranges)]
    return kinds


def _lookup(name: str, match: str, types: str, intervals: list[str]) -> Iterator[Lookup]:
    if 0 < len(intervals) <= _RULES:
        yield Lookup(match, tuple(sorted(intervals)), None)
    else:
        yield from _in_set(name, match, types, intervals)


def _in_set(name: str, match: str, types: str, intervals: list[str]) -> Iterator[Lookup]:
    if intervals:
        elements = tuple(sorted(intervals))
        yield Lookup(match, elements, ChainSet(name=name, spec=f"type {types}; flags interval", elements=elements))


def _span(span: Range) -> str:
    first, last = span
    return str(first) if first == last else f"{first}-{last}"
