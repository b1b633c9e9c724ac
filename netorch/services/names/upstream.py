"""Asks the operator's resolvers, from the host's own network.

Each question has a socket, a port and an id of its own, all by lot. An answer counts only if it comes from whom was asked, and
has that id and that question; all else is passed over (RFC 5452). A cut answer is asked for again by TCP. Whoever owns a name
chooses how large its answer is, so a large one is refused before it is read.
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
TRIES: Final = 3  # at all servers together
RECORDS: Final = 128  # of an answer; each takes time, however small it is
PORT: Final = 53
FAILED: Final = Reply(rcode=Rcode.SERVFAIL)
_CHAIN: Final = 16
_QUESTIONS: Final = 2  # the number of them in the header; those of records follow
_TC: Final = 0x02


class _TooLarge(Exception):
    """An answer that is refused."""


async def ask(servers: Sequence[str], name: Name, rdtype: RdataType, may_read: Callable[[int], bool], port: int = PORT) -> Reply:
    """Return what the first of some servers that answers says; SERVFAIL if none does, or if it says too much.

    `may_read` is asked before an answer of so many records is read.
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
    """Waits for the answer to one question, by a socket that takes what whom was asked sends, and nothing else."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take the answer; pass over all else."""
        if not self.answer.done() and len(data) <= PAYLOAD and _answers(data, self._question):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Wait no longer: the server is not there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _by_datagram(question: bytes, server: str, port: int) -> bytes:
    loop = asyncio.get_running_loop()
    transport, waiting = await loop.create_datagram_endpoint(lambda: _Waiting(question), remote_addr=(server, port))
    with closing(transport):
        transport.sendto(question)
        return await waiting.answer


async def _by_connection(question: bytes, server: str, port: int) -> bytes:
    """Return an answer. Raises _TooLarge, ValueError for what is none, OSError, EOFError."""
    reader, writer = await asyncio.open_connection(server, port, limit=LARGEST)
    with closing(writer):
        writer.write(len(question).to_bytes(LENGTH, "big") + question)
        length = int.from_bytes(await reader.readexactly(LENGTH), "big")
        if length > LARGEST:
            raise _TooLarge
        raw = await reader.readexactly(length)
    if not _answers(raw, question):
        raise ValueError("an answer to something else")
    return raw


def _answers(raw: bytes, question: bytes) -> bool:
    """Return whether a message answers a question."""
    asked = question[HEADER.size : -OPT.size]
    if len(raw) < HEADER.size + len(asked) or raw[:2] != question[:2] or not raw[2] & QR:
        return False
    questions = HEADER.unpack_from(raw)[_QUESTIONS]
    said = raw[HEADER.size : HEADER.size + len(asked)]
    name = -TYPE_AND_CLASS.size
    return questions == 1 and said[:name].lower() == asked[:name].lower() and said[name:] == asked[name:]


def _checked(message: dns.message.Message, name: Name, rdtype: RdataType) -> Reply:
    """Return what a message says of what was asked: the records of that name, and of those that CNAME records lead to."""
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
