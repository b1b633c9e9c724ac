"""Desired and actual objects of one VPC on this host, and which keys may differ.

The desired part is the VPC's own objects, what its rules come to, and those of each mapping, counted by how many ask for them, so
that one changed mapping touches its own entries only. `recomputed` must always equal `desired`; the tests assert it everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from netorch.state.base import KernelObject, Key

Objects = dict[Key, KernelObject]


class Slice:
    """One VPC (or the host's own part) on this host."""

    def __init__(self) -> None:
        self.own: Objects = {}  # what depends on neither rules nor a mapping
        self.rules: Objects = {}  # what rules come to
        self.shared: dict[Key, tuple[KernelObject, int]] = {}  # what mappings ask for, and how many do
        self.of_mapping: dict[str, tuple[KernelObject, ...]] = {}  # address -> what its mapping asked for
        self.actual: Objects = {}
        self.keep: frozenset[Key] = frozenset()
        self.touched: set[Key] = set()
        self.all_touched = False

    def desired(self) -> Objects:
        """Return everything that should exist. Cost: O(slice)."""
        return {**{key: obj for key, (obj, _) in self.shared.items()}, **self.rules, **self.own}

    def wanted(self, key: Key) -> KernelObject | None:
        """Return the desired object of a key, or None."""
        own = self.own.get(key) or self.rules.get(key)
        if own is not None:
            return own
        counted = self.shared.get(key)
        return counted[0] if counted is not None else None

    def set_own(self, objects: Objects, keep: frozenset[Key]) -> None:
        """Replace the part that depends on no mapping."""
        self.own = objects
        self.keep = keep
        self.all_touched = True

    def set_rules(self, objects: Objects) -> None:
        """Replace what rules come to. Cost: O(what they come to), whatever else the slice holds."""
        old, self.rules = self.rules, objects
        self.touched |= {key for key in old.keys() | objects.keys() if old.get(key) != objects.get(key)}

    def set_mapping(self, address: str, objects: Iterable[KernelObject]) -> None:
        """Replace what the mapping of an address asks for (nothing when it is gone). Cost: O(1)."""
        new = tuple(objects)
        old = self.of_mapping.pop(address, ())
        if new:
            self.of_mapping[address] = new
        for obj in new:
            key = obj.key
            known = self.shared.get(key)
            self.shared[key] = (obj, 1 if known is None else known[1] + 1)
            self.touched.add(key)
        for obj in old:
            key = obj.key
            value, count = self.shared[key]
            if count == 1:
                del self.shared[key]
            else:
                self.shared[key] = (value, count - 1)
            self.touched.add(key)

    def clear(self) -> None:
        """Ask for nothing any more."""
        self.own = {}
        self.rules = {}
        self.shared = {}
        self.of_mapping = {}
        self.keep = frozenset()
        self.all_touched = True

    def touch(self, key: Key) -> None:
        """Note that the kernel's object of this key may differ from the desired one."""
        self.touched.add(key)

    def seen(self, obj: KernelObject) -> None:
        """The kernel holds this object now."""
        key = obj.key
        if self.actual.get(key) != obj:
            self.actual[key] = obj
            self.touched.add(key)

    def gone(self, key: Key) -> None:
        """The kernel no longer holds the object of this key, nor what cannot outlive it.

        The kernel does not tell of the IPv4 routes that a device takes along when it goes down, so they are taken for gone.
        """
        if key[0] in ("link", "up"):
            ifname = key[1]
            for child in [child for child, obj in self.actual.items() if _rests_on(obj, ifname)]:
                if child != ("link", ifname):
                    self.actual.pop(child)
                    self.touched.add(child)
        self.actual.pop(key, None)
        self.touched.add(key)

    def difference(self) -> tuple[Objects, Objects]:
        """Return the desired and the actual objects that may differ, and start afresh. Cost: O(touched keys)."""
        touched, everything = self.touched, self.all_touched or any(key[0] == "link" for key in self.touched)
        self.touched, self.all_touched = set(), False
        if everything:
            return self.desired(), self.actual
        desired = {key: obj for key in touched if (obj := self.wanted(key)) is not None}
        return desired, {key: self.actual[key] for key in touched if key in self.actual}

    @property
    def dirty(self) -> bool:
        """Return whether anything may differ."""
        return self.all_touched or bool(self.touched)

    @property
    def empty(self) -> bool:
        """Return whether nothing is wanted and nothing is there."""
        return not self.own and not self.rules and not self.shared and not self.actual


def _rests_on(obj: KernelObject, ifname: str | int) -> bool:
    return getattr(obj, "ifname", "") == ifname or obj.parent == ("link", ifname)
