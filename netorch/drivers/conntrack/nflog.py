"""Dropped packets as reported by the kernel: rules with `log ... group N` in one namespace.

Only one socket at a time can listen to a group. Source: linux/netfilter/nfnetlink_log.h, net/netfilter/nfnetlink_log.c.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Mapping
from typing import Final

import msgspec

from netorch.drivers import netns
from netorch.drivers.conntrack import headers
from netorch.drivers.conntrack.headers import Headers, Inner
from netorch.drivers.netlink import HEADER, SO_RCVBUFFORCE, arrived, attr, attrs, enlarge, split
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.errors import KernelError

_PACKET: Final = 4 << 8 | 0  # NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET
_CONFIG: Final = 4 << 8 | 1
_MSG_ERROR: Final = 2
_REQUEST_ACK: Final = 0x5
_NFGENMSG: Final = struct.Struct(">BBH")  # family, version, group
# NFULA_CFG_*
_COMMAND, _MODE, _TIMEOUT, _THRESHOLD, _FLAGS = 1, 2, 4, 5, 6
_BIND: Final = b"\x01"
_COPY_PACKET: Final = 2
_NUMBERED: Final = 0x1  # NFULNL_CFG_F_SEQ
_WAIT_CENTISECONDS, _WAIT_PACKETS = 10, 50  # limits at which the kernel stops collecting and wakes the listener
# NFULA_*
_HEADER, _MARK, _TIME, _IN, _OUT, _SENDER, _PAYLOAD, _PREFIX, _SEQUENCE = 1, 2, 3, 4, 5, 8, 9, 10, 12
_QUEUE_BYTES: Final = 4 << 20
_READ_BYTES: Final = 1 << 17
_IFNAME_BYTES: Final = 16
_SIOCGIFNAME: Final = 0x8910


def listening(netns_fd: int, group: int, copy_bytes: int, together: int = _WAIT_PACKETS) -> socket.socket:
    """Return a socket that receives packets that a namespace's rules log to a group, up to `together` at once.

    Raises:
      OSError: EBUSY if another socket listens already; EPERM without CAP_NET_ADMIN.
    """
    with netns.inside(netns_fd):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        sock.bind((0, 0))
        enlarge(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, _QUEUE_BYTES)
        _configure(sock, group, attr(_COMMAND, _BIND))
        mode = struct.pack(">IBx", copy_bytes, _COPY_PACKET)
        flags = {_MODE: mode, _TIMEOUT: struct.pack(">I", _WAIT_CENTISECONDS), _FLAGS: struct.pack(">H", _NUMBERED)}
        flags[_THRESHOLD] = struct.pack(">I", together)
        _configure(sock, group, b"".join(attr(kind, value) for kind, value in flags.items()))
    except OSError:
        sock.close()
        raise
    return sock


def _configure(sock: socket.socket, group: int, attributes: bytes) -> None:
    """Send one request and read its acknowledgement; packets that arrive before it are dropped."""
    body = _NFGENMSG.pack(socket.AF_UNSPEC, 0, group) + attributes
    sock.send(HEADER.pack(HEADER.size + len(body), _CONFIG, _REQUEST_ACK, 0, 0) + body)
    while True:
        for kind, _, answer in split(sock.recv(_READ_BYTES)):
            if kind == _MSG_ERROR:
                number = -struct.unpack_from("=i", answer)[0]
                if number:
                    raise OSError(number, "the kernel refuses; another program may be listening to this group")
                return


class DroppedPacket(msgspec.Struct, frozen=True, kw_only=True):
    """A packet dropped by a rule; `reason` is the name of the rule's counter."""

    reason: str
    payload: bytes  # from the IP (or ARP) header on, up to the length that the rule requested
    ethertype: int
    indev: str  # the VRF in the forwarding path; empty: none, or gone
    outdev: str
    lladdr: str  # the sender's MAC; empty if none
    mark: int
    at_s: float  # since 1970; 0 if the kernel does not report it

    @property
    def headers(self) -> Headers | None:
        """Return the packet's headers; None if it is not IP."""
        return headers.parse(self.payload)

    @property
    def inner(self) -> Inner | None:
        """Return the content of a VXLAN packet."""
        return headers.parse_vxlan(self.payload)


class DroppedBatch(msgspec.Struct, frozen=True):
    """Packets that were read, and how many the kernel has failed to deliver, as far as known."""

    packets: tuple[DroppedPacket, ...] = ()
    lost: int = 0


class DroppedPackets:
    """A socket that receives one namespace's dropped packets."""

    def __init__(self, netns_fd: int, group: int, copy_bytes: int = 128) -> None:
        """Listen to a group in the namespace of `netns_fd`.

        Raises:
          KernelError: EBUSY if another socket listens already; EPERM without CAP_NET_ADMIN.
        """
        self._next: int | None = None
        try:
            self._socket = listening(netns_fd, group, copy_bytes)
            with netns.inside(netns_fd):
                self._names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise KernelError(f"listen to dropped packets, group {group}", error.errno or 0, str(error)) from error
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something to return."""
        return self._socket.fileno()

    def read(self, limit: int) -> DroppedBatch:
        """Return the packets of up to `limit` datagrams; never blocks."""
        found: list[DroppedPacket] = []
        lost = 0
        for message in arrived(self._socket, limit, _READ_BYTES):
            if message is not None and message[0] == _PACKET:  # the next packet's sequence number shows how many were lost
                parts = attrs(message[2], _NFGENMSG.size)
                lost += self._gap(parts)
                found.append(self._dropped(parts))
        return DroppedBatch(tuple(found), lost)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._names.close()

    def _gap(self, parts: Mapping[int, bytes]) -> int:
        number = int.from_bytes(parts.get(_SEQUENCE, b""), "big")
        missing = 0 if self._next is None else number - self._next & 0xFFFFFFFF
        self._next = number + 1 & 0xFFFFFFFF
        return missing

    def _dropped(self, parts: Mapping[int, bytes]) -> DroppedPacket:
        second, microsecond = struct.unpack(">QQ", parts.get(_TIME, bytes(16)))
        return DroppedPacket(
            reason=parts.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace"),
            payload=parts.get(_PAYLOAD, b""),
            ethertype=int.from_bytes(parts.get(_HEADER, b"")[:2], "big"),
            indev=self._name(parts.get(_IN)),
            outdev=self._name(parts.get(_OUT)),
            lladdr=_lladdr(parts.get(_SENDER, b"")),
            mark=int.from_bytes(parts.get(_MARK, b""), "big"),
            at_s=second + microsecond / 1e6,
        )

    def _name(self, index: bytes | None) -> str:
        """Return a device's name. Cost: one ioctl; names are not cached, because devices come and go."""
        if index is None:
            return ""
        request = struct.pack("=16si20x", b"", int.from_bytes(index, "big"))
        try:
            return fcntl.ioctl(self._names, _SIOCGIFNAME, request)[:_IFNAME_BYTES].split(b"\0", 1)[0].decode(errors="replace")
        except OSError:
            return ""


def _lladdr(data: bytes) -> str:
    """Return the address in a nfulnl_msg_packet_hw: its length, two bytes of padding, the address."""
    return data[4 : 4 + int.from_bytes(data[:2], "big")].hex(":") if len(data) > 4 else ""
