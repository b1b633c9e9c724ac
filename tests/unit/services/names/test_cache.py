"""Servers' answers: stored as bytes, until they expire, and within a size limit."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset
import pytest
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import LARGEST, PAYLOAD, Answer, Reply, render, to_wire
from netorch.services.names.book import parse_name
from netorch.services.names.cache import BYTES_OF_VPC, LARGEST_KEPT, NEGATIVE_TTL_LAST_S, Cache, ttl_of
from netorch.services.names.labels import labels_of

A, B = 5000, 5001
NAME = parse_name("www.example.net")
QUESTION = labels_of(NAME), RdataType.A
ALIAS = dns.rrset.from_text(NAME, 300, "IN", "CNAME", "w3.example.net.")
ADDRESS = dns.rrset.from_text("w3.example.net.", 60, "IN", "A", "198.51.100.7", "198.51.100.8")
SOA = dns.rrset.from_text("example.net.", 3_000, "IN", "SOA", "ns.example.net. x.example.net. 1 2 3 4 2000")
FOUND = Reply(rcode=Rcode.NOERROR, answer=[ALIAS, ADDRESS])


def txt(size: int) -> Answer:
    return Answer(rcode=Rcode.NOERROR, counts=(1, 0), records=bytes(size))


def test_an_answer_is_kept_as_bytes_and_grows_old() -> None:
    cache = Cache()
    cache.put(A, QUESTION, render(NAME, FOUND, LARGEST), ttl_of(FOUND, RdataType.A), 1000.0)
    assert cache.get(B, QUESTION, 1000.0) is None
    kept = cache.get(A, QUESTION, 1020.0)
    assert kept is not None
    answer, age = kept
    query = dns.message.make_query("WWW.Example.net", "A", use_edns=0)
    said = dns.message.from_wire(to_wire(query, answer, PAYLOAD, age))
    assert said.id == query.id
    assert said.question[0].name.to_text() == "WWW.Example.net."  # letters as in the question: draft-vixie-dnsext-dns0x20
    assert [(rrset.ttl, len(rrset)) for rrset in said.answer] == [(280, 1), (40, 2)]
    assert said.answer == [ALIAS, ADDRESS]
    assert said.payload == PAYLOAD
    assert cache.get(A, QUESTION, 1060.0) is None
    assert cache.held == 0


@pytest.mark.parametrize(
    ("reply", "ttl"),
    [
        (FOUND, 60),
        (Reply(rcode=Rcode.SERVFAIL, answer=[ALIAS, ADDRESS]), 0),
        (Reply(rcode=Rcode.NOERROR), 0),  # no answer and no SOA record: RFC 2308 section 5
        (Reply(rcode=Rcode.NOERROR, answer=[ALIAS]), 0),
        (Reply(rcode=Rcode.NXDOMAIN, authority=[SOA]), NEGATIVE_TTL_LAST_S),
        (Reply(rcode=Rcode.NXDOMAIN, answer=[ALIAS], authority=[SOA]), 300),
    ],
)
def test_for_how_long_an_answer_holds(reply: Reply, ttl: int) -> None:
    assert ttl_of(reply, RdataType.A) == ttl


def test_large_answers_are_not_kept_and_a_vpc_gives_up_its_oldest() -> None:
    cache = Cache()
    cache.put(A, QUESTION, txt(LARGEST_KEPT + 1), 60, 1000.0)
    assert cache.held == 0
    names = [(labels_of(f"n{n}"), RdataType.A) for n in range(BYTES_OF_VPC // LARGEST_KEPT)]
    for name in names:
        cache.put(A, name, txt(LARGEST_KEPT), 60, 1000.0)
        assert cache.held <= BYTES_OF_VPC
    assert cache.get(A, names[0], 1001.0) is None
    assert cache.get(A, names[-1], 1001.0) is not None
    cache.put(A, names[-1], txt(10), 60, 1000.0)
    cache.forget(A)
    assert cache.held == 0


def test_bytes_are_shared_and_who_holds_few_finds_room() -> None:
    cache = Cache(of_vpc=1 << 20, of_all=100_000)
    for vni in range(5):
        for n in range(100):
            cache.put(vni, (labels_of(f"n{n}"), RdataType.A), txt(100), 60, 1000.0)
            assert cache.held <= 100_000
        assert cache.get(vni, (labels_of("n99"), RdataType.A), 1000.0) is not None
    cache.clear()
    assert cache.held == 0


def test_what_has_no_room_is_cut_and_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    many = dns.rrset.from_text_list(NAME, 60, "IN", "A", [f"10.0.{n // 250}.{n % 250}" for n in range(500)])
    query = dns.message.make_query(NAME, "A")
    whole = render(NAME, Reply(rcode=Rcode.NOERROR, answer=[many]), LARGEST)
    assert len(dns.message.from_wire(to_wire(query, whole, LARGEST)).answer[0]) == 500
    rendered: list[object] = []

    def count(rdata: object, *_: object, **__: object) -> bytes:
        rendered.append(rdata)
        return bytes(4)

    monkeypatch.setattr("dns.rdata.Rdata.to_wire", count)
    for answer in (whole, render(NAME, Reply(rcode=Rcode.NOERROR, answer=[many]), PAYLOAD)):
        cut = dns.message.from_wire(to_wire(query, answer, PAYLOAD, age=9))
        assert cut.flags & dns.flags.TC
        assert not cut.answer
    assert len(rendered) <= PAYLOAD // 16 + 1  # rendering stops at the first record that does not fit


def test_what_follows_the_question_is_found_without_edns_too() -> None:
    query = dns.message.make_query(NAME, "A", use_edns=-1)
    reply = Reply(rcode=Rcode.NXDOMAIN, answer=[ALIAS], authority=[SOA])
    said = dns.message.from_wire(to_wire(query, render(NAME, reply, LARGEST, authoritative=True), 512, age=100))
    assert (said.rcode(), said.edns, bool(said.flags & dns.flags.AA)) == (Rcode.NXDOMAIN, -1, True)
    assert [said.answer[0].ttl, said.authority[0].ttl] == [200, 2_900]
