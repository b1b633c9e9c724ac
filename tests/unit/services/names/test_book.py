"""The names that a host knows, by VPC, and the servers for all others."""

from __future__ import annotations

import dns.rdatatype
import pytest
from dns.rdatatype import RdataType

from netorch.services.base import RefusedObject
from netorch.services.names.book import Book, parse_name
from netorch.services.names.labels import labels_of
from netorch.state.daemons.services.names import NameRecord, NameView, NameZone

A, B = 5000, 5001


@pytest.fixture
def book() -> Book:
    """Return the names of two VPCs with the same addresses; the first has a zone."""
    book = Book()
    book.put(NameView(vni=A, ranges=("10.0.0.0/16", "2001:db8::/56")))
    book.put(NameView(vni=B, ranges=("10.0.0.0/16",)))
    book.put(NameZone(vni=A, origin="corp.example"))
    for name, rdtype, *values in (
        ("corp.example", "A", "10.0.1.1"),
        ("db.corp.example", "A", "10.0.1.5", "10.0.1.6"),
        ("db.corp.example", "AAAA", "2001:db8::5"),
        ("www.corp.example", "CNAME", "db.corp.example."),
        ("out.corp.example", "CNAME", "www.example.net."),
        ("round.corp.example", "CNAME", "robin.corp.example."),
        ("robin.corp.example", "CNAME", "round.corp.example."),
        ("*.apps.corp.example", "A", "10.0.1.9"),
        ("x.y.corp.example", "TXT", '"deep"'),
        ("s3.example.net", "A", "10.0.1.77"),
    ):
        book.put(NameRecord(vni=A, name=name, type=rdtype, ttl=30, values=tuple(values)))
    return book


def find(book: Book, vni: int, name: str, rdtype: str = "A") -> str:
    found = book.find(vni, parse_name(name), dns.rdatatype.from_text(rdtype))
    if found is None:
        return "unknown"
    values = sorted(item.to_text() for rrset in found.answer for item in rrset)
    rest = [f"then {found.rest.to_text()}"] if found.rest is not None else []
    return " ".join([*values, *rest, *([] if found.exists else ["NXDOMAIN"])])


@pytest.mark.parametrize(
    ("name", "rdtype", "wanted"),
    [
        ("ip-10-0-1-5.compute.internal", "A", "10.0.1.5"),
        ("IP-10-0-1-5.Compute.Internal", "A", "10.0.1.5"),
        ("ip-10-0-1-5.compute.internal", "AAAA", ""),
        ("ip-10-1-0-5.compute.internal", "A", "NXDOMAIN"),
        ("ip-10-0-1-05.compute.internal", "A", "NXDOMAIN"),
        ("a.ip-10-0-1-5.compute.internal", "A", "NXDOMAIN"),
        ("compute.internal", "A", ""),
        ("5.1.0.10.in-addr.arpa", "PTR", "ip-10-0-1-5.compute.internal."),
        ("5.1.0.10.in-addr.arpa", "A", ""),
        ("5.0.1.10.in-addr.arpa", "PTR", "unknown"),
        ("corp.example", "A", "10.0.1.1"),
        ("db.corp.example", "A", "10.0.1.5 10.0.1.6"),
        ("db.corp.example", "TXT", ""),
        ("corp.example", "TXT", ""),
        ("no.corp.example", "A", "NXDOMAIN"),
        ("www.corp.example", "A", "10.0.1.5 10.0.1.6 db.corp.example."),
        ("www.corp.example", "CNAME", "db.corp.example."),
        ("out.corp.example", "A", "www.example.net. then www.example.net."),
        ("a.apps.corp.example", "A", "10.0.1.9"),
        ("a.b.apps.corp.example", "A", "10.0.1.9"),
        ("apps.corp.example", "A", ""),
        ("y.corp.example", "A", ""),
        ("z.y.corp.example", "A", "NXDOMAIN"),
        ("s3.example.net", "A", "10.0.1.77"),
        ("s3.example.net", "AAAA", ""),
        ("example.net", "A", "unknown"),
        ("example", "A", "unknown"),
    ],
)
def test_a_vpcs_own_names(book: Book, name: str, rdtype: str, wanted: str) -> None:
    assert find(book, A, name, rdtype) == wanted


def test_a_zone_says_who_it_is_and_leaves_netorchs_own_names_alone(book: Book) -> None:
    for zone in ("internal", "empty.example"):
        book.put(NameZone(vni=A, origin=zone))
    for zone in ("corp.example", "empty.example", "internal"):
        assert find(book, A, zone, "SOA").startswith("ns.compute.internal.")
    assert find(book, A, "ip-10-0-1-5.compute.internal") == "10.0.1.5"
    assert find(book, A, "db.internal") == "NXDOMAIN"


def test_aliases_that_lead_in_circles_end(book: Book) -> None:
    assert find(book, A, "round.corp.example").count("corp.example.") == 9


@pytest.mark.parametrize("name", ["db.corp.example", "s3.example.net", "corp.example", "no.corp.example"])
def test_no_vpc_has_anothers_names(book: Book, name: str) -> None:
    assert find(book, B, name) == "unknown"
    assert find(book, B, "ip-10-0-1-5.compute.internal") == "10.0.1.5"


def test_what_is_dropped_is_unknown_again(book: Book) -> None:
    book.drop(NameRecord(vni=A, name="x.y.corp.example", type="TXT", ttl=30, values=()))
    assert find(book, A, "y.corp.example") == "NXDOMAIN"
    book.drop(NameRecord(vni=A, name="db.corp.example", type="A", ttl=30, values=()))
    assert find(book, A, "db.corp.example") == ""
    book.drop(NameRecord(vni=A, name="db.corp.example", type="AAAA", ttl=30, values=()))
    assert find(book, A, "db.corp.example") == "NXDOMAIN"
    book.drop(NameZone(vni=A, origin="corp.example"))
    assert find(book, A, "no.corp.example") == "unknown"
    book.drop(NameView(vni=A, ranges=()))
    assert not book.serves(A)
    assert book.serves(B)
    assert find(book, A, "ip-10-0-1-5.compute.internal") == "NXDOMAIN"


def test_the_longest_domain_says_whom_to_ask(book: Book) -> None:
    assert book.servers(labels_of("a.example.net")) == ()
    book.others = {labels_of(""): ("192.0.2.1",), labels_of("example.net"): ("192.0.2.2", "192.0.2.3")}
    assert book.servers(labels_of("A.example.net")) == ("192.0.2.2", "192.0.2.3")
    assert book.servers(labels_of("notexample.net")) == ("192.0.2.1",)


INTERNAL = [
    *("db", "printer.local", "a.b.internal", "router.home.arpa", "files.corp", "LOCALHOST"),
    *("4.3.2.10.in-addr.arpa", "4.3.31.172.in-addr.arpa", "4.3.168.192.in-addr.arpa", "4.3.99.100.in-addr.arpa"),
    *("1.0.0.127.in-addr.arpa", "4.3.254.169.in-addr.arpa", "1.c.f.ip6.arpa", "1.d.f.ip6.arpa", "1.b.e.f.ip6.arpa"),
]


@pytest.mark.parametrize("name", INTERNAL)
def test_names_of_the_operators_network_are_withheld_unless_a_line_for_them_says_whom_to_ask(book: Book, name: str) -> None:
    labels = labels_of(name)
    book.others = {labels_of(""): ("192.0.2.1",)}  # the servers for all names
    withheld = book.withheld(labels, RdataType.A)
    assert withheld is not None
    assert withheld.exists == (len(labels) == 2)  # a top-level domain alone has names below it
    book.others = {labels[-2:]: ("192.0.2.2",)}
    assert book.withheld(labels, RdataType.A) is None


@pytest.mark.parametrize(
    "name",
    ["", "www.example.net", "4.3.32.172.in-addr.arpa", "4.3.128.100.in-addr.arpa", "8.8.8.8.in-addr.arpa", "local.example"],
)
def test_names_of_the_internet_are_not_withheld(book: Book, name: str) -> None:
    assert book.withheld(labels_of(name), RdataType.A) is None
    assert book.withheld(labels_of("example"), RdataType.DS) is None  # validators ask for such keys


def test_a_look_up_makes_no_names(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.others = {labels_of(""): ("192.0.2.1",)}
    name = parse_name("a." * 38 + "example")
    labels = labels_of(name)
    monkeypatch.setattr("dns.name.Name.__hash__", lambda _: pytest.fail("a name was looked up, letter by letter"))
    for vni in (A, B):
        assert book.find(vni, name, RdataType.A) is None
    assert book.servers(labels) == ("192.0.2.1",)


@pytest.mark.parametrize(
    "wrong",
    [
        NameRecord(vni=A, name="a", type="A", ttl=1, values=("10.0.0.777",)),
        NameRecord(vni=A, name="a", type="NOPE", ttl=1, values=("x",)),
        NameRecord(vni=A, name="a", type="A", ttl=1, values=tuple(f"10.0.{n // 250}.{n % 250}" for n in range(500))),
        NameRecord(vni=A, name=f"{'a' * 64}.example", type="A", ttl=1, values=("10.0.0.1",)),
        NameView(vni=A, ranges=("10.0.0.1/16",)),
    ],
)
def test_what_is_no_name_or_address_is_refused(wrong: NameRecord | NameView) -> None:
    with pytest.raises(RefusedObject):
        Book().put(wrong)
