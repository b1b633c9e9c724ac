"""Parsing the output of `nft list` for our tables."""

from __future__ import annotations

import pytest

from netorch.drivers.nft.listing import Block, digest, objects_of, parse_table, sealed_text
from netorch.state.base import OVERLAY
from netorch.state.nft import ChainSet, NftChain, NftElement, NftMap, PortChain

PORTS = """table netdev netorch {
\tset fingerprint {
\t\ttype mark
\t\tcomment "abc def"
\t}

\tcounter spoofed {
\t}

\tchain v-0013880000001 {
\t\ttype filter hook ingress device "v-0013880000001" priority -500; policy drop;
\t\tether saddr 06:00:00:00:00:01 ip saddr 10.0.0.11 meta mark set 0x00004e54 accept
\t\tcounter name "spoofed" drop
\t}

\tchain mine {
\t\tdrop
\t}
}
"""
RULES = ("ether saddr 06:00:00:00:00:01 ip saddr 10.0.0.11 meta mark set 0x4e54 accept", "counter name spoofed drop")

FORWARD = """table inet netorch {
\tset tracked_egress {
\t\ttypeof ct direction . ct mark
\t\telements = { 0 . 0x00000001,
\t\t\t     1 . 0x00000002 }
\t}

\tmap zone {
\t\ttypeof iifname : ct zone
\t\telements = { "vx5000" : 16,
\t\t\t     "v-0013880000001" : 16 }
\t}

\tmap identity-001388.4 {
\t\ttype ipv4_addr : mark
\t\telements = { 10.0.0.1 : 0x0000beef, 10.0.0.2 comment "}, { ; drop" : 0x00000007,
\t\t\t     10.0.0.3 : 0x00000008 }
\t}

\tset egress-001388-0000beef.port4 {
\t\ttype inet_proto . inet_service . ipv4_addr
\t\tflags interval
\t\telements = { 6 . 80-443 . 10.0.0.0/8,
\t\t\t     17 . 53 . 0.0.0.0/0 }
\t}

\tct helper foreign {
\t\ttype "ftp" protocol tcp
\t\tl3proto inet
\t}

\tchain sent {
\t\tct state 0x8 ct mark set ct mark | 0x00000001
\t\tgoto deliver
\t}

\tchain egress-001388-0000beef {
\t\tct state 0x2,0x4 ct direction . ct mark @tracked_egress goto deliver
\t\tmeta nfproto 2 goto sent
\t\tmeta nfproto 10 goto sent
\t\tmeta l4proto . th dport . ip daddr @egress-001388-0000beef.port4 goto sent
\t}
}
"""


def port_chains(text: str) -> list[object]:
    return list(objects_of(OVERLAY, "netdev", parse_table(text)))


def element(name: str, item: str, value: str) -> NftElement:
    return NftElement(netns=OVERLAY, family="inet", set=name, items=(item,), vni=5000, value=value)


def test_a_ports_chain_is_told_in_the_words_that_made_it() -> None:
    assert port_chains(PORTS) == [PortChain(vni=5000, ifname="v-0013880000001", rules=RULES)]


def test_a_ports_chain_that_lets_by_default_or_stands_elsewhere_has_none_of_our_rules() -> None:
    for old, new in (("policy drop", "policy accept"), ('device "v-0013880000001"', 'device "eth0"'), ("-500", "7")):
        assert port_chains(PORTS.replace(old, new)) == [PortChain(vni=5000, ifname="v-0013880000001", rules=())]


def test_an_empty_chain_of_a_port_has_no_rules() -> None:
    text = "table netdev netorch {\n\tchain v-0013880000001 {\n\t}\n}\n"
    assert port_chains(text) == [PortChain(vni=5000, ifname="v-0013880000001", rules=())]


def test_what_vpcs_have_in_the_table_is_told_in_the_words_that_made_it() -> None:
    held = ChainSet(
        name="egress-001388-0000beef.port4",
        spec="type inet_proto . inet_service . ipv4_addr; flags interval",
        elements=("17 . 53 . 0.0.0.0/0", "6 . 80-443 . 10.0.0.0/8"),
    )
    rules = (
        "ct state established,related ct direction . ct mark @tracked_egress goto deliver",
        "meta nfproto ipv4 goto sent",
        "meta nfproto ipv6 goto sent",
        "meta l4proto . th dport . ip daddr @egress-001388-0000beef.port4 goto sent",
    )
    assert list(objects_of(OVERLAY, "inet", parse_table(FORWARD))) == [
        element("zone", "vx5000", "0x10"),
        element("zone", "v-0013880000001", "0x10"),
        NftMap(vni=5000, name="identity-001388.4", spec="type ipv4_addr : mark"),
        element("identity-001388.4", "10.0.0.1", "0xbeef"),
        element("identity-001388.4", "10.0.0.2", "0x7"),
        element("identity-001388.4", "10.0.0.3", "0x8"),
        NftChain(vni=5000, name="egress-001388-0000beef", rules=rules, sets=(held,)),
    ]


def test_a_set_that_has_lost_its_chain_is_told_as_a_chain_without_rules() -> None:
    text = FORWARD.replace("chain egress-001388-0000beef", "chain sentinel")
    (chain,) = (obj for obj in objects_of(OVERLAY, "inet", parse_table(text)) if isinstance(obj, NftChain))
    assert (chain.name, chain.rules, len(chain.sets)) == ("egress-001388-0000beef", (), 1)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("10.0.0.1", "10.0.0.9", True),
        ("meta nfproto 2 goto sent", "meta nfproto 2 accept", True),
        ('"vx5000" : 16', '"vx5001" : 17', True),
        ('"vx5000" : 16', '"eth0" : 16', False),
        ("0 . 0x00000001", "0 . 0x00000007", False),
        ("0 . 0x00000001,\n\t\t\t     1 . 0x00000002", "1 . 0x00000002,\n\t\t\t     0 . 0x00000001", True),
        ("chain sent {", "chain other {", False),
        ("\t\tgoto deliver", "\t\taccept", False),
        ("\tmap zone", "\tflags dormant\n\tmap zone", False),
    ],
)
def test_the_digest_is_of_what_belongs_to_no_vpc(old: str, new: str, *, same: bool) -> None:
    assert old in FORWARD
    before, after = (digest(OVERLAY, "inet", parse_table(text)) for text in (FORWARD, FORWARD.replace(old, new, 1)))
    assert (before == after) is same


def test_a_seal_holds_as_long_as_the_listing_is_the_sealed_one() -> None:
    blocks = parse_table(FORWARD)
    seal = Block("set", "fingerprint", ["type mark"], [], f"of-text {digest(OVERLAY, 'inet', blocks)}")
    assert sealed_text(OVERLAY, "inet", [seal, *blocks]) == "of-text"
    assert sealed_text(OVERLAY, "inet", [seal, *blocks[1:]]) == ""
    assert sealed_text(OVERLAY, "inet", blocks) == ""


def test_nothing_is_found_in_nothing() -> None:
    assert parse_table("") == []
