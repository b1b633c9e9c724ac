"""How elements are packed, and which are left to libnftables."""

from __future__ import annotations

import sys

import pytest

from netorch.drivers.nft.commands import ElementChange, as_text, is_deletable, is_words, steps
from netorch.drivers.nft.wire.elements import pack
from netorch.drivers.nft.wire.messages import NotPackable
from netorch.state.nft import NftChain, NftMap
from netorch.state.op import Create, Replace
from tests import chains


def packed(spec: str, key: str, value: str = "") -> bytes:
    return b"".join(pack([ElementChange(True, "inet", "s", spec, key, value)], lambda change: change.spec))


@pytest.mark.parametrize(
    ("spec", "key", "first", "last"),
    [
        ("type inet_proto . inet_service", "6 . 80-443", "06000000 00500000", "06000000 01bb0000"),
        ("type inet_proto . ipv4_addr", "0-255 . 10.1.0.0/16", "00000000 0a010000", "ff000000 0a01ffff"),
        ("type mark . icmp_type . icmp_code", "0xbeef . 8 . 0-255", "0000beef 08000000 00000000", "0000beef 08000000 ff000000"),
    ],
)
def test_an_interval_is_its_two_ends_in_network_order(spec: str, key: str, first: str, last: str) -> None:
    message = packed(f"{spec}; flags interval", key)
    low, high = bytes.fromhex(first), bytes.fromhex(last)
    assert message.index(low) < message.rindex(high)
    assert message.count(low) == 1


def test_values_have_the_order_of_the_machine() -> None:
    assert (0xBEEF).to_bytes(4, sys.byteorder) in packed("type ipv4_addr : mark", "10.0.0.1", "0xbeef")
    assert b"goto-there\0" in packed("type ifname : verdict", "v-1", "goto goto-there")


@pytest.mark.parametrize(
    ("spec", "key", "value"),
    [
        ("", "6", ""),
        ("type inet_proto; flags interval", "1-5", ""),
        ("type ether_addr", "02:00:00:00:00:01", ""),
        ("type ipv4_addr; flags timeout", "10.0.0.1", ""),
        ("type ipv4_addr . mark", "10.0.0.1", ""),
        ("type ipv4_addr", "10.0.0.0/24", ""),
        ("type ipv4_addr", "fe80::1", ""),
        ("type inet_service . mark", "65536 . 0x1", ""),
        ("type ifname : verdict", "a-name-too-long-for-a-device", "drop"),
        ("type ifname : verdict", "v-1", "queue"),
    ],
)
def test_what_is_not_understood_is_left_to_libnftables(spec: str, key: str, value: str) -> None:
    with pytest.raises(NotPackable):
        packed(spec, key, value)


def test_no_text_becomes_syntax() -> None:
    assert all(map(is_words, chains.POLICY))
    evil = NftChain(vni=5000, name="egress-001388-00000001", rules=("accept; flush ruleset",))
    assert not is_words(evil)
    assert is_deletable(evil)
    assert not is_words(NftMap(vni=5000, name="identity-001388.4", spec="type mark : mark; }\nflush ruleset"))
    assert not is_deletable(NftChain(name="a\nflush ruleset", rules=()))


def test_text_never_deletes_an_element_of_a_chains_set() -> None:
    emptied = NftChain(vni=5000, name=chains.EGRESS, rules=chains.EGRESS_CHAIN.rules, sets=())
    assert "delete element" not in as_text(steps([Create(chains.EGRESS_CHAIN), Replace(chains.EGRESS_CHAIN, emptied)]))
