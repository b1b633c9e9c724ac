"""DHCP options sets of an owner, and the options that a VPC sends to its interfaces.

A set never changes, and an associated VPC has a copy of it. An association rewrites the set's record. So if an association and
a deletion happen at the same time, one fails and is decided again.
"""

from __future__ import annotations

import msgspec

from netorch.control.base import checks
from netorch.control.base.named import create_owned, delete_owned, owned_key
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.uses import drop_last_mark, use_key, use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.model.services import dhcp_options
from netorch.model.services.dhcp_options import DEFAULT_OPTIONS, DEFAULT_SET, DhcpOptions, DhcpOptionsSet
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, in_use, invalid
from netorch.records.read import Stored, listed, read_all_owned, read_owned, read_vpc
from netorch.store.base import Store


class DhcpOptionsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A set and its associated VPCs."""

    found: DhcpOptionsSet
    vpcs: tuple[str, ...]  # ids


def create_dhcp_options(
    store: Store, caller: Caller, *, name: str = "", options: DhcpOptions, tags: Tags | None = None
) -> DhcpOptionsSet:
    """Create a set and return it.

    Raises:
      ApiError: DhcpOptionsLimitExceeded, InvalidParameterValue for a bad value or a taken name.
    """
    where = f"DHCP options set {name!r}" if name else "DHCP options set"
    asked = checked(where, DhcpOptionsSet(id="", owner=caller.owner, name=name, options=options))

    def decide() -> tuple[Writes, DhcpOptionsSet]:
        writes = Writes()
        mark = use_key(owner_mark(asked.owner))
        writes.change(mark, use_revision(store, owner_mark(asked.owner)), True)
        others = list(listed(store, keys.owned_prefix("dopt", asked.owner), DhcpOptionsSet).values())
        check_room(quotas_of(store, asked.owner), "DhcpOptionsLimitExceeded", f"owner {asked.owner}", len(others) + 1)
        if name and any(other.record.name == name for other in others):
            raise duplicate_name("dopt", name, f"owner {asked.owner}")
        made = msgspec.structs.replace(asked, id=caller.new_id("dopt", 0), tags=checks.tags(where, tags))
        create_owned(writes, made)
        return writes, made

    return attempt(store, decide)


def checked(where: str, asked: DhcpOptionsSet) -> DhcpOptionsSet:
    """Return a set with valid values, in their normal form. Raises ApiError: InvalidParameterValue."""
    checks.name(f"owner {asked.owner!r}", asked.owner)
    if asked.name:
        checks.name(where, asked.name)
    if asked.name == DEFAULT_SET:
        raise invalid(where, f"{DEFAULT_SET!r} stands for the options of a VPC without a set", "choose another name")
    options = dhcp_options.normal(asked.options)
    for field, violation in dhcp_options.violations(options):
        raise invalid(where, f"{field.replace('_', '-')}: {violation.what}", violation.fix)
    return msgspec.structs.replace(asked, options=options)


def owner_mark(owner: str) -> str:
    """Return the mark (`use_key`) by which simultaneous creations of an owner's sets conflict."""
    return f"dopt/{owner}"


def associate_writes(writes: Writes, before: Vpc | None, after: Vpc, held: Stored[DhcpOptionsSet] | None) -> None:
    """Add the association of a VPC with the set `held`. A deletion of the set at the same time conflicts."""
    if before is not None:
        forget_writes(writes, before)
    if held is not None:
        writes.change(owned_key(held.record), held.mod_revision, held.record)
        writes.put(keys.dhcp_use(after.owner, held.record.id, after.id), True)


def forget_writes(writes: Writes, vpc: Vpc) -> None:
    """Add the end of a VPC's association."""
    if vpc.dhcp_options:
        writes.drop(keys.dhcp_use(vpc.owner, vpc.dhcp_options, vpc.id))


def with_options(vpc: Vpc, found: DhcpOptionsSet | None) -> Vpc:
    """Return the VPC, associated with a set or with the default one."""
    if found is None:
        return msgspec.structs.replace(vpc, dhcp_options="", dhcp=DEFAULT_OPTIONS)
    return msgspec.structs.replace(vpc, dhcp_options=found.id, dhcp=found.options)


def associate_dhcp_options(store: Store, caller: Caller, set_id: str, vpc_id: str) -> Vpc:
    """Associate a VPC with a set of its owner and return the VPC; without an id, with the default set.

    Instances get the new options when they renew their leases.

    Raises:
      ApiError: InvalidVpcID.NotFound; InvalidDhcpOptionID.NotFound, also for a set of another owner.
    """

    def decide() -> tuple[Writes, Vpc]:
        stored = read_vpc(store, caller, vpc_id)
        held = read_owned(store, Caller(owner=stored.record.owner), DhcpOptionsSet, set_id) if set_id else None
        changed = with_options(stored.record, held.record if held is not None else None)
        writes = Writes()
        if changed != stored.record:
            writes.change(keys.vpc(changed.vni), stored.mod_revision, changed)
            associate_writes(writes, stored.record, changed, held)
        return writes, changed

    return attempt(store, decide)


def delete_dhcp_options(store: Store, caller: Caller, set_id: str) -> None:
    """Delete a set without associated VPCs.

    Raises:
      ApiError: InvalidDhcpOptionID.NotFound, DependencyViolation.
    """

    def decide() -> tuple[Writes, None]:
        held = read_owned(store, caller, DhcpOptionsSet, set_id)
        owner = held.record.owner
        if users := _vpcs_with(store, held.record):
            fix = "associate them with another set first, e.g. netorch dhcp-options associate default VPC"
            raise in_use("dopt", set_id, ", ".join(users), fix)
        writes = Writes()
        delete_owned(writes, held)
        drop_last_mark(writes, store, owner_mark(owner), keys.owned_prefix("dopt", owner))
        return writes, None

    attempt(store, decide)


def _vpcs_with(store: Store, found: DhcpOptionsSet) -> list[str]:
    """Return the ids of a set's associated VPCs."""
    return [kv.key.rpartition("/")[2] for kv in store.list(keys.dhcp_use(found.owner, found.id)).kvs]


def describe_dhcp_options(store: Store, caller: Caller) -> list[DhcpOptionsInfo]:
    """Return the sets that the caller sees, by owner and name. Raises UnreadableRecord."""
    found = read_all_owned(store, caller, DhcpOptionsSet)
    return [_info(store, one) for one in sorted(found, key=lambda one: (one.owner, one.name, one.id))]


def describe_dhcp_options_set(store: Store, caller: Caller, set_id: str) -> DhcpOptionsInfo:
    """Return one set. Raises ApiError: InvalidDhcpOptionID.NotFound."""
    return _info(store, read_owned(store, caller, DhcpOptionsSet, set_id).record)


def _info(store: Store, found: DhcpOptionsSet) -> DhcpOptionsInfo:
    return DhcpOptionsInfo(found=found, vpcs=tuple(_vpcs_with(store, found)))
