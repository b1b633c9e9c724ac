"""One question and its answer: what is refused, what is remembered, what others are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.book import Book, parse_name
from netorch.services.names.cache import ENTRIES, Cache, Reply
from netorch.services.names.resolver import OUTSTANDING, Resolver
from netorch.services.names.transports import read, to_wire
from netorch.state.daemons.services.names import NameRecord, NameView

VNI = 5000
ME = (VNI, "10.0.1.5")


class Others:
    """Those who are asked for names: they know www.example.net, and answer when a test lets them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, servers: Sequence[str], name: Name, rdtype: RdataType) -> Reply:
        self.asked.append(f"{','.join(servers)} {name.to_text()} {dns.rdatatype.to_text(rdtype)}")
        await self.may.wait()
        if name == parse_name("www.example.net"):
            return Reply(rcode=Rcode.NOERROR, answer=[dns.rrset.from_text(name, 300, "IN", "A", "198.51.100.7")])
        soa = dns.rrset.from_text("example.net.", 300, "IN", "SOA", "ns.example.net. x.example.net. 1 2 3 4 60")
        return Reply(rcode=Rcode.NXDOMAIN, authority=[soa])


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def resolver(others: Others) -> Resolver:
    book = Book()
    book.put(NameView(vni=VNI, ranges=("10.0.0.0/16",)))
    book.put(NameView(vni=VNI + 1, ranges=("10.0.0.0/16",)))
    book.others = {parse_name("example.net"): ("192.0.2.1",)}
    book.put(NameRecord(vni=VNI, name="out.corp", type="CNAME", ttl=30, values=("www.example.net.",)))
    return Resolver(book, others)


def query(name: str, rdtype: str = "A") -> dns.message.QueryMessage:
    return dns.message.make_query(name, rdtype)


def said(answer: dns.message.Message | None) -> str:
    if answer is None:
        return "silence"
    values = [item.to_text() for rrset in answer.answer for item in rrset]
    return " ".join([dns.rcode.to_text(answer.rcode()), *values])


def ask(resolver: Resolver, asked: dns.message.Message, asker: tuple[int, str] = ME) -> str:
    return said(asyncio.run(resolver.answer(asker, asked)))


def test_others_are_asked_once_and_for_each_vpc_apart(resolver: Resolver, others: Others) -> None:
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"
    assert ask(resolver, query("WWW.example.net")) == "NOERROR 198.51.100.7"
    assert others.asked == ["192.0.2.1 www.example.net. A"]
    assert ask(resolver, query("www.example.net"), (VNI + 1, "10.0.1.5")) == "NOERROR 198.51.100.7"
    assert len(others.asked) == 2
    assert ask(resolver, query("no.example.net")) == "NXDOMAIN"
    assert ask(resolver, query("no.example.net")) == "NXDOMAIN"
    assert len(others.asked) == 3
    resolver.forget(VNI)
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"
    assert len(others.asked) == 4


def test_an_alias_of_the_vpcs_own_leads_to_others(resolver: Resolver) -> None:
    assert ask(resolver, query("out.corp")) == "NOERROR www.example.net. 198.51.100.7"
    assert ask(resolver, query("out.corp")) == "NOERROR www.example.net. 198.51.100.7"


def test_names_that_nobody_is_to_be_asked_for_fail(resolver: Resolver, others: Others) -> None:
    assert ask(resolver, query("example.org")) == "SERVFAIL"
    unasked = query("www.example.net")
    unasked.flags &= ~dns.flags.RD
    assert ask(resolver, unasked) == "REFUSED"
    assert others.asked == []


def test_what_is_not_answered_at_all(resolver: Resolver) -> None:
    assert ask(resolver, query("ip-10-0-1-5.compute.internal"), (77, "10.0.1.5")) == "REFUSED"
    assert ask(resolver, query("ip-10-0-1-5.compute.internal", "AXFR")) == "REFUSED"
    assert ask(resolver, dns.message.make_query("version.bind", "TXT", "CH")) == "REFUSED"
    update = query("ip-10-0-1-5.compute.internal")
    update.set_opcode(dns.opcode.UPDATE)
    assert ask(resolver, update) == "NOTIMP"
    assert ask(resolver, dns.message.make_query("a", "A", use_edns=1)) == "BADVERS"
    several = query("a")
    several.question *= 2
    assert ask(resolver, several) == "FORMERR"


def test_any_is_answered_with_next_to_nothing(resolver: Resolver, others: Others) -> None:
    answer = resolver.at_once(ME, query("www.example.net", "ANY"))
    assert answer is not None
    assert len(answer.to_wire()) < 2 * len(query("www.example.net", "ANY").to_wire())
    assert others.asked == []


def test_what_is_not_there_comes_with_the_zone_that_says_so(resolver: Resolver) -> None:
    for name, rcode in (("ip-10-9-1-5.compute.internal", Rcode.NXDOMAIN), ("ip-10-0-1-5.compute.internal", Rcode.NOERROR)):
        answer = resolver.at_once(ME, query(name, "AAAA"))
        assert answer is not None
        assert answer.rcode() == rcode
        assert [rrset.rdtype for rrset in answer.authority] == [RdataType.SOA]
        assert answer.flags & dns.flags.AA


def test_one_interface_has_few_questions_outstanding_and_others_are_answered(resolver: Resolver, others: Others) -> None:
    async def crowd() -> tuple[list[str], str]:
        others.may.clear()
        waiting = [asyncio.create_task(resolver.answer(ME, query(f"n{n}.example.net"))) for n in range(OUTSTANDING + 9)]
        await asyncio.sleep(0)
        another = asyncio.create_task(resolver.answer((VNI, "10.0.1.6"), query("www.example.net")))
        await asyncio.sleep(0)
        others.may.set()
        return [said(await one) for one in waiting], said(await another)

    mine, theirs = asyncio.run(crowd())
    assert mine.count("silence") == 9
    assert theirs == "NOERROR 198.51.100.7"
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"


def test_a_cache_is_bounded_and_answers_grow_old() -> None:
    cache, name = Cache(), parse_name("www.example.net")
    reply = Reply(rcode=Rcode.NOERROR, answer=[dns.rrset.from_text(name, 300, "IN", "A", "198.51.100.7")])
    cache.put((name, RdataType.A), reply, 1000.0)
    kept = cache.get((name, RdataType.A), 1100.0)
    assert kept is not None
    assert [rrset.ttl for rrset in kept.answer] == [200]
    assert cache.get((name, RdataType.A), 1300.0) is None
    cache.put((name, RdataType.A), Reply(rcode=Rcode.SERVFAIL), 1000.0)
    cache.put((name, RdataType.AAAA), Reply(rcode=Rcode.NOERROR), 1000.0)  # nothing, and no SOA record: RFC 2308 section 5
    assert cache.get((name, RdataType.A), 1000.0) is cache.get((name, RdataType.AAAA), 1000.0) is None
    for number in range(ENTRIES + 1):
        cache.put((parse_name(f"n{number}"), RdataType.A), reply, 1000.0)
    assert cache.get((parse_name("n0"), RdataType.A), 1001.0) is None
    assert cache.get((parse_name(f"n{ENTRIES}"), RdataType.A), 1001.0) is not None


def test_what_does_not_fit_is_cut_and_noise_is_answered_by_an_error_or_not_at_all(resolver: Resolver) -> None:
    long = dns.message.make_response(query("a"))
    long.answer.append(dns.rrset.from_text("a.", 1, "IN", "TXT", *(f'"{letter * 250}"' for letter in "xyz")))
    cut = dns.message.from_wire(to_wire(long, 512))
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert dns.message.from_wire(to_wire(long, 4096)).answer
    assert read(b"short") is None
    assert read(long.to_wire()) is None  # an answer: two that answered answers would never end
    wrong = query("a").to_wire()[:-3]
    error = read(wrong)
    assert isinstance(error, bytes)
    assert dns.message.from_wire(error).rcode() == Rcode.FORMERR
    assert len(error) <= len(wrong)
