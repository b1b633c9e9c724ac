"""The rules of security groups: authorize and revoke them, in the syntax of `netorch.model.permission`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from netorch.control.actions.groups import peer_names
from netorch.control.base.quotas import Quotas, check_growth, quotas_of
from netorch.control.base.uses import use
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model import permission, rules
from netorch.model.addr import AddressError, parse_prefix, version_of
from netorch.model.ids import is_id, vni_of
from netorch.model.permission import GROUP_PREFIX, LIST_PREFIX, Words
from netorch.model.routing.peering import PeeringConnection
from netorch.model.rule_text import rule_text
from netorch.model.rules import Violation
from netorch.model.security import Direction, PrefixList, SecurityGroup, SecurityGroupRule, referred
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored, get, read, read_all
from netorch.store.base import Store

RuleCounts = Mapping[tuple[Direction, int], int]  # by direction and IP version


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as the caller writes it: `tcp`, `443`, and the other end: `10.0.0.0/8`, `sg-web` or `pl-offices` (or an id)."""

    protocol: str | int
    peer: str
    ports: str | int = ""
    description: str = ""


class Peers:
    """The groups and prefix lists that the rules of one VPC may refer to: its own, and groups of its active peers.

    `of_peers` tells whether an id belongs to a peer's group. Rules refer to these by id only, as in EC2.
    """

    def __init__(
        self,
        groups: Mapping[str, Stored[SecurityGroup]],
        lists: Mapping[str, Stored[PrefixList]],
        of_peers: Callable[[str], bool] = lambda group_id: False,
    ) -> None:
        self.groups = groups
        self._of_peers = of_peers
        self.lists = lists
        self.names = peer_names((stored.record for stored in groups.values()), (stored.record for stored in lists.values()))
        self._ids = {name: found for found, name in self.names.items()}

    def rule(self, where: str, request: Permission, rule_id: str) -> SecurityGroupRule:
        """Return a rule in its stored form. Raises ApiError: InvalidGroup.NotFound, InvalidPrefixListID.NotFound and others."""
        protocol = permission.protocol(request.protocol)
        ports = protocol if isinstance(protocol, Violation) else permission.ports(request.ports, protocol)
        for violation in (protocol, ports, rules.description(request.description)):
            if isinstance(violation, Violation):
                raise invalid(where, violation.what, violation.fix)
        assert isinstance(protocol, int)
        assert isinstance(ports, tuple)
        peer, version = self._peer(where, request.peer)
        if version and (violation := permission.other_family(protocol, version, request.peer)):
            raise invalid(where, violation.what, violation.fix)
        return SecurityGroupRule(
            id=rule_id,
            protocol=protocol,
            from_port=ports[0],
            to_port=ports[1],
            cidr="" if permission.is_reference(peer) else peer,
            group=peer if peer.startswith(GROUP_PREFIX) else "",
            prefix_list=peer if peer.startswith(LIST_PREFIX) else "",
            description=request.description,
        )

    def _peer(self, where: str, text: str) -> tuple[str, int]:
        """Return the other end of a rule in its stored form, and its IP version, 0 for both."""
        if not permission.is_reference(text):
            try:
                prefix = parse_prefix(text, strict=False)  # EC2 clears host bits
            except AddressError:
                violation = permission.cidr(text, references=True)
                assert isinstance(violation, Violation)
                raise invalid(where, violation.what, violation.fix) from None
            return str(prefix), prefix.version
        found = self._ids.get(text, text)
        if found in self.lists:
            return found, self.lists[found].record.version
        if found not in self.groups and not (is_id(found, "sg") and self._of_peers(found)):
            raise not_found("sg" if text.startswith(GROUP_PREFIX) else "pl", text)
        return found, 0

    def counts(self, group: SecurityGroup) -> RuleCounts:
        """Return how many rules a group has for its quota, by direction and IP version."""
        kinds = ((direction, version) for direction in Direction for version in (4, 6))
        return {(direction, version): self.count(rules_of(group, direction), version) for direction, version in kinds}

    def count(self, group_rules: Sequence[SecurityGroupRule], version: int) -> int:
        """Return how many rules of an IP version count for the quota: a prefix list counts as its maximum number of entries."""
        total = 0
        for rule in group_rules:
            if rule.prefix_list:
                prefix_list = self.lists[rule.prefix_list].record
                total += prefix_list.max_entries if prefix_list.version == version else 0
            elif rule.group or version_of(rule.cidr) == version:
                total += 1
        return total

    def within_quota(self, group: SecurityGroup, quotas: Quotas, had: RuleCounts) -> None:
        """Refuse a group with too many rules of a direction and IP version, if they are more than it `had`.

        Raises:
          ApiError: RulesPerSecurityGroupLimitExceeded.
        """
        for (direction, version), count in self.counts(group).items():
            what = f"{direction.value} rules of IPv{version} ({count} with the requested ones)"
            before = had[direction, version]
            check_growth(quotas, "RulesPerSecurityGroupLimitExceeded", where_of(group), before, count, what)


def where_of(group: SecurityGroup) -> str:
    """Return the name of a group for error texts."""
    return f"security group {group.name} ({group.id})"


def rules_of(group: SecurityGroup, direction: Direction) -> tuple[SecurityGroupRule, ...]:
    """Return a group's rules of one direction."""
    return group.ingress if direction is Direction.INGRESS else group.egress


def words_of(rule: SecurityGroupRule) -> Words:
    """Return the fields by which two rules are the same."""
    return rule.protocol, rule.from_port, rule.to_port, rule.peer


def authorize(
    store: Store, caller: Caller, group_id: str, direction: Direction, permissions: Sequence[Permission]
) -> list[SecurityGroupRule]:
    """Add rules to a security group and return these rules.

    Raises:
      ApiError: InvalidGroup.NotFound and InvalidPrefixListID.NotFound, of the group itself or of a rule's reference;
        InvalidPermission.Duplicate, RulesPerSecurityGroupLimitExceeded, InvalidParameterValue for invalid words.
    """

    def decide() -> tuple[Writes, list[SecurityGroupRule]]:
        vpc, stored = read(store, caller, SecurityGroup, group_id)
        group = stored.record
        peers = _peers(store, group.vni, partial(_is_of_peer, store, group.vni))
        known = {words_of(rule) for rule in rules_of(group, direction)}
        added = []
        for request in permissions:
            rule = peers.rule(where_of(group), request, caller.new_id("sgr", group.vni))
            if words_of(rule) in known:
                text = (
                    f"{where_of(group)}: already has the rule {rule_text(rule, direction, peers.names)}; there is nothing to add"
                )
                raise ApiError("InvalidPermission.Duplicate", text)
            known.add(words_of(rule))
            added.append(rule)
        changed = msgspec.structs.replace(group, **{direction.value: (*rules_of(group, direction), *added)})
        peers.within_quota(changed, quotas_of(store, vpc.record.owner), peers.counts(group))
        writes = Writes()
        change_rules(writes, stored, changed, peers)
        return writes, added

    return attempt(store, decide)


def _peers(store: Store, vni: int, of_peers: Callable[[str], bool] = lambda group_id: True) -> Peers:
    return Peers(read_all(store, SecurityGroup, vni), read_all(store, PrefixList, vni), of_peers)


def _is_of_peer(store: Store, vni: int, group_id: str) -> bool:
    """Return whether an active peer of the VPC has a group."""
    connections = (stored.record for stored in read_all(store, PeeringConnection, vni).values())
    active = {found.peer_vni for found in connections if found.is_native}
    return vni_of(group_id) in active and get(store, keys.resource(group_id), SecurityGroup) is not None


def change_rules(writes: Writes, stored: Stored[SecurityGroup], changed: SecurityGroup, peers: Peers) -> None:
    """Add the change of a group's rules.

    Newly referenced groups must still exist. All referenced prefix lists must be unchanged, because they count in the quota.
    """
    before = referred(stored.record)
    for peer in sorted(referred(changed)):
        if peer in peers.lists:
            use(writes, keys.resource(peer), peer, peers.lists[peer].mod_revision)
        elif peer in before or peer == changed.id or peer not in peers.groups:
            continue  # a peer's group may be deleted at any time: then the rule is stale and permits nothing
        elif not peers.groups[peer].record.is_default:
            use(writes, keys.resource(peer), peer, peers.groups[peer].mod_revision)
    writes.change(keys.resource(changed.id), stored.mod_revision, changed)


def revoke(
    store: Store,
    caller: Caller,
    group_id: str,
    direction: Direction,
    permissions: Sequence[Permission],
    *,
    terminate_established: bool = False,
) -> SecurityGroup:
    """Revoke some of a security group's rules, identified by their words, and return the group.

    With `terminate_established`, connections that no rule permits any longer end. Otherwise tracked connections continue.

    Raises:
      ApiError: InvalidGroup.NotFound, InvalidPermission.NotFound, and as `authorize` for the words.
    """

    def find(group: SecurityGroup, peers: Peers) -> set[str]:
        by_words = {words_of(rule): rule.id for rule in rules_of(group, direction)}
        found = set()
        for request in permissions:
            rule = peers.rule(where_of(group), request, "")
            if words_of(rule) not in by_words:
                text = (
                    f"{where_of(group)}: has no {direction.value} rule {rule_text(rule, direction, peers.names)}; {_look(group)}"
                )
                raise ApiError("InvalidPermission.NotFound", text)
            found.add(by_words[words_of(rule)])
        return found

    def decide() -> tuple[Writes, SecurityGroup]:
        _, stored = read(store, caller, SecurityGroup, group_id)
        peers = _peers(store, stored.record.vni)
        return _without(stored, find(stored.record, peers), peers, terminate_established)

    return attempt(store, decide)


def _look(group: SecurityGroup) -> str:
    return f"`netorch sg rule list {group.id}` lists its rules"


def revoke_by_id(
    store: Store, caller: Caller, group_id: str, rule_ids: Sequence[str], *, terminate_established: bool = False
) -> SecurityGroup:
    """Revoke some of a security group's rules of either direction by id, and return the group.

    Raises:
      ApiError: InvalidGroup.NotFound, InvalidSecurityGroupRuleId.NotFound.
    """

    def decide() -> tuple[Writes, SecurityGroup]:
        _, stored = read(store, caller, SecurityGroup, group_id)
        group = stored.record
        for rule_id in rule_ids:
            if all(rule.id != rule_id for rule in (*group.ingress, *group.egress)):
                text = f"{where_of(group)}: has no rule {rule_id}; {_look(group)}"
                raise ApiError("InvalidSecurityGroupRuleId.NotFound", text)
        return _without(stored, set(rule_ids), _peers(store, group.vni), terminate_established)

    return attempt(store, decide)


def _without(stored: Stored[SecurityGroup], rule_ids: set[str], peers: Peers, terminate: bool) -> tuple[Writes, SecurityGroup]:
    group = stored.record
    changed = msgspec.structs.replace(
        group,
        ingress=tuple(rule for rule in group.ingress if rule.id not in rule_ids),
        egress=tuple(rule for rule in group.egress if rule.id not in rule_ids),
        terminations=group.terminations + terminate,
    )
    writes = Writes()
    change_rules(writes, stored, changed, peers)
    return writes, changed
