"""Parsing of a packet's first bytes, from the IP header on. Truncated and malformed packets are decoded as far as possible.

Source: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443, RFC 7348.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from netorch.drivers.conntrack.attrs import Tuple
from netorch.model.security import ICMP, ICMPV6, TCP, UDP

SYN, ACK, FIN, RST = 0x2, 0x10, 0x1, 0x4  # of TCP

_EXTENSIONS: Final = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options: next header, length in 8 bytes
_FRAGMENT: Final = 44
_SCTP: Final = 132
_WITH_PORTS: Final = frozenset({TCP, UDP, 33, _SCTP, 136})  # DCCP, UDP-Lite
_VXLAN_PORT: Final = 4789
_UDP_BYTES, _VXLAN_BYTES, _ETHERNET_BYTES = 8, 8, 14


class Headers(msgspec.Struct, frozen=True, kw_only=True):
    """A packet's headers: its tuple, its length from the IP header on, and its TCP flags."""

    tuple: Tuple
    length: int
    tcp_flags: int = 0


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a VXLAN packet: its VNI, and the inner packet if that is IP."""

    vni: int
    headers: Headers | None


def parse(data: bytes) -> Headers | None:
    """Return the headers of an IP packet; None for others, e.g. ARP packets."""
    found = _ip(data)
    if found is None:
        return None
    source, destination, protocol, length, offset = found
    ports, flags = (0, 0), 0
    if offset and protocol in _WITH_PORTS and len(data) >= offset + 4:
        ports = struct.unpack_from("!HH", data, offset)
        if protocol == TCP and len(data) > offset + 13:
            flags = data[offset + 13]
    elif offset and protocol in (ICMP, ICMPV6) and len(data) >= offset + 6:
        kind, identifier = struct.unpack_from("!H2xH", data, offset)
        ports = identifier, kind
    return Headers(tuple=Tuple(source, destination, protocol, *ports), length=length, tcp_flags=flags)


def parse_vxlan(data: bytes) -> Inner | None:
    """Return the content of an IPv4 VXLAN packet; None for others, or if truncated before the inner IP header."""
    found = _ip(data)
    if found is None or found[2] != UDP or not found[4]:
        return None
    vxlan = found[4] + _UDP_BYTES
    if len(data) < vxlan + _VXLAN_BYTES or struct.unpack_from("!H", data, found[4] + 2)[0] != _VXLAN_PORT:
        return None
    vni = int.from_bytes(data[vxlan + 4 : vxlan + 7], "big")
    return Inner(vni=vni, headers=parse(data[vxlan + _VXLAN_BYTES + _ETHERNET_BYTES :]))


def _ip(data: bytes) -> tuple[bytes, bytes, int, int, int] | None:
    """Return source, destination, protocol, length and offset of the upper header; 0 except in a first fragment."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        length, fragment = struct.unpack_from("!H2xH", data, 2)
        offset = 0 if fragment & 0x1FFF else (data[0] & 0xF) * 4
        return data[12:16], data[16:20], data[9], length, offset
    if version == 6 and len(data) >= 40:
        protocol, offset = _upper(data, data[6])
        return data[8:24], data[24:40], protocol, 40 + struct.unpack_from("!H", data, 4)[0], offset
    return None


def _upper(data: bytes, protocol: int) -> tuple[int, int]:
    """Return the protocol and offset of an IPv6 packet's first header that is no extension."""
    offset = 40
    while (protocol in _EXTENSIONS or protocol == _FRAGMENT) and len(data) >= offset + 8:
        if protocol == _FRAGMENT:
            if struct.unpack_from("!H", data, offset + 2)[0] & 0xFFF8:
                return data[offset], 0
            protocol, offset = data[offset], offset + 8
        else:
            protocol, offset = data[offset], offset + 8 + 8 * data[offset + 1]
    return protocol, offset
