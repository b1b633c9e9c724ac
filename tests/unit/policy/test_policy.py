"""The elements of a mapping and an interface, on each host that compiles them."""

from __future__ import annotations

import re

import pytest

from netorch.compiler.base import HostView, LocalEni, Phase, VpcView
from netorch.compiler.registry import compile_host
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.names import vni_of_element
from netorch.state.nft import NftElement, PortChain
from policy import nftgen, skeleton, underlay
from policy.antispoof import AntiSpoof
from policy.tables import ports
from policy.verify import Verify
from tests.views import make_view, mapping_objects, vpc_objects

VNI = 5000
VTEPS = {"a": "192.0.2.11", "b": "192.0.2.12", "c": "192.0.2.13"}
ADDRESS, ADDRESS6 = "10.0.0.5", "2001:db8::5"
TO_B = Move(direction=MoveDirection.TO, host="b", vtep=VTEPS["b"])
FROM_A = Move(direction=MoveDirection.FROM, host="a", vtep=VTEPS["a"])
ENI = NetworkInterface(
    id="eni-00138800000000001",
    vni=VNI,
    subnet="subnet-00138800000000001",
    mac="06:00:00:00:00:01",
    address=ADDRESS,
    ipv6_address=ADDRESS6,
)
PORT = "v-0013880000000"


def view(host: str, *, ipv6: bool = True, local: tuple[LocalEni, ...] = ()) -> VpcView:
    return make_view(
        HostView(host=Host(name=host, underlay=VTEPS[host]), underlay_ifname="eth0", underlay_mtu=1550),
        Vpc(
            id="vpc-00138800000000001",
            vni=VNI,
            owner="acme",
            name="v",
            cidrs=("10.0.0.0/16",),
            ipv6_cidrs=("2001:db8::/56",) if ipv6 else (),
        ),
        local=local,
    )


def local(phase: Phase) -> LocalEni:
    return LocalEni(
        eni=ENI,
        subnet=Subnet(id=ENI.subnet, vni=VNI, name="s", cidr="10.0.0.0/24"),
        instance=Instance(id="i-00138800000000001", vni=VNI, name="i"),
        phase=phase,
    )


def chains(seen: VpcView) -> list[KernelObject]:
    return [obj for obj in vpc_objects([AntiSpoof()], seen).values() if isinstance(obj, PortChain)]


def rights(host: str, mapping: Mapping) -> set[tuple[str, str]]:
    """Return (set, first item) of each element, without the set `members`, which only separates members from other senders."""
    elements = [obj for obj in mapping_objects([Verify()], view(host), mapping).values() if isinstance(obj, NftElement)]
    assert all(obj.vni == VNI for obj in elements)
    return {(obj.set, obj.items[0]) for obj in elements if obj.set != "members"}


def mapping(host: str, move: Move | None = None, address: str = ADDRESS) -> Mapping:
    return Mapping(vni=VNI, address=address, eni=ENI.id, mac=ENI.mac, host=host, vtep=VTEPS[host], move=move)


RIGHTS = {
    "settled": (
        mapping("a"),
        {"a": set(), "b": {("senders4", VTEPS["a"])}, "c": {("senders4", VTEPS["a"])}},
    ),
    "moving": (
        mapping("a", TO_B),
        {
            "a": {("senders4", VTEPS["b"]), ("transit4", "vx5000")},
            "b": {("senders4", VTEPS["a"]), ("relay4", VTEPS["a"])},
            "c": {("senders4", VTEPS["a"]), ("senders4", VTEPS["b"])},
        },
    ),
    "moved": (
        mapping("b", FROM_A),
        {
            "a": {("senders4", VTEPS["b"]), ("transit4", "vx5000")},
            "b": {("relay4", VTEPS["a"])},
            "c": {("senders4", VTEPS["b"])},
        },
    ),
    "settled again": (
        mapping("b"),
        {"a": {("senders4", VTEPS["b"])}, "b": set(), "c": {("senders4", VTEPS["b"])}},
    ),
}


@pytest.mark.parametrize("stage", RIGHTS)
@pytest.mark.parametrize("host", sorted(VTEPS))
def test_who_may_send_from_a_moving_address(stage: str, host: str) -> None:
    record, wanted = RIGHTS[stage]
    assert rights(host, record) == wanted[host]


@pytest.mark.parametrize("stage", RIGHTS)
def test_ipv6_has_the_same_rights_in_sets_of_its_own(stage: str) -> None:
    record, wanted = RIGHTS[stage]
    ipv6 = mapping(record.host, record.move, ADDRESS6)
    for host in VTEPS:
        assert rights(host, ipv6) == {(name.replace("4", "6"), first) for name, first in wanted[host]}


@pytest.mark.parametrize("stage", RIGHTS)
@pytest.mark.parametrize("host", sorted(VTEPS))
def test_whoever_has_a_right_is_a_member(stage: str, host: str) -> None:
    elements = [obj for obj in mapping_objects([Verify()], view(host), RIGHTS[stage][0]).values() if isinstance(obj, NftElement)]
    senders = {obj.items[0] for obj in elements if obj.set in ("senders4", "relay4")}
    assert {obj.items[0] for obj in elements if obj.set == "members"} == senders
    assert VTEPS[host] not in senders


def test_a_peer_is_outer_source_and_whole_vxlan_header_and_inner_source() -> None:
    element = next(obj for obj in mapping_objects([Verify()], view("b"), mapping("a")).values() if isinstance(obj, NftElement))
    assert element.items == ("192.0.2.11", "0x8000000", "0x138800", "0xa000005")
    assert element.netns == UNDERLAY


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.INCOMING])
def test_a_port_may_send_from_its_own_addresses(phase: Phase) -> None:
    (chain,) = chains(view("a", local=(local(phase),)))
    mac = f"0x{ENI.mac.replace(':', '').lstrip('0')}"
    assert chain == PortChain(
        vni=VNI,
        ifname=PORT,
        rules=(
            f"@nh,96,32 {nftgen.raw(ADDRESS)} @ll,48,64 {mac}0800 @nh,72,8 != 0x1 meta priority set 1:4e50 accept",
            f"@nh,64,128 {nftgen.raw(ADDRESS6)} @ll,48,64 {mac}86dd meta l4proto != 58 meta priority set 1:4e50 accept",
            f"ether saddr != {ENI.mac} goto drop_spoofed",
            f"ip saddr {ADDRESS} ip frag-off & 8191 != 0 meta priority set 1:4e50 accept",
            "jump whole_headers",
            f"ip6 saddr {ADDRESS6} frag frag-off != 0 meta priority set 1:4e50 accept",
            "ip6 saddr fe80::400:ff:fe00:1 frag frag-off != 0 meta priority set 1:4e50 accept",
            "frag frag-off != 0 goto nameless",
            "icmp type 5 goto drop_spoofed",
            f"icmp type @icmp_errors ip saddr {ADDRESS} ip frag-off & 16383 == 0 @th,192,32 0xa000005"
            " meta priority set 1:4e50 accept",
            "icmp type @icmp_errors goto drop_spoofed",
            f"icmpv6 type @icmpv6_errors ip6 saddr {ADDRESS6} exthdr frag 0"
            " @th,256,128 0x20010db8000000000000000000000005 meta priority set 1:4e50 accept",
            "icmpv6 type @icmpv6_errors goto drop_spoofed",
            f"ip saddr {ADDRESS} meta priority set 1:4e50 accept",
            f"ip6 saddr {ADDRESS6} meta priority set 1:4e50 accept",
            "ip6 saddr fe80::400:ff:fe00:1 meta priority set 1:4e50 accept",
            "ip6 saddr :: meta priority set 1:4e50 accept",
            f"arp saddr ether {ENI.mac} arp saddr ip {ADDRESS} accept",
            "goto nameless",
        ),
    )


def test_an_interface_that_is_still_elsewhere_has_no_chain() -> None:
    assert chains(view("a", local=(local(Phase.INCOMING),))) == []


def test_without_ipv6_in_the_vpc_a_port_may_not_send_ipv6() -> None:
    (chain,) = chains(view("a", ipv6=False, local=(local(Phase.ACTIVE),)))
    assert isinstance(chain, PortChain)
    assert [rule for rule in chain.rules if "ip6" in rule] == []


@pytest.mark.parametrize("host", sorted(VTEPS))
def test_the_vni_can_be_read_from_every_element(host: str) -> None:
    objects = [obj for record, _ in RIGHTS.values() for obj in mapping_objects([Verify()], view(host), record).values()]
    assert {vni_of_element(obj.set, obj.items) for obj in objects if isinstance(obj, NftElement)} == {VNI}


def test_every_set_of_the_elements_is_in_its_table() -> None:
    host = view("a").host
    tables = {(table.netns, table.family): table.body for table in (skeleton.underlay_table(), *skeleton.overlay_tables())}
    assert set(compile_host([Verify(), AntiSpoof()], host)) == {("nft-table", netns, family) for netns, family in tables}
    places = [(record, view(name)) for record, _ in RIGHTS.values() for name in VTEPS]
    objects = [obj for record, seen in places for obj in mapping_objects([Verify()], seen, record).values()]
    for obj in objects:
        assert isinstance(obj, NftElement)
        assert f"set {obj.set} {{" in tables[obj.netns, obj.family]


TABLES = {"underlay": underlay.UNDERLAY_IP, "netdev": ports.OVERLAY_NETDEV, "inet": skeleton.OVERLAY_INET}


def chains_of(table: str) -> dict[str, list[str]]:
    """Return the rules of each chain of a skeleton."""
    found = re.findall(r"^chain (\w+) \{\n(.*?)\n\}", table, re.DOTALL | re.MULTILINE)
    return {name: [line.strip() for line in body.splitlines()] for name, body in found}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_chain_that_is_entered_for_good_ends_in_a_verdict(table: str) -> None:
    """A chain that runs out returns to its base chain, whose policy may be accept; `deliver` does so on purpose by a mark."""
    chains = chains_of(TABLES[table])
    for name in re.findall(r"goto (\w+)", TABLES[table]):
        if name != "deliver":
            assert re.fullmatch(r'(counter name "\w+" )*drop|goto \w+|accept', chains[name][-1])


def test_no_path_leads_from_a_senders_chain_to_a_receivers() -> None:
    """The kernel follows all paths when an element with a verdict is added, so such a path would cost O(ports squared)."""
    chains = chains_of(skeleton.OVERLAY_INET)
    seen, ahead = set(), ["sent", "freely_sent", "known_egress", "agreed", "drop_sg_egress", "drop_acl_egress"]
    while ahead:
        name = ahead.pop()
        seen.add(name)
        ahead += [found for rule in chains[name] for found in re.findall(r"(?:goto|jump) (\w+)", rule) if found not in seen]
    assert "deliver" in seen
    assert not any("vmap" in rule for name in seen for rule in chains[name])


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_refusal_is_told_to_both_listeners_under_the_name_of_its_counter(table: str) -> None:
    rules = [
        rule
        for rules in chains_of(TABLES[table]).values()
        for rule in rules
        if "log prefix" in rule and "@suppressed" not in rule
    ]
    told = [set(re.findall(r'(?:prefix|counter name) "(\w+)"', rule)) for rule in rules]
    assert all(len(names) == 1 and rule.endswith(" drop") for names, rule in zip(told, rules, strict=True))
    counters = set(re.findall(r"^counter (\w+) \{", TABLES[table], re.MULTILINE))
    assert set().union(*told) == counters - {"no_zone", "to_router", "to_near", "near_allowance", "suppressed"}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_flood_of_refusals_is_told_at_a_bounded_rate(table: str) -> None:
    telling = [rule for rules in chains_of(TABLES[table]).values() for rule in rules if "log prefix" in rule]
    assert telling
    limits = (
        "limit rate 2000/second burst 500 packets log ",
        "update @logged { iif limit rate 400/second burst 400 packets } log ",
        "update @suppressed { iif limit rate 1/second burst 1 packets } log ",
    )
    assert all(rule.startswith(limits) for rule in telling)


def test_no_rate_is_one_for_all_vpcs() -> None:
    rules = [rule for rules in chains_of(skeleton.OVERLAY_INET).values() for rule in rules if "limit rate" in rule]
    assert rules
    assert all(re.match(r"update @\w+ \{ (iif|meta sdif) limit rate ", rule) for rule in rules)


@pytest.mark.parametrize("table", [underlay.UNDERLAY_IP, ports.OVERLAY_NETDEV])
def test_connections_are_tracked_in_the_overlay_only(table: str) -> None:
    assert re.search(r"\bct\b|notrack|\bnat\b|masquerade", table) is None
