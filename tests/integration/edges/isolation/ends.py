"""Who reaches whom: a packet of every kind from every end to every address, and what of it each end receives.

Each packet has a token of its own, so that it is known wherever it arrives, whatever its addresses are by then.
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
from netorch.model.packet import ACK, ERRORS, Packet, echo
from netorch.model.security import ICMP, TCP, UDP
from tests.rig.packets import ETH_P_IP, VXLAN_PORT, ethernet, vxlan
from tests.rig.policy_frames import frame
from tests.rig.world import wait_for

T = TypeVar("T")

_ETH_P_ALL, _PACKET_IGNORE_OUTGOING, _SOL_PACKET = 3, 23, 263  # linux/if_ether.h, linux/if_packet.h, linux/socket.h
_QUEUE_BYTES: Final = 1 << 23
_ETHERNET_BYTES: Final = 14
_NO_MAC: Final = "02:00:00:00:00:00"
_AT_ONCE: Final = 64  # packets between two looks at what has arrived
_AGAIN_S: Final = 1.0  # before what has not come is sent once more
_TOKEN_BYTES: Final = 6
_ECHO_REPLY, _UNREACHABLE, _HOST_UNREACHABLE = 0, 3, 1  # RFC 792

Craft = Callable[[str, str, int], Packet]  # takes source, destination, and a number of its own


class Shot(msgspec.Struct, frozen=True, order=True):
    """A packet of one end to an address."""

    sender: str
    destination: str
    kind: str  # of packet


class Arrival(msgspec.Struct, frozen=True, order=True):
    """Where a packet arrives, and its addresses there."""

    at: str
    source: str
    destination: str


class Sender(msgspec.Struct, frozen=True):
    """An end that sends IP packets in the name of an address."""

    source: str
    send: Callable[[bytes], object]


class Ends:
    """Ends that send, ends that hear, and what has been sent and heard."""

    def __init__(self) -> None:
        self.kinds: dict[str, Craft] = dict(KINDS)
        self._token = os.urandom(_TOKEN_BYTES)
        self._sockets: list[socket.socket] = []
        self._senders: dict[str, Sender] = {}
        self._ears: list[tuple[str, socket.socket, int]] = []  # the end, and how many bytes there are before the IP header
        self._shots: list[Shot] = []  # by the number in its token
        self._arrivals: dict[int, set[Arrival]] = defaultdict(set)
        self.answers: dict[Shot, set[Arrival]] = defaultdict(set)  # and errors about it

    # --- ends ------------------------------------------------------------------------------------------------------------------

    def let_send_frames(self, name: str, source: str, netns: str, device: str, mac: str, to: str) -> None:
        """Let an end send frames by a device, from one MAC to another."""
        opened = self._packet_socket(netns, device)
        self._senders[name] = Sender(source, lambda packet: opened.send(ethernet(to, mac, ETH_P_IP, packet)))

    def let_send_vxlan(self, name: str, source: str, netns: str, vteps: tuple[str, str], vni: int, to: str) -> None:
        """Let a host send frames of a VPC to a MAC, by hand, from one VTEP to another."""
        with in_node(netns):
            opened = self._kept(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened.bind((vteps[0], 0))

        def send(packet: bytes) -> None:
            opened.sendto(vxlan(vni, ethernet(to, router_mac(vteps[0]), ETH_P_IP, packet)), (vteps[1], VXLAN_PORT))

        self._senders[name] = Sender(source, send)

    def let_send(self, name: str, source: str, netns: str) -> None:
        """Let a host send by its routes; what has none is not sent."""
        opened = self._raw_socket(netns, socket.IPPROTO_RAW)

        def send(packet: bytes) -> None:
            with suppress(OSError):
                opened.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

        self._senders[name] = Sender(source, send)

    def let_hear_wire(self, name: str, netns: str, device: str) -> None:
        """Let an end hear whatever comes to a device, for itself or not."""
        self._ears.append((name, self._packet_socket(netns, device), _ETHERNET_BYTES))

    def let_hear(self, name: str, netns: str) -> None:
        """Let a host hear what comes for itself and its rules take. Source: raw(7)."""
        for protocol in (UDP, TCP, ICMP):
            self._ears.append((name, self._raw_socket(netns, protocol), 0))

    def _packet_socket(self, netns: str, device: str) -> socket.socket:
        with in_node(netns):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.bind((device, _ETH_P_ALL))
        return self._kept(opened)

    def _raw_socket(self, netns: str, protocol: int) -> socket.socket:
        with in_node(netns):
            return self._kept(socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol))

    def _kept(self, opened: socket.socket) -> socket.socket:
        self._sockets.append(opened)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _QUEUE_BYTES)
        return opened

    def source_of(self, name: str) -> str:
        """Return the address in whose name an end sends."""
        return self._senders[name].source

    # --- packets ---------------------------------------------------------------------------------------------------------------

    def play(self, shots: Iterable[Shot]) -> dict[Shot, set[Arrival]]:
        """Send everything and return where it arrives.

        What has arrived is sent once more. When that has come, too, so has everything before it. Hosts may be leaving an edge,
        and an edge takes so many pings a second: what is sent once more is sent until it comes.
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
        sender.send(frame(packet, _NO_MAC, self._token + number.to_bytes(4, "big"))[_ETHERNET_BYTES:])
        return number

    def _hear(self) -> None:
        for name, opened, skip in self._ears:
            with suppress(BlockingIOError):
                while True:
                    self._take(name, opened.recv(65535)[skip:])

    def _take(self, name: str, packet: bytes) -> None:
        at = packet.find(self._token)
        if at < 0 or _is_encapsulated(packet):
            return
        number = int.from_bytes(packet[at + _TOKEN_BYTES : at + _TOKEN_BYTES + 4], "big")
        shot = self._shots[number]
        arrival = Arrival(name, socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]))
        if _is_answer(shot, packet):
            self.answers[shot].add(arrival)
        else:
            self._arrivals[number].add(arrival)

    def close(self) -> None:
        """Close the sockets."""
        for opened in self._sockets:
            opened.close()


def _head(packet: bytes) -> bytes:
    return packet[(packet[0] & 15) * 4 :]


def _is_encapsulated(packet: bytes) -> bool:
    """Return whether a packet only carries another one, by VXLAN."""
    return packet[9] == UDP and struct.unpack_from("!H", _head(packet), 2)[0] == VXLAN_PORT


def _is_answer(shot: Shot, packet: bytes) -> bool:
    """Return whether a packet is not the one that was sent, but one that it has caused. Nothing answers an error: RFC 1122."""
    protocol, head = packet[9], _head(packet)
    if protocol == ICMP:
        return head[0] == _ECHO_REPLY or (not shot.kind.startswith("error") and head[0] in ERRORS[4])
    return protocol == TCP and bool(head[13] & ACK)


# --- what is sent ------------------------------------------------------------------------------------------------------------


def _begins(protocol: int, port: int, source: str, destination: str, number: int) -> Packet:
    return Packet(source=source, destination=destination, protocol=protocol, source_port=10_000 + number, destination_port=port)


def error_about(quoted: Packet, source: str, destination: str) -> Packet:
    """Return an ICMP error of a router about a packet."""
    code = {"icmp_type": _UNREACHABLE, "icmp_code": _HOST_UNREACHABLE}
    return Packet(source=source, destination=destination, protocol=ICMP, quoted=quoted, **code)


def _error(source: str, destination: str, number: int) -> Packet:
    """Return an ICMP error about a packet that nobody has sent."""
    return error_about(_begins(UDP, 33, destination, source, number), source, destination)


KINDS: Final[Mapping[str, Craft]] = {
    "udp": partial(_begins, UDP, 33),
    "tcp": partial(_begins, TCP, 22),
    "ping": lambda source, destination, _number: echo(source, destination),
    "error": _error,
}
