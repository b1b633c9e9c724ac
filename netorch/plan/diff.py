"""The difference of two sets of kernel objects as a list of operations in an order that the kernel accepts.

    1. what must go before its successor can come (a device of another kind under the same name), with its children
    2. births and changes in place, ascending rank: parents before children, policy before ports, mappings last
    3. deaths, descending rank; what a dying parent takes along is not mentioned

Births stand before deaths so that a moved address is never without a home (make before break).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netorch.state.base import KernelObject, Key
from netorch.state.op import Create, Delete, Op, Replace

Objects = Mapping[Key, KernelObject]


def diff(desired: Objects, actual: Objects, keep: Collection[Key] = ()) -> list[Op]:
    """Return the operations that turn `actual` into `desired`; none when they agree.

    `keep` names objects that another host is about to take: they and their children are neither made, changed nor removed.
    Cost: O(len(desired) + len(actual)) comparisons; only what differs is sorted.
    """
    doomed = {key for key, obj in desired.items() if _must_die_first(obj, actual.get(key)) and not _kept(obj, keep)}
    births: list[Op] = []
    for key, obj in desired.items():
        if keep and _kept(obj, keep):
            continue
        found = actual.get(key)
        if found is None or key in doomed or (doomed and _has_ancestor(found, doomed, actual)):
            births.append(Create(obj))
        elif not obj.matches(found):
            births.append(Replace(found, obj))
    deaths = {key: obj for key, obj in actual.items() if key not in desired and not (keep and _kept(obj, keep))}
    births.sort(key=_birth_order)
    return [
        *_funeral({key: actual[key] for key in doomed}, actual),
        *births,
        *_funeral(_survivors(deaths, doomed, actual), actual),
    ]


def _must_die_first(wanted: KernelObject, found: KernelObject | None) -> bool:
    return found is not None and not wanted.matches(found) and not wanted.replaces(found)


def _kept(obj: KernelObject, keep: Collection[Key]) -> bool:
    return obj.key in keep or (obj.parent is not None and obj.parent in keep)


def _has_ancestor(obj: KernelObject, keys: Collection[Key], actual: Objects) -> bool:
    parent = obj.parent
    while parent is not None:
        if parent in keys:
            return True
        above = actual.get(parent)
        parent = above.parent if above is not None else None
    return False


def _survivors(deaths: dict[Key, KernelObject], doomed: set[Key], actual: Objects) -> dict[Key, KernelObject]:
    """Return the deaths that the doomed objects do not take along anyway."""
    if not doomed:
        return deaths
    return {key: obj for key, obj in deaths.items() if not _has_ancestor(obj, doomed, actual)}


def _funeral(dying: dict[Key, KernelObject], actual: Objects) -> Iterator[Op]:
    """Yield the deletions, highest rank first, without those that a dying parent takes along.

    A device takes its routes, neighbours and addresses; a VRF does not take the devices in it, nor the routes of its table
    that lead elsewhere, so only a parent that is a device proper counts.
    """
    for obj in sorted(dying.values(), key=_death_order):
        parent = obj.parent
        if parent is not None and parent in dying and _takes_along(dying[parent], obj):
            continue
        yield Delete(obj)


def _takes_along(parent: KernelObject, child: KernelObject) -> bool:
    return child.key[0] in _GO_WITH_DEVICE if parent.key[0] == "link" else parent.key[0] == "nft-table"


_GO_WITH_DEVICE = frozenset({"up", "sysctl", "addr", "neigh", "fdb"})


def _birth_order(op: Op) -> tuple[int, str]:
    return op.obj.rank, repr(op.obj.key)


def _death_order(obj: KernelObject) -> tuple[int, str]:
    return -obj.rank, repr(obj.key)
