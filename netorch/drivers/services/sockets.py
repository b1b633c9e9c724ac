"""Opens the sockets for netorch's own daemon, which is unprivileged and in another namespace."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from netorch.drivers import netns
from netorch.drivers.conntrack.nflog import listening
from netorch.drivers.spaces import Spaces
from netorch.state.daemons.services.base import ServiceSocket, SocketType

_IP_OPTIONS: Final = (15, 19)  # IP_FREEBIND, IP_TRANSPARENT. Source: linux/in.h
_IPV6_OPTIONS: Final = (78, 75)  # IPV6_FREEBIND, IPV6_TRANSPARENT. Source: linux/in6.h
_BACKLOG: Final = 128
LOGGED_BYTES: Final = 1500  # per packet


def open_sockets(spaces: Spaces, wanted: Sequence[ServiceSocket]) -> list[socket.socket]:
    """Return open sockets, in the same order.

    Raises:
      OSError: the kernel refused one; then all are closed.
    """
    opened: list[socket.socket] = []
    try:
        for each in wanted:
            with netns.inside(spaces.fds[each.netns]):
                opened.append(_OPEN[each.type](each, spaces.fds[each.netns]))
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _bound(wanted: ServiceSocket, type: socket.SocketKind) -> socket.socket:
    """Return a socket bound to a device. The address need not be local: it may be routed to this host as part of a prefix."""
    family = socket.AF_INET6 if ":" in wanted.address else socket.AF_INET
    v6 = family == socket.AF_INET6
    socket.inet_pton(family, wanted.address)  # otherwise bind(2) would resolve a hostname
    sock = socket.socket(family, type)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.ifname.encode())
        if type is socket.SOCK_STREAM:  # connections of an earlier process may still exist
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in _IPV6_OPTIONS if v6 else _IP_OPTIONS:
            sock.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, option, 1)
        sock.bind((wanted.address, wanted.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _udp(wanted: ServiceSocket, _netns: int) -> socket.socket:
    return _bound(wanted, socket.SOCK_DGRAM)


def _tcp(wanted: ServiceSocket, _netns: int) -> socket.socket:
    sock = _bound(wanted, socket.SOCK_STREAM)
    sock.listen(_BACKLOG)
    return sock


def _stream(_wanted: ServiceSocket, _netns: int) -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _logged(wanted: ServiceSocket, netns_fd: int) -> socket.socket:
    return listening(netns_fd, wanted.port, LOGGED_BYTES, together=1)


def _frames(_wanted: ServiceSocket, _netns: int) -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: receives nothing


_OPEN: Final[Mapping[SocketType, Callable[[ServiceSocket, int], socket.socket]]] = {
    SocketType.UDP: _udp,
    SocketType.TCP: _tcp,
    SocketType.STREAM: _stream,
    SocketType.LOGGED: _logged,
    SocketType.FRAMES: _frames,
}
