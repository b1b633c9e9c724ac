"""Sysctls of a network namespace: files below /proc/sys/net, which show the namespace of the reading thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from netorch.drivers import netns
from netorch.drivers.base import KernelEvent, Seen
from netorch.errors import KernelError
from netorch.state.base import KernelObject, Key
from netorch.state.link import Sysctl
from netorch.state.op import Delete, Failure, Op, describe
from netorch.state.sysctls import KERNEL_DEFAULTS, namespace_sysctls

LOOK_EVERY_S: Final = 1.0
_NET: Final = "/proc/sys/net/"
_MOST_BYTES: Final = 4096  # of a value


def apply(fd: int, ops: Iterable[Op]) -> list[Failure]:
    """Write the values in the namespace of `fd` and return the refused operations.

    A deletion does nothing, with one exception: deleting a device's disable_ipv6 sets it to 1.
    """
    failures: list[Failure] = []
    with netns.inside(fd):
        for op in ops:
            obj = op.obj
            if not isinstance(obj, Sysctl):
                raise TypeError(f"{type(obj).__name__} is not a sysctl")
            value = obj.value
            if isinstance(op, Delete):
                if not obj.path.endswith("/disable_ipv6"):
                    continue
                value = "1"
            try:
                _write(obj.path, value)
            except FileNotFoundError as error:
                if not isinstance(op, Delete) and obj.path not in KERNEL_DEFAULTS:
                    failures.append(Failure(op, KernelError(describe(op), error.errno or 0)))
            except OSError as error:
                failures.append(Failure(op, KernelError(describe(op), error.errno or 0)))
    return failures


def write(fd: int, values: Iterable[tuple[str, str]]) -> None:
    """Write paths and values in the namespace of `fd`.

    Raises:
      OSError: the kernel refused one.
    """
    with netns.inside(fd):
        for path, value in values:
            _write(path, value)


def read(fd: int, label: str) -> list[Sysctl]:
    """Return the namespace's own sysctls. One that this kernel lacks is left out, or reported as wanted if it may be missing.

    Cost: three system calls each.
    """
    found: list[Sysctl] = []
    with netns.inside(fd):
        for wanted in namespace_sysctls(label):
            try:
                value = _read(wanted.path)
                found.append(wanted if value == wanted.value else msgspec.structs.replace(wanted, value=value))
            except FileNotFoundError:
                if wanted.path in KERNEL_DEFAULTS:
                    found.append(wanted)
    return found


class Sysctls:
    """The driver of a namespace's sysctls. Sysctls of devices are dumped by route netlink and written by this driver.

    The namespace's own sysctls are polled, since the kernel notifies of few of them. A poll costs as much as `read`.
    """

    kinds: Final = frozenset({Sysctl.kind})

    def __init__(self, label: str, fd: int, skip: Callable[[Collection[Key]], None], look_every_s: float = LOOK_EVERY_S) -> None:
        """Take the label and a descriptor of the namespace, which must stay open.

        `skip` gets the keys of written sysctls: route netlink notifies of some of them without naming the writer.
        """
        self.netns = label
        self._fd = fd
        self._skip = skip
        self._known: dict[str, str] = {}
        self._look_every_s = look_every_s
        self._look_at = look_every_s  # on the monotonic clock: poll at once, or never

    def dump(self) -> dict[Key, KernelObject]:
        """Return the namespace's own sysctls. Raises KernelError."""
        return {obj.key: obj for obj in self._read()}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Write values, including those of devices, and return the refused operations."""
        failures = apply(self._fd, ops)
        failed = {failure.op.obj.key for failure in failures}
        self._skip([op.obj.key for op in ops if op.obj.key not in failed])
        written = (op.obj for op in ops if isinstance(op.obj, Sysctl) and op.obj.key not in failed)
        self._known |= {obj.path: obj.value for obj in written if obj.path in self._known}
        return failures

    def events(self) -> list[KernelEvent]:
        """Return the sysctls that others have changed since the last read; empty if the next poll is not due.

        Raises:
          KernelError: a sysctl cannot be read.
        """
        now = time.monotonic()
        if now < self._look_at or not self._known:
            return []
        self._look_at = now + self._look_every_s
        before = self._known
        return [Seen(obj) for obj in self._read() if obj.value != before.get(obj.path)]

    def fileno(self) -> None:
        """Return None: the kernel sends no notifications."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _read(self) -> list[Sysctl]:
        try:
            found = read(self._fd, self.netns)
        except OSError as error:
            raise KernelError("read sysctls", error.errno or 0, str(error)) from error
        self._known = {obj.path: obj.value for obj in found}
        return found


def _read(path: str) -> str:
    """Return a value, its words separated by one space. `open` would take eight system calls instead of three."""
    fd = os.open(_NET + path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b" ".join(os.read(fd, _MOST_BYTES).split()).decode()
    finally:
        os.close(fd)


def _write(path: str, value: str) -> None:
    fd = os.open(_NET + path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
