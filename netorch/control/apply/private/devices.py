"""Plan customer gateways as declared: new ones before the VPCs, last the deletion of owned ones that the file does not name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions.private.customers import checked, described, owner_mark
from netorch.control.apply.builder import PlanBuilder, of_source
from netorch.control.apply.changes import Action, Difference, change_of_owned, differences
from netorch.control.base.named import create_owned, delete_owned, owned_key
from netorch.control.base.quotas import check_room
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT
from netorch.model.cloud import CustomerGatewayDecl
from netorch.model.outside.vpn import CustomerGateway
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.read import Stored


def plan_devices(builder: PlanBuilder, decls: Iterable[CustomerGatewayDecl]) -> None:
    """Add new customer gateways and changed tags. Raises ApiError: an immutable value differs."""
    for decl in decls:
        known = [found for found in builder.devices.values() if found.record.owner == decl.owner]
        stored = next((found for found in known if found.record.name == decl.name), None)
        if stored is None:
            _add(builder, decl, [found.record for found in known])
        else:
            _change(builder, decl, stored)


def _wanted(decl: CustomerGatewayDecl) -> CustomerGateway:
    return CustomerGateway(id="", owner=decl.owner, name=decl.name, asn=decl.asn, address=decl.address, identity=decl.identity)


def _add(builder: PlanBuilder, decl: CustomerGatewayDecl, known: Sequence[CustomerGateway]) -> None:
    where = f"customer gateway {decl.owner}/{decl.name}"
    asked = checked(where, _wanted(decl))
    for other in known:
        if described(other) == described(asked):
            what = f"owner {decl.owner} already has this device as {other.name or other.id}"
            raise invalid(where, what, "write that name, or give this device an identity of its own")
    check_room(builder.quotas_of(decl.owner), "CustomerGatewayLimitExceeded", f"owner {decl.owner}", len(known) + 1)
    tags = of_source(decl.tags, builder.source.label)
    made = msgspec.structs.replace(asked, id=builder.caller.new_id("cgw", 0), tags=tags)
    writes, mark = builder.step(), use_key(owner_mark(decl.owner))
    writes.change(mark, builder.revision_of(mark), True)
    create_owned(writes, made)
    builder.devices[made.id] = Stored(made, ABSENT)
    _note(builder, Action.ADD, made, differences(address=("", made.address), identity=("", made.identity), asn=("", made.asn)))


def _change(builder: PlanBuilder, decl: CustomerGatewayDecl, stored: Stored[CustomerGateway]) -> None:
    device = stored.record
    wanted = _wanted(decl)
    for word, was, now in zip(("AS number", "address", "identity"), described(device), described(wanted), strict=True):
        if was != now:
            what = f"its {word} is {was or 'left out'}, which cannot be changed"
            raise invalid(f"customer gateway {decl.owner}/{decl.name}", what, "give the new device another name")
    tags, changed = builder.tagged(decl.tags, device.tags)
    if changed:
        tagged = msgspec.structs.replace(device, tags=tags)
        builder.step().change(owned_key(device), stored.mod_revision, tagged)
        builder.devices[device.id] = Stored(tagged, ABSENT)
        _note(builder, Action.CHANGE, device, changed)


def settle_devices(builder: PlanBuilder, decls: Iterable[CustomerGatewayDecl]) -> None:
    """Add the deletion of customer gateways that the file owns and no longer names, if no connection leads to them."""
    named = {(decl.owner, decl.name) for decl in decls}
    for device_id, stored in list(builder.devices.items()):
        device = stored.record
        used = any(use.startswith(keys.vpn_use(device.owner, device_id)) for use in builder.vpn_uses)
        if (device.owner, device.name) in named or used or not builder.source.owns(device.tags):
            continue
        if builder.caller.sees(device.owner):
            delete_owned(builder.step(), stored)
            del builder.devices[device_id]
            _note(builder, Action.DELETE, device, ())


def _note(builder: PlanBuilder, action: Action, device: CustomerGateway, changed: tuple[Difference, ...]) -> None:
    builder.changes.append(change_of_owned(action, "customer-gateway", device, changed))
