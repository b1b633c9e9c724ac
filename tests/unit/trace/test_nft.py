"""The interpreter of nft rules: the effect of rules and tables on a packet, without guesses about unknown ones."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from netorch.errors import TraceError
from netorch.model.addr import parse_prefix
from netorch.model.packet import Packet, echo
from netorch.model.security import Direction
from netorch.model.services.near import near_addresses
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject, Key
from netorch.state.link import VXLAN_GROUP
from netorch.state.nft import OVER_ALLOWANCE, ChainSet, NftChain, NftElement, NftMap, NftTable
from netorch.trace.hooks.jhash import jhash
from netorch.trace.hooks.nft import HookVerdict, table_of
from netorch.trace.hooks.nft_rules import Verdict, Word, parse_rule
from netorch.trace.hooks.skb import CT_STATES, Skb, arriving, number_of
from netorch.trace.hooks.values import Table, split_element
from policy import nftgen, skeleton
from policy.borders import TRACKED
from tests.unit.policy.small import A6, B6, A, B, tcp, udp

VNI = 5000
PORT_A, PORT_B = "v-0013880000001", "v-0013880000002"


def judged(rule: str, packet: Packet, **sets: list[str]) -> bool:
    """Return whether a rule that ends in `accept` matches a packet."""
    tables = {name: Table(map(split_element, elements)) for name, elements in sets.items()}
    return parse_rule(f"{rule} accept").evaluate(Skb(packet=packet), tables) == Verdict(Word.ACCEPT)


@pytest.mark.parametrize(
    ("rule", "packet", "matches"),
    [
        ("meta l4proto 6", tcp(A, B), True),
        ("meta l4proto tcp", udp(A, B), False),
        ("meta l4proto != udp", tcp(A, B), True),
        ("meta nfproto ipv6", echo(A6, B6), True),
        ("ip saddr 10.0.0.10", tcp(A, B), True),
        ("ip saddr != 10.0.0.0/24", tcp(A, B), False),
        ("ip saddr != 10.0.0.0/24", echo(A6, B6), False),
        ("ip6 daddr 2001:db8::/64", echo(A6, B6), True),
        ("th dport 400-500", tcp(A, B, 443), True),
        ("th dport { 22, 443 }", tcp(A, B, 443), True),
        ("th dport 443", echo(A, B), False),
        ("icmp type echo-request", echo(A, B), True),
        ("icmp type echo-request", echo(A6, B6), False),
        ("icmpv6 type { nd-neighbor-solicit, echo-request }", echo(A6, B6), True),
        ("ct state established,related", tcp(A, B), False),
        ("ct state 0x8", tcp(A, B), True),
        ("ct state & 0x8 != 0x0", tcp(A, B), True),
        ("ct state & 0x8 == 0x0", tcp(A, B), False),
        ("ct state & 0x2 != 0x0", tcp(A, B), False),
        ('meta sdifname "v-*"', tcp(A, B), False),
        ("tcp flags & (syn | rst) == syn", tcp(A, B), True),
        ("tcp flags & (syn | rst) == syn tcp option maxseg size set 1386", tcp(A, B), True),
        ("tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu", udp(A, B), False),
        ("tcp flags & (syn | ack) == ack", tcp(A, B), False),
    ],
)
def test_a_match_compares_a_part_of_the_packet(rule: str, packet: Packet, matches: bool) -> None:
    assert judged(rule, packet) is matches


def test_a_flow_that_is_added_to_a_flowtable_has_no_verdict_from_that() -> None:
    assert parse_rule("meta l4proto 6 flow add @flows-001388").evaluate(Skb(packet=tcp(A, B)), {}) is None


def test_a_hash_of_addresses_is_the_kernels() -> None:
    """The values come from a kernel: tests/integration/edges/nat/test_nat_addresses.py observes the same choice."""
    chosen = [jhash([number_of("10.0.1.5"), number_of(f"203.0.113.{n}")], 2, 1) for n in range(10, 20)]
    assert chosen == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    for place in (0, 1):
        rule = f"jhash ip saddr . ip daddr mod 2 seed 0x1 {place}"
        assert judged(rule, tcp("10.0.1.5", "203.0.113.10")) is (chosen[0] == place)


@pytest.mark.parametrize(("port", "matches"), [(79, False), (80, True), (443, True), (444, False)])
def test_a_concatenation_is_looked_up_in_intervals(port: int, matches: bool) -> None:
    elements = ["6 . 80-443 . 10.0.0.0/24", "17 . 53 . 0.0.0.0/0"]
    assert judged("meta l4proto . th dport . ip daddr @s", tcp(A, B, port), s=elements) is matches


def test_a_part_that_the_packet_does_not_have_is_in_no_set() -> None:
    assert not judged("meta l4proto . th dport . ip daddr @s", echo(A, B), s=["0-255 . 0-65535 . 0.0.0.0/0"])
    assert not judged("icmp type . icmp code . ip daddr @s", tcp(A, B), s=["0-255 . 0-255 . 0.0.0.0/0"])


def test_a_map_sets_the_mark_and_one_without_the_key_ends_the_rule() -> None:
    rule = parse_rule("meta mark set ip daddr map @class")
    known, unknown = Skb(packet=tcp(A, B), mark=1), Skb(packet=tcp(B, A), mark=1)
    sets = {"class": Table([split_element(f"{B} : 0x7")])}
    rule.evaluate(known, sets)
    rule.evaluate(unknown, sets)
    assert (known.mark, unknown.mark) == (7, 1)


def test_a_bit_is_added_to_a_connections_mark() -> None:
    skb = Skb(packet=tcp(A, B), ct_mark=2)
    parse_rule("ct state new ct mark set ct mark | 0x1").evaluate(skb, {})
    assert skb.ct_mark == 3


@pytest.mark.parametrize(
    "rule", ["ip id 1 drop", "meta l4proto 6 reject", "counter packets 0 bytes 0 drop", "fib saddr type local"]
)
def test_a_word_that_is_not_known_is_an_error_that_names_the_rule(rule: str) -> None:
    with pytest.raises(TraceError, match=rule):
        parse_rule(rule)


def test_a_set_that_is_missing_is_an_error() -> None:
    with pytest.raises(TraceError, match="set gone"):
        judged("meta l4proto @gone", tcp(A, B))


# --- whole tables ------------------------------------------------------------------------------------------------------------


def objects(*found: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in (*found, *skeleton.overlay_tables(), skeleton.underlay_table())}


def forward(*found: KernelObject, packet: Packet, **fields: object) -> HookVerdict:
    table = table_of(objects(*found), OVERLAY, "inet")
    assert table is not None
    skb = Skb(packet=packet, mark=0x4E54, iifname="vrf5000", sdifname=PORT_A, oifname=PORT_B)
    for name, value in fields.items():
        setattr(skb, name, value)
    return table.run("forward", skb)


def element(name: str, *items: str, value: str = "") -> NftElement:
    return NftElement(netns=OVERLAY, family="inet", set=name, items=items, vni=VNI, value=value)


EGRESS = NftChain(
    vni=VNI,
    name="egress-001388-00000007",
    rules=(
        *(f"{match} goto deliver" for match in TRACKED[Direction.EGRESS]),
        "meta l4proto . th dport . ip daddr @egress-001388-00000007.port4 goto sent",
        "meta mark set ip daddr map @identity-001388.4",
        "meta mark . meta l4proto . th dport @egress-001388-00000007.peer_port goto sent",
        "goto drop_sg_egress",
    ),
    sets=(
        ChainSet(
            name="egress-001388-00000007.peer_port", spec="type mark . inet_proto . inet_service", elements=("0x9 . 17 . 53",)
        ),
        ChainSet(
            name="egress-001388-00000007.port4",
            spec="type inet_proto . inet_service . ipv4_addr; flags interval",
            elements=("6 . 443 . 10.0.0.0/24",),
        ),
    ),
)
INGRESS = NftChain(
    vni=VNI,
    name="ingress-001388-00000007",
    rules=(
        *(f"{match} accept" for match in TRACKED[Direction.INGRESS]),
        "meta nfproto 2 goto received",
        "goto drop_sg_ingress",
    ),
)
RULES = (
    EGRESS,
    INGRESS,
    NftMap(vni=VNI, name="identity-001388.4", spec="type ipv4_addr : mark"),
    element("identity-001388.4", B, value="0x9"),
    element("egress_policy", PORT_A, value="jump egress-001388-00000007"),
    element("ingress_policy", PORT_B, value="goto ingress-001388-00000007"),
)


@pytest.mark.parametrize("rules", [(), EGRESS.rules[:-1], ("return",), ("meta mark set 0x0",)])
def test_a_senders_chain_that_runs_out_lets_nothing_pass(rules: tuple[str, ...]) -> None:
    """A user may have flushed it; the receiver's chain alone must not accept the packet."""
    free = msgspec.structs.replace(INGRESS, rules=("accept",))
    torn = msgspec.structs.replace(EGRESS, rules=rules)
    assert forward(*RULES[2:], EGRESS, free, packet=tcp(A, B, 443)).accepted
    result = forward(*RULES[2:], torn, free, packet=tcp(A, B, 22))
    assert not result.accepted
    assert result.hits[-1].counter == "no_policy"


@pytest.mark.parametrize(
    ("packet", "counter"), [(tcp(A, B), ""), (udp(A, B), ""), (udp(A, B, 54), "sg_egress"), (tcp(A, B, 80), "sg_egress")]
)
def test_a_chain_of_a_vpc_judges_by_its_own_sets_and_maps(packet: Packet, counter: str) -> None:
    result = forward(*RULES, packet=packet)
    assert (result.accepted, result.counter) == (not counter, counter)


def test_a_tracked_answer_passes_without_being_judged() -> None:
    known = {"ct_state": CT_STATES["established"], "ct_direction": 1, "ct_mark": 2}
    assert forward(*RULES, packet=udp(A, B, 9999), oifname="vx5000", oifgroup=VXLAN_GROUP, **known).accepted
    assert forward(*RULES, packet=udp(A, B, 9999), ct_state=CT_STATES["established"]).counter == "sg_egress"


def test_what_belongs_to_no_connection_is_invalid_where_a_rule_would_permit_it() -> None:
    assert forward(*RULES, packet=tcp(A, B), ct_state=CT_STATES["invalid"]).counter == "invalid"


def test_a_port_without_its_element_neither_sends_nor_receives() -> None:
    without = [obj for obj in RULES if not (isinstance(obj, NftElement) and obj.set == "ingress_policy")]
    assert forward(*without, packet=tcp(A, B)).counter == "no_policy"
    assert forward(packet=tcp(A, B)).counter == "no_policy"


@pytest.mark.parametrize(
    ("device", "mark", "priority", "counter"),
    [
        (PORT_A, 0, 0x14E50, ""),
        (PORT_A, 0, 0, "unchecked"),
        (PORT_B, 0, 0x14E50, "no_zone"),
        ("vx5000", 0, 0x14E54, ""),
        ("vx5001", 0, 0x14E54, "no_zone"),
        ("vx5000", 0, 0, "unproven"),
    ],
)
def test_only_a_checked_packet_of_a_port_or_a_verified_one_has_a_zone(
    device: str, mark: int, priority: int, counter: str
) -> None:
    zones = element("port_zone", PORT_A, value="0x7"), element("zone", "vx5000", value="0x7")
    table = table_of(objects(*zones), OVERLAY, "inet")
    assert table is not None
    skb = Skb(packet=tcp(A, B), mark=mark, priority=priority, iifname=device, ct_state=CT_STATES["invalid"])
    result = table.run("prerouting", skb)
    assert (result.accepted, result.counter) == (not counter, counter)


@pytest.mark.parametrize("length", range(16, 29))
def test_packets_to_each_service_of_a_vpc_are_not_tracked_whatever_its_range(length: int) -> None:
    cidr = str(ip_network(f"10.255.255.240/{length}", strict=False))
    vpc = Vpc(id="vpc-00138800000000001", vni=VNI, owner="acme", name="v", cidrs=(cidr,), ipv6_cidrs=("2001:db8::/56",))
    services = near_addresses(vpc)
    table = table_of(objects(*(nftgen.served(PORT_A, address, VNI) for address in services)), OVERLAY, "inet")
    assert table is not None
    for address in services:
        packet = udp(A6 if ":" in address else A, address, 53)
        skb = Skb(packet=packet, priority=0x14E50, iifname=PORT_A, ct_state=CT_STATES["invalid"])
        assert table.run("prerouting", skb).accepted
        assert not skb.is_tracked


@pytest.mark.parametrize(
    ("state", "mark", "zone", "counter"),
    [
        ("new", 0, 7, "allowance"),
        ("new", 0, 8, ""),
        ("new", 3, 7, ""),  # a stream of unanswered datagrams
        ("established", 3, 7, ""),
        ("established", 0, 7, ""),
        ("invalid", 0, 7, "invalid"),
    ],
)
def test_only_what_begins_a_connection_in_a_zone_over_its_allowance_is_refused(
    state: str, mark: int, zone: int, counter: str
) -> None:
    known = {"ct_state": CT_STATES[state], "ct_mark": mark, "ct_zone": zone}
    result = forward(*RULES, element(OVER_ALLOWANCE, "0x7"), packet=tcp(A, B), **known)
    assert (result.accepted, result.counter) == (not counter, counter)


@pytest.mark.parametrize(("state", "counter"), [("new", "allowance"), ("established", "")])
@pytest.mark.parametrize(("chain", "verdict"), [(EGRESS, "goto freely_sent"), (INGRESS, "goto freely_received")])
def test_what_nobody_tracks_begins_nothing_over_the_allowance_either(
    chain: NftChain, verdict: str, state: str, counter: str
) -> None:
    free = msgspec.structs.replace(chain, rules=(f"meta nfproto ipv4 {verdict}",))
    others = [obj for obj in RULES if obj.key != chain.key]
    passing = {"ct_state": CT_STATES[state], "ct_zone": 7, "ct_mark": 1 if chain is INGRESS else 2}  # the other end tracks it
    result = forward(*others, free, element(OVER_ALLOWANCE, "0x7"), packet=tcp(A, B), **passing)
    assert (result.accepted, result.counter) == (not counter, counter)


def test_an_echo_to_the_router_takes_room_too() -> None:
    table = table_of(objects(element(OVER_ALLOWANCE, "0x7")), OVERLAY, "inet")
    assert table is not None
    asked = [table.run("input", Skb(packet=echo(A, B), mark=0x4E54, iifname="vrf5000", ct_zone=zone)) for zone in (7, 8)]
    assert [(result.accepted, result.counter) for result in asked] == [(False, "allowance"), (True, "")]


def test_the_underlay_reads_the_inner_source_from_raw_bytes() -> None:
    peer, vtep = nftgen.sender("senders", "192.0.2.11", VNI, A), "192.0.2.12"
    peer6 = nftgen.sender("senders", "192.0.2.11", VNI, A6)
    table = table_of(objects(peer, peer6, nftgen.member("192.0.2.11", VNI)), UNDERLAY, "ip")
    assert table is not None
    ends = ("192.0.2.11", vtep, VNI)
    assert table.run("input", arriving(echo(A, B), *ends)).accepted
    assert table.run("input", arriving(echo(A6, B6), *ends)).accepted
    assert table.run("input", arriving(echo(B, A), *ends)).counter == "unverified"
    assert table.run("input", arriving(echo(A, B), "192.0.2.66", vtep, VNI)).counter == "unknown_vtep"
    assert table.run("input", arriving(echo(A, B), "192.0.2.11", vtep, VNI + 1)).counter == "unknown_vtep"


@pytest.mark.parametrize(
    ("source", "destination", "counter"),
    [("8.8.8.8", B, ""), (A, B, "unverified"), ("2001:db8:99::8", B6, ""), (A6, B6, "unverified")],
)
def test_an_edge_speaks_for_the_outside_only(source: str, destination: str, counter: str) -> None:
    chain = nftgen.outside_chain(VNI, map(parse_prefix, ("10.0.0.0/16", "2001:db8::/56")))
    table = table_of(objects(chain, nftgen.speaker("192.0.2.21", VNI, chain.name)), UNDERLAY, "ip")
    assert table is not None
    found = table.run("input", arriving(echo(source, destination), "192.0.2.21", "192.0.2.12", VNI))
    assert (found.accepted, found.counter) == (not counter, counter)


def test_a_table_that_somebody_altered_is_not_followed() -> None:
    altered = NftTable(netns=OVERLAY, family="inet", body="")
    with pytest.raises(TraceError, match="altered"):
        table_of({altered.key: altered}, OVERLAY, "inet")


def test_a_chain_that_leads_round_in_circles_is_an_error() -> None:
    loop = NftChain(vni=VNI, name="egress-001388-00000007", rules=("goto egress-001388-00000007",))
    with pytest.raises(TraceError, match="contains a loop"):
        forward(loop, element("egress_policy", PORT_A, value="jump egress-001388-00000007"), packet=tcp(A, B))
