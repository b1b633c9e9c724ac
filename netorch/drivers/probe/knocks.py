"""Health checks of a service's targets: TCP connections opened and reset, from namespaces of gateways.

The kernel delays the acknowledgement of the SYN-ACK (TCP_QUICKACK 0), and closing the socket sends a reset instead. So the
target's application never sees the connection, unless this host is so slow that the delay, 40 ms or more, expires.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Final

from netorch.drivers.base import Knock
from netorch.drivers.netns import inside

_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection


class TcpKnocks:
    """Implements `netorch.drivers.base.Knocks`."""

    def __init__(self, netns_fds: Mapping[str, int]) -> None:
        """Take descriptors of namespaces by label; the mapping may change."""
        self._netns_fds = netns_fds
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, Knock]] = {}  # by descriptor

    def begin(self, knocks: Iterable[Knock]) -> None:
        """Probe each target once. Unanswered earlier probes are abandoned."""
        self._give_up()
        for label, group in groupby(sorted(knocks), key=lambda knock: knock.netns):
            fd = self._netns_fds.get(label)
            if fd is None:
                continue
            with inside(fd):
                found = [(knock, socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)) for knock in group]
            for knock, sock in found:
                self._knock(sock, knock)

    def answered(self) -> set[Knock]:
        """Return the probes answered since the last call; never blocks."""
        found = set()
        for number, _ in self._epoll.poll(0) if self._open else ():
            sock, knock = self._open.pop(number)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.add(knock)
            sock.close()
        return found

    def fileno(self) -> int:
        """Return a descriptor that is readable when a target has accepted or refused."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close all sockets."""
        self._give_up()
        self._epoll.close()

    def _knock(self, sock: socket.socket, knock: Knock) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, knock.ifname.encode())
            sock.bind((knock.source, 0))
            sock.connect((knock.address, knock.port))
        except BlockingIOError:
            self._open[sock.fileno()] = sock, knock
            self._epoll.register(sock, select.EPOLLOUT)
        except OSError:  # no route or no device: no answer
            sock.close()

    def _give_up(self) -> None:
        for sock, _ in self._open.values():
            sock.close()
        self._open.clear()
