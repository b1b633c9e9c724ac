"""Answers one question of a VPC: from the VPC's own names, from the cache, or with the help of other servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import LARGEST, Answer, Reply, render, to_wire
from netorch.services.names.book import Book, Found, soa_of
from netorch.services.names.cache import Cache, Question, ttl_of
from netorch.services.names.labels import labels_of
from netorch.services.names.shares import Allowance, Asker, Places
from netorch.services.names.upstream import FAILED, ask

OUTSTANDING: Final = 64  # pending questions of one interface to other servers; more are dropped
OUTSTANDING_OF_VPC: Final = 1_024
OUTSTANDING_OF_ALL: Final = 4_096
RECORDS_COUNT: Final = 8  # records in another server's answer that count as a question: parsing takes as long
OTHERS_COUNT: Final = 4  # the weight of a question to another server: it takes this much longer
_REFUSED_TYPES: Final = frozenset(
    {RdataType.AXFR, RdataType.IXFR, RdataType.MAILA, RdataType.MAILB, RdataType.OPT, RdataType.TSIG}
)
_MINIMAL_ANY: Final = 'HINFO "RFC8482" ""'

Ask = Callable[[Sequence[str], Name, RdataType, Callable[[int], bool]], Awaitable[Reply]]
UnderWay = dict[Question, asyncio.Task[Reply]]


class Resolver:
    """The name service of a host. Queries come from `transports.read`. `room` is the size limit of an answer, in bytes."""

    def __init__(self, book: Book, ask_others: Ask = ask, allowance: Allowance | None = None) -> None:
        self._book = book
        self._ask = ask_others
        self._allowance = allowance if allowance is not None else Allowance()
        self._cache = Cache()
        self._places = Places(OUTSTANDING, OUTSTANDING_OF_VPC, OUTSTANDING_OF_ALL)
        self._under_way: dict[int, UnderWay] = {}
        self._forgotten = 0  # number of flushes: answers to questions from before a flush are not cached

    def forget(self, vni: int) -> None:
        """Drop the cached and pending answers of other servers to a VPC."""
        self._cache.forget(vni)
        self._under_way.pop(vni, None)
        self._forgotten += 1

    def forget_all(self) -> None:
        """Drop all answers of other servers: the set of servers may have changed."""
        self._cache.clear()
        self._under_way.clear()
        self._forgotten += 1

    def admits(self, vni: int) -> bool:
        """Return whether a VPC's rate limit permits one more question now, and count the question if so."""
        return self._allowance.admits(vni, time.monotonic())

    def at_once(self, asker: Asker, query: dns.message.Message, room: int) -> bytes | None:
        """Return the answer to a question if no other server must be asked, else None."""
        vni, _ = asker
        refusal = _refusal(query)
        if refusal is None and not self._book.serves(vni):
            refusal = Rcode.REFUSED
        if refusal is not None:
            return to_wire(query, Answer(rcode=refusal), room)
        name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
        if rdtype == RdataType.ANY:  # RFC 8482: no client needs more, and it would serve amplification attacks
            minimal = dns.rrset.from_text(name, 3_600, "IN", *_MINIMAL_ANY.split(" ", 1))
            return _rendered(query, Reply(rcode=Rcode.NOERROR, answer=[minimal]), room)
        found = self._book.find(vni, name, rdtype)
        if found is not None and found.rest is None:
            return _rendered(query, _reply(found), room, authoritative=True)
        kept = self._cache.get(vni, (labels_of(name), rdtype), time.monotonic())
        if kept is not None:
            return to_wire(query, kept[0], room, age=kept[1])
        rest = labels_of(_rest(found, name))
        withheld = self._book.withheld(rest, rdtype)
        if withheld is not None:
            return _rendered(query, _behind(found, _reply(withheld)), room)
        if not self._book.servers(rest):
            return _rendered(query, _behind(found, FAILED), room)
        if not query.flags & dns.flags.RD:
            return _rendered(query, _behind(found, Reply(rcode=Rcode.REFUSED)), room)
        return None

    async def later(self, asker: Asker, query: dns.message.Message, room: int) -> bytes | None:
        """Return the answer to a question that needs other servers. None: the interface or its VPC has too many pending."""
        if not self._places.take(asker):
            return None
        try:
            vni, _ = asker
            name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
            found, forgotten = self._book.find(vni, name, rdtype), self._forgotten
            under_way = self._joined(vni, _rest(found, name), rdtype)
            if under_way is None:
                return None
            reply = _behind(found, await asyncio.shield(under_way))
        finally:
            self._places.give(asker)
        question = labels_of(name), rdtype
        kept = self._cache.get(vni, question, time.monotonic())
        if kept is not None:
            return to_wire(query, kept[0], room, age=kept[1])
        answer = render(name, reply, LARGEST)
        if answer.cut:
            answer = Answer(rcode=Rcode.SERVFAIL)
        elif forgotten == self._forgotten:
            self._cache.put(vni, question, answer, ttl_of(reply, rdtype), time.monotonic())
        return to_wire(query, answer, room)

    async def answer(self, asker: Asker, query: dns.message.Message, room: int) -> bytes | None:
        """Return the answer to a question, and ask other servers if necessary. None as in `later`."""
        now = self.at_once(asker, query, room)
        return now if now is not None else await self.later(asker, query, room)

    def _joined(self, vni: int, name: Name, rdtype: RdataType) -> asyncio.Task[Reply] | None:
        """Return a VPC's pending question to other servers, or start it. None: the VPC has started too many.

        Equal questions are joined: a forger of answers has one id and port to guess, however often the name is asked
        for (RFC 5452).
        """
        under_way, question = self._under_way.setdefault(vni, {}), (labels_of(name), rdtype)
        if question in under_way:
            return under_way[question]
        if not self._allowance.admits(vni, time.monotonic(), OTHERS_COUNT):
            return None
        task = under_way[question] = asyncio.get_running_loop().create_task(self._asked(vni, name, rdtype))

        def done(_: asyncio.Task[Reply]) -> None:
            under_way.pop(question, None)
            if not under_way and self._under_way.get(vni) is under_way:
                del self._under_way[vni]

        task.add_done_callback(done)
        return task

    async def _asked(self, vni: int, name: Name, rdtype: RdataType) -> Reply:
        """Return the answer of other servers. The answer ends where an alias points to a withheld name."""

        def may_read(records: int) -> bool:
            return self._allowance.admits(vni, time.monotonic(), records // RECORDS_COUNT)

        reply = await self._ask(self._book.servers(labels_of(name)), name, rdtype, may_read)
        for number, rrset in enumerate(reply.answer):
            if rrset.rdtype != RdataType.CNAME:
                continue
            withheld = self._book.withheld(labels_of(rrset[0].target), rdtype)
            if withheld is not None:
                return _behind(Found(answer=list(reply.answer[: number + 1])), _reply(withheld))
        return reply


def _refusal(query: dns.message.Message) -> Rcode | None:
    """Return the rcode for a question that is refused without a look-up, else None."""
    if query.edns > 0:
        return Rcode.BADVERS
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN or question.rdtype in _REFUSED_TYPES:
        return Rcode.REFUSED
    return None


def _reply(found: Found) -> Reply:
    """Return a reply from a VPC's own names. A negative reply has the SOA record of its zone."""
    complete = found.answer and found.answer[-1].rdtype != RdataType.CNAME
    authority = () if complete or found.zone is None else (soa_of(found.zone),)
    return Reply(rcode=Rcode.NOERROR if found.exists else Rcode.NXDOMAIN, answer=found.answer, authority=authority)


def _behind(found: Found | None, reply: Reply) -> Reply:
    """Return another server's reply, with the VPC's own CNAME records that point to it in front."""
    if found is None:
        return reply
    return Reply(rcode=reply.rcode, answer=[*found.answer, *reply.answer], authority=reply.authority)


def _rest(found: Found | None, name: Name) -> Name:
    """Return the name to ask other servers for."""
    return name if found is None or found.rest is None else found.rest


def _rendered(query: dns.message.Message, reply: Reply, room: int, *, authoritative: bool = False) -> bytes:
    question = query.question[0]
    return to_wire(query, render(question.name, reply, room, authoritative=authoritative), room)
