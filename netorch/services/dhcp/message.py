"""DHCP messages as bytes: the requests of clients and the replies. Pure.

Sources: RFC 2131 section 2 (the fixed part), RFC 2132 (options), RFC 3396 (an option in several parts), RFC 3442
(routes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

import msgspec

from netorch.model.addr import packed

FIXED: Final = struct.Struct(">BBBBIHH4s4s4s4s6s10x64s128s4s")
COOKIE: Final = b"\x63\x82\x53\x63"
MESSAGE_MOST: Final = 1472  # bytes of a UDP payload in an Ethernet frame
MESSAGE_LEAST: Final = 300  # shorter ones are padded: RFC 1542 section 2.1
_BROADCAST: Final = 0x8000  # RFC 2131 section 2, figure 2
_REQUEST, _REPLY, _ETHERNET, _MAC_BYTES = 1, 2, 1, 6
_PAD, _END = 0, 255
_UNSET: Final = bytes(4)


class Kind(IntEnum):
    """DHCP message types (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Code(IntEnum):
    """The options in use (RFC 2132, RFC 3442)."""

    MASK = 1
    ROUTER = 3
    NAME_SERVERS = 6
    HOSTNAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    NTP_SERVERS = 42
    NETBIOS_SERVERS = 44
    NETBIOS_NODE_TYPE = 46
    ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    KIND = 53
    SERVER = 54
    WANTED = 55
    MESSAGE_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    ROUTES = 121


class Malformed(ValueError):
    """An invalid client message. The text gives the reason."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A client's message: the fields that the server reads."""

    kind: Kind
    xid: int
    broadcast: bool  # whether the client cannot receive unicast yet
    client: bytes  # ciaddr: the client's current address, or four zero bytes
    mac: bytes
    options: Mapping[int, bytes]

    @property
    def has_address(self) -> bool:
        """Return whether the client states in ciaddr that it has an address and responds to ARP for it."""
        return self.client != _UNSET

    @property
    def size(self) -> int:
        """Return the largest message that the client accepts, in bytes of the IP packet."""
        asked = int.from_bytes(self.options.get(Code.MESSAGE_SIZE, b""), "big")
        return min(max(asked, 576), MESSAGE_MOST + 28)  # RFC 2131 section 2: every client accepts 576


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply to a client."""

    kind: Kind
    xid: int
    broadcast: bool
    client: bytes = _UNSET  # ciaddr
    yours: bytes = _UNSET  # yiaddr: the address that the client gets
    mac: bytes
    options: tuple[tuple[int, bytes], ...]  # in this order, without the message type


def decode(raw: bytes) -> Request:
    """Return the message in a UDP payload. Raises Malformed."""
    if not FIXED.size <= len(raw) <= MESSAGE_MOST:
        raise Malformed(f"it has {len(raw)} bytes")
    op, hardware, length, _hops, xid, _secs, flags, client, _yours, _next, relay, mac, _name, _file, cookie = FIXED.unpack_from(
        raw
    )
    if (op, hardware, length, cookie) != (_REQUEST, _ETHERNET, _MAC_BYTES, COOKIE):
        raise Malformed("it is not from a client, or not for Ethernet")
    if relay != _UNSET:
        raise Malformed("it comes through a relay")
    options = dict(_options(raw[FIXED.size :]))
    if Code.OVERLOAD in options:
        raise Malformed("its options continue in other fields")
    kind = options.get(Code.KIND, b"")
    if len(kind) != 1 or kind[0] not in Kind.__members__.values():
        raise Malformed("it has no message type")
    for code, size in ((Code.ADDRESS, 4), (Code.SERVER, 4), (Code.MESSAGE_SIZE, 2)):
        if code in options and len(options[code]) != size:
            raise Malformed(f"its option {code} has {len(options[code])} bytes")
    return Request(kind=Kind(kind[0]), xid=xid, broadcast=bool(flags & _BROADCAST), client=client, mac=mac, options=options)


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the options. The parts of a repeated option are joined. Raises Malformed."""
    found: dict[int, bytes] = {}
    at = 0
    while True:
        if at >= len(raw):
            raise Malformed("its options have no end")
        code = raw[at]
        if code == _END:
            break
        if code == _PAD:
            at += 1
            continue
        if at + 1 >= len(raw) or at + 2 + raw[at + 1] > len(raw):
            raise Malformed(f"its option {code} is cut off")
        value = raw[at + 2 : at + 2 + raw[at + 1]]
        found[code] = found.get(code, b"") + value
        at += 2 + len(value)
    yield from found.items()


def encode(reply: Reply, size: int) -> bytes:
    """Return the UDP payload of a reply. Options that do not fit into an IP packet of `size` bytes are left out.

    An option of more than 255 bytes is left out, too.
    """
    flags = _BROADCAST if reply.broadcast else 0
    fixed = FIXED.pack(
        _REPLY,
        _ETHERNET,
        _MAC_BYTES,
        0,
        reply.xid,
        0,
        flags,
        reply.client,
        reply.yours,
        _UNSET,
        _UNSET,
        reply.mac,
        b"",
        b"",
        COOKIE,
    )
    room = size - 28 - len(fixed) - 1
    body = b""
    for code, value in ((int(Code.KIND), bytes([reply.kind])), *reply.options):
        if 0 < len(value) <= 255 and len(body) + 2 + len(value) <= room:
            body += bytes([code, len(value)]) + value
    return (fixed + body + bytes([_END])).ljust(MESSAGE_LEAST, b"\0")


def routes(found: Iterable[tuple[str, int, str]]) -> bytes:
    """Return the value of the classless routes option (RFC 3442). A route is a network, a prefix length and a router."""
    return b"".join(bytes([length]) + packed(network)[: (length + 7) // 8] + packed(router) for network, length, router in found)
