"""libnftables in one namespace, opened for each command that needs it: whole tables as text.

It waits for the kernel with select(2), which knows descriptors below 1024 only, and ends the process over a higher one. An edge's
agent has more open than that, some for each gateway. So the library gets a low one, which is kept free for it, for as long as a
command takes.
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
_one_at_a_time: Final = threading.Lock()  # a process may have several agents: tests do
_kept: list[int] = []  # the low descriptor, while the library is not open

Answer = tuple[int, str, str]  # a code, 0 when all was done; what was listed; the library's complaint


class Library:
    """One thread at a time may use it."""

    def __init__(self, netns_of: int, announce: Callable[[int], None]) -> None:
        """Take the descriptor of a socket in the namespace, and whom to tell the netlink port of each command; 0 after it.

        Raises:
          OSError: libnftables is not installed.
        """
        ctypes.CDLL("libnftables.so.1")
        self._netns_of = netns_of
        self._announce = announce

    def run(self, command: str) -> Answer:
        """Carry out commands in one transaction. Raises OSError when the library cannot be opened."""
        fd = fcntl.ioctl(self._netns_of, _SIOCGSKNS)
        try:
            with _one_at_a_time, inside(fd), _low_descriptor_kept():
                library, port = _opened()
                self._announce(port)
                try:
                    code, listed, complaint = library.cmd(command)
                finally:
                    del library  # with its socket
                    self._announce(_NO_PORT)
        finally:
            os.close(fd)
        return int(code), str(listed), str(complaint)


@contextmanager
def _low_descriptor_kept() -> Iterator[None]:
    """Leave the lowest descriptor that is free to the block, and keep it again afterwards."""
    if _kept:
        os.close(_kept.pop())
    try:
        yield
    finally:
        _kept.append(_taken())


def _taken() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _opened() -> tuple[Any, int]:
    """Return libnftables' context and its netlink port; tries again if another thread has its descriptor. Raises OSError."""
    for _ in range(_TRIES):
        low = _taken()
        os.close(low)
        with suppress(OSError):
            return _open(low)
    return _open(low)


def _open(low: int) -> tuple[Any, int]:
    """Return libnftables' context, which keeps the namespace it was made in, and its netlink port. Raises OSError."""
    library = nftables.Nftables()
    library.set_numeric_proto_output(True)
    library.set_numeric_prio_output(True)
    library.set_numeric_symbol_output(True)
    library.set_stateless_output(True)  # no counted packets
    view = socket.socket(fileno=low)
    try:
        if low >= _FD_SETSIZE or (view.family, view.proto) != (socket.AF_NETLINK, NETLINK_NETFILTER):
            raise OSError(errno.EMFILE, f"libnftables did not get the descriptor {low}, below {_FD_SETSIZE}")
        view.bind((0, 0))  # as it else would do with its first message
        return library, int(view.getsockname()[0])
    finally:
        view.detach()  # the socket is the library's
