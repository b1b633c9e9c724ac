"""Hand-made frames, and listeners for them: what a forger sends and what an instance receives."""

from __future__ import annotations

import os
import socket
import struct
import time
from types import TracebackType

from netorch.drivers import netns
from netorch.drivers.probe.echo import Listener, checksum
from netorch.model.addr import packed, version_of

PATIENCE_S = 60.0  # for anything that must arrive; an emulated machine may be twenty times slower than this one
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
VXLAN_PORT = 4789


def mac_bytes(mac: str) -> bytes:
    """Return the six bytes of a MAC."""
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(destination: str, source: str, ethertype: int, payload: bytes) -> bytes:
    """Return an Ethernet frame."""
    return mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", ethertype) + payload


def udp(source: str, destination: str, payload: bytes, *, sport: int = 5000, dport: int = 6000) -> bytes:
    """Return an IP packet of the addresses' version with a UDP datagram (without a checksum for IPv4)."""
    datagram = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    if version_of(source) == 6:
        pseudo = packed(source) + packed(destination) + struct.pack("!II", len(datagram), socket.IPPROTO_UDP)
        total = checksum(pseudo + datagram) or 0xFFFF
        datagram = datagram[:6] + struct.pack("!H", total) + datagram[8:]
    return ip_packet(source, destination, socket.IPPROTO_UDP, datagram)


def ip_packet(source: str, destination: str, protocol: int, payload: bytes, *, ttl: int = 64) -> bytes:
    """Return an IP packet of the addresses' version."""
    if version_of(source) == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + packed(source) + packed(destination) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, ttl, protocol, 0) + packed(source) + packed(destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str) -> bytes:
    """Return an ARP body. Source: RFC 826."""
    head = struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, operation)
    return head + mac_bytes(sender_mac) + packed(sender) + mac_bytes(target_mac) + packed(target)


def vxlan(vni: int, frame: bytes, *, flags: int = 0x08) -> bytes:
    """Return a VXLAN header and the frame. Source: RFC 7348 section 5."""
    return struct.pack("!BBHI", flags, 0, 0, vni << 8) + frame


def send_vxlan(netns_name: str, source: str, destination: str, payload: bytes) -> None:
    """Send a UDP datagram to a VTEP's VXLAN port from inside a namespace."""
    with _in(netns_name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.sendto(payload, (destination, VXLAN_PORT))


def send_frame(netns_name: str, ifname: str, frame: bytes) -> None:
    """Send a raw Ethernet frame out of a device inside a namespace."""
    with _in(netns_name), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((ifname, 0))
        sender.send(frame)


class PacketListener(Listener):
    """Captures every frame that a device receives or sends inside a namespace."""

    def __init__(self, netns_name: str, ifname: str = "eth0") -> None:
        super().__init__(netns_name, ifname)

    def __enter__(self) -> PacketListener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def take(self) -> list[bytes]:
        """Return the frames captured since the last call, and forget them."""
        self.heard(b"")
        frames, self._frames = self._frames, []
        return frames

    def hears(self, needle: bytes, within_s: float = 0.3) -> bool:
        """Return whether a frame that contains these bytes arrives in time."""
        end = time.monotonic() + within_s
        while not self.heard(needle):
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True


class _in:
    """Put the calling thread into a named namespace."""

    def __init__(self, name: str) -> None:
        self._descriptor = netns.find(name)
        self._context = netns.inside(self._descriptor)

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._context.__exit__(kind, error, trace)
        os.close(self._descriptor)
