"""The difference of two sets of kernel objects as a list of operations in an order that the kernel accepts.

    1. what must go before its successor can come: a device of another kind under the same name
    2. births and changes in place, ascending rank: parents before children, policy before ports, mappings last;
       a change in place may have a later rank than a birth, beside what it has to come into force with
    3. deaths, descending rank; what a dying parent takes along is not mentioned

Births stand before deaths so that a moved address is never without a home (make before break).

Two things disturb objects that nobody meant to change:

    a parent that goes           takes its children along, but for the devices in a VRF and the VRF's `unreachable` routes
    a device that changes its VRF  is taken down and up by the kernel, which costs it its routes, neighbours and addresses
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from msgspec import structs

from netorch.state.base import KernelObject, Key
from netorch.state.l3 import Route
from netorch.state.link import TapPort, VethPort, Vxlan
from netorch.state.op import Create, Delete, Op, Replace

Objects = Mapping[Key, KernelObject]

_LOST_WHEN_DOWN: Final = frozenset({"route", "neigh", "addr"})


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
    doomed = {key: found for key, obj in differing.items() if (found := actual.get(key)) is not None and not obj.replaces(found)}
    disturbed = _disturbed(differing, doomed, actual)
    differing |= {key: desired[key] for key in disturbed if key in desired and not _kept(key, desired[key], keep)}
    births: list[Op] = []
    for key, obj in differing.items():
        found = disturbed[key] if key in disturbed else actual.get(key)
        births.append(Create(obj) if found is None else Replace(found, obj))
    deaths = {key: obj for key, obj in actual.items() if key not in desired and obj.ours and not _kept(key, obj, keep)}
    births.sort(key=_birth_order)
    return [*_funeral(doomed, doomed), *births, *_funeral(deaths, {**doomed, **deaths})]


def _kept(key: Key, obj: KernelObject, keep: Collection[Key]) -> bool:
    return bool(keep) and (key in keep or obj.parent in keep)


def _disturbed(differing: Objects, doomed: Objects, actual: Objects) -> dict[Key, KernelObject | None]:
    """Return what is left, when the births begin or go on, of objects that are doomed or suffer by another's change."""
    newborn = {key for key in differing if key not in actual}  # what stood on it before, if anything, went with the old one
    restless = {key for key, obj in differing.items() if key in actual and key not in doomed and obj.parent != actual[key].parent}
    left: dict[Key, KernelObject | None] = dict.fromkeys(doomed)
    if not (newborn or doomed or restless):
        return left
    for key, obj in actual.items():
        parent = obj.parent
        if key not in doomed and (parent in doomed or parent in newborn):
            if not _outlives_parent(obj):
                left[key] = None
            elif isinstance(obj, Vxlan | VethPort | TapPort):
                left[key] = structs.replace(obj, vrf="")
                restless.add(key)
    if restless:
        left |= {key: None for key, obj in actual.items() if key[0] in _LOST_WHEN_DOWN and obj.parent in restless}
    return left


def _outlives_parent(obj: KernelObject) -> bool:
    """Return whether the kernel leaves an object alone when its parent goes."""
    return isinstance(obj, Vxlan | VethPort | TapPort) or (isinstance(obj, Route) and not obj.ifname)


def _funeral(dying: Objects, going: Objects) -> Iterator[Op]:
    """Yield the deletions, highest rank first, without those that a parent among the `going` takes along."""
    for obj in sorted(dying.values(), key=_death_order):
        if obj.parent not in going or _outlives_parent(obj):
            yield Delete(obj)


def _birth_order(op: Op) -> tuple[int, Key]:
    rank = op.obj.rank_of_change(op.old) if isinstance(op, Replace) else op.obj.rank
    return rank, op.obj.key  # keys of one kind compare: they have the same types in the same places


def _death_order(obj: KernelObject) -> tuple[int, Key]:
    return -obj.rank, obj.key
