"""A list of drivers as one kernel: dumps, operations and events go through them in list order.

Drivers of namespaces that are created and deleted join and leave the list (netorch.drivers.namespaces).
"""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
                with as_kernel_error(f"read {driver.netns}"):
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
        """Let a driver apply operations. If it fails as a whole, e.g. for lack of descriptors, all of them are refused."""
        try:
            return driver.apply(ops)
        except OSError as error:
            return [Failure(op, KernelError(describe(op), error.errno or 0)) for op in ops]
        except KernelError as error:
            return [Failure(op, error) for op in ops]

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something to return."""
        return self._epoll.fileno()

    def events(self) -> list[KernelEvent]:
        """Return changes since the last call that `apply` did not make; never blocks. Raises KernelError."""
        found: list[KernelEvent] = []
        for driver in tuple(self._drivers):
            with as_kernel_error(f"read the events of {driver.netns}"):
                found += driver.events()
        return found

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


@contextmanager
def as_kernel_error(what: str) -> Iterator[None]:
    """Raise KernelError for an OSError, such as EMFILE or ENOBUFS, so that the caller reports it and tries again."""
    try:
        yield
    except OSError as error:
        raise KernelError(what, error.errno or 0, str(error)) from error
