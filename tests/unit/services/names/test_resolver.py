"""One question and its answer: what is refused, what is cached, and what is asked of other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from netorch.services.names.answers import LARGEST, PAYLOAD, Reply
from netorch.services.names.book import Book, parse_name
from netorch.services.names.labels import labels_of
from netorch.services.names.resolver import OTHERS_COUNT, OUTSTANDING, OUTSTANDING_OF_VPC, RECORDS_COUNT, Resolver
from netorch.services.names.shares import Allowance
from netorch.services.names.upstream import FAILED
from netorch.state.daemons.services.names import NameRecord, NameView

VNI = 5000
ME = (VNI, "10.0.1.5")


class Others:
    """The other servers: they know www.example.net, and answer when a test lets them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.records = 1
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self, servers: Sequence[str], name: Name, rdtype: RdataType, may_read: Callable[[int], bool]) -> Reply:
        self.asked.append(f"{','.join(servers)} {name.to_text()} {dns.rdatatype.to_text(rdtype)}")
        await self.may.wait()
        if not may_read(self.records):
            return FAILED
        if name == parse_name("large.example.net"):
            return Reply(rcode=Rcode.NOERROR, answer=[long(name, 20)])
        if name == parse_name("spy.example.net"):  # the owner of a name can point it anywhere
            alias = dns.rrset.from_text(name, 300, "IN", "CNAME", "db.corp.internal.")
            return Reply(
                rcode=Rcode.NOERROR, answer=[alias, dns.rrset.from_text("db.corp.internal.", 300, "IN", "A", "192.0.2.9")]
            )
        if name == parse_name("www.example.net"):
            return Reply(rcode=Rcode.NOERROR, answer=[dns.rrset.from_text(name, 300, "IN", "A", "198.51.100.7")])
        soa = dns.rrset.from_text("example.net.", 300, "IN", "SOA", "ns.example.net. x.example.net. 1 2 3 4 60")
        return Reply(rcode=Rcode.NXDOMAIN, authority=[soa])


def long(name: Name, count: int) -> dns.rrset.RRset:
    return dns.rrset.from_text_list(
        name, 300, "IN", "TXT", [f'"{letter * 240}"' for letter in "abcdefghijklmnopqrstuvwxyz"[:count]]
    )


class Still(Allowance):
    """An allowance whose clock stands still; a large one by default."""

    def __init__(self, of_vpc: int = 1 << 20) -> None:
        super().__init__(of_vpc, 4 * of_vpc)

    def admits(self, vni: int, now: float, count: int = 1) -> bool:
        return super().admits(vni, 0.0, count)


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def resolver(others: Others) -> Resolver:
    book = Book()
    book.put(NameView(vni=VNI, ranges=("10.0.0.0/16",)))
    book.put(NameView(vni=VNI + 1, ranges=("10.0.0.0/16",)))
    book.others = {labels_of("example.net"): ("192.0.2.1",)}
    book.put(NameRecord(vni=VNI, name="out.corp", type="CNAME", ttl=30, values=("www.example.net.",)))
    return Resolver(book, others, Still())


def query(name: str, rdtype: str = "A") -> dns.message.QueryMessage:
    return dns.message.make_query(name, rdtype)


def said(raw: bytes | None) -> str:
    if raw is None:
        return "silence"
    answer = dns.message.from_wire(raw)
    if answer.flags & dns.flags.TC:
        return "cut"
    values = [item.to_text() for rrset in answer.answer for item in rrset]
    return " ".join([dns.rcode.to_text(answer.rcode()), *values])


def ask(resolver: Resolver, asked: dns.message.Message, asker: tuple[int, str] = ME) -> str:
    return said(asyncio.run(resolver.answer(asker, asked, PAYLOAD)))


def at_once(resolver: Resolver, asked: dns.message.Message) -> dns.message.Message:
    raw = resolver.at_once(ME, asked, PAYLOAD)
    assert raw is not None
    return dns.message.from_wire(raw)


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
    assert ask(resolver, dns.message.make_query("a", "A", use_edns=1)) == "BADVERS"


def test_any_is_answered_with_next_to_nothing(resolver: Resolver, others: Others) -> None:
    answer = at_once(resolver, query("www.example.net", "ANY"))
    assert len(answer.to_wire()) < 2 * len(query("www.example.net", "ANY").to_wire())
    assert others.asked == []


def test_what_is_not_there_comes_with_the_zone_that_says_so(resolver: Resolver) -> None:
    for name, rcode in (("ip-10-9-1-5.compute.internal", Rcode.NXDOMAIN), ("ip-10-0-1-5.compute.internal", Rcode.NOERROR)):
        answer = at_once(resolver, query(name, "AAAA"))
        assert answer.rcode() == rcode
        assert [rrset.rdtype for rrset in answer.authority] == [RdataType.SOA]
        assert answer.flags & dns.flags.AA


def test_one_interface_has_few_questions_outstanding_and_others_are_answered(resolver: Resolver, others: Others) -> None:
    async def crowd() -> tuple[list[str], str]:
        others.may.clear()
        waiting = [asyncio.create_task(resolver.answer(ME, query(f"n{n}.example.net"), PAYLOAD)) for n in range(OUTSTANDING + 9)]
        await asyncio.sleep(0)
        another = asyncio.create_task(resolver.answer((VNI, "10.0.1.6"), query("www.example.net"), PAYLOAD))
        await asyncio.sleep(0)
        others.may.set()
        return [said(await one) for one in waiting], said(await another)

    mine, theirs = asyncio.run(crowd())
    assert mine.count("silence") == 9
    assert theirs == "NOERROR 198.51.100.7"
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"


def test_one_vpc_has_a_share_of_what_is_outstanding_and_others_are_answered(resolver: Resolver, others: Others) -> None:
    async def crowd() -> tuple[list[str], str]:
        others.may.clear()
        asked = [((VNI, f"10.0.{n // 50}.{n % 50}"), query(f"n{n}.example.net")) for n in range(OUTSTANDING_OF_VPC + 9)]
        waiting = [asyncio.create_task(resolver.answer(asker, one, PAYLOAD)) for asker, one in asked]
        await asyncio.sleep(0)
        another = asyncio.create_task(resolver.answer((VNI + 1, "10.0.1.6"), query("www.example.net"), PAYLOAD))
        await asyncio.sleep(0)
        others.may.set()
        return [said(await one) for one in waiting], said(await another)

    mine, theirs = asyncio.run(crowd())
    assert mine.count("silence") == 9
    assert theirs == "NOERROR 198.51.100.7"


def test_equal_questions_are_asked_once_and_one_that_goes_takes_nobodys_answer_away(resolver: Resolver, others: Others) -> None:
    async def crowd() -> list[str]:
        others.may.clear()
        names = ["www.example.net"] * 5 + ["WWW.Example.net", "out.corp"]
        tasks = [asyncio.create_task(resolver.answer((VNI, f"10.0.1.{n}"), query(name), PAYLOAD)) for n, name in enumerate(names)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.pop(0).cancel()
        others.may.set()
        return [said(await one) for one in tasks]

    answers = asyncio.run(crowd())
    assert answers == ["NOERROR 198.51.100.7"] * 5 + ["NOERROR www.example.net. 198.51.100.7"]
    assert others.asked == ["192.0.2.1 www.example.net. A"]


def test_a_question_to_others_counts_as_several(others: Others) -> None:
    book = Book()
    book.put(NameView(vni=VNI, ranges=("10.0.0.0/16",)))
    book.others = {labels_of(""): ("192.0.2.1",)}
    resolver = Resolver(book, others, Still(OTHERS_COUNT + 1))
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"
    assert ask(resolver, query("no.example.net")) == "silence"
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"
    assert len(others.asked) == 1
    others.records = 2 * RECORDS_COUNT
    for count, wanted in ((1, "NOERROR 198.51.100.7"), (0, "SERVFAIL")):
        resolver = Resolver(book, others, Still(1 + OTHERS_COUNT + 1 + count))
        assert resolver.admits(VNI)  # as its transport does
        assert ask(resolver, query("www.example.net")) == wanted


def test_what_was_asked_for_before_something_changed_is_not_remembered(resolver: Resolver, others: Others) -> None:
    async def change() -> None:
        others.may.clear()
        asked = asyncio.create_task(resolver.answer(ME, query("www.example.net"), PAYLOAD))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        resolver.forget_all()
        others.may.set()
        assert said(await asked) == "NOERROR 198.51.100.7"

    asyncio.run(change())
    assert ask(resolver, query("www.example.net")) == "NOERROR 198.51.100.7"
    assert len(others.asked) == 2


def test_a_large_answer_is_cut_for_a_datagram_whole_for_a_connection_and_not_kept(resolver: Resolver, others: Others) -> None:
    for turn in (1, 2):
        assert ask(resolver, query("large.example.net", "TXT")) == "cut"
        assert said(asyncio.run(resolver.answer(ME, query("large.example.net", "TXT"), LARGEST))).count('"') == 40
        assert len(others.asked) == 2 * turn


def test_names_of_the_operators_network_are_not_asked_for_by_name_or_alias(resolver: Resolver, others: Others) -> None:
    resolver._book.others = {labels_of(""): ("192.0.2.1",)}
    assert ask(resolver, query("db.corp.internal")) == "NXDOMAIN"
    assert ask(resolver, query("1.0.168.192.in-addr.arpa", "PTR")) == "NXDOMAIN"
    assert ask(resolver, query("db")) == "NOERROR"
    assert others.asked == []
    for _ in range(2):
        assert ask(resolver, query("spy.example.net")) == "NXDOMAIN db.corp.internal."
    assert others.asked == ["192.0.2.1 spy.example.net. A"]
    resolver._book.others = {labels_of(""): ("192.0.2.1",), labels_of("corp.internal"): ("192.0.2.2",)}
    resolver.forget_all()
    assert ask(resolver, query("spy.example.net")) == "NOERROR db.corp.internal. 192.0.2.9"
    assert ask(resolver, query("db.corp.internal")) == "NXDOMAIN"
    assert others.asked[-1] == "192.0.2.2 db.corp.internal. A"
