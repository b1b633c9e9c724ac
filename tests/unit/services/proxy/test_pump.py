"""Bodies from socket to socket: an exact number of bytes, and the loop's state after an end has closed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

import pytest

from netorch.services.proxy.wire.pump import Pump
from netorch.services.proxy.wire.stream import Ended, Stream

LARGE = 32 << 20  # bytes: more than sockets can buffer


@contextmanager
def connected() -> Iterator[tuple[socket.socket, Stream]]:
    """Return both ends of a connection: the peer's, and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        other = socket.create_connection(listening.getsockname())
        sock, _ = listening.accept()
    sock.setblocking(False)
    stream = Stream(sock)
    try:
        yield other, stream
    finally:
        stream.close()
        other.close()


def ignore(_count: int) -> None:
    """Ignore the count."""


def run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(test())


def test_what_comes_behind_a_body_is_not_moved() -> None:
    async def test() -> None:
        with connected() as (sender, source), connected() as (receiver, target):
            steps: list[int] = []
            for length in (5, 1, 9):
                sender.sendall(b"x" * length + b"GET /")
                await Pump(source, target, length, steps.append).run()
                while len(source.buffer) < 5:
                    await source.more()
                assert source.taken(99) == b"GET /"
                assert receiver.recv(99) == b"x" * length
            assert sum(steps) == 15

    run(test)


def test_a_body_goes_whole_to_one_who_reads_late() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with connected() as (sender, source), connected() as (receiver, target):
            blocked = asyncio.Event()
            pump = Pump(source, target, LARGE, ignore)
            pump.on_blocked = lambda is_blocked: blocked.set() if is_blocked else None
            data = bytes(range(256)) * (LARGE // 256)
            sending = loop.run_in_executor(None, sender.sendall, data)
            running = loop.create_task(pump.run(60.0))
            await blocked.wait()
            found = await loop.run_in_executor(None, lambda: receiver.recv(LARGE, socket.MSG_WAITALL))
            await asyncio.gather(sending, running)
            assert found == data
            assert (pump.count, pump.is_complete) == (LARGE, True)

    run(test)


def test_a_connection_that_is_reset_while_it_is_full_leaves_its_number_to_another() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with connected() as (sender, source), connected() as (_receiver, target), connected() as (end, spare):
            spare.rest()
            blocked = asyncio.Event()
            pump = Pump(source, target, LARGE, ignore)
            pump.on_blocked = lambda is_blocked: blocked.set()
            sending = loop.run_in_executor(None, sender.sendall, bytes(LARGE))
            running = loop.create_task(pump.run(60.0))
            await blocked.wait()
            number = target.fd
            target.reset()
            os.dup2(spare.fd, number)
            other = Stream(socket.socket(fileno=number))
            end.sendall(b"abc")
            await other.more()
            assert other.buffer == b"abc"
            other.close()
            running.cancel()
            source.reset()
            await asyncio.gather(sending, running, return_exceptions=True)
            assert not pump.is_complete

    run(test)


@pytest.mark.parametrize("broken", [False, True])
def test_an_end_before_the_bodys_end_is_told_from_a_reset(broken: bool) -> None:
    async def test() -> None:
        with connected() as (sender, source), connected() as (_, target):
            sender.sendall(b"abc")
            running = asyncio.create_task(Pump(source, target, 4, ignore).run())
            await asyncio.sleep(0)
            if broken:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sender.close()
            with pytest.raises(Ended):
                await running
            assert (source.ended, source.broken) == (True, broken)

    run(test)


def test_a_server_that_takes_nothing_more_is_not_waited_for_forever() -> None:
    async def test() -> None:
        with connected() as (_, source), connected() as (_, target), pytest.raises(TimeoutError):
            await Pump(source, target, 4, ignore).run(0.01)

    run(test)
