"""The name of the overlay namespace in /run/netns: bound again when somebody deletes or takes it."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

from netorch.drivers import netns
from netorch.drivers.base import KernelEvent, Watcher
from netorch.state.base import OVERLAY, KernelObject, Key

_IN_CREATE, _IN_DELETE, _IN_MOVED = 0x100, 0x200, 0xC0  # inotify(7)
_IN_NONBLOCK: Final = os.O_NONBLOCK | os.O_CLOEXEC
_READ_BYTES: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceName(Watcher):
    """The driver that keeps the name; it has no events."""

    netns: Final = OVERLAY

    def __init__(self, name: str, fd: int) -> None:
        """Watch the name of the namespace of `fd`. Raises OSError."""
        self._name = name
        self._fd = fd
        self._directory = _watch_directory()

    def dump(self) -> dict[Key, KernelObject]:
        """Bind the name, if it means something else."""
        self._keep()
        return {}

    def events(self) -> list[KernelEvent]:
        """Bind the name again when somebody has deleted or taken it."""
        with suppress(BlockingIOError):
            os.read(self._directory, _READ_BYTES)
            self._keep()
        return []

    def fileno(self) -> int:
        """Return a descriptor that is readable when a name in /run/netns comes or goes."""
        return self._directory

    def close(self) -> None:
        """Stop watching."""
        os.close(self._directory)

    def _keep(self) -> None:
        if not netns.holds_name(self._fd, self._name):
            netns.give_name(self._fd, self._name)


def _watch_directory() -> int:
    """Return an inotify descriptor that tells when a name in /run/netns comes or goes."""
    fd = int(_libc.inotify_init1(_IN_NONBLOCK))
    if fd < 0 or _libc.inotify_add_watch(fd, bytes(netns.RUN_NETNS), _IN_CREATE | _IN_DELETE | _IN_MOVED) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(netns.RUN_NETNS))
    return fd
