"""ICMP echoes from a host's VTEP to many others at once, answered by their kernels: the monitoring of edges.

An answer of a ready host has an identifier that only its nftables table sets (policy.underlay). There are two; the second one
means that the host is also active. An answer with the identifier of the request comes from a kernel that is up, but not
ready.

A raw socket receives the answers to all echoes in the namespace, and forged ones. So each echo has a token, and the kernel
queues only packets with it: a flood of other packets costs the agent nothing, and loses no answers. A second token is
specific to each host and unknown to the others, so that no host can answer for another. Echoes have the DSCP of network
control (RFC 4594), so that a congested underlay drops other packets first.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2s
from typing import Final

from netorch.drivers import bpf
from netorch.drivers.base import Answer
from netorch.drivers.ip_counters import IpCounters
from netorch.drivers.netns import inside
from netorch.drivers.probe.echo import ECHO_REPLY_V4, ECHO_REQUEST_V4, checksum
from netorch.errors import KernelError
from netorch.state.nft import ACTIVE_ID, PROBE_ID, READY_ID

_ECHO: Final = struct.Struct("!BBHHH")
# X = the length of the IPv4 header at 0; A = a byte, or a word, at X and an offset. Source: linux/filter.h.
_LOAD_HEADER_LENGTH, _LOAD_BYTE_BEHIND, _LOAD_WORD_BEHIND = 0xB1, 0x50, 0x40
_SOL_RAW, _ICMP_FILTER = 255, 1  # linux/socket.h, linux/icmp.h: a mask of the types to ignore
_CONTROL: Final = 48 << 2  # CS6, in IPv4's type of service
_TOKEN: Final = 8  # bytes of each token
_READS: Final = 1024  # per call, more than there are edges; bounds the time for a host that answers without end
_ANSWERS: Final = {PROBE_ID: Answer.NOT_READY, READY_ID: Answer.STANDBY, ACTIVE_ID: Answer.ACTIVE}
_RECENT: Final = 4  # rounds: answers to older ones are outdated


class RawEchoes:
    """Implements `netorch.drivers.base.Echoes`."""

    def __init__(self, netns_fd: int, source: str) -> None:
        """Open a socket in a namespace, bound to an address there. Raises KernelError."""
        self._token, self._secret = secrets.token_bytes(_TOKEN), secrets.token_bytes(_TOKEN)
        self._round = 0
        self._asked = 0
        try:
            with inside(netns_fd):
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        except OSError as error:
            raise KernelError("open a socket for echoes", error.errno or 0, error.strerror or "") from error
        try:
            bpf.attach(self._socket, _answers_with(self._token))
            self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << ECHO_REPLY_V4) & 0xFFFFFFFF))
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CONTROL)
            self._socket.bind((source, 0))
            self._ip = IpCounters(netns_fd)
        except OSError as error:
            self._socket.close()
            raise KernelError(f"send echoes from {source}", error.errno or 0, error.strerror or "") from error

    def send(self, vteps: Iterable[str]) -> None:
        """Send an echo to each VTEP. An echo that cannot be sent, e.g. without a route, simply gets no answer."""
        self._round = self._round + 1 & 0xFFFF
        for vtep in vteps:
            body = self._token + self._token_of(vtep)
            sums = _ECHO.pack(ECHO_REQUEST_V4, 0, 0, PROBE_ID, self._round) + body
            with suppress(OSError):
                self._socket.sendto(_ECHO.pack(ECHO_REQUEST_V4, 0, checksum(sums), PROBE_ID, self._round) + body, (vtep, 0))

    def heard(self) -> dict[str, Answer]:
        """Return each host's latest answer since the last call."""
        found: dict[str, Answer] = {}
        for _ in range(_READS):
            try:
                packet, (source, _port) = self._socket.recvfrom(2048)
            except BlockingIOError:
                break
            except OSError:  # an error of an earlier echo, which the socket reports once
                continue
            said = _ANSWERS.get(self._answer(source, packet[(packet[0] & 15) * 4 :]))
            if said is not None:
                found[source] = said
        return found

    def asked(self) -> bool:
        """Return whether the kernel has received an echo since the last call."""
        before, self._asked = self._asked, self._ip.echoes()
        return self._asked != before

    def _answer(self, source: str, icmp: bytes) -> int:
        """Return the identifier of an answer to a recent echo of this socket, 0 for anything else."""
        if icmp[_ECHO.size :] != self._token + self._token_of(source):
            return 0
        numbers: tuple[int, ...] = _ECHO.unpack_from(icmp)
        kind, _, _, identifier, sequence = numbers
        return identifier if kind == ECHO_REPLY_V4 and (self._round - sequence & 0xFFFF) < _RECENT else 0

    def _token_of(self, vtep: str) -> bytes:
        return blake2s(vtep.encode(), key=self._secret, digest_size=_TOKEN).digest()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._ip.close()


def _answers_with(token: bytes) -> list[bpf.Instruction]:
    """Return a program that passes IPv4 echo replies starting with a token of eight bytes."""
    first, second = struct.unpack("!II", token)
    return [
        (_LOAD_HEADER_LENGTH, 0, 0, 0),
        (_LOAD_BYTE_BEHIND, 0, 0, 0),
        (bpf.JUMP_IF_EQUAL, 0, 5, ECHO_REPLY_V4),
        (_LOAD_WORD_BEHIND, 0, 0, _ECHO.size),
        (bpf.JUMP_IF_EQUAL, 0, 3, first),
        (_LOAD_WORD_BEHIND, 0, 0, _ECHO.size + 4),
        (bpf.JUMP_IF_EQUAL, 0, 1, second),
        bpf.PASS,
        bpf.IGNORE,
    ]
