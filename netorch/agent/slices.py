"""Desired and actual objects of one VPC on this host, and the keys that may differ.

The desired objects are those that the parts of compilers want, with reference counts. So recompiling one part touches only its
own keys. `recomputed` must always equal `desired`; the tests assert this everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from netorch.agent.problems import PartId
from netorch.compiler.registry import disagreement
from netorch.plan.diff import is_kept
from netorch.plan.flows import lost_reasons
from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key
from netorch.state.op import Delete, Op, Replace

Objects = dict[Key, KernelObject]


class Slice:
    """One VPC (or the host's own slice) on this host."""

    def __init__(self) -> None:
        self.desired: Objects = {}  # what should exist
        self.actual: Objects = {}  # what the kernel holds
        self.keep: frozenset[Key] = frozenset()
        self.touched: set[Key] = set()
        self.all_touched = False
        self.doubted = False  # whether others may have changed rules since all of them were in force
        self.full: set[Key] = set()  # flowtables that the kernel refused to empty
        self.withdrawn: frozenset[Key] = frozenset()  # deleted in any case: e.g. a public prefix that the VPC no longer has
        self._parts: dict[PartId, tuple[KernelObject, ...]] = {}  # objects that each part wants
        self._shared: dict[Key, Counter[KernelObject]] = {}  # keys that several parts want -> the objects, with counts
        self._disputed: set[Key] = set()  # keys for which parts want different objects

    def set_part(self, part: PartId, objects: Objects) -> None:
        """Replace a part's objects; the slice takes ownership of `objects`. Empty when the part is gone.

        Cost: O(part), whatever else the slice holds.
        """
        before = {obj.key: obj for obj in self._parts.pop(part, ())}
        for key, obj in objects.items():
            known = before.pop(key, None)
            if known is None or known != obj:
                objects[key] = self._ask(key, obj)
                if known is not None:
                    self._release(key, known)
        for key, known in before.items():
            self._release(key, known)
        if objects:
            self._parts[part] = tuple(objects.values())

    def drop_parts(self, scope: str) -> None:
        """Drop the objects of parts whose name begins with `scope`. Cost: O(slice)."""
        for part in [part for part in self._parts if part[1].startswith(scope)]:
            self.set_part(part, {})

    def withdraw(self, keys: frozenset[Key]) -> None:
        """Drop these objects from all parts until those are compiled again. Cost: O(slice)."""
        self.withdrawn = keys
        for part, objects in list(self._parts.items()):
            if any(obj.key in keys for obj in objects):
                self.set_part(part, {obj.key: obj for obj in objects if obj.key not in keys})
        self.touched |= keys

    def has_part(self, part: PartId) -> bool:
        """Return whether a part has objects."""
        return part in self._parts

    def _ask(self, key: Key, obj: KernelObject) -> KernelObject:
        """Add a part's reference to an object; return the kernel's own object if equal, so that no object is stored twice."""
        known, found = self.desired.get(key), self.actual.get(key)
        if found is not None and found == obj:
            obj = found
        self.desired[key] = obj
        if known is not None:
            self._shared.setdefault(key, Counter((known,)))[obj] += 1
            self._note_dispute(key)
        if obj is not found and (known is None or known != obj):
            self.touched.add(key)
        return obj

    def _release(self, key: Key, obj: KernelObject) -> None:
        counts = self._shared.get(key)
        if counts is None:
            del self.desired[key]
            self.touched.add(key)
            return
        counts[obj] -= 1
        if not counts[obj]:
            del counts[obj]
        left = next(iter(counts))
        if self.desired[key] != left:
            self.desired[key] = left
            self.touched.add(key)
        self._note_dispute(key)
        if counts.total() == 1:
            del self._shared[key]

    def _note_dispute(self, key: Key) -> None:
        if len(self._shared[key]) > 1:
            self._disputed.add(key)
        else:
            self._disputed.discard(key)

    def wanted_by(self) -> dict[Key, set[str]]:
        """Return the addresses whose mappings want an object, by its key; those of a peer as `<VNI in hex>/<address>`.

        Cost: O(slice).
        """
        found: dict[Key, set[str]] = {}
        for (_, address), objects in self._parts.items():
            for obj in objects if address else ():
                found.setdefault(obj.key, set()).add(address)
        return found

    def dispute(self) -> str:
        """Return which two parts want different objects with one key, or nothing. Cost: O(1) when there are none."""
        if not self._disputed:
            return ""
        key = min(self._disputed, key=str)
        found = [(part, obj) for part, objects in self._parts.items() for obj in objects if obj.key == key]
        (first, known), (second, obj) = found[0], next(item for item in found if item[1] != found[0][1])
        return disagreement(_spell(first), known, _spell(second), obj)

    def clear(self) -> None:
        """Drop all desired objects."""
        self.desired = {}
        self._parts = {}
        self._shared = {}
        self._disputed = set()
        self.keep = frozenset()
        self.all_touched = True

    def found(self, objects: Objects) -> None:
        """Set everything that the kernel holds of a slice that was unknown so far."""
        self.actual = objects
        self.all_touched = self.doubted = True

    def touch(self, key: Key) -> None:
        """Note that the kernel's object with this key may differ from the desired one."""
        self.touched.add(key)

    def seen(self, obj: KernelObject) -> None:
        """Note that the kernel holds this object now."""
        key = obj.key
        if self.actual.get(key) != obj:
            self.actual[key] = obj
            self.touched.add(key)
            self._doubt(obj)

    def gone(self, key: Key) -> None:
        """Note that the kernel no longer holds the object with this key, nor the objects that vanish with it.

        The kernel does not report the IPv4 routes that vanish when a device goes down, so they are assumed gone.
        """
        known = self.actual.get(key)
        if known is not None:
            self.touched |= self._suffer([known], ())
            self.missing(key)
        self.touched.add(key)

    def missing(self, key: Key) -> None:
        """Note that a dump lacks this known object."""
        self._doubt(self.actual.pop(key))
        self.touched.add(key)

    def _doubt(self, obj: KernelObject) -> None:
        self.doubted |= obj.judges

    def applied(self, ops: Sequence[Op]) -> list[KernelObject]:
        """Note that these operations were applied; return the objects of other VPCs that they replaced, e.g. a peer's route."""
        replaced = [op for op in ops if isinstance(op, Replace)]
        moved = [op.obj.key for op in replaced if op.old.parent != op.obj.parent]
        self._suffer([op.obj for op in ops if isinstance(op, Delete)], moved)
        for op in ops:
            if isinstance(op, Delete):
                self.actual.pop(op.obj.key, None)
                self.full.discard(op.obj.key)
            else:
                self.actual[op.obj.key] = op.obj
        return [op.old for op in replaced if op.old.vni != op.obj.vni]

    def reloaded(self, tables: Collection[Key], contents: Objects) -> None:
        """Note that of this slice these nftables tables hold exactly what `contents` has of them."""
        loaded = {key: obj for key, obj in contents.items() if obj.within in tables}
        self.actual = {key: obj for key, obj in self.actual.items() if obj.within not in tables} | loaded
        self.full -= loaded.keys()  # new flowtables have no flows

    def refused(self, objects: Iterable[KernelObject]) -> None:
        """Note objects whose operations the kernel refused: a flowtable may hold flows that lost their reasons."""
        self.full |= {obj.key for obj in objects if obj.holds_flows}

    def _suffer(self, gone: Sequence[KernelObject], moved: Sequence[Key]) -> set[Key]:
        """Apply the side effects on the actual objects; return the keys of the changed ones."""
        left = aftermath(self.actual, gone, moved)
        for key, rest in left.items():
            if rest is None:
                del self.actual[key]
            else:
                self.actual[key] = rest
        return set(left)

    def difference(self) -> tuple[Objects, Objects]:
        """Return the desired and the actual objects that may differ, and reset the marks.

        Cost: O(touched keys); O(slice) when an object with children is among them, or if flows may have lost their reasons.
        """
        touched, everything = self.touched, self.all_touched or any(map(self._has_children, self.touched))
        self.touched, self.all_touched = set(), False
        if everything:
            return self.desired, self.actual
        desired = {key: self.desired[key] for key in touched if key in self.desired}
        actual = {key: self.actual[key] for key in touched if key in self.actual}
        doubted = {obj.vni for obj in desired.values()} if self.doubted else ()
        return (self.desired, self.actual) if lost_reasons(desired, actual, doubted) else (desired, actual)

    def is_kept(self, obj: KernelObject) -> bool:
        """Return whether an object, or its parent, stays as it is: another host will take it over."""
        return is_kept(obj.key, obj, self.keep)

    def is_damage(self, key: Key, found: KernelObject | None) -> bool:
        """Return whether the kernel held an object as wanted and now holds another or none, although no program may remove it."""
        wanted, known = self.desired.get(key), self.actual.get(key)
        if wanted is None or known is None or not wanted.matches(known) or (found is not None and wanted.matches(found)):
            return False
        return not self.is_kept(wanted)  # a port that moves to another host is no damage

    def _has_children(self, key: Key) -> bool:
        obj = self.desired.get(key) or self.actual.get(key)
        return obj is not None and obj.has_children

    def holds(self, key: Key) -> bool:
        """Return whether an object is desired, or still in the kernel."""
        return key in self.desired or key in self.actual

    @property
    def dirty(self) -> bool:
        """Return whether anything may differ."""
        return self.all_touched or bool(self.touched)

    @property
    def empty(self) -> bool:
        """Return whether nothing is desired and nothing is in the kernel."""
        return not self.desired and not self.actual


def _spell(part: PartId) -> str:
    name, address = part
    return f"{name} ({address})" if address else name
