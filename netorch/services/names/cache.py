"""A cache of other servers' answers, kept for their TTL and separate for each VPC: no VPC can probe the questions of another.

All VPCs share a budget of bytes. A VPC that holds more bytes than are free evicts its own oldest answers. So a VPC that
holds few always finds room.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import Answer, Reply
from netorch.services.names.labels import Labels

LARGEST_KEPT: Final = 4_096  # bytes of an answer's records
BYTES_OF_VPC: Final = 1 << 20
BYTES_OF_ALL: Final = 64 << 20
_OVERHEAD: Final = 1_024  # bytes: Python objects around an answer
_OF_LABEL: Final = 40  # bytes of overhead for a label
_OF_TTL: Final = 40  # bytes: an integer and its reference
TTL_LAST_S: Final = 86_400
NEGATIVE_TTL_LAST_S: Final = 900

Question = tuple[Labels, RdataType]


class _Kept(msgspec.Struct, frozen=True):
    since: float
    until: float
    size: int
    answer: Answer


class Cache:
    """The answers of all VPCs. Each VPC evicts its least recently used answer first."""

    def __init__(self, of_vpc: int = BYTES_OF_VPC, of_all: int = BYTES_OF_ALL) -> None:
        self._of_vpc = of_vpc
        self._of_all = of_all
        self._known: dict[int, OrderedDict[Question, _Kept]] = {}
        self._held: dict[int, int] = {}
        self.held = 0  # bytes, over all VPCs

    def get(self, vni: int, question: Question, now: float) -> tuple[Answer, int] | None:
        """Return an answer that has not expired, and its age in seconds."""
        known = self._known.get(vni)
        kept = known.get(question) if known is not None else None
        if known is None or kept is None:
            return None
        if now >= kept.until:
            self._take_out(vni, question)
            return None
        known.move_to_end(question)
        return kept.answer, int(now - kept.since)

    def put(self, vni: int, question: Question, answer: Answer, ttl: int, now: float) -> None:
        """Keep an answer for `ttl` seconds, unless it is too large."""
        if ttl <= 0 or len(answer.records) > LARGEST_KEPT:
            return
        known = self._known.setdefault(vni, OrderedDict())
        if question in known:
            self._take_out(vni, question)
        size = _size(question, answer)
        while known and not self._has_room(vni, size):
            self._take_out(vni, next(iter(known)))
        if not self._has_room(vni, size):
            return
        known[question] = _Kept(now, now + ttl, size, answer)
        self._held[vni] = self._held.get(vni, 0) + size
        self.held += size

    def forget(self, vni: int) -> None:
        """Drop all answers of a VPC."""
        self._known.pop(vni, None)
        self.held -= self._held.pop(vni, 0)

    def clear(self) -> None:
        """Drop all answers."""
        for vni in list(self._known):
            self.forget(vni)

    def _has_room(self, vni: int, size: int) -> bool:
        held, free = self._held.get(vni, 0), self._of_all - self.held
        return size <= free and held + size <= self._of_vpc and held <= free

    def _take_out(self, vni: int, question: Question) -> None:
        size = self._known[vni].pop(question).size
        self._held[vni] -= size
        self.held -= size


def ttl_of(reply: Reply, rdtype: RdataType) -> int:
    """Return how long an answer may be cached, in seconds. Source for negative answers: RFC 2308 section 5."""
    if reply.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return 0
    ttls = [rrset.ttl for rrset in reply.answer]
    if reply.rcode == Rcode.NOERROR and reply.answer and reply.answer[-1].rdtype == rdtype:
        return min(TTL_LAST_S, *ttls)
    soas = [min(rrset.ttl, rrset[0].minimum) for rrset in reply.authority if rrset.rdtype == RdataType.SOA]
    return min(NEGATIVE_TTL_LAST_S, *soas, *ttls) if soas else 0


def _size(question: Question, answer: Answer) -> int:
    labels = question[0]
    of_name = sum(map(len, labels)) + _OF_LABEL * len(labels)
    return _OVERHEAD + of_name + len(answer.records) + _OF_TTL * len(answer.ttls)
