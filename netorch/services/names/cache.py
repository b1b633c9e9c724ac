"""Answers of others, kept for as long as they say, for each VPC apart: what one VPC asks is nothing that another could tell."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import dns.rrset
import msgspec
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

ENTRIES: Final = 2_000  # of a VPC
TTL_LAST_S: Final = 86_400
NEGATIVE_TTL_LAST_S: Final = 900

Question = tuple[Name, RdataType]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has answered."""

    rcode: Rcode
    answer: Sequence[dns.rrset.RRset] = ()
    authority: Sequence[dns.rrset.RRset] = ()


class Cache:
    """The answers of one VPC; the one that was asked for least recently goes first."""

    def __init__(self) -> None:
        self._known: OrderedDict[Question, tuple[float, float, Reply]] = OrderedDict()

    def get(self, question: Question, now: float) -> Reply | None:
        """Return an answer that still holds, with what is left of its time."""
        found = self._known.get(question)
        if found is None:
            return None
        since, until, reply = found
        if now >= until:
            del self._known[question]
            return None
        self._known.move_to_end(question)
        age = int(now - since)
        return Reply(rcode=reply.rcode, answer=_aged(reply.answer, age), authority=_aged(reply.authority, age))

    def put(self, question: Question, reply: Reply, now: float) -> None:
        """Keep an answer, unless it is none or says that it is not to be kept."""
        ttl = _ttl(reply)
        if ttl > 0:
            self._known[question] = now, now + ttl, reply
            self._known.move_to_end(question)
            if len(self._known) > ENTRIES:
                self._known.popitem(last=False)


def _ttl(reply: Reply) -> int:
    """Return for how long an answer holds, in seconds. Source: RFC 2308 section 5 for what does not exist."""
    if reply.rcode == Rcode.NOERROR and reply.answer:
        return min(TTL_LAST_S, *(rrset.ttl for rrset in reply.answer))
    if reply.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return 0
    soas = [rrset for rrset in reply.authority if rrset.rdtype == RdataType.SOA]
    return min(NEGATIVE_TTL_LAST_S, *(min(rrset.ttl, rrset[0].minimum) for rrset in soas)) if soas else 0


def _aged(rrsets: Sequence[dns.rrset.RRset], age: int) -> list[dns.rrset.RRset]:
    found = []
    for rrset in rrsets:
        copy = dns.rrset.from_rdata_list(rrset.name, max(0, rrset.ttl - age), list(rrset))
        found.append(copy)
    return found
