"""Answers as the cache keeps them and the service sends them: the bytes of their records, with the offsets of the TTLs.

The records are rendered once, for the position after the question. The question, the id and the remaining TTLs are
written when an answer is sent. So a cached answer costs no rendering.
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
LARGEST: Final = 16_384  # bytes of an answer over a connection; a larger answer is an error
HEADER: Final = struct.Struct("!HHHHHH")  # RFC 1035 section 4.1.1
TYPE_AND_CLASS: Final = struct.Struct("!HH")  # after the name in a question. RFC 1035 section 4.1.2
QR: Final = 0x80  # in the third byte of a header: this is an answer
LENGTH: Final = 2  # bytes before a message on a connection. RFC 1035 section 4.2.2
OPT: Final = struct.Struct("!BHHIH")  # RFC 6891 section 6.1.2
_RECORD: Final = struct.Struct("!HHIH")  # after the owner's name. RFC 1035 section 4.1.3
_TTL: Final = struct.Struct("!I")
_POINTER: Final = struct.Struct("!H")
_POINTS: Final = 0xC000  # reaches 16 KiB, and no answer is larger


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of another server or of a VPC's own names."""

    rcode: Rcode
    answer: Sequence[dns.rrset.RRset] = ()
    authority: Sequence[dns.rrset.RRset] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The records of an answer to one question, as the bytes that follow this question."""

    rcode: Rcode
    authoritative: bool = False
    cut: bool = False  # the records are left out: they do not fit
    counts: tuple[int, int] = (0, 0)  # of records: answer section, authority section
    records: bytes = b""
    ttls: tuple[int, ...] = ()  # their offsets in `records`


def render(name: Name, reply: Reply, room: int, *, authoritative: bool = False) -> Answer:
    """Return an answer to a question for a name. The answer is cut if it needs more than `room` bytes, the header included.

    An owner name is compressed if the whole name occurs earlier in the message (RFC 1035 section 4.1.4). Names in
    record data are not compressed: a search for each suffix of a long name costs more than anything else in this module.
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
    """Return the bytes of an answer to a question. An answer that does not fit is cut, so that the client asks again over TCP.

    `age` is how long the answer has been cached, in seconds.
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
    """Return the offsets of a question's name and its parent names in a message."""
    found, at = {}, HEADER.size
    for above in upward(asked):
        found[above] = at
        at += 1 + len(above[0])
    return found


def _name(name: Name) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def _question(asked: dns.rrset.RRset) -> bytes:
    """Return a question's bytes, in its original upper and lower case."""
    return _name(asked.name) + TYPE_AND_CLASS.pack(asked.rdtype, asked.rdclass)


def _aged(answer: Answer, age: int) -> bytes:
    if not age:
        return answer.records
    records = bytearray(answer.records)
    for place in answer.ttls:
        (ttl,) = _TTL.unpack_from(records, place)
        _TTL.pack_into(records, place, max(0, ttl - age))
    return bytes(records)
