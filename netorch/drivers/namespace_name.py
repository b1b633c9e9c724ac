"""The names of our namespaces in /run/netns: bound again when somebody deletes or takes one."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Final

from netorch.drivers import netns
from netorch.drivers.base import KernelEvent, Watcher
from netorch.state.base import UNDERLAY, KernelObject, Key

_IN_CREATE, _IN_DELETE, _IN_MOVED = 0x100, 0x200, 0xC0  # inotify(7)
_IN_NONBLOCK: Final = os.O_NONBLOCK | os.O_CLOEXEC
_READ_BYTES: Final = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceNames(Watcher):
    """The driver that keeps the names; it has no events."""

    netns: Final = UNDERLAY

    def __init__(self) -> None:
        """Watch /run/netns. Raises OSError."""
        self._fds: dict[str, int] = {}
        self._directory = _watch_directory()

    def keep(self, name: str, fd: int) -> None:
        """Let a name mean the namespace of `fd` from now on, as it does now. The descriptor must stay open."""
        self._fds[name] = fd

    def remove(self, name: str) -> None:
        """Take a name away, with which its namespace goes, unless somebody holds that. Raises OSError."""
        self._fds.pop(name, None)
        netns.remove(name)

    def dump(self) -> dict[Key, KernelObject]:
        """Bind the names that mean something else."""
        self._bind()
        return {}

    def events(self) -> list[KernelEvent]:
        """Bind the names again that somebody has deleted or taken."""
        with suppress(BlockingIOError):
            os.read(self._directory, _READ_BYTES)
            self._bind()
        return []

    def fileno(self) -> int:
        """Return a descriptor that is readable when a name in /run/netns comes or goes."""
        return self._directory

    def close(self) -> None:
        """Stop watching."""
        os.close(self._directory)

    def _bind(self) -> None:
        for name, fd in self._fds.items():
            if not netns.holds_name(fd, name):
                netns.give_name(fd, name)


def _watch_directory() -> int:
    """Return an inotify descriptor that tells when a name in /run/netns comes or goes."""
    fd = int(_libc.inotify_init1(_IN_NONBLOCK))
    if fd < 0 or _libc.inotify_add_watch(fd, bytes(netns.RUN_NETNS), _IN_CREATE | _IN_DELETE | _IN_MOVED) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(netns.RUN_NETNS))
    return fd
