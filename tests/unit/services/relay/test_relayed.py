"""A relayed connection between two pairs of sockets on loopback, in one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from netorch.services.relay.relayed import Relayed

PATIENCE_S = 30.0


class Line:
    """A client, a target, and the relay between them."""

    def __init__(self) -> None:
        self.ends = 0
        self.client, near = _pair()
        self.target, self._far = _pair()
        self.relayed = Relayed(5000, near, 0.0, self)

    def lead(self, first: bytes = b"") -> None:
        self.relayed.lead(self._far, first)

    def moved(self, _connection: Relayed) -> float:
        return 1.0

    def ended(self, _connection: Relayed) -> None:
        self.ends += 1

    def close(self) -> None:
        self.relayed.cut()
        for sock in (self.client, self.target, self._far):
            sock.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    for sock in (one, other):
        sock.setblocking(False)
    return one, other


def run(story: Callable[[Line], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        line = Line()
        try:
            await asyncio.wait_for(story(line), PATIENCE_S)
        finally:
            line.close()

    asyncio.run(whole())


async def read(sock: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count and (data := await asyncio.get_running_loop().sock_recv(sock, count - len(found))):
        found += data
    return bytes(found)


def test_a_target_hears_what_is_said_of_the_client_first_and_each_end_the_other() -> None:
    async def story(line: Line) -> None:
        line.lead(b"header")
        line.client.send(b"question")
        assert await read(line.target, 14) == b"headerquestion"
        line.target.send(b"answer")
        assert await read(line.client, 6) == b"answer"
        assert line.relayed.moved == 1.0

    run(story)


def test_an_end_in_one_direction_leaves_the_other_one_open() -> None:
    async def story(line: Line) -> None:
        line.lead()
        line.client.shutdown(socket.SHUT_WR)
        assert await read(line.target, 1) == b""
        line.target.send(b"late")
        assert await read(line.client, 4) == b"late"
        assert line.ends == 0
        line.target.close()
        assert await read(line.client, 1) == b""
        assert line.ends == 1

    run(story)


def test_who_reads_nothing_stops_who_writes_and_gets_everything_later() -> None:
    async def story(line: Line) -> None:
        loop, data = asyncio.get_running_loop(), bytes(range(256)) * 65536  # 16 MiB: more than all buffers can hold
        for sock in (line.client, line.target):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        line.lead()
        sending = loop.create_task(loop.sock_sendall(line.client, data))
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done
        assert await read(line.target, len(data)) == data
        await sending

    run(story)


@pytest.mark.parametrize("end", ["client", "target"])
def test_a_reset_reaches_the_other_end(end: str) -> None:
    async def story(line: Line) -> None:
        line.lead()
        one, other = (line.client, line.target) if end == "client" else (line.target, line.client)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(other, 1)
        assert line.ends == 1

    run(story)


def test_one_that_was_cut_before_it_had_a_target_leads_nowhere() -> None:
    async def story(line: Line) -> None:
        line.relayed.cut()
        line.lead(b"header")
        with pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(line.target, 1)
        assert line.ends == 1

    run(story)
