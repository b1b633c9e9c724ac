"""Changed nftables tables, each with everything that it holds from then on.

An upgrade of netorch may change the text of a table that all VPCs share. Chains of VPCs fit their text: an old one may lead to a
chain that the new text lacks, or mean something else by a mark. So a table changes together with its contents, in one
transaction, and packets pass at any time. The other tables of its namespace change along, because their chains fit each other,
too. What is not known yet stays as it is: contents of VPCs that have not compiled, and what must not be deleted now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from netorch.agent.slices import Objects, Slice
from netorch.state.base import HOST_SLICE, KernelObject, Key, OnDevice
from netorch.state.nft import freed_zone
from netorch.state.op import Delete, Op, Reload, Replace


class Reloads(NamedTuple):
    """Operations in which each change of a table is a Reload."""

    ops: list[Op]
    tables: frozenset[Key] = frozenset()
    contents: Mapping[int, Objects] = {}  # of all these tables, by slice

    def note(self, failed: Collection[Key], slices: Mapping[int, Slice]) -> None:
        """Note in the slices what the tables hold now, except those that the kernel refused to change."""
        tables = self.tables.difference(failed)
        for slice_id, objects in self.contents.items():
            slices[slice_id].reloaded(tables, objects)


def reloads(
    ops: list[Op], slices: Mapping[int, Slice], is_known: Callable[[int], bool], stays: Callable[[KernelObject], bool]
) -> Reloads:
    """Return the operations with a Reload for each change of a table, without those that are part of one.

    Args:
      is_known: whether a slice's desired objects are known
      stays: whether an object that is not desired must not be deleted now

    Cost: nothing without a changed table; O(objects of its VPC) for a gateway's, which the owner may change at any time; else
    O(objects of this host).
    """
    changed = [op.obj for op in ops if op.obj.is_reloaded and isinstance(op, Replace)]
    if not changed:
        return Reloads(ops)
    namespaces, owners = {obj.netns for obj in changed}, {obj.vni for obj in changed}
    concerned = slices if HOST_SLICE in owners else {number: slices[number] for number in owners}
    tables = {key: pair for target in concerned.values() for key, pair in _tables(target, namespaces).items()}
    contents = {number: _contents(target, tables, stays if is_known(number) else None) for number, target in concerned.items()}
    by_table: dict[Key | None, list[KernelObject]] = {}
    for obj in sorted((obj for objects in contents.values() for obj in objects.values()), key=lambda obj: (obj.order, obj.key)):
        by_table.setdefault(obj.within, []).append(obj)
    found: list[Op] = []
    for op in ops:
        if op.obj.key in tables and op.obj.netns in namespaces:
            namespaces.remove(op.obj.netns)
            of_netns = sorted(key for key, (_, obj) in tables.items() if obj.netns == op.obj.netns)
            found += [Reload(*tables[key], tuple(by_table.get(key, ()))) for key in of_netns]
        elif op.obj.key not in tables and (op.obj.within not in tables or not _is_part(op, contents)):
            found.append(op)
    return Reloads(found, frozenset(tables), contents)


def _tables(target: Slice, namespaces: Collection[str]) -> dict[Key, tuple[KernelObject, KernelObject]]:
    """Return the tables of a slice that stay in these namespaces, as they are and as they should be."""
    return {
        key: (target.actual[key], obj)
        for key, obj in target.desired.items()
        if obj.is_reloaded and obj.netns in namespaces and key in target.actual
    }


def _contents(target: Slice, tables: Collection[Key], stays: Callable[[KernelObject], bool] | None) -> Objects:
    """Return what tables shall hold of a slice; what they hold now if its desired objects are not known: without `stays`.

    What belongs to a device that is not there yet follows later. So does the end of a zone, which takes its connections along.
    """
    held = {key: obj for key, obj in target.actual.items() if obj.within in tables}
    if stays is None:
        return held

    def is_kept(obj: KernelObject) -> bool:
        return target.is_kept(obj) and not obj.goes_first  # as in netorch.plan.diff

    wanted = {
        key: obj
        for key, obj in target.desired.items()
        if obj.within in tables and (key in held or not isinstance(obj, OnDevice)) and not is_kept(obj)
    }
    left = {key: obj for key, obj in held.items() if key not in wanted and (is_kept(obj) or freed_zone(obj) or stays(obj))}
    return wanted | left


def _is_part(op: Op, contents: Mapping[int, Objects]) -> bool:
    """Return whether a table that has these contents, by slice, needs the operation no longer."""
    vni = op.obj.vni
    return vni in contents and (op.obj.key in contents[vni]) != isinstance(op, Delete)
