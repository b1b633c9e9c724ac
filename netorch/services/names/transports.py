"""The transports of questions: datagrams, and connections (RFC 1035 section 4.2, RFC 7766)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar, cast

import dns.exception
import dns.message
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import HEADER, LARGEST, LENGTH, OPT, PAYLOAD, QR, TYPE_AND_CLASS
from netorch.services.names.labels import MOST
from netorch.services.names.resolver import Resolver
from netorch.services.names.shares import Asker, Places

log = logging.getLogger(__name__)

PLAIN_PAYLOAD: Final = 512  # bytes of a datagram without EDNS. Source: RFC 1035 section 4.2.1
CONNECTIONS: Final = 8  # of one interface
CONNECTIONS_OF_VPC: Final = 256
CONNECTIONS_OF_ALL: Final = 1_024
IDLE_S: Final = 10.0
LARGEST_QUESTION: Final = 1_232  # bytes
_OPCODE: Final = 0x78
_ECHOED: Final = 0x79  # opcode and RD
_LONGEST_LABEL: Final = 63  # a larger length byte is a pointer, and before the first question there is no name to point to

T = TypeVar("T")
Stop = Callable[[], None]


async def open_datagrams(sock: socket.socket, vni: int, resolver: Resolver) -> Stop:
    """Answer the datagrams of a socket. Return a function that stops this."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(vni, resolver), sock=sock)
    return transport.close


async def open_connections(sock: socket.socket, vni: int, resolver: Resolver, places: Places) -> Stop:
    """Answer the connections of a listening socket. Return a function that stops this."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, dns.exception.DNSException):
            await _hold(reader, writer, vni, resolver, places)
        writer.close()

    server = await asyncio.start_server(serve, sock=sock, limit=LARGEST_QUESTION)

    def stop() -> None:
        server.close()
        for task in tasks:
            task.cancel()

    return stop


class _Datagrams(asyncio.DatagramProtocol):
    """The datagrams of one socket."""

    def __init__(self, vni: int, resolver: Resolver) -> None:
        self._vni = vni
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for answers."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question, at once or after other servers have answered."""
        if not self._resolver.admits(self._vni):
            return
        query = read(data)
        if query is None:
            return
        if isinstance(query, bytes):
            self._transport.sendto(query, addr)
            return
        asker = self._vni, addr[0]
        answer = self._resolver.at_once(asker, query, _room(query))
        if answer is not None:
            self._transport.sendto(answer, addr)
            return
        task = asyncio.get_running_loop().create_task(self._later(asker, query, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, asker: Asker, query: dns.message.Message, addr: tuple[str, int]) -> None:
        try:
            answer = await self._resolver.later(asker, query, _room(query))
        except Exception:
            log.exception("a query of VPC %d", asker[0])
            return
        if answer is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)

    def error_received(self, exc: Exception) -> None:
        """Ignore that a client is unreachable."""


def _room(query: dns.message.Message) -> int:
    """Return the size limit of a datagram with the answer, in bytes."""
    return min(max(query.payload, PLAIN_PAYLOAD), PAYLOAD) if query.edns >= 0 else PLAIN_PAYLOAD


def read(data: bytes) -> dns.message.Message | bytes | None:
    """Return a question, or the error answer to an invalid one. None: send no answer (an answer, or noise).

    A message that is too large or has more than one question is refused by its header, before it is parsed.
    """
    if len(data) < HEADER.size or data[2] & QR:
        return None
    question = _question(data)
    if isinstance(question, bytes):
        try:
            return dns.message.from_wire(question)
        except (dns.exception.DNSException, ValueError):
            question = Rcode.FORMERR
    return data[:2] + bytes((QR | data[2] & _ECHOED, question)) + bytes(8)


def _question(data: bytes) -> bytes | Rcode:
    """Return the header, the question and the OPT record without its options, which are unused; or the rcode of a refusal."""
    _, _, questions, answers, authorities, additional = HEADER.unpack_from(data)
    if data[2] & _OPCODE:
        return Rcode.NOTIMP
    if len(data) > LARGEST_QUESTION or questions != 1 or answers or authorities or additional > 1:  # one: EDNS. RFC 6891
        return Rcode.FORMERR
    end = HEADER.size
    for _ in range(MOST + 1):
        if end >= len(data) or data[end] > _LONGEST_LABEL:
            return Rcode.FORMERR
        if not data[end]:
            break
        end += 1 + data[end]
    else:
        return Rcode.REFUSED
    end += 1 + TYPE_AND_CLASS.size
    if not additional:
        return data[:end]
    if len(data) < end + OPT.size:
        return Rcode.FORMERR
    root, rdtype, payload, flags, length = OPT.unpack_from(data, end)
    if root or rdtype != RdataType.OPT or len(data) < end + OPT.size + length:
        return Rcode.FORMERR
    return data[:end] + OPT.pack(root, rdtype, payload, flags, 0)


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, vni: int, resolver: Resolver, places: Places) -> None:
    asker = vni, writer.get_extra_info("peername")[0]
    if not places.take(asker):
        return
    try:
        await _converse(reader, writer, asker, resolver)
    finally:
        places.give(asker)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asker: Asker, resolver: Resolver) -> None:
    """Answer one question after the other, until one gets no answer."""
    while True:
        length = int.from_bytes(await _within(reader.readexactly(LENGTH)), "big")
        if length > LARGEST_QUESTION or not resolver.admits(asker[0]):
            return
        query = read(await _within(reader.readexactly(length)))
        if query is None:
            return
        answer = query if isinstance(query, bytes) else await resolver.answer(asker, query, LARGEST)
        if answer is None:
            return
        writer.write(len(answer).to_bytes(LENGTH, "big") + answer)
        await _within(writer.drain())


async def _within(step: Awaitable[T]) -> T:
    return await asyncio.wait_for(step, IDLE_S)
