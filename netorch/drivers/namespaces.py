"""The driver of namespaces that are created and deleted. A namespace's own drivers join and leave the list with it.

If someone deletes a namespace's name while an agent runs, nothing is lost: the agent holds the namespace, and binds the name
again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from netorch.drivers.base import Driver, Gone, KernelEvent
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject, Key
from netorch.state.names import vni_of_netns
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete, Failure, Op


class Furnisher(Protocol):
    """Creates and deletes the namespaces themselves. All methods raise KernelError."""

    def labels(self) -> set[str]:
        """Return the labels of existing namespaces."""
        ...

    def make(self, label: str) -> None:
        """Create a namespace if absent."""
        ...

    def open(self, label: str) -> Sequence[Driver]:
        """Return drivers for an existing namespace."""
        ...

    def empty(self, label: str) -> None:
        """Move a namespace's uplinks back to the host, delete veth pairs that lead out of it, and stop its daemons."""
        ...

    def remove(self, label: str) -> None:
        """Remove a namespace whose drivers are closed."""
        ...


class Namespaces:
    """Implements `netorch.drivers.base.Driver`."""

    netns: Final = UNDERLAY
    kinds: Final = frozenset({Namespace.kind})

    def __init__(self, furnisher: Furnisher, join: Callable[[Driver], None], leave: Callable[[Driver], None]) -> None:
        """Take the furnisher of namespaces, and functions that add drivers to the host's list and remove them."""
        self._furnisher = furnisher
        self._join = join
        self._leave = leave
        self._drivers: dict[str, Sequence[Driver]] = {}
        self._events: list[KernelEvent] = []

    def dump(self) -> dict[Key, KernelObject]:
        """Return the existing namespaces; drivers of newly found ones join. Raises KernelError."""
        self._events = []
        for label in sorted(self._furnisher.labels() - self._drivers.keys()):
            try:
                self._open(label)
            except KernelError as error:
                if error.errno != errno.ENOENT:  # another process than the agent may see a namespace disappear
                    raise
        found = (Namespace(vni=vni_of_netns(label), label=label) for label in self._drivers)
        return {obj.key: obj for obj in found}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Create or delete namespaces, one by one."""
        failures: list[Failure] = []
        for op in ops:
            assert isinstance(op.obj, Namespace)
            try:
                if isinstance(op, Delete):
                    self._remove(op.obj)
                elif isinstance(op, Create) and op.obj.label not in self._drivers:
                    self._furnisher.make(op.obj.label)
                    self._open(op.obj.label)
            except KernelError as error:
                failures.append(Failure(op, error))
        return failures

    def events(self) -> list[KernelEvent]:
        """Return the objects of other VPCs that went with a deleted namespace."""
        events, self._events = self._events, []
        return events

    def fileno(self) -> None:
        """Return None: events arise only from this driver's own deletions."""

    def close(self) -> None:
        """Do nothing: the drivers of namespaces are in the host's list."""

    def _open(self, label: str) -> None:
        self._drivers[label] = drivers = self._furnisher.open(label)
        for driver in drivers:
            self._join(driver)

    def _remove(self, namespace: Namespace) -> None:
        drivers = self._drivers.get(namespace.label)
        if drivers is None:
            return
        # The caller knows which objects of the same VPC go with the namespace; objects of other VPCs become events.
        others = [obj for driver in drivers for obj in driver.dump().values() if obj.vni != namespace.vni]
        self._furnisher.empty(namespace.label)
        for driver in drivers:
            self._leave(driver)
        del self._drivers[namespace.label]
        self._events += [Gone(obj.key, obj.vni) for obj in others]
        self._furnisher.remove(namespace.label)
