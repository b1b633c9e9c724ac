"""Sysctls of a network namespace: files below /proc/sys/net, which show the reader's own namespace."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Final

from netorch.drivers import netns
from netorch.drivers.describe import describe
from netorch.errors import KernelError
from netorch.state.link import Sysctl
from netorch.state.op import Delete, Failure, Op
from netorch.state.sysctls import FABRIC, KERNEL_DEFAULTS

LOOK_EVERY_S: Final = 1.0
_NET: Final = "/proc/sys/net/"
_WANTED: Final = dict(FABRIC) | KERNEL_DEFAULTS


def apply(fd: int, ops: Iterable[Op]) -> list[Failure]:
    """Write the values in the namespace of `fd` and return what the kernel refused.

    A deletion does nothing, except that a device which should no longer have IPv6 enabled has it disabled.
    """
    failures: list[Failure] = []
    with netns.inside(fd):
        for op in ops:
            obj = op.obj
            if not isinstance(obj, Sysctl):
                raise TypeError(f"{type(obj).__name__} is no sysctl")
            value = obj.value
            if isinstance(op, Delete):
                if not obj.path.endswith("/disable_ipv6"):
                    continue
                value = "1"
            try:
                _write(obj.path, value)
            except FileNotFoundError as error:
                if not isinstance(op, Delete):
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


def read(fd: int) -> list[Sysctl]:
    """Return the namespace's own sysctls; one that this kernel lacks is left out, or as it should be where it may lack it.

    Cost: three system calls each.
    """
    found: list[Sysctl] = []
    with netns.inside(fd):
        for path, wanted in (*FABRIC, *KERNEL_DEFAULTS.items()):
            try:
                with open(_NET + path, "rb", buffering=0) as file:
                    found.append(Sysctl(path=path, value=b" ".join(file.read().split()).decode()))
            except FileNotFoundError:
                if path in KERNEL_DEFAULTS:
                    found.append(Sysctl(path=path, value=wanted))
    return found


class Watch:
    """Looks at the namespace's own sysctls once a second, since the kernel tells of few of them. Cost: that of `read`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._look_at = 0.0

    def deviations(self) -> Iterator[Sysctl]:
        """Yield those that are not as netorch.state.sysctls says; nothing when a second has not passed."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            yield from (obj for obj in read(self._fd) if obj.value != _WANTED[obj.path])


def _write(path: str, value: str) -> None:
    fd = os.open(_NET + path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
