"""libnftables in one namespace, opened for each command that needs it: whole tables as text.

libnftables waits for the kernel with select(2), which only supports descriptors below 1024; a higher one ends the process. An
edge's agent has more open descriptors than that, some for each gateway. So one low descriptor is reserved, and freed for the
library while a command runs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import nftables

from netorch.drivers.netns import inside
from netorch.drivers.nft.monitor import NETLINK_NETFILTER

_FD_SETSIZE: Final = 1024
_SIOCGSKNS: Final = 0x894C  # the namespace of a socket. Source: linux/sockios.h
_NO_PORT: Final = 0
_TRIES: Final = 10
_one_at_a_time: Final = threading.Lock()  # a process may run several agents, as tests do
_kept: list[int] = []  # the reserved low descriptor, while the library is not open

Answer = tuple[int, str, str]  # code (0 on success), listing, the library's error text


class Library:
    """Only one thread at a time may use it."""

    def __init__(self, netns_of: int, announce: Callable[[int], None]) -> None:
        """Take a socket in the namespace, and a callback for the netlink port of each command; it gets 0 after the command.

        Raises:
          OSError: libnftables is not installed.
        """
        self._set_dry_run = ctypes.CDLL("libnftables.so.1").nft_ctx_set_dry_run
        self._set_dry_run.argtypes = (ctypes.c_void_p, ctypes.c_bool)
        self._set_dry_run.restype = None
        self._netns_of = netns_of
        self._announce = announce

    def run(self, command: str) -> Answer:
        """Run commands in one transaction. Raises OSError when the library cannot be opened."""
        return self._answered(command, dry_run=False)

    def check(self, command: str) -> Answer:
        """Let library and kernel check commands as one transaction, and change nothing. Raises OSError."""
        return self._answered(command, dry_run=True)

    def _answered(self, command: str, *, dry_run: bool) -> Answer:
        fd = fcntl.ioctl(self._netns_of, _SIOCGSKNS)
        try:
            with _one_at_a_time, inside(fd), _low_descriptor_kept():
                library, port = _opened()
                self._announce(port)
                try:
                    # The binding of nftables 1.0.6 has no method for it, and keeps the context for itself.
                    self._set_dry_run(library._Nftables__ctx, dry_run)
                    code, listed, complaint = library.cmd(command)
                finally:
                    del library  # closes its socket
                    self._announce(_NO_PORT)
        finally:
            os.close(fd)
        return int(code), str(listed), str(complaint)


@contextmanager
def _low_descriptor_kept() -> Iterator[None]:
    """Free the reserved descriptor, the lowest free one, for the block, and reserve it again afterwards."""
    if _kept:
        os.close(_kept.pop())
    try:
        yield
    finally:
        _kept.append(_taken())


def _taken() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _opened() -> tuple[Any, int]:
    """Return libnftables' context and netlink port; retries if another thread took the descriptor. Raises OSError."""
    for _ in range(_TRIES):
        low = _taken()
        os.close(low)
        with suppress(OSError):
            return _open(low)
    return _open(low)


def _open(low: int) -> tuple[Any, int]:
    """Return libnftables' context, which stays in its creation namespace, and its netlink port. Raises OSError."""
    library = nftables.Nftables()
    library.set_numeric_proto_output(True)
    library.set_numeric_prio_output(True)
    library.set_numeric_symbol_output(True)
    library.set_stateless_output(True)  # no packet counts
    view = socket.socket(fileno=low)
    try:
        if low >= _FD_SETSIZE or (view.family, view.proto) != (socket.AF_NETLINK, NETLINK_NETFILTER):
            raise OSError(errno.EMFILE, f"libnftables did not get the descriptor {low}, below {_FD_SETSIZE}")
        view.bind((0, 0))  # otherwise its first message would bind it
        return library, int(view.getsockname()[0])
    finally:
        view.detach()  # the library owns the socket
