"""Flowtables and their devices: as messages, as text, and in plans."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from netorch.drivers.netlink import HEADER, attr, attr_text, attrs, each_attr, nested
from netorch.drivers.nft.commands import Step, as_text, is_deletable, is_words, steps
from netorch.drivers.nft.listing import Block, digest, objects_of
from netorch.drivers.nft.transactions import transactions
from netorch.drivers.nft.wire import messages as wire
from netorch.drivers.nft.wire.decode import chain, rule
from netorch.drivers.nft.wire.encode import messages
from netorch.drivers.nft.wire.flowtables import flowtable
from netorch.drivers.nft.wire.rules import expressions_of, words_of
from netorch.plan.diff import diff
from netorch.plan.explain import explain
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.link import AdminUp, Vxlan
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain, NftTable, PortChain
from netorch.state.op import Create, Delete, Op, Replace
from policy.tables.offload import PORT_GUARD, VXLAN_GUARD

VNI = 5000
FLOWS = Flowtable(vni=VNI, name="flows-001388")
PORTS = tuple(
    FlowtableDevice(vni=VNI, ifname=f"v-001388{number:07x}", flowtable=FLOWS.name, guard=PORT_GUARD) for number in range(300)
)
TABLE = NftTable(family="inet", body="chain sent {\n}\n")
VXLAN = Vxlan(ifname="vx5000", vni=VNI, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1500, vrf="vrf5000")
TUNNEL = FlowtableDevice(vni=VNI, ifname="vx5000", flowtable=FLOWS.name, guard=VXLAN_GUARD)


def packed(*ops: Op) -> list[bytes]:
    return messages(steps(ops), lambda change: change.spec)


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def devices(message: bytes) -> list[bytes]:
    """Return the devices in a message."""
    hook = attrs(attrs(message[HEADER.size :], 4)[3])
    return [name for _, name in each_attr(hook.get(3, b""))]


def shown(*ports: FlowtableDevice, priority: int = -490, flags: int = 2) -> bytes:
    """Return a flowtable as the kernel shows it."""
    names = [attr_text(1, port.ifname) for port in ports]
    hook = nested(3, attr(1, bytes(4)), attr(2, priority.to_bytes(4, "big", signed=True)), nested(3, *names))
    own = attr_text(1, "netorch") + attr_text(2, FLOWS.name) + attr(4, bytes(4)) + attr(5, bytes(8))
    return own + attr(7, flags.to_bytes(4, "big")) + hook


def test_a_flowtable_and_its_devices_are_read_as_they_were_written() -> None:
    (made,) = packed(Create(FLOWS))
    assert list(objects_of(OVERLAY, "inet", [flowtable(attrs(made[HEADER.size :], 4))])) == [FLOWS]
    found = list(objects_of(OVERLAY, "inet", [flowtable(attrs(shown(*PORTS))), *guards()]))
    assert found == [FLOWS, *PORTS]


def guards() -> list[Block]:
    """Return the guards of PORTS, as the kernel shows them."""
    blocks: dict[str, Block] = {}
    for message in packed(*map(Create, PORTS)):
        kind, found = HEADER.unpack_from(message)[1], attrs(message[HEADER.size :], 4)
        if kind == wire.NEW_CHAIN:
            block = chain(found)
            blocks[block.name] = block
        elif kind == wire.NEW_RULE:
            name, line = rule("inet", found, ())
            blocks[name].lines.append(line)
    return list(blocks.values())


def test_a_device_without_its_guard_is_put_in_again_and_an_altered_guard_replaced() -> None:
    missing, altered, another = guards()[:3]
    altered.lines.append("accept")
    another.lines[0] = another.lines[0].replace("-495", "-480")
    held = by_key(FLOWS, *PORTS[:3])
    blocks = [flowtable(attrs(shown(*PORTS[:3]))), altered, another]
    ops = diff(held, by_key(*objects_of(OVERLAY, "inet", blocks)))
    assert [type(op) for op in ops] == [Delete] * 3 + [Create] * 3
    assert all(map(is_deletable, (op.obj for op in ops)))
    gone = [step for step in steps(ops[:3]) if isinstance(step, Step) and (step.verb, step.kind) == ("delete", "chain")]
    assert sorted(step.name for step in gone) == sorted((altered.name, another.name))
    assert missing.name not in {step.name for step in gone}


@pytest.mark.parametrize(("priority", "flags"), [(-500, 2), (-490, 0), (-490, 3)])
def test_another_hook_or_other_flags_make_another_flowtable(priority: int, flags: int) -> None:
    found = [*objects_of(OVERLAY, "inet", [flowtable(attrs(shown(priority=priority, flags=flags)))])]
    assert diff(by_key(FLOWS), by_key(*found)) == [Delete(found[0]), Create(FLOWS)]
    assert is_deletable(found[0])
    assert not is_words(found[0])


def test_a_change_of_devices_sends_only_these_and_one_in_a_message() -> None:
    ops = diff(by_key(FLOWS, *PORTS[2:]), by_key(FLOWS, *PORTS[:298]))
    kinds = (wire.NEW_FLOWTABLE, wire.DELETE_FLOWTABLE)
    sent = [(kind, devices(message)) for message in packed(*ops) if (kind := HEADER.unpack_from(message)[1]) in kinds]
    names = [port.ifname.encode() + b"\0" for port in PORTS]
    assert sorted(sent) == sorted(
        [(wire.NEW_FLOWTABLE, [name]) for name in names[298:]] + [(wire.DELETE_FLOWTABLE, [name]) for name in names[:2]]
    )


def test_the_messages_of_a_device_do_not_make_a_flowtable() -> None:
    made = packed(Create(PORTS[0]))[-1]
    assert set(attrs(attrs(made[HEADER.size :], 4)[3])) == {3}  # no hook: a new flowtable needs one


def test_the_text_is_what_nft_takes() -> None:
    name, hook = "flowtable inet netorch flows-001388", "hook ingress priority -490; counter;"
    guard = "inet netorch guard-001388-vx5000"
    assert as_text(steps([Create(FLOWS), Create(TUNNEL), Delete(TUNNEL), Delete(FLOWS)])).splitlines() == [
        f"add {name} {{ {hook} }}",
        f'add chain {guard} {{ type filter hook ingress device "vx5000" priority -495; policy drop; }}',
        f"flush chain {guard}",
        *(f"add rule {guard} {rule}" for rule in VXLAN_GUARD),
        f"add {name} {{ {hook} devices = {{ vx5000 }}; }}",
        f"delete {name} {{ {hook} devices = {{ vx5000 }}; }}",
        f"flush chain {guard}",
        f"delete chain {guard}",
        f"delete {name}",
    ]


def test_a_device_leaves_its_flowtable_before_it_joins_another() -> None:
    other = msgspec.structs.replace(TUNNEL, flowtable="more-001388")
    ops = diff(by_key(other), by_key(TUNNEL))
    assert ops == [Delete(TUNNEL), Create(other)]
    left, joined = (step.ops for step in transactions(ops))
    hook = "hook ingress priority -490; counter;"
    assert as_text(steps([*left, *joined])).splitlines() == [  # its guard stays
        f"delete flowtable inet netorch flows-001388 {{ {hook} devices = {{ vx5000 }}; }}",
        f"add flowtable inet netorch more-001388 {{ {hook} devices = {{ vx5000 }}; }}",
    ]
    guarded = msgspec.structs.replace(other, guard=PORT_GUARD)
    ops = diff(by_key(guarded), by_key(TUNNEL))
    assert [step.ops for step in transactions(ops)] == [[Delete(TUNNEL)], [Create(guarded)]]


def test_a_device_gets_its_guard_when_its_ports_chain_does_what_the_guard_asks_for() -> None:
    before = PortChain(vni=VNI, ifname=PORTS[0].ifname, rules=("meta mark set 0x4e54 accept",))
    after = msgspec.structs.replace(before, rules=("meta priority set 1:4e50 accept",))
    ops = diff(by_key(FLOWS, PORTS[0], after), by_key(before))
    assert [step.ops for step in transactions(ops)] == [[Create(FLOWS)], [Replace(before, after)], [Create(PORTS[0])]]


def test_a_device_leaves_its_flowtable_before_rules_change() -> None:
    was = NftChain(vni=VNI, name="border-001388-1", rules=("goto a",))
    now = msgspec.structs.replace(was, rules=("goto drop_acl_egress",))
    ops = diff(by_key(now), by_key(TUNNEL, was))
    assert ops == [Delete(TUNNEL), Replace(was, now)]
    assert [step.ops for step in transactions([Replace(was, now), Delete(TUNNEL)])] == [[Delete(TUNNEL)], [Replace(was, now)]]


def test_a_chain_adds_no_flow_until_packets_that_old_rules_judged_have_left() -> None:
    was = NftChain(vni=VNI, name="border-001388-1", rules=("goto a",))
    now = msgspec.structs.replace(was, rules=("goto b",))
    before = NftChain(vni=VNI, name="flow-001388-free-egress", rules=("flow add @flows-001388-1", "goto freely_sent"))
    after = msgspec.structs.replace(before, rules=("flow add @flows-001388-2", "goto freely_sent"))
    between = msgspec.structs.replace(before, rules=("goto freely_sent",))
    found = list(transactions([Replace(was, now), Replace(before, after)]))
    assert [(step.ops, step.waits) for step in found] == [
        ([Replace(was, now), Replace(before, between)], False),
        ([Replace(between, after)], True),
    ]
    assert [step.ops for step in transactions([Replace(between, after)])] == [[Replace(between, after)]]
    assert [step.ops for step in transactions([Replace(before, between)])] == [[Replace(before, between)]]


def test_a_plan_makes_the_flowtable_first_and_adds_devices_last() -> None:
    wanted = by_key(TUNNEL, AdminUp(vni=VNI, ifname="vx5000"), VXLAN, FLOWS, TABLE)
    assert [op.obj.kind for op in diff(wanted, {})] == ["nft-table", "nft-flowtable", "link", "nft-flowtable-device", "up"]
    assert explain(diff(by_key(FLOWS, TUNNEL), {})).splitlines() == [
        "+ nft flowtable inet flows-001388 { hook ingress priority -490; counter }",
        f"+ nft flowtable inet flows-001388 {{ devices = {{ vx5000 }} }} behind {{ {'; '.join(VXLAN_GUARD)} }}",
    ]


def test_devices_are_added_again_after_the_flowtable_or_the_device_was_made_again() -> None:
    wanted = by_key(TABLE, FLOWS, VXLAN, TUNNEL)
    other = msgspec.structs.replace(FLOWS, spec="hook ingress priority -500; counter")
    again = diff(wanted, by_key(TABLE, other, VXLAN, TUNNEL))
    assert again == [Delete(TUNNEL), Delete(other), Create(FLOWS), Create(TUNNEL)]
    assert diff(wanted, by_key(TABLE, VXLAN, TUNNEL)) == [Create(FLOWS), Create(TUNNEL)]
    assert diff(wanted, by_key(TABLE, FLOWS, TUNNEL)) == [Create(VXLAN), Create(TUNNEL)]
    assert diff(wanted, by_key(TABLE, FLOWS, VXLAN)) == [Create(TUNNEL)]


def test_a_flowtable_is_made_before_and_deleted_after_what_refers_to_it() -> None:
    making = [kind for step in transactions([Create(TUNNEL), Create(FLOWS)]) for kind in Counter(op.obj.kind for op in step.ops)]
    assert set(making) == {"nft-flowtable", "nft-flowtable-device"}
    going = diff({}, by_key(FLOWS, TUNNEL))
    assert [op for step in transactions(going) for op in step.ops] == [Delete(TUNNEL), Delete(FLOWS)]


def test_flowtables_of_vpcs_are_no_part_of_the_tables_digest_and_others_are() -> None:
    blocks = [flowtable(attrs(shown(*PORTS[:2]))), *guards()]
    assert digest(OVERLAY, "inet", blocks) == digest(OVERLAY, "inet", [])
    del blocks[1:]
    assert digest("nat-001388-0123456789abcdef0", "ip", blocks) != digest("nat-001388-0123456789abcdef0", "ip", [])
    assert list(objects_of("nat-001388-0123456789abcdef0", "ip", blocks)) == []


def test_a_rule_that_adds_flows_is_read_in_the_words_that_made_it() -> None:
    for words in (
        "flow add @flows-001388",
        "ct status & 0x4 != 0x0 meta l4proto 6 flow add @flows-001388",
        "ip daddr 10.0.0.1 flow add @flows-001388 accept",
        "meta l4proto 17 flow add @flows",
        "oifname vx5000 meta l4proto 6 flow add @flows",
    ):
        assert words_of("inet", "", expressions_of("inet", "", words)) == words
