"""More hand-made packets: fragments, extension headers, neighbour discovery, whole underlay packets."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from netorch.compiler.base import PORT_MAC
from netorch.drivers.probe.echo import checksum
from netorch.model.addr import packed, version_of
from tests.rig.packets import ETH_P_IP, ETH_P_IPV6, VXLAN_PORT, _in, ethernet, ip_packet, mac_bytes

UDP, ICMPV6, NO_NEXT = socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6, 59
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT, REDIRECT = 134, 135, 136, 137  # RFC 4861 section 4
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15  # linux/socket.h, linux/if_packet.h
ALL_NODES = "ff02::1"


def datagram(payload: bytes, *, sport: int = 5000, dport: int = 6000) -> bytes:
    """Return a UDP datagram without a checksum."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def framed(mac: str, packet: bytes, *, to: str = PORT_MAC) -> bytes:
    """Return the frame in which an instance with this MAC sends an IP packet of either version."""
    return ethernet(to, mac, ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP, packet)


def piece(
    source: str,
    destination: str,
    payload: bytes,
    *,
    offset: int = 0,
    more: bool = False,
    ident: int = 77,
    protocol: int = UDP,
) -> bytes:
    """Return one fragment of a packet; the offset is in bytes, a multiple of 8."""
    if version_of(source) == 6:
        header = struct.pack("!BBHI", protocol, 0, offset | more, ident)
        return ip_packet(source, destination, FRAGMENT, header + payload)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, more << 13 | offset >> 3, 64, protocol, 0)
    header += packed(source) + packed(destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def with_options(source: str, destination: str, options: bytes, payload: bytes) -> bytes:
    """Return an IPv4 UDP packet with options (padded to a multiple of four bytes). Source: RFC 791 section 3.1."""
    options += bytes(-len(options) % 4)
    body = datagram(payload)
    header = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(body), 9, 0, 64, UDP, 0)
    header += packed(source) + packed(destination) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def extended(source: str, destination: str, headers: list[tuple[int, bytes]], payload: bytes) -> bytes:
    """Return an IPv6 UDP packet with extension headers, each given by its type and the bytes after its first two."""
    kinds = [kind for kind, _ in headers] + [UDP]
    chain = b""
    for (_, body), following in zip(headers, kinds[1:], strict=True):
        body += bytes((6 - len(body)) % 8)
        chain += struct.pack("!BB", following, (len(body) + 2) // 8 - 1) + body
    return ip_packet(source, destination, kinds[0], chain + datagram(payload))


def icmpv6(source: str, destination: str, kind: int, body: bytes, *, hops: int = 255) -> bytes:
    """Return an ICMPv6 packet with a correct checksum; the body starts after the checksum."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = packed(source) + packed(destination) + struct.pack("!II", len(message), ICMPV6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return ip_packet(source, destination, ICMPV6, message, ttl=hops)


def solicit(source: str, target: str, mac: str, destination: str = "") -> bytes:
    """Return a neighbour solicitation that carries the claimed MAC of the sender."""
    return icmpv6(source, destination or ALL_NODES, NEIGHBOUR_SOLICIT, bytes(4) + packed(target) + _lladdr(1, mac))


def advertise(source: str, target: str, mac: str, destination: str = "") -> bytes:
    """Return an unsolicited neighbour advertisement with the override flag and the router flag."""
    flags = struct.pack("!I", 0xA0000000)
    return icmpv6(source, destination or ALL_NODES, NEIGHBOUR_ADVERT, flags + packed(target) + _lladdr(2, mac))


def router_advert(source: str, mac: str, destination: str = "") -> bytes:
    """Return a router advertisement that makes its sender the default router."""
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + _lladdr(1, mac)
    return icmpv6(source, destination or ALL_NODES, ROUTER_ADVERT, body)


def redirect(source: str, victim: str, target: str, about: str, mac: str) -> bytes:
    """Return a redirect of packets for `about` to `target`."""
    return icmpv6(source, victim, REDIRECT, bytes(4) + packed(target) + packed(about) + _lladdr(2, mac))


def _lladdr(kind: int, mac: str) -> bytes:
    return bytes((kind, 1)) + mac_bytes(mac)


def outer(source: str, destination: str, payload: bytes, cuts: list[tuple[int, int]], *, options: bytes = b"") -> list[bytes]:
    """Return the VXLAN datagram as underlay packets, one for each cut (its first byte, and the byte after its last).

    Cuts may overlap; the cut that reaches the end sets the length. One cut over everything makes a whole packet.
    """
    body = datagram(payload, sport=40000, dport=VXLAN_PORT)
    options += bytes(-len(options) % 4)
    packets = []
    for first, end in cuts:
        end = min(end, len(body))
        flags = (end < len(body)) << 13 | first >> 3
        header = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 0, 4711, flags, 64, UDP, 0)
        packets.append(header + packed(source) + packed(destination) + options + body[first:end])
    return packets


def send_packets(netns_name: str, destination: str, packets: list[bytes]) -> None:
    """Send whole IPv4 packets from inside a namespace; the kernel fills in length and checksum. Source: raw(7)."""
    with _in(netns_name), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        for packet in packets:
            sender.sendto(packet, (destination, 0))


def send_frames(netns_name: str, ifname: str, frames: list[bytes]) -> None:
    """Send raw Ethernet frames one after the other; frames that the device refuses are lost."""
    with _in(netns_name), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((ifname, 0))
        for frame in frames:
            with suppress(OSError):  # ENOBUFS: the other end refuses the frame, e.g. because it is too long
                sender.send(frame)


def send_giant(netns_name: str, ifname: str, frame: bytes, kind: int, segment_bytes: int, header_bytes: int) -> None:
    """Send a frame that the kernel or the other end must segment; `kind`: VIRTIO_NET_HDR_GSO_* of linux/virtio_net.h."""
    with _in(netns_name), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sender.bind((ifname, 0))
        start, offset = header_bytes - (20 if kind in (1, 4) else 8), 16 if kind in (1, 4) else 6
        with suppress(OSError):  # EINVAL: the kernel rejects the header
            sender.send(struct.pack("=BBHHHH", 1, kind, header_bytes, segment_bytes, start, offset) + frame)
