"""Who reaches whom in one VPC, or from one peer to the other, on which protocols and ports: from the records alone.

A flow is open when its first packet passes (ACL and groups of the sender, ACL and groups of the receiver) and its answer comes
back. Groups are stateful, ACLs are not: they must let the answer through too. The answer to TCP and UDP goes to the port that the
sender chose, so ACLs must allow all of 1024 to 65535 back. Where they allow some of these ports only, the flow is partly open:
Linux chooses from 32768 to 60999, so it works for most senders, and a gate must not take it for closed. The answer to an ICMP
request has a type of its own; that to any other protocol is of the same. An authentication header of IPv6, which is in no
connection, is looked at as if it were in one. Of ICMP only requests begin anything: that other types are among the services says
nothing about them.
Route tables say which path packets take (`paths.py`): none, the direct one, or one through the interfaces of appliances, whose
groups and ACLs must let the packet in and out as well.

Interfaces that rules and routes cannot tell apart are one class: same groups, same subnet, addresses inside the same CIDRs of all
those that rules, prefix lists, ACL entries and routes name. A route's target is a class of its own. Flows are computed between
classes and looked up for members.

Cost: interfaces * distinct prefix lengths for the classes; then for every class what the rules of each set of groups and of each
ACL say of it, groups * classes * rules; then a few look-ups for each two classes, since equal parts are combined once. It grows
with the square of the classes, of which real clouds have some dozens, and at worst of the interfaces: some seconds for 1,000 of
which no two are alike.
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

Services = dict[int, Spans]  # by protocol; ALL_PROTOCOLS stands for each that no rule names


class Part(NamedTuple):
    """Services of one protocol, with the ports that their answers are let back to: ALL_ANSWERS, or some of them."""

    services: Spans
    answers: Spans


Flows = dict[int, Part]  # by protocol; only those that have any
ALL_ANSWERS: Final[Spans] = (EPHEMERAL,)  # also of protocols whose answers go to no port
ALL_DIRECT: Final = Paths({}, ())
_TRANSLATED: Final = frozenset({ICMP, TCP, UDP})  # by NAT gateways
_CLOSED: Final = Part(NOTHING, NOTHING)


class EquivalenceClass(msgspec.Struct, frozen=True):
    """What rules can tell of an interface, for one IP version."""

    version: int
    groups: tuple[str, ...]
    subnet: str
    cidrs: frozenset[str]  # of those that rules and routes name, which hold its address
    target: str = ""  # the interface's id, if routes lead to it


class Reach:
    """Every open flow of one VPC, computed when asked for."""

    def __init__(self, index: PolicyIndex, also: Iterable[int] = (), paths: Paths = ALL_DIRECT) -> None:
        """Index a VPC's records. `also` are protocols to tell apart though no rule names them, for comparisons."""
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
        """Return what members of one class can open to members of another, or of the same; only protocols that have any."""
        if source.version != destination.version or self.path(source, destination).code is not None:
            return {}
        return self.permitted(source, destination)

    def permitted(self, source: EquivalenceClass, destination: EquivalenceClass) -> Flows:
        """Return what rules permit from one class to another on the path that routes say, the direct one where these drop it."""
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
        """Yield every prefix that a rule or route names."""
        return (parse_prefix(text) for networks in self._lookup.values() for texts in networks.values() for text in texts)

    def outside(self, eni: EquivalenceClass, region: Prefix, direction: Direction, nat_subnet: str = "") -> Flows:
        """Return what rules permit between members of a class and a part of the internet; EGRESS: what the members open.

        `nat_subnet` is that of the NAT gateway on the way, whose ACL is asked too. Whether routes lead there, and public
        addresses stand for the members, is not asked.
        """
        holding = (text for text in self._cidrs_around(format_ip(region.version, region.network)))
        part = EquivalenceClass(region.version, (), "", frozenset(c for c in holding if parse_prefix(c).contains(region)))
        opposite = Direction.INGRESS if direction is Direction.EGRESS else Direction.EGRESS
        there = [self._by_groups(eni.groups, direction, part), self._by_acl(eni.subnet, direction, part)]
        back = [self._by_acl(eni.subnet, opposite, part)]
        if not nat_subnet:
            return self._combine(there, back, region.version)
        passes = [part] if nat_subnet == eni.subnet else [part, eni]  # its ACL is for what crosses the subnet's border
        there += [self._by_acl(nat_subnet, Direction.EGRESS if end is part else Direction.INGRESS, end) for end in passes]
        back += [self._by_acl(nat_subnet, Direction.INGRESS if end is part else Direction.EGRESS, end) for end in passes]
        found = self._combine(there, back, region.version)
        return {protocol: open_part for protocol, open_part in found.items() if protocol in _TRANSLATED}

    def seen_at(self, address: str, groups: tuple[str, ...] = (), subnet: str = "") -> EquivalenceClass:
        """Return what rules can tell of an address that no interface here has: an endpoint's, or one of its service's."""
        return EquivalenceClass(4, groups, subnet, self._cidrs_around(address))

    def to_endpoint(self, source: EquivalenceClass, endpoint: EquivalenceClass) -> Flows:
        """Return what rules permit from members of a class to an interface endpoint, by its own groups and ACL too."""
        groups = [
            self._by_groups(source.groups, Direction.EGRESS, endpoint),
            self._by_groups(endpoint.groups, Direction.INGRESS, source),
        ]
        there, back = self._across(source, endpoint)
        return self._combine([*groups, *there], back, source.version)

    def from_endpoint(self, connection: EquivalenceClass, target: EquivalenceClass) -> Flows:
        """Return what rules permit from the address of a service's connection, which has no groups, to members of a class."""
        there, back = self._across(connection, target)
        return self._combine([self._by_groups(target.groups, Direction.INGRESS, connection), *there], back, target.version)

    def _across(self, source: EquivalenceClass, destination: EquivalenceClass) -> tuple[list[Services], list[Services]]:
        """Return what the ACLs of two subnets let there and back; all inside of one."""
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
        """Yield every two classes with two different interfaces of which rules let one reach the other; of two VPCs if asked."""
        for source, senders in self.members.items():
            for destination, receivers in self.members.items():
                if (source is destination and len(senders) == 1) or (senders[0].vni != receivers[0].vni) is not of_peers:
                    continue
                found = self.permitted(source, destination) if source.version == destination.version else {}
                if found:
                    yield source, destination, found

    def _combine(self, there: list[Services], back: list[Services], version: int) -> Flows:
        """Return what passes groups and ACLs on the way there, and whose answers pass ACLs on the way back."""
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
    """Return those of the services whose answers are let back, of a protocol whose answers go to no port."""
    if protocol != (ICMP if version == 4 else ICMPV6):
        return both(spans, back)
    for request, answer in ANSWER_TO[version].items():
        refused = without(((answer * 256, answer * 256 + 255),), back)  # by code, which is the request's
        shift = (request - answer) * 256
        spans = without(spans, tuple((first + shift, last + shift) for first, last in refused))
    return spans


def _allowed(entries: list[AclEntry], protocol: int, version: int) -> Spans:
    """Return what ordered entries allow of a protocol: of those that match, the first decides."""
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
    """Return every CIDR that a rule or route names, by (version, length) and network."""
    texts: set[str] = set(routed)
    for rule in _all_rules(index):
        texts.update(index.cidrs_of(rule) if isinstance(rule, SecurityGroupRule) else (rule.cidr,))
    lookup: dict[tuple[int, int], dict[int, set[str]]] = {}
    for text in texts:
        prefix: Prefix = parse_prefix(text)
        lookup.setdefault((prefix.version, prefix.length), {}).setdefault(prefix.network, set()).add(text)
    return lookup


def texts_of(services: Services, protocols: Iterable[int], version: int) -> tuple[str, ...]:
    """Return services in the words of the command line; `all` when nothing of any protocol is missing.

    The last of them, `all others`, names the protocols that are closed. The other IP version's ICMP, which nobody sends, is left
    out.
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
    """Return what is among the first and not among the second, by the ports that answers are let back to.

    Of a service that is among both it is the ports that are only among the first: one that becomes open where it was partly open
    has come for the ports that were missing.
    """
    found: dict[Spans, Services] = {}
    for protocol, part in many.items():
        had = few.get(protocol, _CLOSED)
        new, more = without(part.services, had.services), without(part.answers, had.answers)
        for answers, services in ((part.answers, new), (more, both(part.services, had.services))):
            if answers and services:
                found.setdefault(answers, {})[protocol] = services
    return dict(sorted(found.items(), key=lambda item: item[0] != ALL_ANSWERS))
