"""Rules as text and as expressions: conversion loses nothing, and no other rule is read as the same text."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.compiler.registry import compile_slice, load_compilers
from netorch.drivers.nft.commands import Step
from netorch.drivers.nft.wire import encode as encode_module
from netorch.drivers.nft.wire.expressions import Expression, decode, encode
from netorch.drivers.nft.wire.messages import NotPackable
from netorch.drivers.nft.wire.rules import Rule, expressions_of, words_of
from netorch.drivers.nft.wire.sets import attributes_of
from netorch.model.addr import format_ip
from netorch.model.routing.next_hop import TARGET_HOPS
from netorch.state.base import KernelObject
from netorch.state.nft import NftChain, NftMap, PortChain
from policy import nftgen
from policy.evaluate import Policy
from tests import chains
from tests.property.policy_scripts import stored_scripts
from tests.property.policy_strategies import HOSTS, PolicyCase, policies

PORT = "v-0013880000001"
PORT_CHAIN = nftgen.port_chain(5000, PORT, "06:00:00:00:00:01", "10.44.12.4", ("2001:db8::4", "fe80::1:2", "::"))
COMPILERS = load_compilers()


def rules_of(objects: list[KernelObject]) -> list[tuple[str, str, str]]:
    """Return the family, chain and text of every rule."""
    found: list[tuple[str, str, str]] = []
    for obj in objects:
        if isinstance(obj, NftChain):
            found += [("inet", obj.name, rule) for rule in obj.rules]
        elif isinstance(obj, PortChain):
            found += [("netdev", obj.ifname, rule) for rule in obj.rules]
    return found


LITERALS = (
    "ip saddr 10.0.0.0/8 th dport 22 meta l4proto 6 goto sent",
    "ip saddr 10.0.0.0-10.0.2.255 th dport 80-443 meta l4proto 6 return",
    "ip daddr 0.0.0.0/0 th dport 0-65535 meta l4proto 17 goto sent",
    "meta nfproto ipv6 th sport 1024-65535 meta l4proto 17 goto freely_sent",
    "ip saddr 10.0.0.0/8 meta l4proto 1 goto sent",
    "ip saddr 10.0.0.1 icmp type 8 icmp code 0 goto sent",
    "ip6 daddr 2001:db8::/33 icmpv6 type 0-255 icmpv6 code 4 goto sent",
    "meta mark 0x4e55 return",
    "@nh,96,32 0xa000001 @nh,72,8 != 0x1 accept",
    "@ll,48,64 0x6000000000010800 accept",
    f"ip daddr 10.0.0.0/16 rt ip nexthop {TARGET_HOPS[4]} goto sent",
    f"ip6 daddr 2001:db8::/56 rt ip6 nexthop {TARGET_HOPS[6]} goto sent",
)
RULES = [*rules_of([*chains.CHAINS, PORT_CHAIN]), *(("inet", chains.EGRESS, rule) for rule in LITERALS)]


def there_and_back(family: str, chain: str, words: str) -> str:
    """Return the text of a rule after a round trip through netlink attributes."""
    made = expressions_of(family, chain, words)
    assert tuple(decode(b"".join(map(encode, made)))) == made
    return words_of(family, chain, made)


@pytest.mark.parametrize(("family", "chain", "words"), RULES)
def test_every_form_of_rule_comes_back_as_it_was(family: str, chain: str, words: str) -> None:
    assert there_and_back(family, chain, words) == words


def check_policy(case: PolicyCase) -> None:
    for host in HOSTS:
        objects = list(compile_slice(COMPILERS, case.view(host), case.mappings()).values())
        for family, chain, words in rules_of(objects):
            assert there_and_back(family, chain, words) == words
        for obj in objects:
            if isinstance(obj, NftChain):
                assert all(attributes_of(held.spec) for held in obj.sets)
            elif isinstance(obj, NftMap):
                assert attributes_of(obj.spec)


@pytest.mark.parametrize("name", sorted(stored_scripts()))
def test_no_rule_of_a_stored_policy_is_left_to_libnftables(name: str) -> None:
    check_policy(stored_scripts()[name].case)


@pytest.mark.slow
@given(policies())
def test_no_rule_of_a_policy_is_left_to_libnftables(policy: Policy) -> None:
    check_policy(PolicyCase(policy=policy, homes=dict(zip((eni.id for eni in policy.interfaces), itertools.cycle(HOSTS)))))


FIELDS = {
    4: ("ip saddr", "ip daddr", "th sport", "th dport", "meta l4proto", "meta mark", "icmp type", "icmp code"),
    6: ("ip6 saddr", "ip6 daddr", "th sport", "th dport", "meta l4proto", "meta mark", "icmpv6 type", "icmpv6 code"),
}
NAME = "egress-001388-0000beef"


@st.composite
def random_rules(draw: st.DrawFn) -> str:
    """A rule of some known parts, in a valid order."""
    version = draw(st.sampled_from((4, 6)))
    words = draw(
        st.sampled_from(("", f"meta nfproto ipv{version} ", f"ip{'' if version == 4 else '6'} saddr != {net(draw, version)} "))
    )
    if draw(st.booleans()):
        words += f"{' . '.join(draw(st.lists(st.sampled_from(FIELDS[version]), min_size=2, max_size=4)))} @{NAME}.x "
    if draw(st.booleans()):
        words += f"meta mark set {draw(st.integers(0, 2**32 - 1)):#x} "
    return words + draw(st.sampled_from(("accept", "drop", "return", "goto a", "jump b-c_d")))


def net(draw: st.DrawFn, version: int) -> str:
    bits = 32 if version == 4 else 128
    length = draw(st.integers(1, bits - 1))
    network = draw(st.integers(1, 2**length - 1)) << (bits - length)
    return f"{format_ip(version, network)}/{length}"


@given(random_rules())
def test_a_rule_of_known_words_comes_back(words: str) -> None:
    """A match that the next field implies has no text of its own, as in nft's listing. Such text is read, but never written."""
    made = expressions_of("inet", NAME, words)
    read = words_of("inet", NAME, made)
    assert expressions_of("inet", NAME, read) == made
    assert words in (read, f"meta nfproto ipv4 {read}", f"meta nfproto ipv6 {read}")


def altered(rule: Rule, seed: int) -> Rule:
    """Return the rule with one byte or one expression changed, or with two expressions swapped."""
    lot = random.Random(seed)
    place = lot.randrange(len(rule))
    before, hit, behind = rule[:place], rule[place], rule[place + 1 :]
    kind = lot.choice(("byte", "remove", "repeat", "swap", "kind"))
    if kind == "byte" and hit.parts:
        which = lot.randrange(len(hit.parts))
        number, value = hit.parts[which]
        changed = bytearray(value)
        if changed:
            changed[lot.randrange(len(changed))] ^= 1 << lot.randrange(8)
        parts = (*hit.parts[:which], (number, bytes(changed)), *hit.parts[which + 1 :])
        return (*before, hit._replace(parts=parts), *behind)
    if kind == "remove":
        return (*before, *behind)
    if kind == "repeat":
        return (*before, hit, hit, *behind)
    if kind == "swap" and behind:
        return (*before, behind[0], hit, *behind[1:])
    return (*before, Expression("counter", ((1, bytes(8)), (2, bytes(8)))), hit, *behind)


@given(st.sampled_from(RULES), st.integers(0, 2**32))
def test_an_altered_rule_is_never_taken_for_the_one_it_was(rule: tuple[str, str, str], seed: int) -> None:
    """It is either not readable, or read as the text of its new meaning, which would produce it."""
    family, chain, words = rule
    made = expressions_of(family, chain, words)
    changed = altered(made, seed)
    if changed == made:
        return
    try:
        read = words_of(family, chain, changed)
    except NotPackable:
        return
    assert read != words
    assert expressions_of(family, chain, read) == changed


@pytest.mark.parametrize(
    "words",
    [
        "ct state established accept",
        "ip daddr != 10.0.0.0/0 accept",
        "th dport 9-8 accept",
        "th dport != 8-9 accept",
        "meta mark 0x1-0x2 accept",
        "ip daddr != 10.0.0.0/32 accept",
        "ip daddr != 10.0.0.1/24 accept",
        "ip daddr fe80::1 accept",
        "ip daddr 10.0.0.1 ip6 daddr fe80::1 accept",
        "arp saddr ip 10.0.0.1 accept",
        "meta l4proto 256 accept",
        "meta l4proto @egress-001388-0000beef.one accept",
        "meta mark set ip daddr vmap @x",
        "th dport == 5 accept",
        "frag frag-off & 3 == 0 accept",
        "ip frag-off & 3 accept",
        "log accept",
        "goto",
        "meta mark set",
        "ip daddr . @x accept",
        "",
    ],
)
def test_other_words_are_left_to_libnftables(words: str) -> None:
    with pytest.raises(NotPackable):
        expressions_of("inet", NAME, words)


@pytest.mark.parametrize(
    "spec",
    [
        "type mark",
        "type inet_proto; flags interval",
        "type ipv4_addr : verdict",
        "typeof iifname : ct zone; size 65535",
        "type ipv4_addr . mark",
        "type ipv4_addr . mark; flags interval,timeout",
        "type ipv4_addr . mark : mark; flags interval",
    ],
)
def test_other_sets_are_left_to_libnftables(spec: str) -> None:
    with pytest.raises(NotPackable):
        attributes_of(spec)


def test_a_rule_is_put_into_expressions_once_for_all_chains_whose_sets_it_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[str] = []

    def noting(family: str, chain: str, rule: str) -> Rule:
        packed.append(rule)
        return expressions_of(family, chain, rule)

    monkeypatch.setattr(encode_module, "expressions_of", noting)
    encode_module._expressions.cache_clear()
    shared = "ip saddr 10.0.0.0/8 th dport 22 meta l4proto 6 goto received"
    for number in range(20):
        name = f"ingress-{number:06x}-0000beef"
        own = f"meta mark . meta l4proto @{name}.peer_net goto received"
        steps = [Step("add", "rule", "inet", name, rule) for rule in (shared, own)]
        messages = encode_module.messages(steps, lambda change: change.spec)
        for message, rule in zip(messages, (shared, own), strict=True):
            assert b"".join(map(encode, expressions_of("inet", name, rule))) in message
    assert packed.count(shared) == 1
    assert len(packed) == 21
