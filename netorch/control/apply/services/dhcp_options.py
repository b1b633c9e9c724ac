"""Plan DHCP options sets as declared: new sets before the VPCs, last the deletion of owned sets that the file does not name."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.actions.services.dhcp_options import (
    associate_writes,
    checked,
    owner_mark,
    with_options,
)
from netorch.control.apply.builder import PlanBuilder, of_source
from netorch.control.apply.changes import Action, Difference, change_of_owned, differences
from netorch.control.base.named import create_owned, delete_owned, owned_key
from netorch.control.base.quotas import check_room
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.cloud import VpcDecl
from netorch.model.normal import told_by
from netorch.model.services.declared import DhcpOptionsDecl
from netorch.model.services.dhcp_options import DEFAULT_SET, DhcpOptionsSet
from netorch.model.vpc import Vpc
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored


def plan_sets(builder: PlanBuilder, decls: Iterable[DhcpOptionsDecl]) -> None:
    """Add new sets and changed tags. Raises ApiError: an immutable value differs."""
    for decl in decls:
        known = [found for found in builder.dhcp_options.values() if found.record.owner == decl.owner]
        stored = next((found for found in known if found.record.name == decl.name), None)
        if stored is None:
            _add(builder, decl, len(known))
        else:
            _change(builder, decl, stored)


def _wanted(decl: DhcpOptionsDecl) -> DhcpOptionsSet:
    asked = DhcpOptionsSet(id="", owner=decl.owner, name=decl.name, options=told_by(decl))
    return checked(f"DHCP options set {decl.owner}/{decl.name}", asked)


def _add(builder: PlanBuilder, decl: DhcpOptionsDecl, count: int) -> None:
    asked = _wanted(decl)
    check_room(builder.quotas_of(decl.owner), "DhcpOptionsLimitExceeded", f"owner {decl.owner}", count + 1)
    tags = of_source(decl.tags, builder.source.label)
    made = msgspec.structs.replace(asked, id=builder.caller.new_id("dopt", 0), tags=tags)
    writes, mark = builder.step(), use_key(owner_mark(decl.owner))
    writes.change(mark, builder.revision_of(mark), True)
    create_owned(writes, made)
    builder.dhcp_options[made.id] = Stored(made, ABSENT)
    told = {field: ("", value) for field, value in msgspec.structs.asdict(made.options).items() if value}
    _note(builder, Action.ADD, made, differences(**told))


def _change(builder: PlanBuilder, decl: DhcpOptionsDecl, stored: Stored[DhcpOptionsSet]) -> None:
    found, wanted = stored.record, _wanted(decl)
    if found.options != wanted.options:
        what = "its options differ, which cannot be changed"
        raise invalid(f"DHCP options set {decl.owner}/{decl.name}", what, "give the new set another name")
    tags, changed = builder.tagged(decl.tags, found.tags)
    if changed:
        tagged = msgspec.structs.replace(found, tags=tags)
        builder.step().change(owned_key(found), stored.mod_revision, tagged)
        builder.dhcp_options[found.id] = Stored(tagged, ABSENT)
        _note(builder, Action.CHANGE, found, changed)


def associated(builder: PlanBuilder, decl: VpcDecl, vpc: Vpc) -> Vpc:
    """Return a VPC with the set that its declaration names. Raises ApiError: NotFound."""
    if decl.dhcp_options in ("", DEFAULT_SET):
        return with_options(vpc, None)
    own = [found.record for found in builder.dhcp_options.values() if found.record.owner == vpc.owner]
    named = next((found for found in own if decl.dhcp_options in (found.name, found.id)), None)
    if named is None:
        raise not_found("dopt", decl.dhcp_options)
    return with_options(vpc, named)


def associate(builder: PlanBuilder, writes: Writes, before: Vpc | None, after: Vpc) -> None:
    """Add a VPC's association with its set, if it differs from `before`."""
    if after.dhcp_options == (before.dhcp_options if before is not None else ""):
        return
    held = builder.dhcp_options.get(after.dhcp_options)
    associate_writes(writes, before, after, held)
    if held is not None:
        builder.dhcp_options[after.dhcp_options] = Stored(held.record, ABSENT)


def spoken(builder: PlanBuilder, set_id: str) -> str:
    """Return a set's name for people."""
    held = builder.dhcp_options.get(set_id)
    return (held.record.name if held is not None else "") or set_id or DEFAULT_SET


def settle_sets(builder: PlanBuilder, decls: Iterable[DhcpOptionsDecl]) -> None:
    """Add the deletion of sets that the file owns and no longer names, if no VPC is associated."""
    named = {(decl.owner, decl.name) for decl in decls}
    stay = {vni: records for vni, records in builder.inventory.vpcs.items() if vni not in builder.deleted}
    stay |= {records.vni: records for records in builder.planned.values()}
    used = {records.vpc.record.dhcp_options for records in stay.values()}
    isolated = builder.inventory.isolated.values()
    used |= {found.rest.vpc.record.dhcp_options for found in isolated if found.rest is not None}
    for set_id, stored in list(builder.dhcp_options.items()):
        found = stored.record
        if (found.owner, found.name) in named or set_id in used or not builder.source.owns(found.tags):
            continue
        if builder.caller.sees(found.owner):
            delete_owned(builder.step(), stored)
            del builder.dhcp_options[set_id]
            _note(builder, Action.DELETE, found, ())


def _note(builder: PlanBuilder, action: Action, found: DhcpOptionsSet, changed: tuple[Difference, ...]) -> None:
    builder.changes.append(change_of_owned(action, "dhcp-options", found, changed))
