"""Prefix lists: CIDRs under one name, which the rules of security groups and routes may refer to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions.permissions import Peers
from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import refuse_managed
from netorch.control.base.quotas import Quotas, quotas_of
from netorch.control.base.routes import room_for_routes, route_counts, where_of
from netorch.control.base.structure import create_part
from netorch.control.base.uses import delete_unused, use_key, use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.addr import AddressError, Prefix, parse_prefix, version_of
from netorch.model.permission import LIST_PREFIX
from netorch.model.security import PrefixList, PrefixListEntry, SecurityGroup, referred
from netorch.model.vpc import RouteTable, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import Stored, read, read_all, read_vpc
from netorch.store.base import Store


class PrefixListInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix list, with the groups whose rules refer to it and the tables with routes to it."""

    prefix_list: PrefixList
    vpc: Vpc
    groups: tuple[str, ...]  # ids
    route_tables: tuple[str, ...]  # ids


def create_prefix_list(
    store: Store,
    caller: Caller,
    vpc_id: str,
    *,
    name: str,
    cidrs: Sequence[str],
    max_entries: int | None = None,
    tags: Tags | None = None,
) -> PrefixList:
    """Create a prefix list and return it. Its CIDRs determine the IP version; its size defaults to the number of CIDRs.

    Raises:
      ApiError: InvalidVpcID.NotFound, PrefixListLimitExceeded, PrefixListMaxEntriesExceeded, MissingParameter without a CIDR,
        InvalidParameterValue for a bad or taken name, a bad CIDR, or CIDRs of both versions.
    """

    where = f"prefix list {name!r}"
    if violation := rules.referable_name(name, LIST_PREFIX):
        raise invalid(where, violation.what, violation.fix)

    def make(vpc: Vpc, _others: list[PrefixList]) -> PrefixList:
        entries = make_entries(where, cidrs)
        return PrefixList(
            id=caller.new_id("pl", vpc.vni),
            vni=vpc.vni,
            name=name,
            version=version_of(entries[0].cidr),
            max_entries=size(where, len(entries), max_entries),
            entries=entries,
            tags=checks.tags(where, tags),
        )

    return create_part(store, caller, vpc_id, PrefixList, name, make)


def make_entries(where: str, cidrs: Sequence[str]) -> tuple[PrefixListEntry, ...]:
    """Return the entries of a prefix list in address order, with host bits cleared as EC2 does. Raises ApiError."""
    prefixes: set[Prefix] = set()
    for text in cidrs:
        try:
            prefixes.add(parse_prefix(text, strict=False))
        except AddressError as error:
            raise invalid(where, str(error), "write e.g. 192.0.2.0/24") from None
    if not prefixes:
        raise ApiError("MissingParameter", f"{where}: has no CIDR; give it one, e.g. 192.0.2.0/24")
    if len({prefix.version for prefix in prefixes}) > 1:
        raise invalid(where, "it has CIDRs of both IP versions", "use one prefix list for each")
    return tuple(PrefixListEntry(cidr=str(prefix)) for prefix in sorted(prefixes))


def size(where: str, count: int, request: int | None) -> int:
    """Return a prefix list's size, as quotas count it. Raises ApiError: PrefixListMaxEntriesExceeded, InvalidParameterValue."""
    found = count if request is None else request
    if not 1 <= found <= rules.MAX_ENTRIES:
        raise invalid(where, f"{found} is not a number of entries", f"choose 1 to {rules.MAX_ENTRIES}")
    if count > found:
        text = f"{where}: {count} CIDRs exceed its {found} entries; remove some, or raise its number of entries"
        raise ApiError("PrefixListMaxEntriesExceeded", text)
    return found


def modify_prefix_list(
    store: Store, caller: Caller, list_id: str, *, cidrs: Sequence[str] | None = None, max_entries: int | None = None
) -> PrefixList:
    """Change the CIDRs or the size of a prefix list and return it; the rules that refer to it follow.

    Raises:
      ApiError: InvalidPrefixListID.NotFound, PrefixListMaxEntriesExceeded, RulesPerSecurityGroupLimitExceeded if a group that
        refers to it would count too many rules, RouteLimitExceeded if a table would count too many routes,
        InvalidParameterValue for a bad CIDR or a CIDR of the other IP version, OperationNotPermitted for a service's list.
    """

    def decide() -> tuple[Writes, PrefixList]:
        vpc, stored = read(store, caller, PrefixList, list_id)
        used = use_revision(store, list_id)
        before = stored.record
        refuse_managed(before)
        where = f"prefix list {before.name} ({list_id})"
        entries = before.entries if cidrs is None else renewed(before, make_entries(where, cidrs))
        same_version(where, before.version, entries)
        limit = size(where, len(entries), before.max_entries if max_entries is None else max_entries)
        changed = msgspec.structs.replace(before, entries=entries, max_entries=limit)
        writes = Writes()
        writes.change(keys.resource(list_id), stored.mod_revision, changed)
        if limit > before.max_entries:
            writes.expect(use_key(list_id), used)
            _room_in_users(writes, store, changed, quotas_of(store, vpc.record.owner))
        return writes, changed

    return attempt(store, decide)


def renewed(before: PrefixList, entries: tuple[PrefixListEntry, ...]) -> tuple[PrefixListEntry, ...]:
    """Return new entries; those that existed before keep their descriptions."""
    known = {entry.cidr: entry for entry in before.entries}
    return tuple(known.get(entry.cidr, entry) for entry in entries)


def same_version(where: str, version: int, entries: Iterable[PrefixListEntry]) -> None:
    """Refuse CIDRs of another IP version than the prefix list's. Raises ApiError: InvalidParameterValue."""
    for entry in entries:
        if version_of(entry.cidr) != version:
            raise invalid(where, f"{entry.cidr} is not IPv{version} like its other CIDRs", "create another prefix list")


def _room_in_users(writes: Writes, store: Store, grown: PrefixList, quotas: Quotas) -> None:
    """Refuse a larger prefix list if a group or table has no room for it. Other lists count too, so they must be unchanged."""
    groups, lists = read_all(store, SecurityGroup, grown.vni), read_all(store, PrefixList, grown.vni)
    after = {**lists, grown.id: Stored(grown, 0)}
    before, peers = Peers(groups, lists), Peers(groups, after)
    beside: set[str] = set()
    for group in groups.values():
        if grown.id in (found := referred(group.record)):
            peers.within_quota(group.record, quotas, before.counts(group.record))
            beside |= found
    for table in read_all(store, RouteTable, grown.vni).values():
        if grown.id in (found := {route.destination for route in table.record.routes}):
            room_for_routes(table.record, after, quotas, route_counts(table.record, lists))
            beside |= found
    for other in sorted(beside & lists.keys() - {grown.id}):
        writes.expect(keys.resource(other), lists[other].mod_revision)


def delete_prefix_list(store: Store, caller: Caller, list_id: str) -> None:
    """Delete a prefix list that no rule and no route refers to.

    Raises:
      ApiError: InvalidPrefixListID.NotFound, DependencyViolation while rules or routes refer to it, OperationNotPermitted for a
        service's list.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read(store, caller, PrefixList, list_id)
        used = use_revision(store, list_id)
        vni = stored.record.vni
        refuse_managed(stored.record)
        refuse_users(stored.record, read_all(store, SecurityGroup, vni).values(), read_all(store, RouteTable, vni).values())
        writes = Writes()
        delete_unused(writes, vpc.record, stored, used)
        return writes, None

    attempt(store, decide)


def refuse_users(prefix_list: PrefixList, groups: Iterable[Stored[SecurityGroup]], tables: Iterable[Stored[RouteTable]]) -> None:
    """Refuse to delete a prefix list that a rule or a route refers to. Raises ApiError: DependencyViolation."""
    refuse_rules(prefix_list, groups)
    where = f"{prefix_list.name} ({prefix_list.id})"
    for table in tables:
        if any(route.destination == prefix_list.id for route in table.record.routes):
            raise in_use("pl", where, f"a route of {where_of(table.record)}", "delete that route first")


def refuse_rules(prefix_list: PrefixList, groups: Iterable[Stored[SecurityGroup]]) -> None:
    """Refuse to delete a prefix list that a rule refers to. Raises ApiError: DependencyViolation."""
    where = f"{prefix_list.name} ({prefix_list.id})"
    for stored in groups:
        group = stored.record
        if prefix_list.id in referred(group):
            raise in_use("pl", where, f"a rule of security group {group.name} ({group.id})", "revoke that rule first")


def describe_prefix_lists(store: Store, caller: Caller, vpc_id: str) -> list[PrefixListInfo]:
    """Return a VPC's prefix lists by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    groups = {group_id: referred(stored.record) for group_id, stored in read_all(store, SecurityGroup, vpc.vni).items()}
    tables = [stored.record for stored in read_all(store, RouteTable, vpc.vni).values()]
    lists = [stored.record for stored in read_all(store, PrefixList, vpc.vni).values()]
    infos = []
    for found in sorted(lists, key=lambda prefix_list: prefix_list.name):
        users = tuple(group_id for group_id, peers in groups.items() if found.id in peers)
        routed = tuple(table.id for table in tables if any(route.destination == found.id for route in table.routes))
        infos.append(PrefixListInfo(prefix_list=found, vpc=vpc, groups=users, route_tables=routed))
    return infos


def describe_prefix_list(store: Store, caller: Caller, list_id: str) -> PrefixListInfo:
    """Return one prefix list. Raises ApiError: InvalidPrefixListID.NotFound."""
    vpc, _ = read(store, caller, PrefixList, list_id)
    return next(info for info in describe_prefix_lists(store, caller, vpc.record.id) if info.prefix_list.id == list_id)
