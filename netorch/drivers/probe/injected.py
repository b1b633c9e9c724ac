"""A live packet with a source address on the internet, sent from an edge's outside namespace.

It enters the edge behind the uplink: routes, veth pairs and all later steps are the real ones, but the outside's rules for
packets from the uplink are bypassed. The answer is detected where it leaves by an uplink.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from msgspec import structs

from netorch.drivers.netns import find, inside
from netorch.drivers.probe.echo import Listener, checksum
from netorch.drivers.probe.first_packet import Ears, ProbeResult
from netorch.drivers.probe.sctp import init
from netorch.errors import KernelError
from netorch.model.addr import packed
from netorch.model.packet import SYN, Packet
from netorch.model.security import SCTP, TCP, UDP

_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1
_TCP: Final = struct.Struct("!HHIIBBHHH")  # RFC 9293 section 3.1
_UDP: Final = struct.Struct("!HHHH")  # RFC 768
_ECHO: Final = struct.Struct("!BBHHH")  # RFC 792
_TTL, _WINDOW, _DISCARD = 64, 64240, 9
_LOOK_S = 0.02
_ANSWERED_S = 0.2  # time for an answer once the packet has arrived


def inject(netns: str, packet: Packet, ears: Ears, uplinks: Sequence[Listener], timeout_s: float) -> ProbeResult:
    """Send an IPv4 packet that seems to come from the internet, and return its result.

    `ears` receive it at its receiver, with translated addresses; `uplinks` receive the answer.

    Raises:
      KernelError: the namespace does not exist, or the kernel there does not send the packet.
    """
    port = random.randint(49152, 65535)  # noqa: S311: no secret
    packet = structs.replace(packet, source_port=port) if packet.has_ports else packet
    _send(netns, packet)
    ports = struct.pack("!HH", port, packet.destination_port) if packet.has_ports else b""
    answer = packet.answer()
    back = packed(answer.source) + packed(answer.destination) + (ports[2:] + ports[:2])
    heard, answered, is_over = False, False, False
    end = time.monotonic() + timeout_s
    while not answered and not is_over:
        time.sleep(_LOOK_S)
        is_over = time.monotonic() >= end  # what arrived while this process stood still is found by the look that follows
        answered = any(listener.heard(back) for listener in uplinks)
        if not heard and ears.heard(ports):
            heard, end = True, min(end, time.monotonic() + _ANSWERED_S)
    return ProbeResult(heard=ears.heard(ports) if ears.listeners else None, answer="answered" if answered else "")


def _send(netns: str, packet: Packet) -> None:
    descriptor = find(netns)
    try:
        with inside(descriptor), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
            sender.sendto(raw(packet), (packet.destination, 0))
    except OSError as error:
        raise KernelError(f"send from {packet.source} to {packet.destination} in {netns}", error.errno or 0) from error
    finally:
        os.close(descriptor)


def raw(packet: Packet) -> bytes:
    """Return an IPv4 packet with its header; Linux fills in the length and the header checksum. Source: raw(7)."""
    body = _body(packet)
    header = _IPV4.pack(0x45, 0, 0, 0, 0, _TTL, packet.protocol, 0, packed(packet.source), packed(packet.destination))
    return header + body


def _body(packet: Packet) -> bytes:
    if packet.has_type:
        echo = _ECHO.pack(packet.icmp_type, packet.icmp_code, 0, os.getpid() & 0xFFFF, 1) + bytes(56)
        return echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
    if packet.protocol == TCP:
        tcp = _TCP.pack(packet.source_port, packet.destination_port, 1, 0, 5 << 4, SYN, _WINDOW, 0, 0)
        return tcp[:16] + struct.pack("!H", _with_addresses(packet, tcp)) + tcp[18:]
    if packet.protocol == UDP:
        udp = _UDP.pack(packet.source_port, packet.destination_port, _UDP.size + 7, 0) + b"netorch"
        return udp[:6] + struct.pack("!H", _with_addresses(packet, udp)) + udp[8:]
    if packet.protocol == SCTP:
        return init(random.randint(49152, 65535), _DISCARD, b"netorch")  # noqa: S311: no secret
    return b"netorch"


def _with_addresses(packet: Packet, segment: bytes) -> int:
    """Return the checksum of a TCP or UDP segment. Source: RFC 9293 section 3.1."""
    pseudo = packed(packet.source) + packed(packet.destination) + struct.pack("!HH", packet.protocol, len(segment))
    return checksum(pseudo + segment)
