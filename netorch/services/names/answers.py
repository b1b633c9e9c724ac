"""Answers as they are kept and sent: the bytes of their records, with the places of the TTLs.

The records are rendered once, behind the question that they answer. The question, the id and what is left of the TTLs are written
when an answer is sent, so that an answer that is remembered costs no work for its records.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import msgspec
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.labels import Labels, labels_of, upward

PAYLOAD: Final = 1_232  # bytes of a datagram. Source: DNS Flag Day 2020
LARGEST: Final = 16_384  # bytes of an answer by a connection. A larger one is none
HEADER: Final = struct.Struct("!HHHHHH")  # RFC 1035 section 4.1.1
TYPE_AND_CLASS: Final = struct.Struct("!HH")  # behind the name of a question. RFC 1035 section 4.1.2
QR: Final = 0x80  # of the third byte of a header: this is an answer
LENGTH: Final = 2  # bytes before a message in a connection. RFC 1035 section 4.2.2
OPT: Final = struct.Struct("!BHHIH")  # RFC 6891 section 6.1.2
_RECORD: Final = struct.Struct("!HHIH")  # behind the owner's name. RFC 1035 section 4.1.3
_TTL: Final = struct.Struct("!I")
_POINTER: Final = struct.Struct("!H")
_POINTS: Final = 0xC000  # at what is within 16 KiB, and no answer is larger


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody has answered."""

    rcode: Rcode
    answer: Sequence[dns.rrset.RRset] = ()
    authority: Sequence[dns.rrset.RRset] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The records of an answer to one question, as bytes that follow that question."""

    rcode: Rcode
    authoritative: bool = False
    cut: bool = False  # the records are left out: they have no room
    counts: tuple[int, int] = (0, 0)  # of records: answer, authority
    records: bytes = b""
    ttls: tuple[int, ...] = ()  # where they are in `records`


def render(name: Name, reply: Reply, room: int, *, authoritative: bool = False) -> Answer:
    """Return an answer to a question for a name; a cut one if it has no room (bytes, with the header).

    Owners are compressed if their whole name stands somewhere before (RFC 1035 section 4.1.4). Names in records are not: to look
    for each part of a long name takes longer than anything else here.
    """
    empty = Answer(rcode=reply.rcode, authoritative=authoritative)
    asked = labels_of(name)
    places, start = _places(asked), HEADER.size + sum(map(len, asked)) + len(asked) + TYPE_AND_CLASS.size
    records, ttls = bytearray(), []
    for rrset in (*reply.answer, *reply.authority):
        owner = labels_of(rrset.name)
        for rdata in rrset:
            at, value = start + len(records), rdata.to_wire() or b""
            records += _POINTER.pack(_POINTS | places[owner]) if owner in places else _name(rrset.name)
            places.setdefault(owner, at)
            ttls.append(len(records) + TYPE_AND_CLASS.size)
            records += _RECORD.pack(rrset.rdtype, rrset.rdclass, rrset.ttl, len(value)) + value
            if start + len(records) > room:
                return msgspec.structs.replace(empty, cut=True)
            if rrset.rdtype == RdataType.CNAME:
                places.setdefault(labels_of(rdata.target), start + len(records) - len(value))
    counts = sum(map(len, reply.answer)), sum(map(len, reply.authority))
    return msgspec.structs.replace(empty, counts=counts, records=bytes(records), ttls=tuple(ttls))


def to_wire(query: dns.message.Message, answer: Answer, room: int, age: int = 0) -> bytes:
    """Return the bytes of an answer to a question; one that has no room is cut, so that it is asked for by a connection.

    `age` is for how long the answer has been remembered, in seconds.
    """
    asked = b"".join(_question(one) for one in query.question)
    opt = b""
    if query.edns >= 0:
        opt = OPT.pack(0, RdataType.OPT, PAYLOAD, dns.rcode.to_flags(answer.rcode)[1], 0)
    cut = answer.cut or HEADER.size + len(asked) + len(answer.records) + len(opt) > room
    flags = dns.flags.QR | dns.flags.RA | query.flags & dns.flags.RD | answer.rcode & 0xF
    flags |= dns.flags.AA if answer.authoritative else 0
    flags |= dns.flags.TC if cut else 0
    counts = (0, 0) if cut else answer.counts
    head = HEADER.pack(query.id, flags, len(query.question), *counts, 1 if opt else 0)
    return b"".join((head, asked, b"" if cut else _aged(answer, age), opt))


def _places(asked: Labels) -> dict[Labels, int]:
    """Return where a question's name and those above it are in a message."""
    found, at = {}, HEADER.size
    for above in upward(asked):
        found[above] = at
        at += 1 + len(above[0])
    return found


def _name(name: Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def _question(asked: dns.rrset.RRset) -> bytes:
    """Return a question's bytes, in the letters in which it was asked."""
    return _name(asked.name) + TYPE_AND_CLASS.pack(asked.rdtype, asked.rdclass)


def _aged(answer: Answer, age: int) -> bytes:
    if not age:
        return answer.records
    records = bytearray(answer.records)
    for place in answer.ttls:
        (ttl,) = _TTL.unpack_from(records, place)
        _TTL.pack_into(records, place, max(0, ttl - age))
    return bytes(records)
