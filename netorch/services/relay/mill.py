"""Creates sockets in a namespace that the process may not enter.

A socket belongs to the namespace in which it was created; an accepted socket to that of the listening one. So the
process connects a socket of the namespace to a listening one there, over loopback, and accepts. A TCP socket can be
reused after its association is dissolved (connect(2), AF_UNSPEC). This applies to the accepted socket, and to the
connecting one, which connects again next time.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from typing import Final

from netorch.state.daemons.services.relay import MILL

_PATIENCE_S: Final = 1.0  # over loopback
_UNSPECIFIED: Final = struct.pack("=H14x", socket.AF_UNSPEC)  # a sockaddr
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Mill:
    """Creates sockets in one namespace."""

    def __init__(self, listening: socket.socket, asking: socket.socket) -> None:
        """Take two sockets of the namespace: one listens at MILL, one is not connected. The mill must close them."""
        self._listening = listening
        self._asking = asking
        self._turn = asyncio.Lock()

    async def make(self) -> socket.socket:
        """Return an unconnected, non-blocking TCP socket. Raises OSError."""
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
        """Close both sockets."""
        self._listening.close()
        self._asking.close()


def _dissolve(sock: socket.socket) -> None:
    """Dissolve the association of a socket. Its other end sees a reset. Raises OSError."""
    if _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # clears the pending error of the reset
