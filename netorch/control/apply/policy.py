"""Plan the prefix lists, security groups and network ACLs of one VPC as declared.

Groups may refer to each other in cycles. So new groups are first stored without rules, then all groups get their rules, and
deleted groups lose their rules first. No rule ever refers to a missing group or list. Rules that stay keep their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from netorch.control.actions.acls import EntryRequest, entries_of, make_entry, room_for_entries, with_entries
from netorch.control.actions.groups import peer_names, refuse_users, room_for_memberships
from netorch.control.actions.permissions import Peers, Permission, change_rules, rules_of, where_of, words_of
from netorch.control.actions.prefix_lists import make_entries, renewed, same_version, size
from netorch.control.apply.base.ends import delete_filters
from netorch.control.apply.builder import PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.base.named import add_name
from netorch.control.base.quotas import check_growth
from netorch.control.base.structure import delete_part
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.addr import version_of
from netorch.model.cloud import (
    ALL_OUTBOUND,
    DEFAULT_ACL,
    DEFAULT_GROUP,
    AclAction,
    AclEntryDecl,
    EgressDecl,
    IngressDecl,
    NetworkAclDecl,
    PrefixListDecl,
    SecurityGroupDecl,
    VpcDecl,
)
from netorch.model.eni import NetworkInterface
from netorch.model.ids import vni_of
from netorch.model.routing.peering import PeeringConnection
from netorch.model.rule_text import entry_text, rule_text
from netorch.model.security import (
    DEFAULT_DESCRIPTION,
    DEFAULT_NAME,
    Direction,
    NetworkAcl,
    PrefixList,
    SecurityGroup,
    SecurityGroupRule,
    referred,
)
from netorch.records import keys
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

Filter = PrefixList | SecurityGroup | NetworkAcl
Decl = TypeVar("Decl", SecurityGroupDecl, NetworkAclDecl)


class PolicyPlanner:
    """Plans one VPC's filters. `guard` returns a step in which the VPC's structure changes."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, guard: Callable[[], Writes]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._guard = guard
        self._quotas = builder.quotas_of(decl.owner)
        own = (stored for stored in records.of(PrefixList).values() if not stored.record.service)
        self._lists = {stored.record.name: stored for stored in own}
        self._groups = {stored.record.name: stored for stored in records.of(SecurityGroup).values()}
        self._acls = {stored.record.name: stored for stored in records.of(NetworkAcl).values()}
        self._peers_before = Peers({}, dict(records.of(PrefixList)))
        self._planned = dict(self._groups)  # groups by name, after the plan
        self._names = peer_names(
            records.each(SecurityGroup),
            records.each(PrefixList),
        )
        self.acl_ids: dict[str, str] = {}  # ACLs by name after the plan, as subnets store them

    def plan(self) -> None:
        """Add new filters and changes. Nothing is deleted yet, because subnets and interfaces may still use it."""
        where = f"VPC {self._decl.owner}/{self._decl.name}"
        groups = _with_default(self._decl.security_groups, DEFAULT_GROUP)
        acls = _with_default(self._decl.network_acls, DEFAULT_ACL)
        check_growth(self._quotas, "PrefixListLimitExceeded", where, len(self._lists), len(self._decl.prefix_lists))
        check_growth(self._quotas, "SecurityGroupLimitExceeded", where, len(self._groups), len(groups))
        check_growth(self._quotas, "NetworkAclLimitExceeded", where, len(self._acls), len(acls))
        for prefix_list in self._decl.prefix_lists:
            self._plan_list(prefix_list)
        for group in groups:
            if group.name not in self._groups:
                self._planned[group.name] = Stored(self._new_group(group), ABSENT)
        planned = {stored.record.id: stored for stored in self._planned.values()}
        peers = Peers(planned, self._records.of(PrefixList), self._is_of_peer)
        for group in groups:
            self._plan_group(group, peers)
        for acl in acls:
            self._plan_acl(acl)

    def _is_of_peer(self, group_id: str) -> bool:
        """Return whether an active peer has a group, or a stored rule refers to it, even if the rule is stale."""
        connections = self._records.each(PeeringConnection)
        active = {found.peer_vni for found in connections if found.is_native}
        peer = self._builder.inventory.vpcs.get(vni_of(group_id)) if vni_of(group_id) in active else None
        known = peer is not None and group_id in peer.of(SecurityGroup)
        return known or any(group_id in referred(stored.record) for stored in self._groups.values())

    def plan_acl_deletions(self) -> None:
        """Add the deletion of undeclared ACLs, which no subnet uses any longer."""
        for name, stored in self._acls.items():
            if name not in self.acl_ids:
                delete_part(self._builder.step(), self._records.vpc, stored)
                self._note(Action.DELETE, "network-acl", stored.record)

    def plan_deletions(self) -> None:
        """Add the deletion of undeclared groups and prefix lists. Resources that the file names no longer use them.

        Raises:
          ApiError: DependencyViolation for a group of an interface that a file cannot name.
        """
        kept = {decl.name for decl in self._decl.security_groups} | {DEFAULT_NAME}
        groups = [stored for name, stored in self._groups.items() if name not in kept]
        kept = {decl.name for decl in self._decl.prefix_lists}
        lists = [stored for name, stored in self._lists.items() if name not in kept]
        for group in groups:
            refuse_users(group.record, self._records.of(NetworkInterface).values(), ())
            self._note(Action.DELETE, "security-group", group.record)
        for prefix_list in lists:
            self._note(Action.DELETE, "prefix-list", prefix_list.record)
        delete_filters(self._builder, self._records.vpc.record, groups, lists)

    def groups_of(self, names: Sequence[str], had: int = 0) -> dict[str, Stored[SecurityGroup]]:
        """Return the groups of an interface by id, in stored order; without names, the default group.

        `had` is the interface's present number of groups.
        """
        found = [self._planned[name] for name in names or [DEFAULT_NAME]]
        room_for_memberships(f"VPC {self._decl.owner}/{self._decl.name}", len(found), self._quotas, had)
        return {stored.record.id: stored for stored in sorted(found, key=lambda stored: stored.record.id)}

    def _plan_list(self, decl: PrefixListDecl) -> None:
        where = f"prefix list {decl.name!r} in VPC {self._decl.name}"
        stored = self._lists.get(decl.name)
        before = stored.record if stored is not None else None
        entries = make_entries(where, decl.cidrs)
        if before is not None:
            same_version(where, before.version, entries)
            entries = renewed(before, entries)
        wanted = PrefixList(
            id=before.id if before is not None else self._builder.caller.new_id("pl", self._records.vni),
            vni=self._records.vni,
            name=decl.name,
            version=version_of(entries[0].cidr),
            max_entries=size(where, len(entries), decl.max_entries),
            entries=entries,
            tags=decl.tags,
        )
        if wanted == before:
            return
        if stored is None:
            self._make(wanted)
        else:
            writes = self._builder.step()
            writes.change(keys.resource(wanted.id), stored.mod_revision, wanted)
            if wanted.max_entries > stored.record.max_entries:  # a new use counts the old size in its quota
                writes.expect(use_key(wanted.id), self._builder.revision_of(use_key(wanted.id)))
        self._records.of(PrefixList)[wanted.id] = Stored(wanted, ABSENT)
        self._note_change("prefix-list", before, wanted, member_differences("cidrs", _cidrs(before), _cidrs(wanted)))

    def _new_group(self, decl: SecurityGroupDecl) -> SecurityGroup:
        group_id = self._builder.caller.new_id("sg", self._records.vni)
        group = SecurityGroup(id=group_id, vni=self._records.vni, name=decl.name)
        self._make(group)
        return group

    def _make(self, record: Filter) -> None:
        writes = self._guard()
        writes.put(keys.resource(record.id), record)
        add_name(writes, self._records.vpc.record, record)

    def _plan_group(self, decl: SecurityGroupDecl, peers: Peers) -> None:
        stored = self._planned[decl.name]
        before = stored.record
        egress = decl.egress if isinstance(decl.egress, list) else ALL_OUTBOUND
        wanted = msgspec.structs.replace(
            before,
            description=decl.description or (DEFAULT_DESCRIPTION if before.is_default else ""),
            ingress=self._rules(before, Direction.INGRESS, decl.ingress, peers),
            egress=self._rules(before, Direction.EGRESS, egress, peers),
            tags=decl.tags,
        )
        had = self._peers_before.counts(before)
        peers.within_quota(wanted, self._quotas, had)
        existed = decl.name in self._groups
        if wanted != before:
            change_rules(self._builder.step(), stored, wanted, peers)
            self._planned[decl.name] = Stored(wanted, ABSENT)
        elif existed:
            return
        members: list[Difference] = []
        for direction in Direction:
            members += member_differences(
                direction.value, _rule_texts(before, direction, self._names), _rule_texts(wanted, direction, peers.names)
            )
        self._note_change("security-group", before if existed else None, wanted, members)

    def _rules(
        self, group: SecurityGroup, direction: Direction, decls: Sequence[IngressDecl | EgressDecl], peers: Peers
    ) -> tuple[SecurityGroupRule, ...]:
        """Return a group's rules as declared: first the existing ones, in their order and with their ids, then the new ones."""
        made = [peers.rule(where_of(group), _permission(decl), "") for decl in decls]
        wanted = {words_of(rule): rule for rule in made}
        kept = [
            msgspec.structs.replace(wanted.pop(words_of(rule)), id=rule.id)
            for rule in rules_of(group, direction)
            if words_of(rule) in wanted
        ]
        new_id = self._builder.caller.new_id
        return (*kept, *(msgspec.structs.replace(rule, id=new_id("sgr", group.vni)) for rule in wanted.values()))

    def _plan_acl(self, decl: NetworkAclDecl) -> None:
        stored = self._acls.get(decl.name)
        before = stored.record if stored is not None else None
        acl_id = before.id if before is not None else self._builder.caller.new_id("acl", self._records.vni)
        wanted = NetworkAcl(id=acl_id, vni=self._records.vni, name=decl.name, tags=decl.tags)
        where = f"network ACL {decl.name!r} in VPC {self._decl.name}"
        for direction, entries in ((Direction.INGRESS, decl.ingress), (Direction.EGRESS, decl.egress)):
            wanted = with_entries(wanted, direction, [make_entry(where, _entry(entry)) for entry in entries])
        room_for_entries(wanted, self._quotas, before)
        self.acl_ids[decl.name] = "" if wanted.is_default else wanted.id
        if wanted == before:
            return
        if stored is None:
            self._make(wanted)
        else:
            self._builder.step().change(keys.resource(wanted.id), stored.mod_revision, wanted)
        members: list[Difference] = []
        for direction in Direction:
            members += member_differences(direction.value, _entry_texts(before, direction), _entry_texts(wanted, direction))
        self._note_change("network-acl", before, wanted, members)

    def _note_change(self, kind: str, before: Filter | None, wanted: Filter, members: list[Difference]) -> None:
        fields = {field: _sides(before, wanted, field) for field in ("description", "max_entries", "tags")}
        changed = (*differences(**fields), *members)
        self._note(Action.ADD if before is None else Action.CHANGE, kind, wanted, changed)

    def _note(self, action: Action, kind: str, record: Filter, changed: tuple[Difference, ...] = ()) -> None:
        change = Change(
            action=action,
            kind=kind,
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=record.name,
            resource_id="" if action is Action.ADD else record.id,
            differences=changed,
            hosts=carriers(self._records),
        )
        self._builder.changes.append(change)


def _with_default(decls: list[Decl], default: Decl) -> list[Decl]:
    missing: list[Decl] = [] if any(decl.name == default.name for decl in decls) else [default]
    return missing + decls


def _sides(before: Filter | None, wanted: Filter, field: str) -> tuple[object, object]:
    return getattr(before, field, None) or None, getattr(wanted, field, None) or None


def _permission(decl: IngressDecl | EgressDecl) -> Permission:
    peer = decl.source if isinstance(decl, IngressDecl) else decl.destination
    return Permission(protocol=decl.protocol, ports=decl.ports, peer=peer, description=decl.description)


def _entry(decl: AclEntryDecl) -> EntryRequest:
    allow = decl.action is AclAction.ALLOW
    return EntryRequest(number=decl.rule, allow=allow, protocol=decl.protocol, ports=decl.ports, cidr=decl.cidr)


def _rule_texts(group: SecurityGroup, direction: Direction, names: Mapping[str, str]) -> Iterable[str]:
    for rule in rules_of(group, direction):
        yield rule_text(rule, direction, names) + (f" ({rule.description})" if rule.description else "")


def _entry_texts(acl: NetworkAcl | None, direction: Direction) -> Iterable[str]:
    return [f"{entry.number} {entry_text(entry, direction)}" for entry in entries_of(acl, direction)] if acl is not None else []


def _cidrs(prefix_list: PrefixList | None) -> Iterable[str]:
    return [entry.cidr for entry in prefix_list.entries] if prefix_list is not None else []
