"""A live packet of any protocol from inside a namespace: sent by `netorch trace`, with its result.

TCP is a real connection attempt, closed once answered; UDP one datagram; ICMP an echo; SCTP an INIT, from another port each
time; any other protocol an empty packet. An answer proves arrival, and so does a refusal by the receiver. If the receiver's
namespace is on this host, a listener there shows whether the packet itself arrived.
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import time
from contextlib import suppress

import msgspec

from netorch.drivers.netns import find, inside
from netorch.drivers.probe.echo import Listener, Probe, ask
from netorch.drivers.probe.sctp import init
from netorch.errors import KernelError
from netorch.model.addr import packed
from netorch.model.packet import Packet
from netorch.model.security import SCTP, TCP, UDP

_DISCARD = 9  # Source: IANA port numbers
_LOOK_S = 0.02
_HEARD_S = 0.2  # time for an answer once the packet has arrived
_ANSWERS = {0: "answered", errno.ECONNREFUSED: "refused by the receiver itself: nothing listens there"}


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a packet. `heard` is None without listeners."""

    heard: bool | None
    answer: str = ""  # what came back, in words; empty if nothing did

    @property
    def arrived(self) -> bool:
        """Return whether the packet reached the receiver."""
        return bool(self.heard or self.answer)


class Ears(msgspec.Struct, frozen=True):
    """Listeners for a packet, and the packet as seen there: its addresses may have been translated."""

    listeners: tuple[Listener, ...]
    packet: Packet

    def heard(self, ports: bytes) -> bool | None:
        """Return whether a packet with these addresses, followed by these ports, was received; None without listeners."""
        needle = packed(self.packet.source) + packed(self.packet.destination) + ports
        return any(listener.heard(needle) for listener in self.listeners) if self.listeners else None


def send_probe(netns: str, packet: Packet, ears: Ears, timeout_s: float) -> ProbeResult:
    """Send a packet, and return its result. `ears` listen at its receiver.

    Raises:
      KernelError: the namespace does not exist, or the kernel there does not send the packet.
    """
    if packet.has_type:
        (answer,) = ask([Probe(netns=netns, destination=packet.destination, source=packet.source)], timeout_s)
        return ProbeResult(heard=ears.heard(b""), answer="answered" if answer.ok else "")
    sender = _open(netns, packet)
    try:
        ports = struct.pack("!HH", sender.getsockname()[1], packet.destination_port) if packet.has_ports else b""
        return _wait(sender, packet, ears, ports, timeout_s)
    finally:
        sender.close()


def _open(netns: str, packet: Packet) -> socket.socket:
    """Return a socket in a namespace that has sent the packet."""
    family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
    kind = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}.get(packet.protocol, socket.SOCK_RAW)
    descriptor = find(netns)
    try:
        with inside(descriptor):
            sender = socket.socket(family, kind, packet.protocol)
    except OSError as error:
        raise KernelError(f"open a socket of protocol {packet.protocol} in {netns}", error.errno or 0) from error
    finally:
        os.close(descriptor)
    sender.setblocking(False)
    try:
        sender.bind((packet.source, 0))
        with suppress(BlockingIOError):  # TCP: connecting
            sender.connect((packet.destination, packet.destination_port if packet.has_ports else 0))
        if packet.protocol != TCP:
            sender.send(_init() if packet.protocol == SCTP else b"netorch")
    except OSError as error:
        sender.close()
        raise KernelError(f"send from {packet.source} to {packet.destination}", error.errno or 0) from error
    return sender


def _init() -> bytes:
    return init(random.randint(49152, 65535), _DISCARD, b"netorch")  # noqa: S311: no secret


def _wait(sender: socket.socket, packet: Packet, ears: Ears, ports: bytes, timeout_s: float) -> ProbeResult:
    poller = select.poll()
    poller.register(sender, select.POLLOUT if packet.protocol == TCP else select.POLLIN)
    end = time.monotonic() + timeout_s
    heard, answer, is_over = None, "", False
    while not answer and not is_over:
        is_over = time.monotonic() >= end  # one more look: an answer may have arrived while this process stood still
        if poller.poll(_LOOK_S * 1000):
            code = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            answer = _ANSWERS.get(code, "")
            if not answer:
                break  # the kernel has given up: unreachable, timed out
        if not heard and ears.heard(ports):
            heard, end = True, min(end, time.monotonic() + _HEARD_S)
    return ProbeResult(heard=ears.heard(ports), answer=answer)
