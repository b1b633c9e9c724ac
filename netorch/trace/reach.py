"""Reachability in one VPC, or from one peer to the other, by protocol and port: from the records alone.

A flow is open if its first packet passes (ACL and groups of the sender, ACL and groups of the receiver) and its answer
returns. Groups are stateful, ACLs are not: they must also allow the answer. The answer to TCP and UDP goes to a port
that the sender chose, so ACLs must allow all of 1024 to 65535 back. If they allow only some of these ports, the flow is
partly open: Linux chooses from 32768 to 60999, so the flow works for most senders, and a gate must not treat it as
closed. The answer to an ICMP request has its own type; that of any other protocol has the same protocol. An IPv6
authentication header, which has no connection, is treated as if it had one. In ICMP only requests open connections:
other types among the services mean nothing.

Route tables determine the path of packets (`paths.py`): none, the direct one, or one through the interfaces of
appliances. The appliances' groups and ACLs must also let the packet in and out.

Interfaces that rules and routes cannot tell apart form one class: same groups, same subnet, addresses inside the same
CIDRs of all those in rules, prefix lists, ACL entries and routes. A route's target is its own class. Flows are computed
between classes and looked up for members.

Cost: interfaces * distinct prefix lengths for the classes. Then, for every class, the verdicts of each set of groups
and of each ACL: groups * classes * rules. Then a few look-ups for each pair of classes, since equal parts are combined
once. The cost grows with the square of the classes. Real clouds have some dozens; in the worst case there are as many
as interfaces: some seconds for 1,000 of which no two are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from netorch.model.addr import BITS, Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.packet import ANSWER_TO
from netorch.model.security import ALL_PROTOCOLS, ICMP, ICMPV6, TCP, UDP, AclEntry, Direction, SecurityGroupRule
from netorch.trace.paths import Path, Paths
from netorch.trace.policy_index import PolicyIndex, acl_entries, group_rules
from netorch.trace.services import (
    EPHEMERAL,
    NOTHING,
    Spans,
    both,
    everything,
    holds,
    name_of,
    services_of,
    text_of,
    union,
    without,
)

Services = dict[int, Spans]  # by protocol; ALL_PROTOCOLS stands for all that no rule names


class Part(NamedTuple):
    """Services of one protocol, with the ports to which ACLs allow their answers: ALL_ANSWERS, or some of them."""

    services: Spans
    answers: Spans


Flows = dict[int, Part]  # by protocol; without empty ones
ALL_ANSWERS: Final[Spans] = (EPHEMERAL,)  # also of protocols whose answers have no port
ALL_DIRECT: Final = Paths({}, ())
_TRANSLATED: Final = frozenset({ICMP, TCP, UDP})  # by NAT gateways
_CLOSED: Final = Part(NOTHING, NOTHING)


class EquivalenceClass(msgspec.Struct, frozen=True):
    """The properties of an interface that rules and routes can distinguish, for one IP version."""

    version: int
    groups: tuple[str, ...]
    subnet: str
    cidrs: frozenset[str]  # of those in rules and routes, the ones that contain its address
    target: str = ""  # the interface's id, if it is a route's target


class Reach:
    """All open flows of one VPC, computed on demand."""

    def __init__(self, index: PolicyIndex, also: Iterable[int] = (), paths: Paths = ALL_DIRECT) -> None:
        """Index a VPC's records. `also` are protocols to distinguish even if no rule names them, for comparisons."""
        self._index = index
        self._paths = paths
        named = {rule.protocol for rule in _all_rules(index)}
        self.protocols = sorted({ALL_PROTOCOLS, ICMP, ICMPV6, TCP, UDP, *named, *also})
        self._lookup = _lookup_of(index, paths.prefixes)
        self._group_parts: dict[tuple[tuple[str, ...], Direction, EquivalenceClass], Services] = {}
        self._acl_parts: dict[tuple[str, Direction, EquivalenceClass], Services] = {}
        self._parts: dict[tuple[tuple[int, Spans], ...], Services] = {}  # equal parts are one object
        self._combined: dict[tuple[int, ...], Flows] = {}  # by the identities of the parts
        self.members: dict[EquivalenceClass, list[NetworkInterface]] = {}
        for eni in index.interfaces.values():
            for version in (4, 6) if eni.ipv6_address else (4,):
                self.members.setdefault(self.class_of(eni, version), []).append(eni)

    def class_of(self, eni: NetworkInterface, version: int) -> EquivalenceClass:
        """Return an interface's class."""
        address = eni.address if version == 4 else eni.ipv6_address
        return EquivalenceClass(
            version, eni.groups, eni.subnet, self._cidrs_around(address), eni.id if eni.id in self._paths.targets else ""
        )

    def path(self, source: EquivalenceClass, destination: EquivalenceClass) -> Path:
        """Return the path of packets from members of one class to members of another, or of the same."""
        return self._paths.there_and_back(self.members[source][0], self.members[destination][0], source.version)

    def between(self, source: EquivalenceClass, destination: EquivalenceClass) -> Flows:
        """Return what members of one class can open to members of another, or of the same. Empty protocols are left out."""
        if source.version != destination.version or self.path(source, destination).code is not None:
            return {}
        return self.permitted(source, destination)

    def permitted(self, source: EquivalenceClass, destination: EquivalenceClass) -> Flows:
        """Return the services that rules permit on the path between two classes; the direct path if routes drop packets."""
        path = self.path(source, destination)
        passed = [self._index.interfaces[eni_id] for eni_id in path.through] if path.code is None else []
        points: list[EquivalenceClass | NetworkInterface] = [source, *passed, destination]
        groups: list[Services] = []
        there: list[Services] = []
        back: list[Services] = []
        for sender, receiver in pairwise(points):
            groups.append(self._by_groups(sender.groups, Direction.EGRESS, destination))
            groups.append(self._by_groups(receiver.groups, Direction.INGRESS, source))
            if sender.subnet != receiver.subnet:
                there.append(self._by_acl(sender.subnet, Direction.EGRESS, destination))
                there.append(self._by_acl(receiver.subnet, Direction.INGRESS, source))
                back.append(self._by_acl(receiver.subnet, Direction.EGRESS, source))
                back.append(self._by_acl(sender.subnet, Direction.INGRESS, destination))
        key = (source.version, *map(id, (*groups, *there)), 0, *map(id, back))
        if key not in self._combined:
            self._combined[key] = self._combine([*groups, *there], back, source.version)
        return self._combined[key]

    @property
    def named(self) -> Iterator[Prefix]:
        """Yield every prefix in a rule or route."""
        return (parse_prefix(text) for networks in self._lookup.values() for texts in networks.values() for text in texts)

    def outside(self, eni: EquivalenceClass, region: Prefix, direction: Direction, nat_subnet: str = "") -> Flows:
        """Return the services that rules permit between a class and a region of the internet. EGRESS: members open flows.

        `nat_subnet` is that of the NAT gateway on the way, whose ACL applies, too. Routes to the region and public
        addresses of the members are not checked.
        """
        holding = (text for text in self._cidrs_around(format_ip(region.version, region.network)))
        part = EquivalenceClass(region.version, (), "", frozenset(c for c in holding if parse_prefix(c).contains(region)))
        opposite = Direction.INGRESS if direction is Direction.EGRESS else Direction.EGRESS
        there = [self._by_groups(eni.groups, direction, part), self._by_acl(eni.subnet, direction, part)]
        back = [self._by_acl(eni.subnet, opposite, part)]
        if not nat_subnet:
            return self._combine(there, back, region.version)
        passes = [part] if nat_subnet == eni.subnet else [part, eni]  # its ACL applies at the subnet's border
        there += [self._by_acl(nat_subnet, Direction.EGRESS if end is part else Direction.INGRESS, end) for end in passes]
        back += [self._by_acl(nat_subnet, Direction.INGRESS if end is part else Direction.EGRESS, end) for end in passes]
        found = self._combine(there, back, region.version)
        return {protocol: open_part for protocol, open_part in found.items() if protocol in _TRANSLATED}

    def seen_at(self, address: str, groups: tuple[str, ...] = (), subnet: str = "") -> EquivalenceClass:
        """Return the class of an address of no known interface: an endpoint's, or one of its service."""
        return EquivalenceClass(4, groups, subnet, self._cidrs_around(address))

    def to_endpoint(self, source: EquivalenceClass, endpoint: EquivalenceClass) -> Flows:
        """Return the services that rules permit from a class to an interface endpoint, including its own groups and ACL."""
        groups = [
            self._by_groups(source.groups, Direction.EGRESS, endpoint),
            self._by_groups(endpoint.groups, Direction.INGRESS, source),
        ]
        there, back = self._across(source, endpoint)
        return self._combine([*groups, *there], back, source.version)

    def from_endpoint(self, connection: EquivalenceClass, target: EquivalenceClass) -> Flows:
        """Return the services that rules permit from the address of a service's connection, which has no groups, to a class."""
        there, back = self._across(connection, target)
        return self._combine([self._by_groups(target.groups, Direction.INGRESS, connection), *there], back, target.version)

    def _across(self, source: EquivalenceClass, destination: EquivalenceClass) -> tuple[list[Services], list[Services]]:
        """Return the services that two subnets' ACLs allow there and back; no restriction inside one subnet."""
        if source.subnet == destination.subnet:
            return [], []
        there = [
            self._by_acl(source.subnet, Direction.EGRESS, destination),
            self._by_acl(destination.subnet, Direction.INGRESS, source),
        ]
        back = [
            self._by_acl(destination.subnet, Direction.EGRESS, source),
            self._by_acl(source.subnet, Direction.INGRESS, destination),
        ]
        return there, back

    def opens(self, source: EquivalenceClass, destination: EquivalenceClass, protocol: int, number: int) -> bool:
        """Return whether one service is open."""
        named = protocol if protocol in self.protocols else ALL_PROTOCOLS
        found = self.between(source, destination).get(named, _CLOSED)
        return holds(found.services, number) and found.answers == ALL_ANSWERS

    def pairs(self, *, of_peers: bool = False) -> Iterator[tuple[EquivalenceClass, EquivalenceClass, Flows]]:
        """Yield each pair of classes with two different interfaces and services that rules permit; `of_peers`: of two VPCs."""
        for source, senders in self.members.items():
            for destination, receivers in self.members.items():
                if (source is destination and len(senders) == 1) or (senders[0].vni != receivers[0].vni) is not of_peers:
                    continue
                found = self.permitted(source, destination) if source.version == destination.version else {}
                if found:
                    yield source, destination, found

    def _combine(self, there: list[Services], back: list[Services], version: int) -> Flows:
        """Return the services that pass groups and ACLs on the way there, and whose answers pass the ACLs on the way back."""
        found: Flows = {}
        for protocol in self.protocols:
            spans, answers = reduce(both, (part[protocol] for part in there)), ALL_ANSWERS
            for part in back:
                if protocol in (TCP, UDP):
                    answers = both(answers, part[protocol])
                else:
                    spans = _answered(protocol, version, spans, part[protocol])
            if spans and answers:
                found[protocol] = Part(spans, answers)
        return found

    def _part(self, services: Services) -> Services:
        return self._parts.setdefault(tuple(services.items()), services)

    def _by_groups(self, groups: tuple[str, ...], direction: Direction, peer: EquivalenceClass) -> Services:
        key = (groups, direction, peer)
        if key not in self._group_parts:
            index = self._index
            rules = [rule for name in groups if name in index.groups for rule in group_rules(index.groups[name], direction)]
            about = [rule for rule in rules if rule.group in peer.groups or not peer.cidrs.isdisjoint(index.cidrs_of(rule))]
            services = {
                protocol: union(span for rule in about for span in services_of(rule, protocol, peer.version))
                for protocol in self.protocols
            }
            self._group_parts[key] = self._part(services)
        return self._group_parts[key]

    def _by_acl(self, subnet: str, direction: Direction, peer: EquivalenceClass) -> Services:
        acl = self._index.acl_of(subnet)
        key = (acl.id, direction, peer)
        if key not in self._acl_parts:
            entries = [entry for entry in acl_entries(acl, direction) if entry.cidr in peer.cidrs]
            services = {protocol: _allowed(entries, protocol, peer.version) for protocol in self.protocols}
            self._acl_parts[key] = self._part(services)
        return self._acl_parts[key]

    def _cidrs_around(self, address: str) -> frozenset[str]:
        version, value = parse_ip(address)
        found = set()
        for (of_version, length), networks in self._lookup.items():
            if of_version == version:
                host_bits = BITS[version] - length
                found |= networks.get(value >> host_bits << host_bits, set())
        return frozenset(found)


def _answered(protocol: int, version: int, spans: Spans, back: Spans) -> Spans:
    """Return those of the services whose answers are allowed back, of a protocol whose answers have no port."""
    if protocol != (ICMP if version == 4 else ICMPV6):
        return both(spans, back)
    for request, answer in ANSWER_TO[version].items():
        refused = without(((answer * 256, answer * 256 + 255),), back)  # by code; an answer has the request's
        shift = (request - answer) * 256
        spans = without(spans, tuple((first + shift, last + shift) for first, last in refused))
    return spans


def _allowed(entries: list[AclEntry], protocol: int, version: int) -> Spans:
    """Return the services of a protocol that ordered entries allow: the first matching entry decides."""
    allowed: list[tuple[int, int]] = []
    rest = everything(protocol, version)
    for entry in entries:
        about = both(services_of(entry, protocol, version), rest)
        if entry.allow:
            allowed += about
        rest = without(rest, about)
    return union(allowed)


def _all_rules(index: PolicyIndex) -> Iterator[SecurityGroupRule | AclEntry]:
    for group in index.groups.values():
        yield from group.ingress
        yield from group.egress
    for acl in index.acls.values():
        yield from acl.ingress
        yield from acl.egress


def _lookup_of(index: PolicyIndex, routed: Iterable[str]) -> dict[tuple[int, int], dict[int, set[str]]]:
    """Return every CIDR in a rule or route, by (version, length) and network."""
    texts: set[str] = set(routed)
    for rule in _all_rules(index):
        texts.update(index.cidrs_of(rule) if isinstance(rule, SecurityGroupRule) else (rule.cidr,))
    lookup: dict[tuple[int, int], dict[int, set[str]]] = {}
    for text in texts:
        prefix: Prefix = parse_prefix(text)
        lookup.setdefault((prefix.version, prefix.length), {}).setdefault(prefix.network, set()).add(text)
    return lookup


def texts_of(services: Services, protocols: Iterable[int], version: int) -> tuple[str, ...]:
    """Return services in command-line syntax; `all` if no service of any protocol is missing.

    The last text, `all others`, names the protocols that are closed. The other IP version's ICMP, which is never sent,
    is left out.
    """
    foreign = ICMPV6 if version == 4 else ICMP
    if all(services.get(protocol) == everything(protocol, version) for protocol in protocols):
        return ("all",)
    ordered = sorted(services, key=lambda protocol: (protocol == ALL_PROTOCOLS, protocol))
    texts = [text_of(protocol, services[protocol], version) for protocol in ordered if protocol != foreign]
    closed = [name_of(protocol) for protocol in protocols if protocol != foreign and not services.get(protocol)]
    if closed and services.get(ALL_PROTOCOLS):
        texts[-1] += f" but {', '.join(closed)}"
    return tuple(texts)


def by_answers(many: Flows, few: Flows) -> dict[Spans, Services]:
    """Return the services in the first and not in the second flows, by the ports to which answers are allowed.

    For a service in both, these are the ports that are only in the first: a service that was partly open and becomes
    open is listed with the missing ports.
    """
    found: dict[Spans, Services] = {}
    for protocol, part in many.items():
        had = few.get(protocol, _CLOSED)
        new, more = without(part.services, had.services), without(part.answers, had.answers)
        for answers, services in ((part.answers, new), (more, both(part.services, had.services))):
            if answers and services:
                found.setdefault(answers, {})[protocol] = services
    return dict(sorted(found.items(), key=lambda item: item[0] != ALL_ANSWERS))
