"""Reading dumps: again after a concurrent change, and completely even if the reader fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netorch.drivers import netlink
from netorch.drivers.netlink import F_DUMP_INTR, HEADER, Channel

KIND = 16
DONE = 3


class Kernel:
    """The other end of a channel: queued answers, and a count of requests."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def answers(self, *bodies: bytes, flags: int = 0) -> None:
        """Queue a dump of these bodies, each in its own datagram."""
        for kind, body in [*((KIND, body) for body in bodies), (DONE, bytes(4))]:
            self._end.send(HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body)

    def asked(self) -> int:
        """Return the number of requests since the last call."""
        count = 0
        while True:
            try:
                self._end.recv(1 << 12)
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Channel, Kernel]]:
    """Return a channel and its other end."""
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(netlink, "open_socket", lambda fd, protocol: own)
    with own, other:
        yield Channel(0), Kernel(other)


def test_a_dump_is_read_again_when_something_changed_meanwhile(ends: tuple[Channel, Kernel]) -> None:
    channel, kernel = ends
    kernel.answers(b"old1", b"gone", flags=F_DUMP_INTR)
    kernel.answers(b"new1")
    assert channel.read(KIND, b"", bytes.upper) == [b"NEW1"]
    assert kernel.asked() == 2


def test_a_reader_that_fails_leaves_nothing_to_the_next_request(ends: tuple[Channel, Kernel]) -> None:
    channel, kernel = ends
    kernel.answers(b"12", b"xx", b"34")
    kernel.answers(b"56")
    with pytest.raises(ValueError, match="invalid literal"):
        channel.read(KIND, b"", int)
    assert channel.read(KIND, b"", int) == [56]
