"""The difference of two sets of kernel objects as a list of operations in an order that the kernel accepts.

    1. what must go before its successor can come: a device of another kind under the same name
    2. creations and changes in place, in apply order: parents before children, policy before ports, mappings last;
       a change in place may have a later place than a creation, beside what it has to come into force with
    3. devices that get another master, one after the other, each with what stands on it: it carries no packets until it has
       its routes again, and finds those to everybody else in its new VRF
    4. deletions, in the opposite order; what goes with its parent is not mentioned

Creations come before deletions so that a moved address is never without a home (make before break).

What goes or goes down disturbs objects that nobody meant to change (netorch.state.aftermath): they are made again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial

from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key
from netorch.state.op import Create, Delete, Op, Replace

Objects = Mapping[Key, KernelObject]


def diff(desired: Objects, actual: Objects, keep: Collection[Key] = ()) -> list[Op]:
    """Return the operations that turn `actual` into `desired`; none when they agree.

    `keep` names objects that another host is about to take: they and their children are neither made, changed nor removed.
    Cost: O(len(desired) + len(actual)) comparisons; only what differs is sorted.
    """
    differing = {
        key: obj
        for key, obj in desired.items()
        if not ((found := actual.get(key)) is not None and (found is obj or obj.matches(found))) and not _kept(key, obj, keep)
    }
    recreated = {
        key: found for key, obj in differing.items() if (found := actual.get(key)) is not None and not obj.replaces(found)
    }
    moved = _moved(differing, recreated, actual)
    left = _left(differing, recreated, moved, actual)
    differing |= {key: desired[key] for key in left if key in desired and not _kept(key, desired[key], keep)}
    made: list[Op] = []
    for key, obj in differing.items():
        found = left[key] if key in left else actual.get(key)
        made.append(Create(obj) if found is None else Replace(found, obj))
    removed = {key: obj for key, obj in actual.items() if key not in desired and obj.ours and not _kept(key, obj, keep)}
    made.sort(key=partial(_place, moved))
    return [*_deletions(recreated, recreated), *made, *_deletions(removed, {**recreated, **removed})]


def _kept(key: Key, obj: KernelObject, keep: Collection[Key]) -> bool:
    return bool(keep) and (key in keep or obj.parent in keep)


def _moved(differing: Objects, recreated: Objects, actual: Objects) -> set[Key]:
    """Return the keys of the devices that get another master."""
    return {
        key
        for key, obj in differing.items()
        if obj.has_children and key in actual and key not in recreated and obj.parent != actual[key].parent
    }


def _left(differing: Objects, recreated: Objects, moved: Collection[Key], actual: Objects) -> dict[Key, KernelObject | None]:
    """Return what is left, when something is made or changed, of objects that are recreated or disturbed by another's change.

    What is remembered of the children of a new parent went with an old one that nobody saw go.
    """
    new = [obj for key, obj in differing.items() if key not in actual and obj.has_children]
    return aftermath(actual, [*new, *recreated.values()], moved) | dict.fromkeys(recreated)


def _deletions(objects: Objects, going: Objects) -> Iterator[Op]:
    """Yield the deletions, last place first, without those of objects that go with a parent among the `going`."""
    for obj in sorted(objects.values(), key=lambda obj: (-obj.order, obj.key)):
        if obj.parent not in going or not obj.dies_with_parent:
            yield Delete(obj)


def _place(moved: Collection[Key], op: Op) -> tuple[Key, int, Key]:
    obj = op.obj
    place = obj.order_of_change(op.old) if isinstance(op, Replace) else obj.order
    key = obj.key
    device = next((each for each in (key, obj.parent) if each in moved), ()) if moved else ()
    return device or (), place, key  # keys of one kind compare: they have the same types in the same places
