"""Sysctls of a network namespace: files below /proc/sys/net, which show the reader's own namespace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from netorch.drivers import netns
from netorch.drivers.describe import describe
from netorch.errors import KernelError
from netorch.state.link import Sysctl
from netorch.state.op import Delete, Failure, Op

_NET: Final = "/proc/sys/net/"


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


def read(fd: int, paths: Sequence[str]) -> Iterator[Sysctl]:
    """Return the values of the namespace's own sysctls; a path that does not exist is left out."""
    found: list[Sysctl] = []
    with netns.inside(fd):
        for path in paths:
            try:
                with open(_NET + path, encoding="ascii") as file:
                    found.append(Sysctl(path=path, value=" ".join(file.read().split())))
            except FileNotFoundError:
                continue
    return iter(found)


def _write(path: str, value: str) -> None:
    fd = os.open(_NET + path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
