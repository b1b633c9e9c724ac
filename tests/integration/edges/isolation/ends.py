"""Reachability: a packet of every kind from every end to every address, and what each end receives of it.

Each packet carries its own token, which identifies it wherever it arrives and whatever its addresses are then.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final, TypeVar

import msgspec

from netorch.compiler.base import router_mac
from netorch.drivers.netlink import SO_RCVBUFFORCE
from netorch.lab.wiring import in_node
from netorch.model.addr import version_of
from netorch.model.packet import ACK, ERRORS, Packet, echo
from netorch.model.security import ICMP, ICMPV6, TCP, UDP
from tests.rig.packets import ETH_P_IP, ETH_P_IPV6, VXLAN_PORT, ethernet, ip_packet, vxlan
from tests.rig.policy_frames import frame
from tests.rig.world import wait_for

T = TypeVar("T")

_ETH_P_ALL, _PACKET_IGNORE_OUTGOING, _SOL_PACKET = 3, 23, 263  # linux/if_ether.h, linux/if_packet.h, linux/socket.h
_QUEUE_BYTES: Final = 1 << 23
_ETHERNET_BYTES: Final = 14
_NO_MAC: Final = "02:00:00:00:00:00"
_AT_ONCE: Final = 64  # packets sent between two reads of the listeners
_AGAIN_S: Final = 1.0  # before a missing packet is sent once more
_TOKEN_BYTES: Final = 6
_ETHERTYPES: Final = {4: ETH_P_IP, 6: ETH_P_IPV6}
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANSWERS: Final = {4: (0,), 6: (129, 137)}  # echo replies, and redirects of IPv6: RFC 792, RFC 4443, RFC 4861
_REDIRECT_CUTS: Final = 8  # bytes at most, missing at the end of the quoted packet
_HOST_UNREACHABLE: Final = {4: (ICMP, 3, 1), 6: (ICMPV6, 1, 3)}  # protocol, type, code

Craft = Callable[[str, str, int], Packet]  # takes source, destination, and a unique number


class Shot(msgspec.Struct, frozen=True, order=True):
    """A packet from one end to an address."""

    sender: str
    destination: str
    kind: str  # the kind of the packet


class Arrival(msgspec.Struct, frozen=True, order=True):
    """The end at which a packet arrives, and the packet's addresses there."""

    at: str
    source: str
    destination: str


class Sender(msgspec.Struct, frozen=True):
    """An end that sends IP packets with a source address."""

    source: str
    send: Callable[[bytes], object]


class Ends:
    """Ends that send, ends that receive, and the packets sent and received."""

    def __init__(self) -> None:
        self.kinds: dict[str, Craft] = dict(KINDS)
        self._token = os.urandom(_TOKEN_BYTES)
        self._sockets: list[socket.socket] = []
        self._senders: dict[str, Sender] = {}
        self._ears: list[tuple[str, Callable[[], bytes]]] = []  # the end, and a function that returns the next packet
        self._shots: list[Shot] = []  # by the number in its token
        self._arrivals: dict[int, set[Arrival]] = defaultdict(set)
        self.answers: dict[Shot, set[Arrival]] = defaultdict(set)  # including errors about it

    # --- ends -----------------------------------------------------------------------------------------------------------------

    def let_send_frames(self, name: str, source: str, netns: str, device: str, mac: str, to: str) -> None:
        """Let an end send frames through a device, from one MAC to another."""
        opened = self._packet_socket(netns, device)
        ethertype = _ETHERTYPES[version_of(source)]
        self._senders[name] = Sender(source, lambda packet: opened.send(ethernet(to, mac, ethertype, packet)))

    def let_send_vxlan(self, name: str, source: str, netns: str, vteps: tuple[str, str], vni: int, to: str) -> None:
        """Let a host send a VPC's frames to a MAC, in hand-made VXLAN packets from one VTEP to another."""
        with in_node(netns):
            opened = self._kept(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened.bind((vteps[0], 0))
        ethertype = _ETHERTYPES[version_of(source)]

        def send(packet: bytes) -> None:
            opened.sendto(vxlan(vni, ethernet(to, router_mac(vteps[0]), ethertype, packet)), (vteps[1], VXLAN_PORT))

        self._senders[name] = Sender(source, send)

    def let_send(self, name: str, source: str, netns: str) -> None:
        """Let a host send by its routes; packets without a route are not sent."""
        opened = self._raw_socket(netns, socket.IPPROTO_RAW, version_of(source))

        def send(packet: bytes) -> None:
            with suppress(OSError):
                opened.sendto(packet, (_ends_of(packet)[1], 0))

        self._senders[name] = Sender(source, send)

    def let_hear_wire(self, name: str, netns: str, device: str) -> None:
        """Let an end receive every frame of a device, whatever its destination."""
        opened = self._packet_socket(netns, device)
        self._ears.append((name, lambda: opened.recv(65535)[_ETHERNET_BYTES:]))

    def let_hear(self, name: str, netns: str) -> None:
        """Let a host receive packets that are addressed to it and pass its rules. Source: raw(7)."""
        for protocol in (UDP, TCP, ICMP):
            opened = self._raw_socket(netns, protocol)
            self._ears.append((name, partial(opened.recv, 65535)))

    def let_hear_ipv6(self, name: str, netns: str) -> None:
        """Let a host receive the same for IPv6, where sockets do not show the header. Source: ipv6(7), RFC 3542 section 3."""
        for protocol in (UDP, TCP, ICMPV6):
            opened = self._raw_socket(netns, protocol, 6)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._ears.append((name, partial(_packet_of, opened, protocol)))

    def _packet_socket(self, netns: str, device: str) -> socket.socket:
        with in_node(netns):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.bind((device, _ETH_P_ALL))
        return self._kept(opened)

    def _raw_socket(self, netns: str, protocol: int, version: int = 4) -> socket.socket:
        with in_node(netns):
            return self._kept(socket.socket(_FAMILIES[version], socket.SOCK_RAW, protocol))

    def _kept(self, opened: socket.socket) -> socket.socket:
        self._sockets.append(opened)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _QUEUE_BYTES)
        return opened

    def source_of(self, name: str) -> str:
        """Return the source address of an end's packets."""
        return self._senders[name].source

    # --- packets --------------------------------------------------------------------------------------------------------------

    def play(self, shots: Iterable[Shot]) -> dict[Shot, set[Arrival]]:
        """Send everything and return all arrivals.

        Packets that have arrived are sent once more. When these have arrived, too, all earlier ones have. Hosts may be leaving an
        edge, and an edge takes only so many pings a second, so the second ones are sent again until they arrive.
        """
        sent = [self._send(shot) for shot in self._between_looks(shots)]
        self._hear()
        missing = {self._shots[number] for number in sent if self._arrivals[number]}

        def all_arrived() -> bool:
            again = {self._send(shot): shot for shot in self._between_looks(sorted(missing))}
            until = time.monotonic() + _AGAIN_S
            while time.monotonic() < until and not all(self._arrivals[number] for number in again):
                self._hear()
            missing.difference_update(shot for number, shot in again.items() if self._arrivals[number])
            return not missing

        wait_for(all_arrived, "what has arrived before")
        return {self._shots[number]: self._arrivals[number] for number in sent}

    def _between_looks(self, items: Iterable[T]) -> Iterator[T]:
        rest = iter(items)
        while batch := list(islice(rest, _AT_ONCE)):
            yield from batch
            self._hear()

    def _send(self, shot: Shot) -> int:
        number = len(self._shots)
        self._shots.append(shot)
        sender = self._senders[shot.sender]
        packet = self.kinds[shot.kind](sender.source, shot.destination, number)
        token = self._token + number.to_bytes(4, "big") + bytes(_REDIRECT_CUTS)
        sender.send(frame(packet, _NO_MAC, token)[_ETHERNET_BYTES:])
        return number

    def _hear(self) -> None:
        for name, heard in self._ears:
            with suppress(BlockingIOError):
                while True:
                    self._take(name, heard())

    def _take(self, name: str, packet: bytes) -> None:
        at = packet.find(self._token)
        if at < 0 or _is_encapsulated(packet):
            return
        number = int.from_bytes(packet[at + _TOKEN_BYTES : at + _TOKEN_BYTES + 4], "big")
        shot = self._shots[number]
        arrival = Arrival(name, *_ends_of(packet))
        if _is_answer(shot, packet):
            self.answers[shot].add(arrival)
        else:
            self._arrivals[number].add(arrival)

    def close(self) -> None:
        """Close the sockets."""
        for opened in self._sockets:
            opened.close()


def _packet_of(opened: socket.socket, protocol: int) -> bytes:
    """Return the next IPv6 packet that a raw socket has received, with a header. Raises BlockingIOError."""
    body, ancillary, _, sender = opened.recvmsg(65535, socket.CMSG_SPACE(20))
    (destination,) = (data[:16] for level, kind, data in ancillary if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO))
    return ip_packet(sender[0].partition("%")[0], socket.inet_ntop(socket.AF_INET6, destination), protocol, body)


def _is_ipv6(packet: bytes) -> bool:
    return packet[0] >> 4 == 6


def _ends_of(packet: bytes) -> tuple[str, str]:
    """Return the addresses of a packet."""
    if _is_ipv6(packet):
        return socket.inet_ntop(socket.AF_INET6, packet[8:24]), socket.inet_ntop(socket.AF_INET6, packet[24:40])
    return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])


def _carried(packet: bytes) -> tuple[int, bytes]:
    """Return the protocol of a packet, and the bytes after its header; these tests use no extension headers."""
    return (packet[6], packet[40:]) if _is_ipv6(packet) else (packet[9], packet[(packet[0] & 15) * 4 :])


def _is_encapsulated(packet: bytes) -> bool:
    """Return whether a packet only carries another one, in VXLAN."""
    protocol, head = _carried(packet)
    return protocol == UDP and struct.unpack_from("!H", head, 2)[0] == VXLAN_PORT


def _is_answer(shot: Shot, packet: bytes) -> bool:
    """Return whether a packet is not the sent one but a response to it. Errors get no response: RFC 1122."""
    protocol, head = _carried(packet)
    version = 6 if _is_ipv6(packet) else 4
    if protocol == (ICMPV6 if version == 6 else ICMP):
        return head[0] in _ANSWERS[version] or (not shot.kind.startswith("error") and head[0] in ERRORS[version])
    return protocol == TCP and bool(head[13] & ACK)


# --- packets to send ----------------------------------------------------------------------------------------------------------


def _begins(protocol: int, port: int, source: str, destination: str, number: int) -> Packet:
    return Packet(source=source, destination=destination, protocol=protocol, source_port=10_000 + number, destination_port=port)


def error_about(quoted: Packet, source: str, destination: str) -> Packet:
    """Return an ICMP error of a router about a packet."""
    protocol, kind, code = _HOST_UNREACHABLE[version_of(source)]
    return Packet(source=source, destination=destination, protocol=protocol, quoted=quoted, icmp_type=kind, icmp_code=code)


def craft_error(quoted: Packet) -> Craft:
    """Return a function that makes ICMP errors about a packet."""
    return lambda source, destination, _number: error_about(quoted, source, destination)


def _error(source: str, destination: str, number: int) -> Packet:
    """Return an ICMP error about a packet that was never sent."""
    return error_about(_begins(UDP, 33, destination, source, number), source, destination)


KINDS: Final[Mapping[str, Craft]] = {
    "udp": partial(_begins, UDP, 33),
    "tcp": partial(_begins, TCP, 22),
    "ping": lambda source, destination, _number: echo(source, destination),
    "error": _error,
}
