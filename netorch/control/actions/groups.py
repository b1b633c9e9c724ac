"""Security groups: the firewalls that interfaces name. `netorch.control.actions.permissions` changes their rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.base import checks
from netorch.control.base.quotas import Quotas, quotas_of
from netorch.control.base.structure import create_part
from netorch.control.base.uses import delete_unused, use, use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.eni import NetworkInterface
from netorch.model.permission import GROUP_PREFIX, LIST_PREFIX
from netorch.model.security import (
    DEFAULT_NAME,
    PrefixList,
    SecurityGroup,
    all_outbound,
    default_group,
    default_group_id,
    referred,
)
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import Stored, read, read_all, read_vpc
from netorch.store.base import Store


class SecurityGroupInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A security group, with its members and the names that its rules show."""

    group: SecurityGroup
    vpc: Vpc
    interfaces: tuple[str, ...]  # ids of its members
    names: dict[str, str]  # names of the VPC's groups and prefix lists in rules: sg-web, pl-offices


def create_security_group(
    store: Store, caller: Caller, vpc_id: str, *, name: str, description: str = "", tags: Tags | None = None
) -> SecurityGroup:
    """Create a security group and return it: it lets nothing in and everything out.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidGroup.Duplicate, InvalidGroup.Reserved for the default group's name,
        SecurityGroupLimitExceeded, InvalidParameterValue for a bad value.
    """

    where = f"security group {name!r}"
    if name == DEFAULT_NAME:
        raise ApiError("InvalidGroup.Reserved", f"{where}: every VPC already has it; choose another name")
    if violation := rules.referable_name(name, GROUP_PREFIX) or rules.description(description):
        raise invalid(where, violation.what, violation.fix)

    def make(vpc: Vpc, _others: list[SecurityGroup]) -> SecurityGroup:
        return SecurityGroup(
            id=caller.new_id("sg", vpc.vni),
            vni=vpc.vni,
            name=name,
            description=description,
            egress=all_outbound((caller.new_id("sgr", vpc.vni), caller.new_id("sgr", vpc.vni))),
            tags=checks.tags(where, tags),
        )

    return create_part(store, caller, vpc_id, SecurityGroup, name, make)


def create_default(writes: Writes, caller: Caller, vpc: Vpc) -> SecurityGroup:
    """Add the default group of a new VPC, and return it."""
    new_rule = [caller.new_id("sgr", vpc.vni) for _ in range(3)]
    group = default_group(default_group_id(vpc.id), vpc.vni, (new_rule[0], new_rule[1], new_rule[2]))
    writes.put(keys.resource(group.id), group)
    return group


def delete_security_group(store: Store, caller: Caller, group_id: str) -> None:
    """Delete a security group that no interface and no other group's rule refers to.

    Raises:
      ApiError: InvalidGroup.NotFound, CannotDelete for a VPC's default group, DependencyViolation while it is in use.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read(store, caller, SecurityGroup, group_id)
        group = stored.record
        if group.is_default:
            raise ApiError("CannotDelete", f"security group {group_id}: is its VPC's default group; it is deleted with the VPC")
        used = use_revision(store, group_id)
        refuse_users(
            group, read_all(store, NetworkInterface, group.vni).values(), read_all(store, SecurityGroup, group.vni).values()
        )
        writes = Writes()
        delete_unused(writes, vpc.record, stored, used)
        return writes, None

    attempt(store, decide)


def refuse_users(group: SecurityGroup, enis: Iterable[Stored[NetworkInterface]], others: Iterable[Stored[SecurityGroup]]) -> None:
    """Refuse to delete a group that an interface or another group's rule refers to. Raises ApiError: DependencyViolation."""
    where = f"{group.name} ({group.id})"
    members = [eni.record.id for eni in enis if group.id in eni.record.groups]
    if members:
        more = f" and {len(members) - 1} more" if len(members) > 1 else ""
        raise in_use("sg", where, f"interface {members[0]}{more}", "move each to other groups first")
    for other in others:
        if other.record.id != group.id and group.id in referred(other.record):
            raise in_use("sg", where, f"a rule of {other.record.name} ({other.record.id})", "revoke that rule first")


def choose_groups(
    store: Store, caller: Caller, vpc: Vpc, request: Sequence[str], had: int = 0
) -> dict[str, Stored[SecurityGroup]]:
    """Return the groups of an interface by id, in stored order: the requested ones, else the default group.

    `had` is the interface's present number of groups.

    Raises:
      ApiError: InvalidGroup.NotFound, SecurityGroupsPerInterfaceLimitExceeded, InvalidParameterValue for another VPC's group.
    """
    ids = sorted(set(request)) or [default_group_id(vpc.id)]
    room_for_memberships(f"VPC {vpc.id}", len(ids), quotas_of(store, vpc.owner), had)
    found = {}
    for group_id in ids:
        owner, stored = read(store, caller, SecurityGroup, group_id)
        if owner.record.id != vpc.id:
            raise invalid(f"security group {group_id}", "it belongs to another VPC", f"choose one of {vpc.id}")
        found[group_id] = stored
    return found


def room_for_memberships(where: str, count: int, quotas: Quotas, had: int) -> None:
    """Refuse an interface with too many groups, if they are more than it `had`.

    Raises:
      ApiError: SecurityGroupsPerInterfaceLimitExceeded.
    """
    limit = quotas.memberships
    if count > max(limit, had):
        text = f"{where}: {count} groups are asked for on one interface; keep at most {limit}"
        raise ApiError("SecurityGroupsPerInterfaceLimitExceeded", text)


def join(writes: Writes, groups: dict[str, Stored[SecurityGroup]]) -> None:
    """Add that an interface joins these groups, which must still exist. The default group exists as long as the VPC."""
    for group_id, stored in groups.items():
        if not stored.record.is_default:
            use(writes, keys.resource(group_id), group_id, stored.mod_revision)


def describe_security_groups(store: Store, caller: Caller, vpc_id: str) -> list[SecurityGroupInfo]:
    """Return a VPC's security groups, the default one first, then by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    groups = [stored.record for stored in read_all(store, SecurityGroup, vpc.vni).values()]
    lists = [stored.record for stored in read_all(store, PrefixList, vpc.vni).values()]
    names = peer_names(groups, lists)
    members: dict[str, list[str]] = {}
    for eni_id, eni in read_all(store, NetworkInterface, vpc.vni).items():
        for group_id in eni.record.groups:
            members.setdefault(group_id, []).append(eni_id)
    ordered = sorted(groups, key=lambda group: (not group.is_default, group.name))
    return [
        SecurityGroupInfo(group=group, vpc=vpc, interfaces=tuple(members.get(group.id, ())), names=names) for group in ordered
    ]


def peer_names(groups: Iterable[SecurityGroup], lists: Iterable[PrefixList]) -> dict[str, str]:
    """Return the names of groups and prefix lists in rules, by id."""
    named = {group.id: GROUP_PREFIX + group.name for group in groups}
    return named | {found.id: LIST_PREFIX + found.name for found in lists}


def describe_security_group(store: Store, caller: Caller, group_id: str) -> SecurityGroupInfo:
    """Return one security group. Raises ApiError: InvalidGroup.NotFound."""
    vpc, _ = read(store, caller, SecurityGroup, group_id)
    return next(info for info in describe_security_groups(store, caller, vpc.record.id) if info.group.id == group_id)
