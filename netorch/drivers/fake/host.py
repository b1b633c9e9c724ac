"""The objects of an in-memory host, and operations on them, by properties of the objects, whatever their kind."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence

from netorch.drivers.base import Gone, KernelEvent, Lost, Seen
from netorch.errors import KernelError
from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key, namespace_key
from netorch.state.op import Delete, Failure, Op, describe


class FakeHost:
    """The objects of all namespaces, shared by all drivers of the in-memory host."""

    def __init__(self, objects: Iterable[KernelObject]) -> None:
        self.objects: dict[Key, KernelObject] = {obj.key: obj for obj in objects}
        self.foreign: dict[Key, KernelObject] = {}  # others' objects: in no dump, but blocking their keys
        self.namespaces: set[str] = set()  # those that instances bring with them
        self.devices = {"eth0"}  # the underlay's own devices
        self.mtus: dict[str, int] = {}  # their MTUs, if not 1500
        self.applied: list[Op] = []  # every applied operation
        self.failures: dict[str, list[int]] = {}  # kind -> errnos for its next operations

    def there(self, key: Key) -> bool:
        """Return whether an object with this key exists, of netorch or others."""
        return key in self.objects or key in self.foreign

    def has_namespace(self, label: str) -> bool:
        """Return whether netorch has a namespace with this label."""
        key = namespace_key(label)
        return key is None or key in self.objects

    def fail_if_asked(self, kind: str) -> None:
        """Raise OSError if a test wants the next operation on this kind to fail."""
        numbers = self.failures.get(kind)
        if numbers:
            raise OSError(numbers.pop(0), "")

    def carry_out(self, op: Op) -> None:
        """Apply a valid operation with all its consequences. Raises OSError."""
        obj, found = op.obj, self.objects.get(op.obj.key)
        if isinstance(op, Delete):
            self.lose(obj.key)
            return
        if obj.key in self.foreign:
            raise OSError(errno.EEXIST, "a foreign one exists")
        self.objects[obj.key] = obj
        if found is not None and found.parent != obj.parent:
            self._suffer(aftermath(self.objects, (), [obj.key]))

    def lose(self, key: Key) -> None:
        """Remove an object, and everything that goes with it."""
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
    """A driver of an in-memory host. It accepts every object whose parent exists; fakes of real drivers refuse more."""

    no_parent: int = errno.ENODEV  # errno for an object without its parent

    def __init__(self, host: FakeHost, netns: str, kinds: frozenset[str]) -> None:
        self.host = host
        self.netns = netns
        self.kinds = kinds

    def dump(self) -> dict[Key, KernelObject]:
        """Return the objects of its kinds."""
        return {key: obj for key, obj in self.host.objects.items() if obj.netns == self.netns and key[0] in self.kinds}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations in order and return the refused ones."""
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
        """Apply one operation. Raises OSError as the kernel would."""
        if not isinstance(op, Delete):
            self.check(op.obj)
        self.host.carry_out(op)

    def check(self, obj: KernelObject) -> None:
        """Raise OSError if the kernel would refuse the object in the present state."""
        if obj.parent is not None and obj.dies_with_parent and not self.host.there(obj.parent):
            raise OSError(self.no_parent, "")

    def notifications(self, before: KernelObject | None, after: KernelObject | None) -> list[KernelEvent]:
        """Return the events after another program has changed an object.

        When a device is deleted or goes down, Linux does not report what goes with it, so everything must be dumped again.
        """
        if after is not None:
            return [Seen(after)] if after != before else []
        if before is None:
            return []
        return [Lost()] if before.has_children or before.is_up_state else [Gone(before.key, before.vni)]

    def events(self) -> list[KernelEvent]:
        """Return nothing: tests create events."""
        return []

    def fileno(self) -> int | None:
        """Return None: there is nothing to wait for."""
        return None

    def close(self) -> None:
        """Do nothing: nothing is open."""
