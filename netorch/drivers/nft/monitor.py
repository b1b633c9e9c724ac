"""Notifications of other programs' changes to netorch's nftables tables. Own changes are filtered before they are queued."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from netorch.drivers.netlink import SO_RCVBUFFORCE, enlarge, skip_ports
from netorch.state.owner import NFT_TABLE

NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_NFNL_SUBSYS_NFTABLES: Final = 10
_NEWTABLE, _DELTABLE = 0, 2  # linux/netfilter/nf_tables.h NFT_MSG_*
_QUEUE_BYTES: Final = 4 << 20
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_FIRST_ATTRIBUTE: Final = _HEADER.size + 4  # after nfgenmsg; every nftables message but NEWGEN has its table's name there
_OUR_NAME: Final = NFT_TABLE.encode() + b"\0"


class NftMonitor:
    """A socket that receives commits to the namespace's ruleset, except those from netorch's own netlink ports."""

    def __init__(self, own_port: int, *, all_tables: bool = False) -> None:
        """Listen in the calling thread's namespace; `all_tables`: also for foreign tables coming and going. Raises OSError."""
        self._own_port = own_port
        self._all_tables = all_tables
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        skip_ports(self._socket, (own_port,))
        enlarge(self._socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, _QUEUE_BYTES)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `touched` has something to read."""
        return self._socket.fileno()

    def ignore(self, port: int) -> None:
        """Ignore commits from this port too, instead of the one ignored before; 0: ignore only the agent's own port."""
        skip_ports(self._socket, (self._own_port, port) if port else (self._own_port,))

    def touched(self) -> bool:
        """Return whether a monitored table may have changed since the last call; never blocks."""
        found = False
        while True:
            try:
                found |= _concerns_us(self._socket.recv(1 << 17), self._all_tables)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True  # notifications were lost; the socket stays usable

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _concerns_us(datagram: bytes, all_tables: bool) -> bool:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return False
        name = datagram[offset + _FIRST_ATTRIBUTE + 4 : offset + length]
        of_tables = all_tables and kind & 0xFF in (_NEWTABLE, _DELTABLE)
        if kind >> 8 == _NFNL_SUBSYS_NFTABLES and (of_tables or name.startswith(_OUR_NAME)):
            return True
        offset += (length + 3) & ~3
    return False
