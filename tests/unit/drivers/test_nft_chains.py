"""What `nft list` shows of the ports' table, read back."""

from __future__ import annotations

from netorch.drivers.nft_chains import chains_of, is_of_port, parse_table
from netorch.state.nft import PortChain

LISTING = """table netdev netorch {
\tset fingerprint {
\t\ttype mark
\t\tcomment "abc def"
\t}

\tcounter spoofed {
\t\tpackets 17 bytes 4711
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


def test_a_chain_is_told_in_the_words_that_made_it() -> None:
    assert list(chains_of(parse_table(LISTING))) == [PortChain(ifname="v-0013880000001", rules=RULES)]


def test_a_chain_that_lets_by_default_or_stands_elsewhere_has_none_of_our_rules() -> None:
    for old, new in (("policy drop", "policy accept"), ('device "v-0013880000001"', 'device "eth0"'), ("-500", "7")):
        (chain,) = chains_of(parse_table(LISTING.replace(old, new)))
        assert chain.rules == ()


def test_an_empty_chain_has_no_rules() -> None:
    text = "table netdev netorch {\n\tchain v-0013880000001 {\n\t}\n}\n"
    assert list(chains_of(parse_table(text))) == [PortChain(ifname="v-0013880000001", rules=())]


def test_packets_that_are_counted_do_not_change_the_rest_of_the_table() -> None:
    listing = parse_table(LISTING)
    assert listing == parse_table(LISTING.replace("17", "18").replace("4711", "4800"))
    rest = [entry for entry in listing if not is_of_port(entry)]
    assert {"set": {"name": "fingerprint", "lines": ["type mark"], "comment": "abc def"}} in rest
    assert {"chain": {"name": "mine", "lines": ["drop"]}} in rest


def test_nothing_is_found_in_nothing() -> None:
    assert parse_table("") == []
