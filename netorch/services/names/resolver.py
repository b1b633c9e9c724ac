"""Answers one question of a VPC: by the VPC's own names, by what is remembered, or by asking others."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import dns.flags
import dns.message
import dns.opcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.book import Book, Found, soa_of
from netorch.services.names.cache import Cache, Reply
from netorch.services.names.upstream import FAILED, PAYLOAD, ask

OUTSTANDING: Final = 64  # questions of one interface that others are asked for at the same time; more are not answered
OUTSTANDING_OF_ALL: Final = 4_096
_REFUSED_TYPES: Final = frozenset(
    {RdataType.AXFR, RdataType.IXFR, RdataType.MAILA, RdataType.MAILB, RdataType.OPT, RdataType.TSIG}
)
_MINIMAL_ANY: Final = 'HINFO "RFC8482" ""'

Asker = tuple[int, str]  # VNI and address: an interface
Ask = Callable[[Sequence[str], Name, RdataType], Awaitable[Reply]]


class Resolver:
    """The name service of a host."""

    def __init__(self, book: Book, ask_others: Ask = ask) -> None:
        self._book = book
        self._ask = ask_others
        self._caches: dict[int, Cache] = {}
        self._outstanding: Counter[Asker] = Counter()

    def forget(self, vni: int) -> None:
        """Forget what others have answered a VPC."""
        self._caches.pop(vni, None)

    def forget_all(self) -> None:
        """Forget what others have answered: they may not be asked any more."""
        self._caches.clear()

    def at_once(self, asker: Asker, query: dns.message.Message) -> dns.message.Message | None:
        """Return the answer to a question if nobody has to be asked for it; else None."""
        vni, _ = asker
        refusal = _refusal(query)
        if refusal is None and not self._book.serves(vni):
            refusal = Rcode.REFUSED
        if refusal is not None:
            return _response(query, Reply(rcode=refusal))
        name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
        if rdtype == RdataType.ANY:  # RFC 8482: nobody needs more, and a forger of sources least of all
            minimal = dns.rrset.from_text(name, 3_600, "IN", *_MINIMAL_ANY.split(" ", 1))
            return _response(query, Reply(rcode=Rcode.NOERROR, answer=[minimal]))
        found = self._book.find(vni, name, rdtype)
        if found is not None and found.rest is None:
            return _response(query, _reply(found), authoritative=True)
        rest = name if found is None or found.rest is None else found.rest
        known = self._remembered(vni, rest, rdtype)
        if known is None and not self._book.servers(rest):
            known = Reply(rcode=Rcode.SERVFAIL)
        if known is None and not query.flags & dns.flags.RD:
            known = Reply(rcode=Rcode.REFUSED)
        return None if known is None else _response(query, _behind(found, known))

    async def answer(self, asker: Asker, query: dns.message.Message) -> dns.message.Message | None:
        """Return the answer to a question, of which others are asked if need be; None: the interface asks too much."""
        now = self.at_once(asker, query)
        if now is not None:
            return now
        if self._outstanding[asker] >= OUTSTANDING or self._outstanding.total() >= OUTSTANDING_OF_ALL:
            return None
        vni, _ = asker
        name, rdtype = query.question[0].name.canonicalize(), query.question[0].rdtype
        found = self._book.find(vni, name, rdtype)
        rest = name if found is None or found.rest is None else found.rest
        self._outstanding[asker] += 1
        try:
            reply = await self._ask(self._book.servers(rest), rest, rdtype)
        finally:
            self._outstanding[asker] -= 1
            if not self._outstanding[asker]:
                del self._outstanding[asker]
        if reply is not FAILED:
            self._caches.setdefault(vni, Cache()).put((rest, rdtype), reply, time.monotonic())
        return _response(query, _behind(found, reply))

    def _remembered(self, vni: int, name: Name, rdtype: RdataType) -> Reply | None:
        cache = self._caches.get(vni)
        return cache.get((name, rdtype), time.monotonic()) if cache is not None else None


def _refusal(query: dns.message.Message) -> Rcode | None:
    """Return why a question is not answered at all."""
    if query.opcode() != dns.opcode.QUERY:
        return Rcode.NOTIMP
    if len(query.question) != 1:
        return Rcode.FORMERR
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


def _response(query: dns.message.Message, reply: Reply, *, authoritative: bool = False) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD)
    response.set_rcode(reply.rcode)
    if authoritative:
        response.flags |= dns.flags.AA
    response.answer = list(reply.answer)
    response.authority = list(reply.authority)
    return response
