"""Plan address pools as a file declares them. Like hosts, they are the operator's, and a file never deletes them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netorch.control.actions.outside.pools import check_pair, new_ranges, range_notes, refuse_held
from netorch.control.apply.builder import PlanBuilder, canonical
from netorch.control.apply.changes import Action, Change, differences, member_differences
from netorch.control.base.ranges import change_pools
from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError
from netorch.model.cloud import AddressPoolDecl
from netorch.model.eni import Role
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.read import Stored


def plan_pools(builder: PlanBuilder, decls: list[AddressPoolDecl]) -> None:
    """Add new pools, and changes of ranges and tags; the hosts are planned. Raises ApiError.

    Existing pools may swap ranges: removals come first, all in one step.
    """
    before = dict(builder.pools)
    decls = [msgspec.structs.replace(decl, cidrs=list(map(canonical, decl.cidrs))) for decl in decls]
    for decl in decls:
        _check(builder, decl, before.get(decl.name))
    changes = builder.step()
    for decl in decls:
        if decl.name in before:
            _narrow(builder, changes, decl, builder.pools[decl.name])
    for decl in decls:
        _widen(builder, changes if decl.name in before else builder.step(), decl)
        _note(builder, before.get(decl.name), builder.pools[decl.name].record)


def pool_notes(builder: PlanBuilder) -> Iterator[str]:
    """Yield notes on the ranges that the plan adds to pools."""
    for name, stored in builder.pools.items():
        before = builder.inventory.pools.get(name)
        known = before.record.cidrs if before is not None else ()
        yield from range_notes(name, (text for text in stored.record.cidrs if text not in known))


def _check(builder: PlanBuilder, decl: AddressPoolDecl, stored: Stored[AddressPool] | None) -> None:
    where = f"address pool {decl.name!r}"
    if not builder.caller.operator and (stored is None or not _is(stored.record, decl)):
        text = f"{where}: only the operator may declare pools; leave it out, or ask the operator to apply the file"
        raise ApiError("UnauthorizedOperation", text)
    if stored is None:
        check_pair(where, decl.pair, {state.host.pair for state in builder.hosts.values() if state.host.role is Role.EDGE})
    elif stored.record.pair != decl.pair:
        what = f"its addresses are routed to pair {stored.record.pair}, which cannot be changed"
        raise invalid(where, what, f"write pair: {stored.record.pair}, or declare another pool")


def _is(stored: AddressPool, decl: AddressPoolDecl) -> bool:
    return (stored.pair, set(stored.cidrs), stored.tags) == (decl.pair, set(decl.cidrs), decl.tags)


def _narrow(builder: PlanBuilder, writes: Writes, decl: AddressPoolDecl, stored: Stored[AddressPool]) -> None:
    """Add the removal of ranges without held addresses. Raises ApiError: DependencyViolation."""
    pool = stored.record
    kept = tuple(text for text in pool.cidrs if text in decl.cidrs)
    if kept == pool.cidrs:
        return
    gone = sorted(set(pool.cidrs) - set(kept))
    refuse_held(writes, pool.name, gone, builder.revision_of, builder.inventory.raw.values)
    _store(builder, writes, msgspec.structs.replace(pool, cidrs=kept))


def _widen(builder: PlanBuilder, writes: Writes, decl: AddressPoolDecl) -> None:
    """Add a new pool, or new ranges and tags of an existing one. Raises ApiError for a taken range."""
    stored = builder.pools.get(decl.name)
    pool = stored.record if stored is not None else AddressPool(name=decl.name, pair=decl.pair, cidrs=())
    pools = [found.record for found in builder.pools.values()]
    hosts = [state.host for state in builder.hosts.values()]
    services = [found.record for found in builder.services.values()]
    asked = [text for text in decl.cidrs if text not in pool.cidrs]
    new = new_ranges(f"address pool {decl.name!r}", asked, pools, hosts, services)
    if new:
        _store(builder, writes, msgspec.structs.replace(pool, cidrs=pool.cidrs + new, tags=decl.tags))
    elif stored is not None and decl.tags != pool.tags:
        tagged = msgspec.structs.replace(pool, tags=decl.tags)
        writes.change(keys.pool(pool.name), stored.mod_revision, tagged)
        builder.pools[pool.name] = Stored(tagged, stored.mod_revision)


def _store(builder: PlanBuilder, writes: Writes, changed: AddressPool) -> None:
    """Add a pool with changed ranges."""
    stored = builder.pools.get(changed.name)
    change_pools(writes, builder.revision_of)
    writes.change(keys.pool(changed.name), stored.mod_revision if stored is not None else ABSENT, changed)
    builder.pools[changed.name] = Stored(changed, stored.mod_revision if stored is not None else ABSENT)


def _note(builder: PlanBuilder, stored: Stored[AddressPool] | None, after: AddressPool) -> None:
    if stored is None:
        added = (*differences(pair=("", after.pair)), *member_differences("cidrs", (), after.cidrs))
        builder.changes.append(Change(action=Action.ADD, kind="address-pool", name=after.name, differences=added))
    elif stored.record != after:
        changed = (
            *differences(tags=(stored.record.tags, after.tags)),
            *member_differences("cidrs", stored.record.cidrs, after.cidrs),
        )
        builder.changes.append(Change(action=Action.CHANGE, kind="address-pool", name=after.name, differences=changed))
