"""ICMP echoes from inside a namespace, without forks: used by `netorch ping`, the lab's matrix and the tests.

A raw socket opened in a namespace stays there, so one thread can probe from many instances at once. Answers are matched by
identifier and sequence number; ICMP errors that quote an echo are reported.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from netorch.drivers.netns import find, inside
from netorch.model.addr import version_of

ECHO_REQUEST_V4, ECHO_REPLY_V4 = 8, 0  # RFC 792
ECHO_REQUEST_V6, ECHO_REPLY_V6 = 128, 129  # RFC 4443
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3  # linux/in.h: set DF and ignore the cached path MTU
_IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_PROBE = 23, 3
_ETH_P_ALL = 0x0003  # linux/if_ether.h
_SIOCGIFMTU = 0x8921  # linux/sockios.h
_ECHO: Final = struct.Struct("!BBHHH")
_ERRORS_V4: Final = {3: "unreachable", 11: "time exceeded", 5: "redirected"}
_ERRORS_V6: Final = {1: "unreachable", 2: "packet too big", 3: "time exceeded"}
_identifiers = itertools.count(os.getpid())


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one echo: a round-trip time in seconds, or why there is none."""

    rtt_s: float | None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Return whether the reply arrived."""
        return self.rtt_s is not None


class Pinger:
    """A raw ICMP socket in one namespace, for one destination. `netns` is a name, a path, or empty for the caller's own."""

    def __init__(self, netns: str, destination: str, *, source: str = "", dont_fragment: bool = False) -> None:
        self._v4 = version_of(destination) == 4
        self._destination = destination
        self._identifier = next(_identifiers) & 0xFFFF
        if netns:
            descriptor = find(netns)
            try:
                with inside(descriptor):
                    self._socket = self._open()
            finally:
                os.close(descriptor)
        else:
            self._socket = self._open()
        self._socket.setblocking(False)
        if dont_fragment and self._v4:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        elif dont_fragment:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_PROBE)
        if source:
            self._socket.bind((source, 0))
        self.sent: dict[int, float] = {}
        self.answers: dict[int, Answer] = {}

    def _open(self) -> socket.socket:
        if self._v4:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)

    def fileno(self) -> int:
        """Return the descriptor that is readable when an answer may have arrived."""
        return self._socket.fileno()

    def send(self, sequence: int, payload_bytes: int = 56) -> None:
        """Send one echo; a refusal by the local kernel (no route, too long) also counts as an answer."""
        kind = ECHO_REQUEST_V4 if self._v4 else ECHO_REQUEST_V6
        header = _ECHO.pack(kind, 0, 0, self._identifier, sequence & 0xFFFF)
        body = bytes(payload_bytes)
        if self._v4:  # the kernel fills in ICMPv6's checksum itself (RFC 3542 section 3.1)
            header = _ECHO.pack(kind, 0, checksum(header + body), self._identifier, sequence & 0xFFFF)
        self.sent[sequence & 0xFFFF] = time.monotonic()
        try:
            self._socket.sendto(header + body, (self._destination, 0))
        except OSError as error:
            self.answers[sequence & 0xFFFF] = Answer(rtt_s=None, error=error.strerror or "refused")

    def receive(self) -> None:
        """Read all answers that have arrived."""
        while True:
            try:
                packet, address = self._socket.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError as error:
                if self.sent:
                    self.answers.setdefault(max(self.sent), Answer(rtt_s=None, error=error.strerror or "refused"))
                return
            self._take(packet[(packet[0] & 15) * 4 :] if self._v4 else packet, address[0])

    def _take(self, icmp: bytes, source: str) -> None:
        if len(icmp) < _ECHO.size:
            return
        kind, _, _, identifier, sequence = _ECHO.unpack_from(icmp)
        if kind == (ECHO_REPLY_V4 if self._v4 else ECHO_REPLY_V6):
            if identifier == self._identifier and sequence in self.sent:
                self.answers[sequence] = Answer(rtt_s=time.monotonic() - self.sent[sequence])
            return
        said = (_ERRORS_V4 if self._v4 else _ERRORS_V6).get(kind)
        if said is None:
            return
        quoted = icmp[8:]
        echo = quoted[(quoted[0] & 15) * 4 :] if self._v4 and quoted else quoted[40:]
        if len(echo) >= _ECHO.size:
            _, _, _, identifier, sequence = _ECHO.unpack_from(echo)
            if identifier == self._identifier and sequence in self.sent:
                self.answers.setdefault(sequence, Answer(rtt_s=None, error=f"{said}, says {source}"))

    def answer(self, sequence: int) -> Answer:
        """Return an echo's result so far."""
        return self.answers.get(sequence & 0xFFFF, Answer(rtt_s=None, error="no reply"))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def checksum(data: bytes) -> int:
    """Return the internet checksum. Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Listener:
    """Receives every frame that a device inside a namespace receives or sends, from now on."""

    def __init__(self, netns: str, ifname: str) -> None:
        descriptor = find(netns)
        try:
            with inside(descriptor):
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                self._socket.bind((ifname, _ETH_P_ALL))
        finally:
            os.close(descriptor)
        self._socket.setblocking(False)
        self._frames: list[bytes] = []

    def heard(self, needle: bytes) -> bool:
        """Return whether a frame containing these bytes has been received so far."""
        with suppress(BlockingIOError):
            while True:
                self._frames.append(self._socket.recv(65535))
        return any(needle in frame for frame in self._frames)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def mtu_of(netns: str, ifname: str) -> int:
    """Return the MTU, in bytes, of a device inside a namespace. Source: netdevice(7), SIOCGIFMTU."""
    descriptor = find(netns)
    try:
        with inside(descriptor), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            answer = fcntl.ioctl(query, _SIOCGIFMTU, struct.pack("16si", ifname.encode(), 0) + bytes(20))
    finally:
        os.close(descriptor)
    mtu: int = struct.unpack_from("16si", answer)[1]
    return mtu


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One echo to send: its namespace, destination and length."""

    netns: str
    destination: str
    source: str = ""
    payload_bytes: int = 56
    dont_fragment: bool = False


def ask(probes: Sequence[Probe], timeout_s: float = 1.0, tries: int = 1) -> list[Answer]:
    """Return an answer for each probe; all are sent at once, so many take as long as one.

    An echo without a reply is sent up to `tries` times, `timeout_s` apart.

    Raises:
      KernelError: a namespace does not exist.
    """
    pingers = [Pinger(p.netns, p.destination, source=p.source, dont_fragment=p.dont_fragment) for p in probes]
    try:
        for sequence in range(1, tries + 1):
            open_pingers = [(pinger, probe) for pinger, probe in zip(pingers, probes, strict=True) if not _best(pinger).ok]
            for pinger, probe in open_pingers:
                pinger.send(sequence, probe.payload_bytes)
            _wait([pinger for pinger, _ in open_pingers], sequence, timeout_s)
        return [_best(pinger) for pinger in pingers]
    finally:
        for pinger in pingers:
            pinger.close()


def _best(pinger: Pinger) -> Answer:
    answers = [*pinger.answers.values()]
    return next((answer for answer in answers if answer.ok), answers[-1] if answers else Answer(rtt_s=None, error="no reply"))


def _wait(pingers: Sequence[Pinger], sequence: int, timeout_s: float) -> None:
    waiting = {pinger.fileno(): pinger for pinger in pingers if sequence not in pinger.answers}
    poller = select.poll()
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    end, left = time.monotonic() + timeout_s, timeout_s
    while waiting and left >= 0:
        left = end - time.monotonic()  # below zero in the last look: an answer may have arrived while this process stood still
        for descriptor, _ in poller.poll(max(left, 0) * 1000):
            pinger = waiting[descriptor]
            pinger.receive()
            if sequence in pinger.answers:
                poller.unregister(descriptor)
                del waiting[descriptor]
