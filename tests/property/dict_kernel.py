"""A kernel as a dictionary: refuses what Linux refuses, and loses what Linux loses when a device goes or changes its VRF."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key
from netorch.state.op import Create, Delete, Op, Replace

Objects = dict[Key, KernelObject]


class DroppedPacket(AssertionError):
    """An operation that Linux would refuse."""


class DictKernel:
    """Holds objects, at first the given ones."""

    def __init__(self, objects: Objects) -> None:
        self.objects = dict(objects)

    def run(self, ops: Iterable[Op]) -> Objects:
        """Carry out the operations and return the objects afterwards."""
        for op in ops:
            self.apply(op)
        return self.objects

    def apply(self, op: Op) -> None:
        """Carry out one operation. Raises DroppedPacket."""
        match op:
            case Create(obj):
                self._need_parent(obj)
                if obj.key in self.objects and obj.key[0] in ("link", "nft-table", "rule", "nft-element"):
                    raise DroppedPacket(f"{obj.key} exists")
                self.objects[obj.key] = obj
            case Replace(old, obj):
                self._need_parent(obj)
                if self.objects.get(obj.key) != old:
                    raise DroppedPacket(f"{old} is not there: {self.objects.get(obj.key)}")
                if not obj.replaces(old):
                    raise DroppedPacket(f"{old} cannot be changed into {obj}")
                self._replace(obj)
            case Delete(obj):
                self.lose(obj.key)

    def lose(self, key: Key) -> None:
        """Remove an object and everything that Linux removes with it."""
        obj = self.objects.get(key)
        if obj is not None:
            self._suffer(aftermath(self.objects, [obj]))
            del self.objects[key]

    def _replace(self, obj: KernelObject) -> None:
        before = self.objects[obj.key]
        self.objects[obj.key] = obj
        if before.parent != obj.parent:
            self._suffer(aftermath(self.objects, (), [obj.key]))

    def _suffer(self, left: Mapping[Key, KernelObject | None]) -> None:
        for key, rest in left.items():
            if rest is None:
                del self.objects[key]
            else:
                self.objects[key] = rest

    def _need_parent(self, obj: KernelObject) -> None:
        if obj.parent is not None and obj.parent not in self.objects:
            raise DroppedPacket(f"{obj.key} has no {obj.parent}")
