"""Asks the operator's resolvers, from the host's own network.

Each question has its own socket, port and id, all random. An answer is valid only if it comes from the server that was
asked and has the same id and question. Anything else is ignored (RFC 5452). After a truncated answer the question is
sent again over TCP. The owner of a name controls the size of its answer, so a large answer is refused before it is
parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import dns.exception
import dns.message
import dns.rrset
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import HEADER, LARGEST, LENGTH, OPT, PAYLOAD, QR, TYPE_AND_CLASS, Reply
from netorch.services.names.labels import labels_of

TRY_S: Final = 1.5  # for one server
TRIES: Final = 3  # over all servers
RECORDS: Final = 128  # of an answer; each takes time to parse, however small
PORT: Final = 53
FAILED: Final = Reply(rcode=Rcode.SERVFAIL)
_CHAIN: Final = 16
_QUESTIONS: Final = 2  # index of the question count in the header; the record counts follow
_TC: Final = 0x02


class _TooLarge(Exception):
    """An answer larger than the limit."""


async def ask(servers: Sequence[str], name: Name, rdtype: RdataType, may_read: Callable[[int], bool], port: int = PORT) -> Reply:
    """Return the answer of the first server that answers; SERVFAIL if none does, or if the answer is too large.

    `may_read` gets the number of records and decides whether the answer is parsed.
    """
    for server in [*servers, *servers, *servers][:TRIES]:
        question = dns.message.make_query(name, rdtype, use_edns=0, payload=PAYLOAD).to_wire()
        try:
            async with asyncio.timeout(TRY_S):
                raw = await _by_datagram(question, server, port)
                if raw[2] & _TC:
                    raw = await _by_connection(question, server, port)
            records = sum(HEADER.unpack_from(raw)[_QUESTIONS + 1 :])
            if records > RECORDS or not may_read(records):
                return FAILED
            reply = dns.message.from_wire(raw)
        except _TooLarge:
            return FAILED
        except (dns.exception.DNSException, ValueError, OSError, EOFError):
            continue
        if reply.rcode() in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return _checked(reply, name, rdtype)
    return FAILED


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the answer to one question, on a connected socket, which receives only from the server that was asked."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take the answer, and ignore anything else."""
        if not self.answer.done() and len(data) <= PAYLOAD and _answers(data, self._question):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Stop waiting: the server is unreachable."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_datagram(question: bytes, server: str, port: int) -> bytes:
    loop = asyncio.get_running_loop()
    transport, waiting = await loop.create_datagram_endpoint(lambda: _Waiting(question), remote_addr=(server, port))
    with closing(transport):
        transport.sendto(question)
        return await waiting.answer


async def _by_connection(question: bytes, server: str, port: int) -> bytes:
    """Return an answer. Raises _TooLarge, ValueError for an invalid answer, OSError, EOFError."""
    reader, writer = await asyncio.open_connection(server, port, limit=LARGEST)
    with closing(writer):
        writer.write(len(question).to_bytes(LENGTH, "big") + question)
        length = int.from_bytes(await reader.readexactly(LENGTH), "big")
        if length > LARGEST:
            raise _TooLarge
        raw = await reader.readexactly(length)
    if not _answers(raw, question):
        raise ValueError("an answer to another query")
    return raw


def _answers(raw: bytes, question: bytes) -> bool:
    """Return whether a message is the answer to a question."""
    asked = question[HEADER.size : -OPT.size]
    if len(raw) < HEADER.size + len(asked) or raw[:2] != question[:2] or not raw[2] & QR:
        return False
    questions = HEADER.unpack_from(raw)[_QUESTIONS]
    said = raw[HEADER.size : HEADER.size + len(asked)]
    name = -TYPE_AND_CLASS.size
    return questions == 1 and said[:name].lower() == asked[:name].lower() and said[name:] == asked[name:]


def _checked(message: dns.message.Message, name: Name, rdtype: RdataType) -> Reply:
    """Return the relevant part of a message: the records of the name, and of the names that its CNAME records point to."""
    answer: list[dns.rrset.RRset] = []
    by_owner = {(labels_of(rrset.name), rrset.rdtype): rrset for rrset in message.answer}
    for _ in range(_CHAIN):
        found = by_owner.get((labels_of(name), rdtype))
        alias = by_owner.get((labels_of(name), RdataType.CNAME))
        if found is not None or alias is None:
            answer += [found] if found is not None else []
            break
        answer.append(alias)
        name = alias[0].target
    authority = [rrset for rrset in message.authority if rrset.rdtype == RdataType.SOA and name.is_subdomain(rrset.name)]
    return Reply(rcode=message.rcode(), answer=answer, authority=() if answer and answer[-1].rdtype == rdtype else authority[:1])
