"""The socket that sends packed transactions."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from netorch.drivers.netlink import HEADER, enlarge
from netorch.drivers.nft.monitor import NETLINK_NETFILTER

_BUFFER: Final = 8 << 20
_SO_SNDBUFFORCE: Final = 32
_SOL_NETLINK: Final = 270
_CAP_ACK: Final = 10
_MSG_ERROR: Final = 2


class CommitSocket:
    """A socket in one namespace."""

    def __init__(self) -> None:
        """Open in the calling thread's namespace. Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._enlarge(_BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.bind((0, 0))

    @property
    def port(self) -> int:
        """Return the port number in notifications of this socket's own changes."""
        return int(self._socket.getsockname()[0])

    def commit(self, messages: bytes) -> int:
        """Commit a packed transaction and return 0, or the errno of the first refusal: then nothing has changed.

        The kernel answers before `send` returns, and only with refusals: acknowledgements for many sets would not fit into
        the buffer. Refusals that do not fit are reported once as ENOBUFS; those that did fit can still be read.
        """
        first = 0
        try:
            if len(messages) > self._room:
                self._enlarge(2 * len(messages))
            self._socket.send(messages)
        except OSError as error:
            return error.errno or errno.EIO
        while True:
            try:
                answer = self._socket.recv(1 << 12, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return first
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return error.errno or errno.EIO
                first = first or errno.ENOBUFS
                continue
            if HEADER.unpack_from(answer)[1] == _MSG_ERROR:
                first = first or -struct.unpack_from("=i", answer, HEADER.size)[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _enlarge(self, size: int) -> None:
        """Allow transactions of `size` bytes: the kernel takes each as a whole."""
        enlarge(self._socket, _SO_SNDBUFFORCE, socket.SO_SNDBUF, size)
        self._room = size // 2
