"""Who agrees to offload connections, and what a change of that does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

import msgspec
import pytest
from msgspec.structs import replace

from netorch.compiler.base import HostView, LocalEni, LocalTable, Middlebox, Phase, VpcPart, VpcView
from netorch.compiler.registry import Objects, compile_vpc_part, parts_of
from netorch.drivers.nft.wire.rules import expressions_of, words_of
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.security import ALL_PROTOCOLS, TCP, UDP, AclEntry, NetworkAcl, SecurityGroup, SecurityGroupRule
from netorch.model.vpc import Subnet, Vpc
from netorch.plan.diff import diff
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain, NftElement
from netorch.state.op import Create, Delete
from netorch.trace.hooks.nft_rules import parse_rule
from netorch.trace.hooks.skb import Skb
from policy.chains import Chains
from policy.offload import ASSURED, MOST_PORTS, OFFLOADABLE
from policy.skeleton import AGREED, ANSWERABLE, SLOW
from tests.unit.policy.paths import Way, ways_to_add
from tests.unit.policy.small import A, B, tcp
from tests.views import MAIN, make_view, vpc_objects

VNI = 5000
OPEN = tuple(
    AclEntry(number=number, allow=True, protocol=ALL_PROTOCOLS, cidr=cidr) for number, cidr in ((100, "0.0.0.0/0"), (101, "::/0"))
)
DEFAULT = NetworkAcl(id="acl-00138800000000001", vni=VNI, name="default", ingress=OPEN, egress=OPEN)
STRICT = NetworkAcl(id="acl-00138800000000002", vni=VNI, name="strict", ingress=OPEN, egress=OPEN[:1])
WEB = NetworkAcl(
    id="acl-00138800000000003",
    vni=VNI,
    name="web",
    ingress=(AclEntry(number=100, allow=True, protocol=TCP, from_port=443, to_port=443, cidr="0.0.0.0/0"),),
    egress=(AclEntry(number=100, allow=True, protocol=TCP, from_port=1024, to_port=65535, cidr="0.0.0.0/0"),),
)
GROUP = SecurityGroup(id="sg-00138800000000001", vni=VNI, name="all")
FREE = replace(
    GROUP,
    ingress=(SecurityGroupRule(id="sgr-1", protocol=TCP, from_port=443, to_port=443, cidr="0.0.0.0/0"),),
    egress=(SecurityGroupRule(id="sgr-2", protocol=ALL_PROTOCOLS, cidr="0.0.0.0/0"),),
)
NONE = replace(GROUP, id="sg-00138800000000002", name="none")
APART = LocalTable(id="rtb-00138800000000009", number=9)
BOTH = (MAIN, APART)


def subnet(number: int, acl: str = "", table: str = "") -> Subnet:
    name = f"subnet-0013880000000000{number}"
    return Subnet(id=name, vni=VNI, name=f"s{number}", cidr=f"10.0.{number}.0/24", acl=acl, route_table=table)


def local(number: int, of: Subnet, *, check: bool = True, phase: Phase = Phase.ACTIVE) -> LocalEni:
    eni = NetworkInterface(
        id=f"eni-001388{number:07x}0001",
        vni=VNI,
        subnet=of.id,
        mac=f"06:00:00:00:00:{number:02x}",
        address=f"10.0.{of.cidr.split('.')[2]}.{number}",
        groups=(GROUP.id,),
        source_dest_check=check,
    )
    return LocalEni(eni=eni, subnet=of, instance=Instance(id=f"i-001388{number:07x}0001", vni=VNI, name="i"), phase=phase)


def view(
    *items: LocalEni,
    mtu: int = 1550,
    tables: Sequence[LocalTable] = (MAIN,),
    default: NetworkAcl = DEFAULT,
    group: SecurityGroup = GROUP,
    groups: Sequence[SecurityGroup] = (),
    middleboxes: Sequence[Middlebox] = (),
) -> VpcView:
    host = HostView(host=Host(name="hv1", underlay="192.0.2.11"), underlay_ifname="eth0", underlay_mtu=mtu)
    vpc = Vpc(id="vpc-00138800000000001", vni=VNI, owner="acme", name="v", cidrs=("10.0.0.0/16",))
    subnets = {item.subnet.id: item.subnet for item in items}.values()
    acls = (default, STRICT, WEB)
    return make_view(
        host, vpc, subnets=subnets, local=items, acls=acls, groups=groups or (group,), tables=tables, middleboxes=middleboxes
    )


def compiled(seen: VpcView) -> Objects:
    return vpc_objects([Chains()], seen)


def chains(found: Objects, start: str) -> dict[str, tuple[str, ...]]:
    """Return the rules of the chains whose names start so."""
    return {obj.name: obj.rules for obj in found.values() if isinstance(obj, NftChain) and obj.name.startswith(start)}


def agreeing(found: Objects) -> list[str]:
    """Return the devices in the flowtable; only its chains may add flows, and only to it."""
    devices = sorted(obj.ifname for obj in found.values() if isinstance(obj, FlowtableDevice))
    names = [obj.name for obj in found.values() if isinstance(obj, Flowtable)]
    assert len(names) == bool(devices)
    adding = {
        name: {rule.rpartition("flow add @")[2] for rule in rules if "flow add" in rule}
        for name, rules in chains(found, "").items()
    }
    wanted = {chain: {name} for chain in FLOW_CHAINS for name in names}
    assert {name: added for name, added in adding.items() if added} == wanted
    return devices


def borders(found: Objects) -> dict[str, bool]:
    """Return whether connections may be offloaded, by the number of a border's subnet and its end."""
    agreed = {}
    for name, rules in chains(found, "border-").items():
        _, _, subnet_id, _, end = name.split("-")
        offloads = any(re.search(r"jump (flow|answers)-001388-known-", rule) for rule in rules)
        refuses = rules[-1].startswith("meta mark set 0x0 goto " if end == "ingress" else f"meta mark set {SLOW} goto ")
        assert offloads is not refuses
        agreed[f"{subnet_id[-1]}-{end}"] = offloads
    return agreed


ENDS = ("egress", "ingress")
FLOW_CHAINS = {f"flow-001388-{kind}-{end}" for kind in ("known", "free") for end in ENDS}


def test_in_another_vrf_than_the_first_only_what_leaves_the_host_is_offloaded() -> None:
    open_, strict, apart = subnet(1), subnet(2, acl=STRICT.id), subnet(3, table=APART.id)
    found = compiled(view(local(4, open_), local(5, strict), local(6, apart), tables=BOTH))
    assert agreeing(found) == ["v-0013880000004", "v-0013880000005", "v-0013880000006", "vx5000"]
    assert borders(found) == {f"{number}-{end}": number < 3 or end == "egress" for number in (1, 2, 3) for end in ENDS}


@pytest.mark.parametrize("protocol", range(256))
def test_only_a_packet_of_tcp_or_udp_adds_its_connection(protocol: int) -> None:
    """An ICMP error belongs to the connection that it quotes, and Linux would add that, past an ACL that denies it."""
    found = compiled(view(local(4, subnet(1)), local(5, subnet(2, acl=WEB.id))))
    adding = [rule for rules in chains(found, "").values() for rule in rules if "flow add" in rule]
    assert adding
    assert all(OFFLOADABLE in rule for rule in adding)
    skb = Skb(packet=msgspec.structs.replace(tcp(A, B), protocol=protocol))
    passes = parse_rule(f"{OFFLOADABLE} accept").evaluate(skb, {}) is not None
    assert passes == (protocol in (TCP, UDP)) or protocol in range(TCP + 1, UDP)  # Linux gives those in between no ports


def test_behind_an_acl_the_packet_is_looked_up_as_its_answer_before_its_connection_is_offloaded() -> None:
    found = compiled(view(local(5, subnet(2, acl=WEB.id))))
    sender, _ = (rules for _, rules in sorted(chains(found, "border-").items()))
    jumps = [rule.rpartition(" jump ")[2] for rule in sender if " jump " in rule]
    assert jumps[:3] == ["acl-001388-00000000003-egress", "answers-001388-00000000002-egress", "answers-001388-known-egress"]
    assert sender[1] == f"{ASSURED} jump answers-001388-00000000002-egress"
    for rule in sender:
        assert words_of("inet", "border", expressions_of("inet", "border", rule)) == rule
    assert chains(found, "answers-") == {
        "answers-001388-00000000002-egress": (
            f"ip daddr 10.0.2.0/24 meta mark set {ANSWERABLE} return",
            f"ip daddr 0.0.0.0/0 th sport 443 meta l4proto 6 meta mark set {ANSWERABLE} return",
            "return",
        ),
        "answers-001388-00000000002-ingress": (
            "ip saddr 10.0.2.0/24 return",
            "meta mark set 0x0",
            f"ip saddr 0.0.0.0/0 th sport 1024-65535 meta l4proto 6 meta mark set {AGREED} return",
            "return",
        ),
        "answers-001388-known-egress": (
            f"meta mark {ANSWERABLE} meta mark set 0x0 goto flow-001388-known-egress",
            "goto known_egress",
        ),
    }


@pytest.mark.parametrize("group", [GROUP, FREE], ids=["tracked", "free"])
def test_no_packet_across_a_border_adds_a_flow_unless_the_acls_allow_its_answer(group: SecurityGroup) -> None:
    """Whatever each reading of the connection's state says: another processor changes it between two rules."""
    open_, web = subnet(1), subnet(2, acl=WEB.id)
    for items in ([local(5, web)], [local(4, open_), local(5, web)]):
        found = chains(compiled(view(*items, group=group)), "")
        ways = ways_to_add(found)
        assert {(way.sender, way.receiver) for way in ways} == {
            (sender.subnet.id[-11:], receiver) for sender in items for receiver in ("", *(to.subnet.id[-11:] for to in items))
        }
        for way in ways:
            assert needed(way, web) <= way.agreed


def needed(way: Way, web: Subnet) -> frozenset[str]:
    """Return the look-ups that a packet needs between these ends: the subnet with the ACL that does not allow everything."""
    ends = (("egress", way.sender), ("ingress", way.receiver))
    return frozenset(f"answers-001388-{end}-{side}" for side, end in ends if end == web.id[-11:])


def test_what_rules_lead_to_is_made_before_them() -> None:
    made: set[str] = set()
    for op in diff(compiled(view(local(4, subnet(1)), local(5, subnet(2, acl=WEB.id)), group=FREE)), {}):
        if isinstance(op.obj, Flowtable):
            made.add(f"@{op.obj.name}")
        if isinstance(op.obj, NftChain):
            words = re.findall(rf"(?:goto|jump) (\S+-{VNI:06x}-\S+)|(@flows-\S+)", " ".join(op.obj.rules))
            assert {word for pair in words for word in pair if word} <= made
            made.add(op.obj.name)


def test_who_sends_in_others_names_offloads_nothing_that_it_sends() -> None:
    found = compiled(view(local(4, subnet(1), check=False)))
    assert borders(found) == {"1-forwarder": False, "1-ingress": True}


def test_on_its_way_to_an_appliance_a_packet_within_the_vpc_offloads_nothing() -> None:
    item = local(4, subnet(1))
    found = chains(compiled(view(item, middleboxes=[Middlebox(eni=item.eni)])), "flow-")
    match = "ip daddr 10.0.0.0/16 rt ip nexthop 240.0.0.0-255.255.255.255"
    assert found["flow-001388-known-egress"][1] == f"{match} goto agreed"
    assert found["flow-001388-free-egress"][1] == f"ct status & 0x4 != 0x0 {match} goto agreed"
    assert [name for name, rules in found.items() if any("nexthop" in rule for rule in rules)] == [
        "flow-001388-known-egress",
        "flow-001388-free-egress",
    ]


def test_an_incoming_interface_has_no_device_yet() -> None:
    assert agreeing(compiled(view(local(4, subnet(1), phase=Phase.INCOMING)))) == ["vx5000"]


@pytest.mark.parametrize("count", [MOST_PORTS, MOST_PORTS + 1])
def test_a_vpc_with_more_ports_than_linux_shows_of_a_flowtable_is_not_offloaded(count: int) -> None:
    """Not even in part: Linux would not show the flowtables after it either."""
    here = subnet(1)
    items = [local(number, here) for number in range(count)]
    found = compiled(view(*items))
    assert len(agreeing(found)) == (count + 1 if count <= MOST_PORTS else 0)
    assert set(chains(found, "flow-")) == FLOW_CHAINS
    if count > MOST_PORTS:
        ops = diff(found, compiled(view(*items[1:])))
        assert {type(op.obj) for op in ops[:count]} == {FlowtableDevice}
        assert all(isinstance(op, Delete) for op in ops[:count])


@pytest.mark.parametrize("part", ["chains", "chains.rules", "chains.borders", "chains.forwarders", "chains.offload"])
def test_a_vpc_of_which_a_part_does_not_compile_is_not_offloaded(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last rules stay in force, for which no flowtable's name stands. Nor if it fails itself."""
    seen = view(local(4, subnet(1)))
    parts = parts_of([Chains()], VpcPart)
    (offloads,) = (each for each in parts if each.id == "chains.offload")
    assert parts[-1] is offloads
    assert all(each.inputs <= offloads.inputs for each in parts)
    if part == offloads.id:
        monkeypatch.setattr("policy.offload.untracked", fails)
        with pytest.raises(ZeroDivisionError):
            compile_vpc_part(offloads, seen)
        assert offloads.otherwise is not None
        offloads = replace(offloads, compile=offloads.otherwise)
    else:
        seen = replace(seen, failed=frozenset({part}))
    found = compile_vpc_part(offloads, seen)
    assert agreeing(found) == []
    assert set(chains(found, "flow-")) == FLOW_CHAINS


def fails(*_: object) -> NoReturn:
    """Fail as no compiler should."""
    raise ZeroDivisionError


@pytest.mark.parametrize("change", ["acl", "mtu", "entries", "range", "untracked", "vrf", "last"])
def test_what_an_agreement_rests_on_changes_the_flowtable_and_devices_leave_the_old_one_first(change: str) -> None:
    open_, other = subnet(1), subnet(2)
    before = compiled(view(local(4, open_), local(5, other)))
    strict = replace(other, acl=STRICT.id)
    after = {
        "acl": compiled(view(local(4, open_), local(5, strict))),
        "mtu": compiled(view(local(4, open_), local(5, other), mtu=1500)),
        "entries": compiled(view(local(4, open_), local(5, other), default=replace(DEFAULT, ingress=OPEN[1:]))),
        "range": compiled(view(local(4, open_), local(5, replace(other, ipv6_cidr="2001:db8:0:2::/64")))),
        "untracked": compiled(view(local(4, open_), local(5, other), group=FREE)),
        "vrf": compiled(view(local(4, open_), local(5, replace(other, route_table=APART.id)), tables=BOTH)),
        "last": compiled(view()),
    }[change]
    names = [{obj.name for obj in found.values() if isinstance(obj, Flowtable)} for found in (before, after)]
    assert not names[0] & names[1]
    ops = diff(after, before)
    devices = [obj for obj in before.values() if isinstance(obj, FlowtableDevice)]
    assert {op.obj.key for op in ops[:3]} == {obj.key for obj in devices}
    assert all(isinstance(op, Delete) for op in ops[:3])
    assert len(agreeing(after)) == (0 if change == "last" else 3)


def test_members_and_permissions_that_are_tracked_do_not_change_the_flowtable() -> None:
    first, second = local(4, subnet(1)), local(5, subnet(1))
    tracked = replace(FREE, egress=())
    before, after = compiled(view(first)), compiled(view(first, second, group=tracked))
    kept = [obj for obj in before.values() if isinstance(obj, Flowtable | FlowtableDevice)]
    assert all(after[obj.key] == obj for obj in kept)


def test_one_more_port_with_the_same_untracked_permissions_empties_nothing_and_other_groups_of_a_port_do() -> None:
    first, second = local(4, subnet(1)), local(5, subnet(1))
    before, after = compiled(view(first, group=FREE)), compiled(view(first, second, group=FREE))
    (flowtable,) = (obj for obj in before.values() if isinstance(obj, Flowtable))
    for ops in (diff(after, before), diff(before, after)):
        assert flowtable not in [op.obj for op in ops]
    other = replace(second, eni=replace(second.eni, groups=(NONE.id,)))
    third = replace(second, eni=replace(second.eni, id="eni-00138800000060001", address="10.0.1.6", groups=(NONE.id,)))
    here, there = (compiled(view(first, item, third, groups=(FREE, NONE))) for item in (second, other))
    assert flowtable.key in here.keys() & there.keys()
    for ops in (diff(there, here), diff(here, there)):
        assert [type(op) for op in ops if op.obj == flowtable] == [Delete, Create]
        leaving = [place for place, op in enumerate(ops) if isinstance(op, Delete) and isinstance(op.obj, FlowtableDevice)]
        assert len(leaving) == 4
        assert max(leaving) < min(place for place, op in enumerate(ops) if isinstance(op.obj, NftElement))
