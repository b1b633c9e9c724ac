"""Answers one question of a VPC: by the VPC's own names, by what is remembered, or by asking others."""

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

OUTSTANDING: Final = 64  # questions of one interface that others are asked for at the same time; more are not answered
OUTSTANDING_OF_VPC: Final = 1_024
OUTSTANDING_OF_ALL: Final = 4_096
RECORDS_COUNT: Final = 8  # records of others that count as a question: to read them takes as long
OTHERS_COUNT: Final = 4  # a question to others counts as so many more: it takes that much longer
_REFUSED_TYPES: Final = frozenset(
    {RdataType.AXFR, RdataType.IXFR, RdataType.MAILA, RdataType.MAILB, RdataType.OPT, RdataType.TSIG}
)
_MINIMAL_ANY: Final = 'HINFO "RFC8482" ""'

Ask = Callable[[Sequence[str], Name, RdataType, Callable[[int], bool]], Awaitable[Reply]]
UnderWay = dict[Question, asyncio.Task[Reply]]


class Resolver:
    """The name service of a host. Questions are of `transports.read`; `room` is what an answer may have, in bytes."""

    def __init__(self, book: Book, ask_others: Ask = ask, allowance: Allowance | None = None) -> None:
        self._book = book
        self._ask = ask_others
        self._allowance = allowance if allowance is not None else Allowance()
        self._cache = Cache()
        self._places = Places(OUTSTANDING, OUTSTANDING_OF_VPC, OUTSTANDING_OF_ALL)
        self._under_way: dict[int, UnderWay] = {}
        self._forgotten = 0  # how often: what was asked for before is not kept

    def forget(self, vni: int) -> None:
        """Forget what others have answered a VPC, or are about to."""
        self._cache.forget(vni)
        self._under_way.pop(vni, None)
        self._forgotten += 1

    def forget_all(self) -> None:
        """Forget what others have answered: they may not be asked any more."""
        self._cache.clear()
        self._under_way.clear()
        self._forgotten += 1

    def admits(self, vni: int) -> bool:
        """Return whether one more question of a VPC is to be looked at now, which then counts."""
        return self._allowance.admits(vni, time.monotonic())

    def at_once(self, asker: Asker, query: dns.message.Message, room: int) -> bytes | None:
        """Return the answer to a question if nobody has to be asked for it; else None."""
        vni, _ = asker
        refusal = _refusal(query)
        if refusal is None and not self._book.serves(vni):
            refusal = Rcode.REFUSED
        if refusal is not None:
            return to_wire(query, Answer(rcode=refusal), room)
        name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
        if rdtype == RdataType.ANY:  # RFC 8482: nobody needs more, and a forger of sources least of all
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
        """Return the answer to a question for which others have to be asked; None: the interface or its VPC asks too much."""
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
        """Return the answer to a question, of which others are asked if need be; None as in `later`."""
        now = self.at_once(asker, query, room)
        return now if now is not None else await self.later(asker, query, room)

    def _joined(self, vni: int, name: Name, rdtype: RdataType) -> asyncio.Task[Reply] | None:
        """Return the question to others that is under way for a VPC, or begin it; None: the VPC has begun too many.

        Equal ones are one: a forger of answers has one id and port to guess, however often the name is asked for (RFC 5452).
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
        """Return what others say. Where an alias leads to a name that is withheld, it ends."""

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
    """Return why a question is not answered at all."""
    if query.edns > 0:
        return Rcode.BADVERS
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN or question.rdtype in _REFUSED_TYPES:
        return Rcode.REFUSED
    return None


def _reply(found: Found) -> Reply:
    """Return what a VPC's own names say; what is not there has the SOA record of the zone that says so."""
    complete = found.answer and found.answer[-1].rdtype != RdataType.CNAME
    authority = () if complete or found.zone is None else (soa_of(found.zone),)
    return Reply(rcode=Rcode.NOERROR if found.exists else Rcode.NXDOMAIN, answer=found.answer, authority=authority)


def _behind(found: Found | None, reply: Reply) -> Reply:
    """Return a reply of others behind the VPC's own CNAME records that have led there."""
    if found is None:
        return reply
    return Reply(rcode=reply.rcode, answer=[*found.answer, *reply.answer], authority=reply.authority)


def _rest(found: Found | None, name: Name) -> Name:
    """Return the name that others are to be asked for."""
    return name if found is None or found.rest is None else found.rest


def _rendered(query: dns.message.Message, reply: Reply, room: int, *, authoritative: bool = False) -> bytes:
    question = query.question[0]
    return to_wire(query, render(question.name, reply, room, authoritative=authoritative), room)
