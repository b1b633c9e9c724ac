"""Packets of the policy oracle as frames that an instance sends. Each carries a token, which shows where it arrives."""

from __future__ import annotations

import struct

from netorch.drivers.probe.echo import checksum
from netorch.drivers.probe.sctp import init
from netorch.model.addr import packed
from netorch.model.packet import ACK, SYN, Packet
from netorch.model.security import AH, SCTP, TCP, UDP
from tests.rig.crafted import framed, piece
from tests.rig.packets import ip_packet

# Each packet of a flow carries the same bytes of its stream, like a retransmission, and acknowledges only the other end's SYN.
_SEQUENCE, _WINDOW = 1000, 65535
_ICMP_ID = 1
_PORT = 5000  # both ports, where the oracle's packet has none
_UDP_LITE = 136
_HOP_BY_HOP = 0  # in IPv6 this number means a header before another one, whatever rules say of protocol 0
_CUT_AT = 64  # offset of the cut in bytes: every header ends before it, and so does the token
_ERROR = 3  # destination unreachable; of ICMPv6: time exceeded
_EXPERIMENTAL = 253  # Source: RFC 3692


def can_be_sent(packet: Packet) -> bool:
    """Return whether the oracle's packet describes a real one completely."""
    return packet.version == 4 or packet.protocol != _HOP_BY_HOP


def can_be_cut(packet: Packet) -> bool:
    """Return whether a packet may come in fragments: not an ICMP error, and not without a connection: no reassembly there."""
    return packet.quoted is None and packet.has_connection


def frame(packet: Packet, mac: str, token: bytes) -> bytes:
    """Return the frame of a packet whose sender has this MAC."""
    return framed(mac, _ip(packet, token))


def fragments(packet: Packet, mac: str, token: bytes, ident: int) -> list[bytes]:
    """Return the frames of a packet in two fragments. The second starts with bytes that look like the type of an ICMP error."""
    body = _body(packet, token + bytes([_ERROR]) * _CUT_AT)
    first, later = (
        piece(packet.source, packet.destination, part, offset=at, more=not at, ident=ident, protocol=packet.protocol)
        for at, part in ((0, body[:_CUT_AT]), (_CUT_AT, body[_CUT_AT:]))
    )
    return [framed(mac, first), framed(mac, later)]


def _ip(packet: Packet, payload: bytes) -> bytes:
    return ip_packet(packet.source, packet.destination, packet.protocol, _body(packet, payload))


def _body(packet: Packet, payload: bytes) -> bytes:
    if packet.protocol == TCP:
        answer = _SEQUENCE + 1 if packet.flags & ACK else 0
        first = _SEQUENCE if packet.flags & SYN else _SEQUENCE + 1
        ports = (packet.source_port, packet.destination_port)
        return _summed(packet, struct.pack("!HHIIBBHHH", *ports, first, answer, 0x50, packet.flags, _WINDOW, 0, 0) + payload, 16)
    if packet.protocol == UDP:
        ports = (packet.source_port, packet.destination_port)
        return _summed(packet, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload, 6)
    if packet.has_type:
        head = struct.pack("!BBH", packet.icmp_type, packet.icmp_code, 0)
        if packet.quoted is not None:
            return _summed(packet, head + bytes(4) + _ip(packet.quoted, bytes(8)) + payload, 2)
        return _summed(packet, head + struct.pack("!HH", _ICMP_ID, 1) + payload, 2)
    if packet.protocol == SCTP:  # an INIT in both directions, as if both ends began at once
        return init(_PORT, _PORT, payload)
    if packet.protocol == _UDP_LITE:
        return _summed(packet, struct.pack("!HHHH", _PORT, _PORT, 0, 0) + payload, 6)  # 0: the checksum covers all of it
    if packet.protocol == AH:
        return struct.pack("!BB10x", _EXPERIMENTAL, 1) + payload  # RFC 4302: next header, length in words minus two
    return bytes(4) + payload  # a minimal GRE header


def _summed(packet: Packet, body: bytes, place: int) -> bytes:
    """Return the body with its checksum; ICMP for IPv4 has no pseudo header."""
    pseudo = packed(packet.source) + packed(packet.destination) + struct.pack("!II", len(body), packet.protocol)
    covered = body if packet.has_type and packet.version == 4 else pseudo + body
    return body[:place] + struct.pack("!H", checksum(covered) or 0xFFFF) + body[place + 2 :]
