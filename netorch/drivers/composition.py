"""A list of drivers as one kernel: dumps, operations and events go through them in the order of the list."""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence
from itertools import groupby

from netorch.drivers.base import Driver, KernelEvent
from netorch.errors import KernelError
from netorch.state.base import KernelObject, Key
from netorch.state.op import Failure, Op, describe


class Composition:
    """Iterates over drivers. A new driver is one more entry in the list."""

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self._drivers = drivers
        self._driver_of = {(driver.netns, kind): driver for driver in drivers for kind in driver.kinds}
        self._epoll = select.epoll()
        for fd in (driver.fileno() for driver in drivers):
            if fd is not None:
                self._epoll.register(fd, select.EPOLLIN)

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        """Return every object that is ours, or those of some kinds. Raises KernelError."""
        found: dict[Key, KernelObject] = {}
        for driver in self._drivers:
            if kinds is None or not kinds.isdisjoint(driver.kinds):
                found |= driver.dump()
        return found

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order, neighbouring ones of one driver together; return the refused ones."""
        failures: list[Failure] = []
        for driver, group in groupby(ops, key=lambda op: self._driver_of.get((op.obj.netns, op.obj.kind))):
            batch = list(group)
            failures += self._apply_by(driver, batch) if driver is not None else [_unknown(op) for op in batch]
        return failures

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return driver.apply(ops)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something."""
        return self._epoll.fileno()

    def events(self) -> list[KernelEvent]:
        """Return what changed since the last call, other than by `apply`; never blocks."""
        return [event for driver in self._drivers for event in driver.events()]

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        for driver in self._drivers:
            driver.close()
        self._epoll.close()


def _unknown(op: Op) -> Failure:
    return Failure(op, KernelError(describe(op), errno.EOPNOTSUPP, "this host has no driver for it"))
