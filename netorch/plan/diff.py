"""The difference between two sets of kernel objects, as operations in an order that the kernel accepts.

    1. deletions of what `goes_first`, even of what is kept; then those that a creation depends on: a device of another kind with
       the same name, or a flowtable to be emptied (netorch.plan.flows), once nothing refers to it
    2. creations and changes in place, in apply order: parents before children, policy before ports, mappings last;
       a change in place may come later than a creation, together with the changes that it must take effect with
    3. devices that get another master, one by one, each with its children: a device carries no packets until its own routes
       exist again; the other routes of its new VRF exist already
    4. deletions, in reverse order, without objects that the kernel deletes with their parent

Creations come before deletions, so that a moved address always has a route (make before break).

A device that is deleted or goes down also affects unchanged objects (netorch.state.aftermath): the plan recreates them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial

from netorch.plan.flows import lost_reasons
from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key
from netorch.state.op import Create, Delete, Op, Replace

Objects = Mapping[Key, KernelObject]


def diff(
    desired: Objects,
    actual: Objects,
    keep: Collection[Key] = (),
    doubted: Collection[int] = (),
    full: Collection[Key] = (),
) -> list[Op]:
    """Return the operations that turn `actual` into `desired`; empty if they agree.

    `keep` names objects that another host will take over: the plan does not create, change or delete them or their children.
    It does delete what `goes_first`: that a port's packets meet no rules is policy, and no part of the port.
    `doubted` names the VPCs whose objects other programs may have changed, `full` flowtables that an earlier plan did not empty.
    Cost: O(len(desired) + len(actual)) comparisons; only differing objects are sorted.
    """
    changed = {
        key: obj
        for key, obj in desired.items()
        if not ((found := actual.get(key)) is not None and (found is obj or obj.matches(found)))
    }
    differing = {key: obj for key, obj in changed.items() if not is_kept(key, obj, keep)}
    stale = lost_reasons(changed, actual, doubted)
    differing |= _emptied(desired, actual, stale, full) if stale or full else {}
    recreated = {
        key: found for key, obj in differing.items() if (found := actual.get(key)) is not None and not obj.replaces(found)
    }
    moved = _moved(differing, recreated, actual)
    left = _left(differing, recreated, moved, actual)
    needing = [key for key in left if actual[key].needs in recreated]
    freed = [Replace(actual[key], rest) for key in needing if (rest := left[key]) is not None]
    differing |= {key: desired[key] for key in left if key in desired and not is_kept(key, desired[key], keep)}
    made: list[Op] = []
    for key, obj in differing.items():
        found = left[key] if key in left else actual.get(key)
        made.append(Create(obj) if found is None else Replace(found, obj))
    made.sort(key=partial(_place, moved))
    removed = {
        key: obj
        for key, obj in actual.items()
        if key not in desired and obj.ours and (obj.goes_first or not is_kept(key, obj, keep))
    }
    going = {**recreated, **removed}
    first = {key: actual[key] for key in (*removed, *changed, *needing) if key in actual and actual[key].goes_first}
    again = {key: obj for key, obj in recreated.items() if key not in first}
    later = {key: obj for key, obj in removed.items() if key not in first}
    return [*freed, *_deletions(first, going), *_deletions(again, recreated), *made, *_deletions(later, going)]


def _emptied(desired: Objects, actual: Objects, stale: Collection[int], full: Collection[Key]) -> Objects:
    """Return the flowtables that stay, but must not keep their flows: these, and those of VPCs whose flows lost their reasons."""
    tables = {key: obj for key, obj in desired.items() if obj.holds_flows and key in actual}
    return {key: obj for key, obj in tables.items() if obj.vni in stale or key in full}


def is_kept(key: Key, obj: KernelObject, keep: Collection[Key]) -> bool:
    """Return whether the object with this key, or its parent, stays as it is: another host will take it over."""
    return bool(keep) and (key in keep or obj.parent in keep)


def _moved(differing: Objects, recreated: Objects, actual: Objects) -> set[Key]:
    """Return the keys of existing devices that get another master."""
    return {
        key
        for key, obj in differing.items()
        if obj.has_children and key in actual and key not in recreated and obj.parent != actual[key].parent
    }


def _left(differing: Objects, recreated: Objects, moved: Collection[Key], actual: Objects) -> dict[Key, KernelObject | None]:
    """Return the remains of objects that are recreated, or that the change of another object affects.

    If a new parent has known children, they were lost with an old parent whose deletion netorch did not notice.
    """
    new = [obj for key, obj in differing.items() if key not in actual and obj.has_children]
    return aftermath(actual, [*new, *recreated.values()], moved) | dict.fromkeys(recreated)


def _deletions(objects: Objects, going: Objects) -> Iterator[Op]:
    """Yield the deletions in reverse order, without objects that the kernel deletes with a parent in `going`."""
    for obj in sorted(objects.values(), key=lambda obj: (-obj.order, obj.key)):
        if obj.parent not in going or not obj.dies_with_parent:
            yield Delete(obj)


def _place(moved: Collection[Key], op: Op) -> tuple[Key, int, Key]:
    obj = op.obj
    place = obj.order_of_change(op.old) if isinstance(op, Replace) else obj.order
    key = obj.key
    device = next((each for each in (key, obj.parent) if each in moved), ()) if moved else ()
    return device or (), place, key  # keys of one kind are comparable: their elements have the same types
