"""Security groups: the union of the permissions of an identity's groups, as one chain for each direction.

A permission for every address is *untracked* where EC2 does not track it: for TCP or UDP, if the other direction permits all of
that protocol to and from every address. Each packet of such a connection is evaluated again, so the connection ends when the
rule is removed. This holds in both directions: answers, identified by their source port, are untracked, and do not make the
connection a tracked one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import structs

from netorch.compiler.base import VpcView
from netorch.errors import CompileError
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.security import Direction, PrefixList, SecurityGroup, SecurityGroupRule
from netorch.state.nft import ChainSet, NftChain
from policy.intervals import Lookup, identity_lookups, lookups, port_lookup, union
from policy.services import EVERYTHING, LAST, NOTHING, WITH_PORTS, Services, services

MOST_ENTRIES: Final = 200_000  # of a VPC on one host: about a second of an agent's time


class GroupRules:
    """The groups of a VPC, and the prefix lists and identities that their rules refer to."""

    def __init__(
        self, groups: Iterable[SecurityGroup], prefix_lists: Iterable[PrefixList], identities: Mapping[int, tuple[str, ...]]
    ) -> None:
        self._groups = {group.id: group for group in groups}
        self._prefixes = {found.id: [parse_prefix(entry.cidr) for entry in found.entries] for found in prefix_lists}
        self._identities: dict[str, list[int]] = {}
        for number, members in identities.items():
            for group in members:
                self._identities.setdefault(group, []).append(number)

    def of(self, groups: Sequence[str], direction: Direction) -> Iterator[SecurityGroupRule]:
        """Yield the rules of these groups. Raises CompileError when a group's record is missing."""
        for group_id in groups:
            group = self._groups.get(group_id)
            if group is None:
                raise CompileError(f"security group {group_id}: its record is missing; the last rules stay in force")
            yield from group.egress if direction is Direction.EGRESS else group.ingress

    def by_prefix(self, rules: Iterable[SecurityGroupRule]) -> dict[Prefix, Services]:
        """Return the services that rules permit for each prefix. Raises CompileError when a prefix list's record is missing."""
        permitted: dict[Prefix, Services] = {}
        for rule in rules:
            for prefix in self._prefixes_of(rule):
                permitted[prefix] = permitted.get(prefix, NOTHING) | _meant(rule)
        return permitted

    def by_identity(self, rules: Iterable[SecurityGroupRule]) -> dict[int, Services]:
        """Return the services that rules permit for each identity; a group without members permits nothing."""
        permitted: dict[int, Services] = {}
        for rule in rules:
            for number in self._identities.get(rule.group, ()):
                permitted[number] = permitted.get(number, NOTHING) | _meant(rule)
        return permitted

    def _prefixes_of(self, rule: SecurityGroupRule) -> Iterable[Prefix]:
        if rule.cidr:
            return (parse_prefix(rule.cidr),)
        if not rule.prefix_list:
            return ()
        if rule.prefix_list not in self._prefixes:
            raise CompileError(f"rule {rule.id}: prefix list {rule.prefix_list} is missing; the last rules stay in force")
        return self._prefixes[rule.prefix_list]


def references(groups: Iterable[SecurityGroup], local: Iterable[Sequence[str]]) -> Counter[str]:
    """Return how often the chains of these local sets of groups refer to each group. Cost: O(rules and sets)."""
    chains = Counter(group_id for held in local for group_id in held)
    found: Counter[str] = Counter()
    for group in groups:
        for rule in (*group.ingress, *group.egress) if chains[group.id] else ():
            if rule.group:
                found[rule.group] += chains[group.id]
    return found


def peers_left_out(
    referred: Mapping[str, int], own: Iterable[Sequence[str]], of_peers: Mapping[int, Collection[Sequence[str]]]
) -> list[int]:
    """Return the VNIs of the peers whose identities exceed an agent's limit: it must also handle other customers' VPCs.

    An identity costs an entry for each reference to one of its groups. The owner of a peer may create any number of identities,
    and must not stop the compilation of this VPC's own rules. The peers with the fewest entries come first.

    Args:
      referred: group -> how often chains on this host refer to it (`references`)
      own: the VPC's own identities
      of_peers: VNI -> the identities of that peer

    Raises:
      CompileError: the VPC's own identities need more than MOST_ENTRIES.
    """
    total = _entries(referred, own)
    if total > MOST_ENTRIES:
        text = f"rules that refer to groups come to {total} entries on this host, more than {MOST_ENTRIES}"
        raise CompileError(f"security groups: {text}; give interfaces fewer different sets of groups, or rules CIDRs")
    left_out = []
    for size, vni in sorted((_entries(referred, identities), vni) for vni, identities in of_peers.items()):
        if total + size > MOST_ENTRIES:
            left_out.append(vni)
        else:
            total += size
    return sorted(left_out)


def _entries(referred: Mapping[str, int], identities: Iterable[Sequence[str]]) -> int:
    return sum(referred.get(group_id, 0) for groups in identities for group_id in groups)


def untracked(rules: GroupRules, groups: Sequence[str]) -> tuple[Services, ...]:
    """Return what interfaces with these groups may send and receive without tracking it, by IP version. Raises CompileError."""
    sent, received = (rules.by_prefix(rules.of(groups, direction)) for direction in (Direction.EGRESS, Direction.INGRESS))
    return tuple(_untracked(*both, version) for version in (4, 6) for both in ((sent, received), (received, sent)))


def group_chain(
    name: str, view: VpcView, rules: GroupRules, groups: Sequence[str], direction: Direction, freely: str
) -> NftChain:
    """Return the chain for packets that interfaces with these groups send (EGRESS) or receive (INGRESS) without being tracked.

    It lets permitted packets pass, and drops the rest. Raises CompileError.

    Args:
      freely: the chain for packets that pass without tracking
    """
    chain = _Chain(view.vni, name, direction, f"goto {freely}")
    own = list(rules.of(groups, direction))
    permitted, answers = rules.by_prefix(own), rules.by_prefix(rules.of(groups, direction.other))
    versions = (4, 6) if view.dual_stack else (4,)
    closed = [version for version in versions if permitted.get(_anywhere(version), NOTHING) != EVERYTHING]
    for version in versions:
        free, answering = _untracked(permitted, answers, version), _untracked(answers, permitted, version)
        chain.look_up(port_lookup(f"{name}.free{version}", version, "dport", free), chain.untracked)
        chain.look_up(port_lookup(f"{name}.answers{version}", version, "sport", answering - free), chain.untracked)
    chain.rules += [f"meta nfproto ipv{version} {chain.tracked}" for version in versions if version not in closed]
    for version in closed:
        known = union({prefix: found for prefix, found in permitted.items() if prefix.version == version})
        free = _untracked(permitted, answers, version)
        tracked = [structs.replace(found, services=found.services - free) if found.everywhere else found for found in known]
        chain.look_up(lookups(name, version, chain.far(version), tracked), chain.tracked)
    by_identity = rules.by_identity(own)
    if by_identity and closed:
        if direction is Direction.INGRESS:
            chain.rules.append("meta mark set 0x0")  # packets from the overlay have no mark unless a foreign rule set it
        chain.rules += [f"meta mark set {chain.far(version)} map @identity-{view.vni:06x}.{version}" for version in closed]
        chain.look_up(identity_lookups(name, by_identity), chain.tracked)
    return chain.finished()


class _Chain:
    """A chain under construction."""

    def __init__(self, vni: int, name: str, direction: Direction, untracked: str) -> None:
        sends = direction is Direction.EGRESS
        self.untracked = untracked
        self.tracked = "goto sent" if sends else "goto received"  # of policy.skeleton
        self.name = name
        self.rules: list[str] = []
        self._vni = vni
        self._address = "daddr" if sends else "saddr"
        self._refusal = "goto drop_sg_egress" if sends else "goto drop_sg_ingress"
        self._sets: list[ChainSet] = []

    def far(self, version: int) -> str:
        """Return the address of the other end."""
        return f"ip {self._address}" if version == 4 else f"ip6 {self._address}"

    def look_up(self, found: Iterable[Lookup], verdict: str) -> None:
        """Add look-ups with a common verdict."""
        for lookup in found:
            self.rules += lookup.rules(verdict)
            self._sets += [lookup.set] if lookup.set is not None else []

    def finished(self) -> NftChain:
        """Return the chain, with a last rule that drops all other packets."""
        sets = sorted(self._sets, key=lambda found: found.name)
        return NftChain(vni=self._vni, name=self.name, rules=(*self.rules, self._refusal), sets=tuple(sets))


def _untracked(permitted: Mapping[Prefix, Services], answers: Mapping[Prefix, Services], version: int) -> Services:
    """Return the services permitted for every address whose answers from any port are permitted, too."""
    back = answers.get(_anywhere(version), NOTHING)
    return permitted.get(_anywhere(version), NOTHING).only(p for p in WITH_PORTS if back.of(p) == ((0, LAST),))


def _anywhere(version: int) -> Prefix:
    return Prefix(version, 0, 0)


def _meant(rule: SecurityGroupRule) -> Services:
    return services(rule.protocol, rule.from_port, rule.to_port)
