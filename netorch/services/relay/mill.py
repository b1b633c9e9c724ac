"""Sockets of a namespace for a process that may not enter it.

A socket is of the namespace that it was made in, and an accepted one of that of the listening one. So the process connects a
socket of the namespace to a listening one there, by loopback, and accepts. A TCP socket whose association is dissolved is as good
as new (connect(2), AF_UNSPEC): so are both, the accepted one and the one that has asked, which asks again for the next.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from typing import Final

from netorch.state.daemons.services.relay import MILL

_PATIENCE_S: Final = 1.0  # with loopback
_UNSPECIFIED: Final = struct.pack("=H14x", socket.AF_UNSPEC)  # a sockaddr
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Mill:
    """Makes sockets of one namespace."""

    def __init__(self, listening: socket.socket, asking: socket.socket) -> None:
        """Take two sockets of the namespace: one listens at MILL, one is not connected. They are the mill's to close."""
        self._listening = listening
        self._asking = asking
        self._turn = asyncio.Lock()

    async def make(self) -> socket.socket:
        """Return a TCP socket that is not connected, and does not block. Raises OSError."""
        loop = asyncio.get_running_loop()
        async with self._turn, asyncio.timeout(_PATIENCE_S):
            try:
                await loop.sock_connect(self._asking, MILL)
                made, _ = await loop.sock_accept(self._listening)
            finally:
                _dissolve(self._asking)
        _dissolve(made)
        return made

    def close(self) -> None:
        """Make no more."""
        self._listening.close()
        self._asking.close()


def _dissolve(sock: socket.socket) -> None:
    """End the association of a socket: its other end sees a reset. Raises OSError."""
    if _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that it was reset is no news to who uses it next
