"""What a host in memory holds, and how it takes an operation: by what objects say of themselves, whatever their kind."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence

from netorch.drivers.base import Gone, KernelEvent, Lost, Seen
from netorch.errors import KernelError
from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key, namespace_key
from netorch.state.op import Delete, Failure, Op, describe


class FakeHost:
    """The objects of all namespaces; all drivers of the host in memory share them."""

    def __init__(self, objects: Iterable[KernelObject]) -> None:
        self.objects: dict[Key, KernelObject] = {obj.key: obj for obj in objects}
        self.foreign: dict[Key, KernelObject] = {}  # somebody else's: in no dump, but in the way
        self.namespaces: set[str] = set()  # those that instances bring along
        self.devices = {"eth0"}  # of the underlay's own
        self.mtus: dict[str, int] = {}  # of those, where it is not 1500
        self.applied: list[Op] = []  # every operation that was carried out
        self.failures: dict[str, list[int]] = {}  # kind -> what its next operations fail with

    def there(self, key: Key) -> bool:
        """Return whether somebody has an object of this key, us or another."""
        return key in self.objects or key in self.foreign

    def has_namespace(self, label: str) -> bool:
        """Return whether there is a namespace of ours with this label."""
        key = namespace_key(label)
        return key is None or key in self.objects

    def fail_if_asked(self, kind: str) -> None:
        """Raise OSError when a test wants the next operation on this kind to fail."""
        numbers = self.failures.get(kind)
        if numbers:
            raise OSError(numbers.pop(0), "")

    def carry_out(self, op: Op) -> None:
        """Carry out an operation that nothing speaks against, with all that follows. Raises OSError."""
        obj, found = op.obj, self.objects.get(op.obj.key)
        if isinstance(op, Delete):
            self.lose(obj.key)
            return
        if obj.key in self.foreign:
            raise OSError(errno.EEXIST, "somebody else's is there")
        self.objects[obj.key] = obj
        if found is not None and found.parent != obj.parent:
            self._suffer(aftermath(self.objects, (), [obj.key]))

    def lose(self, key: Key) -> None:
        """Remove an object with what goes with it."""
        obj = self.objects.get(key)
        if obj is not None:
            self._suffer(aftermath(self.objects, [obj]))
            del self.objects[key]

    def _suffer(self, left: Mapping[Key, KernelObject | None]) -> None:
        for key, rest in left.items():
            if rest is None:
                del self.objects[key]
            else:
                self.objects[key] = rest


class FakeDriver:
    """A driver of a host in memory. As it is, it takes everything whose parent is there; a real driver's fake refuses more."""

    no_parent: int = errno.ENODEV  # what an object without its parent is refused with

    def __init__(self, host: FakeHost, netns: str, kinds: frozenset[str]) -> None:
        self.host = host
        self.netns = netns
        self.kinds = kinds

    def dump(self) -> dict[Key, KernelObject]:
        """Return the objects of its kinds."""
        return {key: obj for key, obj in self.host.objects.items() if obj.netns == self.netns and key[0] in self.kinds}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order and return the refused ones."""
        failures = []
        for op in ops:
            try:
                self.host.fail_if_asked(op.obj.kind)
                self.carry_out(op)
            except OSError as error:
                failures.append(Failure(op, KernelError(describe(op), error.errno or 0, error.strerror or "")))
            else:
                self.host.applied.append(op)
        return failures

    def carry_out(self, op: Op) -> None:
        """Carry out one operation. Raises OSError as the kernel would."""
        if not isinstance(op, Delete):
            self.check(op.obj)
        self.host.carry_out(op)

    def check(self, obj: KernelObject) -> None:
        """Raise OSError when the kernel would not take the object as things are."""
        if obj.parent is not None and obj.dies_with_parent and not self.host.there(obj.parent):
            raise OSError(self.no_parent, "")

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return the events after another program has changed an object.

        Of a device that goes or goes down Linux does not say what it takes along, so that everything must be dumped again.
        """
        if after is not None:
            return [Seen(after)] if after != before else []
        if before is None:
            return []
        return [Lost()] if before.has_children or before.is_up_state else [Gone(before.key, before.vni)]

    def events(self) -> list[KernelEvent]:
        """Return nothing: a test says what happens."""
        return []

    def fileno(self) -> int | None:
        """Return None: there is nothing to wait for."""
        return None

    def close(self) -> None:
        """Do nothing: nothing is open."""
