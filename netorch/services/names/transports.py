"""Questions as they come: datagrams, and messages of connections (RFC 1035 section 4.2, RFC 7766)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

import dns.exception
import dns.flags
import dns.message
from dns.rcode import Rcode

from netorch.services.names.resolver import Resolver
from netorch.services.names.upstream import PAYLOAD

log = logging.getLogger(__name__)

PLAIN_PAYLOAD: Final = 512  # bytes of a datagram without EDNS. Source: RFC 1035 section 4.2.1
CONNECTIONS: Final = 8  # of one interface
CONNECTIONS_OF_ALL: Final = 1_024
IDLE_S: Final = 10.0
_HEADER: Final = 12
_LENGTH: Final = 2
_LARGEST: Final = 65_535
_QR: Final = 0x80

T = TypeVar("T")
Stop = Callable[[], None]


async def open_datagrams(sock: socket.socket, vni: int, resolver: Resolver) -> Stop:
    """Answer what comes by a socket; return how to stop that."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(vni, resolver), sock=sock)
    return transport.close


async def open_connections(sock: socket.socket, vni: int, resolver: Resolver, counted: Counter[tuple[int, str]]) -> Stop:
    """Answer what comes by the connections of a socket that listens; return how to stop that."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, dns.exception.DNSException):
            await _converse(reader, writer, vni, resolver, counted)
        writer.close()

    server = await asyncio.start_server(serve, sock=sock, limit=_LARGEST)

    def stop() -> None:
        server.close()
        for task in tasks:
            task.cancel()

    return stop


class _Datagrams(asyncio.DatagramProtocol):
    """One socket's datagrams."""

    def __init__(self, vni: int, resolver: Resolver) -> None:
        self._vni = vni
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the way back."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question to whom has asked, at once or once others have answered."""
        query = read(data)
        if query is None:
            return
        if isinstance(query, bytes):
            self._transport.sendto(query, addr)
            return
        asker = self._vni, addr[0]
        answer = self._resolver.at_once(asker, query)
        if answer is not None:
            self._send(query, answer, addr)
            return
        task = asyncio.get_running_loop().create_task(self._later(asker, query, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, asker: tuple[int, str], query: dns.message.Message, addr: tuple[str, int]) -> None:
        try:
            answer = await self._resolver.answer(asker, query)
        except Exception:
            log.exception("a question of VPC %d", asker[0])
            return
        if answer is not None and not self._transport.is_closing():
            self._send(query, answer, addr)

    def _send(self, query: dns.message.Message, answer: dns.message.Message, addr: tuple[str, int]) -> None:
        room = min(max(query.payload, PLAIN_PAYLOAD), PAYLOAD) if query.edns >= 0 else PLAIN_PAYLOAD
        self._transport.sendto(to_wire(answer, room), addr)

    def error_received(self, exc: Exception) -> None:
        """Pass over an asker that has gone."""


def read(data: bytes) -> dns.message.Message | bytes | None:
    """Return a question; or the answer to what is none; or None for what is not to be answered: an answer, or noise."""
    if len(data) < _HEADER or data[2] & _QR:
        return None
    try:
        return dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return data[:2] + bytes((_QR | data[2] & 0x79, Rcode.FORMERR)) + bytes(8)


def to_wire(answer: dns.message.Message, room: int) -> bytes:
    """Return an answer's bytes; one that does not fit is cut, so that it is asked for by a connection."""
    try:
        return answer.to_wire(max_size=room)
    except dns.exception.TooBig:
        cut = dns.message.Message(answer.id)
        cut.flags, cut.question = answer.flags | dns.flags.TC, answer.question
        if answer.edns >= 0:
            cut.use_edns(answer.edns, answer.ednsflags, answer.payload)
        return cut.to_wire(max_size=room)


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    vni: int,
    resolver: Resolver,
    counted: Counter[tuple[int, str]],
) -> None:
    asker = vni, writer.get_extra_info("peername")[0]
    if counted[asker] >= CONNECTIONS or counted.total() >= CONNECTIONS_OF_ALL:
        return
    counted[asker] += 1
    try:
        while True:
            length = int.from_bytes(await _within(reader.readexactly(_LENGTH)), "big")
            query = read(await _within(reader.readexactly(length)))
            if query is None:
                return
            answer = query if isinstance(query, bytes) else await resolver.answer(asker, query)
            if answer is None:
                return
            raw = answer if isinstance(answer, bytes) else to_wire(answer, _LARGEST)
            writer.write(len(raw).to_bytes(_LENGTH, "big") + raw)
            await _within(writer.drain())
    finally:
        counted[asker] -= 1
        if not counted[asker]:
            del counted[asker]


async def _within(step: Awaitable[T]) -> T:
    return await asyncio.wait_for(step, IDLE_S)
