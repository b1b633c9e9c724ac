"""Connections that begin, end and live in a namespace, from the connection tracker itself.

The kernel hears of listeners: without one it tells nothing, and a connection that began then does not tell of its end either.
Source: linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from enum import Flag
from typing import Final

import msgspec

from netorch.drivers import bpf, netns
from netorch.drivers.conntrack import attrs
from netorch.drivers.conntrack.attrs import Connection
from netorch.drivers.netlink import HEADER, SO_RCVBUFFORCE, arrived, enlarge, split
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.errors import KernelError

_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_MSG_ERROR, _MSG_DONE = 2, 3
_F_REQUEST_DUMP: Final = 0x301
_F_CREATE: Final = 0x400  # in an event: the connection is new
_NEW: Final = 1 << 8 | 0  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW
_DELETE: Final = 1 << 8 | 2
_GET: Final = 1 << 8 | 1
_GET_AND_ZERO: Final = 1 << 8 | 3  # IPCTNL_MSG_CT_GET_CTRZERO
QUEUE_BYTES: Final = 8 << 20  # some 10,000 events
READ_BYTES: Final = 1 << 16
_ZONES_FILTERED: Final = 500  # with more, the filter would cost what it spares


class Happening(Flag):
    """What to hear of. The values are the bits of ctnetlink's multicast groups 1 and 3."""

    BEGIN = 0x1
    END = 0x4


class Read(msgspec.Struct, frozen=True):
    """What was read: connections, and whether the kernel had to leave some out."""

    connections: tuple[Connection, ...] = ()
    lost: bool = False


class FlowEvents:
    """A socket that hears of connections of some zones."""

    def __init__(self, overlay_fd: int, what: Happening, zones: Collection[int] | None) -> None:
        """Listen in the namespace of `overlay_fd`, to all zones when none are named.

        Raises:
          KernelError: CAP_NET_ADMIN is missing, or the kernel has no ctnetlink.
        """
        try:
            self._socket = open_socket(overlay_fd)
            enlarge(self._socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, QUEUE_BYTES)
            self.narrow(zones)
            join(self._socket, what)
        except OSError as error:
            raise KernelError("listen to the connection tracker", error.errno or 0, str(error)) from error

    def narrow(self, zones: Collection[int] | None) -> None:
        """Hear of these zones from now on, of all when none are named. Raises OSError."""
        self._zones = frozenset(zones) if zones is not None else None
        known = sorted(self._zones) if self._zones is not None and len(self._zones) <= _ZONES_FILTERED else None
        bpf.attach(self._socket, zone_filter(known) if known is not None else [bpf.PASS])

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something."""
        return self._socket.fileno()

    def read(self, limit: int) -> Read:
        """Return up to `limit` events that have arrived; never blocks."""
        found: list[Connection] = []
        lost = False
        for message in arrived(self._socket, limit, READ_BYTES):
            if message is None:
                lost = True
                continue
            kind, flags, body = message
            if kind == _DELETE or (kind == _NEW and flags & _F_CREATE):
                _take(body, self._zones, found)
        return Read(tuple(found), lost)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class FlowDump:
    """One walk over the living connections.

    With `taking` it resets their counts: each packet is counted once, by a walk or by an end. So nothing has to be remembered,
    and an agent that was killed continues where it was. Other readers see what was counted since the last such walk.
    """

    def __init__(self, overlay_fd: int, zones: Collection[int] | None, *, taking: bool) -> None:
        """Begin, over all zones when none are named. Raises KernelError."""
        self._zones = frozenset(zones) if zones is not None else None
        self.done = False
        try:
            self._socket = open_socket(overlay_fd)
            request = HEADER.pack(HEADER.size + attrs.NFGENMSG_BYTES, _GET_AND_ZERO if taking else _GET, _F_REQUEST_DUMP, 0, 0)
            self._socket.send(request + bytes(attrs.NFGENMSG_BYTES))
        except OSError as error:
            raise KernelError("dump the connection tracker", error.errno or 0, str(error)) from error

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something."""
        return self._socket.fileno()

    def read(self, limit: int) -> Read:
        """Return what the kernel shows next, in at most `limit` portions of some 50 connections; sets `done` at the end."""
        found: list[Connection] = []
        for _ in range(limit):
            if self.done:
                break
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            for kind, _, body in split(data):
                if kind in (_MSG_DONE, _MSG_ERROR):
                    self.done = True
                    lost = kind == _MSG_ERROR or struct.unpack_from("=i", body)[0] < 0
                    return Read(tuple(found), lost)
                _take(body, self._zones, found)
        return Read(tuple(found))

    def close(self) -> None:
        """Let go of the socket; a walk that was not done ends."""
        self._socket.close()


def zone_filter(zones: Collection[int]) -> list[bpf.Instruction]:
    """Return a program that lets an event pass when its connection is in one of the zones.

    Source: linux/filter.h; SKF_AD_NLATTR finds the attribute of kind X from offset A on, 0 when there is none.
    """
    behind_headers = HEADER.size + attrs.NFGENMSG_BYTES
    program = [
        (0x00, 0, 0, behind_headers),  # A = where attributes begin
        (0x01, 0, 0, attrs.ZONE),  # X = the kind of attribute
        (0x20, 0, 0, 0xFFFFF000 + 12),  # A = SKF_AD_OFF + SKF_AD_NLATTR
        (0x15, 0, 1, 0),  # no zone: of nobody
        (0x06, 0, 0, 0),
        (0x07, 0, 0, 0),  # X = A
        (0x48, 0, 0, 4),  # A = the half-word behind the attribute's header
    ]
    for zone in zones:
        program += [(0x15, 0, 1, zone), bpf.PASS]
    return [*program, (0x06, 0, 0, 0)]


def join(sock: socket.socket, what: Happening) -> None:
    """Let a socket hear of connections from now on. Raises OSError."""
    for group, happening in ((1, Happening.BEGIN), (3, Happening.END)):
        if happening in what:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)


def open_socket(netns_fd: int) -> socket.socket:
    """Return a netfilter socket in a namespace, which never blocks. Raises OSError."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with netns.inside(netns_fd):
        sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


def _take(body: bytes, zones: frozenset[int] | None, found: list[Connection]) -> None:
    if zones is None or attrs.zone_of(body) in zones:
        connection = attrs.parse(body)
        if connection is not None:
            found.append(connection)
