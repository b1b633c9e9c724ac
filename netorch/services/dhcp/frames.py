"""Frames and packets around DHCP messages, and the kernel's messages about logged packets. Pure.

Sources: RFC 791, RFC 768; linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from netorch.model.addr import mac_bytes
from netorch.model.rules import PORT_MAC

CLIENT_PORT, SERVER_PORT = 68, 67
ANYBODY: Final = b"\xff" * 4
NOBODY: Final = bytes(4)
_ETHERTYPE: Final = b"\x08\x00"
_IP: Final = struct.Struct(">BBHHHBBH4s4s")
_UDP: Final = struct.Struct(">HHHH")
_PROTOCOL: Final = 17
_TTL: Final = 64
_NETLINK: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_PACKET: Final = 4 << 8 | 0  # NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET
_FAMILY_BYTES: Final = 4  # nfgenmsg
_INDEV, _PAYLOAD = 4, 9  # NFULA_IFINDEX_INDEV, NFULA_PAYLOAD


class Heard(msgspec.Struct, frozen=True):
    """A DHCP message as received."""

    index: int  # of the receiving device: the port, or the port's VRF
    source: bytes
    message: bytes


def heard(delivery: bytes) -> list[Heard]:
    """Return the DHCP messages in a delivery from the kernel. Anything else in it is skipped."""
    found = []
    at = 0
    while at + _NETLINK.size <= len(delivery):
        length, kind, *_ = _NETLINK.unpack_from(delivery, at)
        if length < _NETLINK.size or at + length > len(delivery):
            break
        if kind == _PACKET:
            parts = _attributes(delivery[at + _NETLINK.size + _FAMILY_BYTES : at + length])
            datagram = _datagram(parts.get(_PAYLOAD, b""))
            if datagram is not None and len(parts.get(_INDEV, b"")) == 4:
                found.append(Heard(int.from_bytes(parts[_INDEV], "big"), *datagram))
        at += length + 3 & ~3
    return found


def _attributes(raw: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(raw):
        length, kind = _ATTRIBUTE.unpack_from(raw, at)
        if length < _ATTRIBUTE.size or at + length > len(raw):
            break
        found[kind] = raw[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def _datagram(packet: bytes) -> tuple[bytes, bytes] | None:
    """Return the source and payload of a complete datagram from a client to a server, or None for anything else.

    Checksums are not verified: a packet that has not left its machine may have none.
    """
    if len(packet) < _IP.size:
        return None
    first, _, total, _, fragment, _, protocol, _, source, _ = _IP.unpack_from(packet)
    header = (first & 0xF) * 4
    if first >> 4 != 4 or header < _IP.size or protocol != _PROTOCOL or fragment & 0x3FFF:
        return None
    if not header + _UDP.size <= total <= len(packet):
        return None
    sport, dport, length, _ = _UDP.unpack_from(packet, header)
    if (sport, dport) != (CLIENT_PORT, SERVER_PORT) or not _UDP.size <= length <= total - header:
        return None
    return source, packet[header + _UDP.size : header + length]


def frame(message: bytes, mac: bytes, server: bytes, client: bytes) -> bytes:
    """Return the Ethernet frame with a message to an address. A frame to ANYBODY is a broadcast on the port."""
    udp_length = _UDP.size + len(message)
    pseudo = server + client + struct.pack(">BBH", 0, _PROTOCOL, udp_length)
    checksum = _sum(pseudo + _UDP.pack(SERVER_PORT, CLIENT_PORT, udp_length, 0) + message) or 0xFFFF
    udp = _UDP.pack(SERVER_PORT, CLIENT_PORT, udp_length, checksum) + message
    total = _IP.size + len(udp)
    fields = (0x45, 0, total, 0, 0, _TTL, _PROTOCOL)
    header = _IP.pack(*fields, _sum(_IP.pack(*fields, 0, server, client)), server, client)
    to = b"\xff" * 6 if client == ANYBODY else mac
    return to + mac_bytes(PORT_MAC) + _ETHERTYPE + header + udp


def _sum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
