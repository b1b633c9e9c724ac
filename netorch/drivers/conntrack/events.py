"""Conntrack events of a namespace, and walks over its living connections.

The kernel only creates events while there is a listener; a connection that began without one has no end event either.
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
QUEUE_BYTES: Final = 8 << 20  # about 10,000 events
READ_BYTES: Final = 1 << 16
_ZONES_FILTERED: Final = 500  # with more zones, the filter would cost more than it saves


class Happening(Flag):
    """Events to receive. The values are the bits of ctnetlink's multicast groups 1 and 3."""

    BEGIN = 0x1
    END = 0x4


class Read(msgspec.Struct, frozen=True):
    """Connections that were read, and whether the kernel had to drop some."""

    connections: tuple[Connection, ...] = ()
    lost: bool = False


class FlowEvents:
    """A socket that receives events of connections in some zones."""

    def __init__(self, overlay_fd: int, what: Happening, zones: Collection[int] | None) -> None:
        """Listen in the namespace of `overlay_fd`; `zones` None means all zones.

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
        """Receive events of these zones from now on; None means all zones. Raises OSError."""
        self._zones = frozenset(zones) if zones is not None else None
        known = sorted(self._zones) if self._zones is not None and len(self._zones) <= _ZONES_FILTERED else None
        bpf.attach(self._socket, zone_filter(known) if known is not None else [bpf.PASS])

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something to return."""
        return self._socket.fileno()

    def read(self, limit: int) -> Read:
        """Return up to `limit` queued events; never blocks."""
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

    With `taking` it resets their counters, so that each packet is counted once, by a walk or by an end event. No state has to
    be kept, and a restarted agent continues where it was. Other readers see the counts since the last such walk.
    """

    def __init__(self, overlay_fd: int, zones: Collection[int] | None, *, taking: bool) -> None:
        """Start the walk; `zones` None means all zones. Raises KernelError."""
        self._zones = frozenset(zones) if zones is not None else None
        self.done = False
        try:
            self._socket = open_socket(overlay_fd)
            request = HEADER.pack(HEADER.size + attrs.NFGENMSG_BYTES, _GET_AND_ZERO if taking else _GET, _F_REQUEST_DUMP, 0, 0)
            self._socket.send(request + bytes(attrs.NFGENMSG_BYTES))
        except OSError as error:
            raise KernelError("dump the connection tracker", error.errno or 0, str(error)) from error

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something to return."""
        return self._socket.fileno()

    def read(self, limit: int) -> Read:
        """Return the kernel's next connections, at most `limit` portions of about 50; sets `done` at the end."""
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
        """Close the socket, which ends an unfinished walk."""
        self._socket.close()


def zone_filter(zones: Collection[int]) -> list[bpf.Instruction]:
    """Return a program that passes events of connections in these zones.

    Source: linux/filter.h; SKF_AD_NLATTR finds the attribute of kind X from offset A on, 0 if there is none.
    """
    behind_headers = HEADER.size + attrs.NFGENMSG_BYTES
    program = [
        (0x00, 0, 0, behind_headers),  # A = offset of the first attribute
        (0x01, 0, 0, attrs.ZONE),  # X = kind of the attribute
        (0x20, 0, 0, 0xFFFFF000 + 12),  # A = SKF_AD_OFF + SKF_AD_NLATTR
        (0x15, 0, 1, 0),  # no zone: no VPC's connection
        (0x06, 0, 0, 0),
        (0x07, 0, 0, 0),  # X = A
        (0x48, 0, 0, 4),  # A = the half-word after the attribute's header
    ]
    for zone in zones:
        program += [(0x15, 0, 1, zone), bpf.PASS]
    return [*program, (0x06, 0, 0, 0)]


def join(sock: socket.socket, what: Happening) -> None:
    """Subscribe a socket to conntrack events. Raises OSError."""
    for group, happening in ((1, Happening.BEGIN), (3, Happening.END)):
        if happening in what:
            sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)


def open_socket(netns_fd: int) -> socket.socket:
    """Return a non-blocking netfilter socket in a namespace. Raises OSError."""
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
