"""The names of netorch's namespaces in /run/netns: bound again when others delete or replace them."""

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
        """Keep a name bound to the namespace of `fd`. The name must be bound already, and the descriptor must stay open."""
        self._fds[name] = fd

    def remove(self, name: str) -> None:
        """Remove a name. Its namespace goes too, unless something else holds it. Raises OSError."""
        self._fds.pop(name, None)
        netns.remove(name)

    def dump(self) -> dict[Key, KernelObject]:
        """Bind names again that refer to something else."""
        self._bind()
        return {}

    def events(self) -> list[KernelEvent]:
        """Bind names again that others have deleted or replaced."""
        with suppress(BlockingIOError):
            os.read(self._directory, _READ_BYTES)
            self._bind()
        return []

    def fileno(self) -> int:
        """Return a descriptor that is readable when a name in /run/netns is created or deleted."""
        return self._directory

    def close(self) -> None:
        """Stop watching."""
        os.close(self._directory)

    def _bind(self) -> None:
        for name, fd in self._fds.items():
            if not netns.holds_name(fd, name):
                netns.give_name(fd, name)


def _watch_directory() -> int:
    """Return an inotify descriptor that reports names created, deleted or moved in /run/netns."""
    fd = int(_libc.inotify_init1(_IN_NONBLOCK))
    if fd < 0 or _libc.inotify_add_watch(fd, bytes(netns.RUN_NETNS), _IN_CREATE | _IN_DELETE | _IN_MOVED) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(netns.RUN_NETNS))
    return fd
