"""Questions as bytes: what is refused before parsing, and how connections and datagrams are counted."""

from __future__ import annotations

import asyncio
import socket
import struct

import dns.message
import dns.opcode
import dns.rdatatype
import dns.rrset
import pytest
from dns.rcode import Rcode

from netorch.services.names.book import Book
from netorch.services.names.resolver import Resolver
from netorch.services.names.shares import Allowance, Places
from netorch.services.names.transports import LARGEST_QUESTION, open_connections, open_datagrams, read
from netorch.state.daemons.services.names import NameView

VNI = 5000
NAME = "ip-10-0-1-5.compute.internal"
QUESTION = b"\x01a\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
RECORD = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\x0a\x00\x00\x01"


def message(questions: int = 1, answers: int = 0, authorities: int = 0, additional: int = 0, labels: int = 1) -> bytes:
    counts = struct.pack("!HHHHHH", 7, 0x0100, questions, answers, authorities, additional)
    question = b"\x01a" * labels + QUESTION[2:]
    return counts + question * questions + RECORD * (answers + authorities + additional)


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (message(questions=10_500), Rcode.FORMERR),
        (message(questions=2), Rcode.FORMERR),
        (message(questions=0), Rcode.FORMERR),
        (message(answers=1), Rcode.FORMERR),
        (message(authorities=1), Rcode.FORMERR),
        (message(additional=2), Rcode.FORMERR),
        (message()[:11] + b"\x02" + message()[12:] + OPT * 2, Rcode.FORMERR),
        (message() + bytes(LARGEST_QUESTION), Rcode.FORMERR),
        (message(labels=127), Rcode.REFUSED),
        (message(labels=41), Rcode.REFUSED),
        (message()[:12] + b"\xc0\x0c" + QUESTION[-4:], Rcode.FORMERR),
        (message()[:13], Rcode.FORMERR),
        (bytes((0, 7, dns.opcode.UPDATE << 3, 0)) + message(answers=3)[4:], Rcode.NOTIMP),
    ],
    ids=[
        *(
            "10500",
            "two",
            "none",
            "answer",
            "authority",
            "additional",
            "options",
            "large",
            "127",
            "41",
            "pointer",
            "end",
            "update",
        )
    ],
)
def test_what_is_no_question_is_refused_before_it_is_read(data: bytes, rcode: Rcode, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("dns.message.from_wire", lambda *_, **__: pytest.fail("the message was read"))
        refusal = read(data)
    assert isinstance(refusal, bytes)
    assert dns.message.from_wire(refusal).rcode() == rcode
    assert refusal[:2] == data[:2]
    assert len(refusal) == 12


def test_questions_are_read_and_noise_is_not_answered() -> None:
    for good in (message(), message(labels=40), dns.message.make_query("a", "A", use_edns=0).to_wire()):
        assert isinstance(read(good), dns.message.Message)
    opt = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, 1_000, 0, 1_000) + b"\xff\xf0\x00\x00" * 250
    counted = message()[:11] + b"\x01" + message()[12:]
    many = read(counted + opt)  # each option takes time to parse, and none is needed
    assert isinstance(many, dns.message.Message)
    assert (many.payload, many.options) == (1_000, ())
    for wrong in (opt[:-1], opt[:5], b"\x01" + opt[1:], opt[:2] + b"\xfa" + opt[3:]):  # the last one is TSIG
        assert isinstance(read(counted + wrong), bytes)
    assert read(b"short") is None
    answer = dns.message.make_response(dns.message.make_query("a", "A"))
    assert read(answer.to_wire()) is None  # an answer is never answered: two servers would do so for ever
    error = read(dns.message.make_query("a", "A").to_wire()[:-3])
    assert isinstance(error, bytes)
    assert dns.message.from_wire(error).rcode() == Rcode.FORMERR


def resolver(allowance: Allowance | None = None) -> Resolver:
    book = Book()
    book.put(NameView(vni=VNI, ranges=("10.0.0.0/16",)))
    return Resolver(book, allowance=allowance)


class OneSpan(Allowance):
    """An allowance whose clock stands still."""

    def admits(self, vni: int, now: float, count: int = 1) -> bool:
        return super().admits(vni, 0.0, count)


def test_questions_beyond_the_allowance_are_passed_over() -> None:
    async def flood() -> list[int]:
        loop = asyncio.get_running_loop()
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        stop = await open_datagrams(ours, VNI, resolver(OneSpan(of_vpc=3)))
        for number in range(9):
            theirs.sendto(dns.message.make_query(NAME, "A", id=number).to_wire(), ours.getsockname())
        answers = [dns.message.from_wire(await loop.sock_recv(theirs, 4_096)).id for _ in range(3)]
        for _ in range(20):  # the others are read and ignored
            await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            theirs.recv(4_096)
        stop()
        theirs.close()
        return answers

    assert asyncio.run(flood()) == [0, 1, 2]


async def converse(port: int, *raw: bytes) -> list[bytes]:
    """Return the answers to some questions over one connection; empty for the question at which it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for one in raw:
        writer.write(len(one).to_bytes(2, "big") + one)
        try:
            found.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        except (asyncio.IncompleteReadError, ConnectionError):
            break
    writer.close()
    return found


def test_connections_end_at_large_questions_and_have_places_and_an_allowance() -> None:
    question = dns.message.make_query(NAME, "A").to_wire()

    async def run() -> list[int]:
        found = []
        for names, places in (
            (resolver(), Places(8, 1, 9)),
            (resolver(OneSpan(of_vpc=1)), Places(8, 1, 9)),
            (resolver(), Places(8, 0, 9)),
        ):
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setblocking(False)
            port = sock.getsockname()[1]
            stop = await open_connections(sock, VNI, names, places)
            found.append(len(await converse(port, question, question, bytes(LARGEST_QUESTION + 1), question)))
            stop()
        return found

    assert asyncio.run(run()) == [2, 1, 0]
