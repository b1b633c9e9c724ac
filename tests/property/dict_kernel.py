"""A kernel as a dictionary: refuses what Linux refuses, and loses what Linux loses when a device goes or changes its VRF."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netorch.state.base import KernelObject, Key
from netorch.state.l3 import Route
from netorch.state.op import Create, Delete, Op, Replace

Objects = dict[Key, KernelObject]


class Refused(AssertionError):
    """An operation that Linux would not carry out."""


class DictKernel:
    """Holds objects; starts from what is said to be there already."""

    def __init__(self, objects: Objects) -> None:
        self.objects = dict(objects)

    def run(self, ops: Iterable[Op]) -> Objects:
        """Carry out the operations and return what is there then."""
        for op in ops:
            self.apply(op)
        return self.objects

    def apply(self, op: Op) -> None:
        """Carry out one operation. Raises Refused."""
        match op:
            case Create(obj):
                self._need_parent(obj)
                if obj.key in self.objects and obj.key[0] in ("link", "nft-table", "rule", "nft-element"):
                    raise Refused(f"{obj.key} exists")
                self.objects[obj.key] = obj
            case Replace(old, obj):
                self._need_parent(obj)
                if self.objects.get(obj.key) != old:
                    raise Refused(f"{old} is not there: {self.objects.get(obj.key)}")
                if not obj.replaces(old):
                    raise Refused(f"{old} cannot be changed into {obj}")
                self._replace(obj)
            case Delete(obj):
                self.lose(obj.key)

    def lose(self, key: Key) -> None:
        """Remove an object and what goes with it."""
        if self.objects.pop(key, None) is None:
            return
        for child in [child for child in self.objects.values() if child.parent == key]:
            if child.key[0] == "link":
                orphan: Any = child
                self._replace(msgspec.structs.replace(orphan, vrf=""))
            elif not isinstance(child, Route) or child.ifname:
                self.lose(child.key)

    def _replace(self, obj: KernelObject) -> None:
        before = self.objects[obj.key]
        self.objects[obj.key] = obj
        if obj.key[0] == "link" and before.parent != obj.parent:
            for child in [child for child in self.objects.values() if child.parent == obj.key]:
                if child.key[0] in ("route", "neigh", "addr"):
                    self.lose(child.key)

    def _need_parent(self, obj: KernelObject) -> None:
        if obj.parent is not None and obj.parent not in self.objects:
            raise Refused(f"{obj.key} has no {obj.parent}")
