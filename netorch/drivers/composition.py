"""A list of drivers as one kernel: dumps, operations and events go through them in list order.

Drivers of namespaces that are created and deleted join and leave the list (netorch.drivers.namespaces).
"""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence

from netorch.drivers.base import Driver, KernelEvent
from netorch.errors import KernelError
from netorch.state.base import KernelObject, Key
from netorch.state.op import Delete, Failure, Op, describe


class Composition:
    """Iterates over drivers. A new driver is one more entry in the list."""

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self._drivers: list[Driver] = []
        self._driver_of: dict[tuple[str, str], Driver] = {}
        self._epoll = select.epoll()
        for driver in drivers:
            self.join(driver)

    def join(self, driver: Driver) -> None:
        """Append a driver to the list."""
        self._drivers.append(driver)
        self._driver_of |= {(driver.netns, kind): driver for kind in driver.kinds}
        fd = driver.fileno()
        if fd is not None:
            self._epoll.register(fd, select.EPOLLIN)

    def leave(self, driver: Driver) -> None:
        """Remove a driver from the list and close it."""
        self._drivers.remove(driver)
        for kind in driver.kinds:
            del self._driver_of[driver.netns, kind]
        fd = driver.fileno()
        if fd is not None:
            self._epoll.unregister(fd)
        driver.close()

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        """Return all objects of netorch, or those of some kinds. Raises KernelError."""
        found: dict[Key, KernelObject] = {}
        for driver in self._drivers:  # includes drivers that join during the loop
            if kinds is None or not kinds.isdisjoint(driver.kinds):
                found |= driver.dump()
        return found

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations in order, consecutive ones of one driver together. Return the refused ones."""
        failures: list[Failure] = []
        start = 0
        while start < len(ops):
            driver, end = self._driver_for(ops[start]), start + 1
            while end < len(ops) and self._driver_for(ops[end]) is driver:
                end += 1
            batch = list(ops[start:end])
            # Look up the next driver only after this call: the batch may make it join.
            failures += self._apply_by(driver, batch) if driver is not None else self._refuse(batch)
            start = end
        return failures

    def _driver_for(self, op: Op) -> Driver | None:
        return self._driver_of.get((op.obj.netns, op.obj.kind))

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return driver.apply(ops)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something to return."""
        return self._epoll.fileno()

    def events(self) -> list[KernelEvent]:
        """Return changes since the last call that `apply` did not make; never blocks."""
        return [event for driver in tuple(self._drivers) for event in driver.events()]

    def close(self) -> None:
        """Close sockets; everything in the kernel stays."""
        for driver in self._drivers:
            driver.close()
        self._epoll.close()

    def _refuse(self, ops: Sequence[Op]) -> list[Failure]:
        """Refuse operations without a driver, except deletions in a namespace that is gone: these have succeeded."""
        failures: list[Failure] = []
        for op in ops:
            netns = op.obj.netns
            if any(driver.netns == netns for driver in self._drivers):
                failures.append(Failure(op, KernelError(describe(op), errno.EOPNOTSUPP, "this host has no driver for it")))
            elif not isinstance(op, Delete):
                failures.append(Failure(op, KernelError(describe(op), errno.ENOENT, f"there is no namespace {netns}")))
        return failures
