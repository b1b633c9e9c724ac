"""When a plan empties a flowtable that keeps its name."""

from __future__ import annotations

import pytest
from msgspec import structs

from netorch.drivers.nft.transactions import transactions
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key, link_key
from netorch.state.link import TapPort
from netorch.state.nft import ChainSet, Flowtable, FlowtableDevice, NftChain, NftElement, NftTable
from netorch.state.op import Create, Delete, Op, Replace

VNI, PEER = 5000, 5001
TABLE = NftTable(family="inet", body="chain sent {\n}\n")
FLOWS = Flowtable(vni=VNI, name="flows-001388-1")
PORT = TapPort(vni=VNI, ifname="v-0013880000001", lladdr="02:4e:54:ff:ff:01", mtu=1450, vrf="vrf5000")
DEVICES = [FlowtableDevice(vni=VNI, ifname=name, flowtable=FLOWS.name, guard=("accept",)) for name in (PORT.ifname, "vx5000")]
ADDING = NftChain(vni=VNI, name="flow-001388-known-egress", rules=(f"flow add @{FLOWS.name}", "goto agreed"))
PAUSED = structs.replace(ADDING, rules=("goto agreed",))
OTHER = [
    Flowtable(vni=PEER, name="flows-001389-1"),
    NftChain(vni=PEER, name="flow-001389-known-egress", rules=("flow add @flows-001389-1", "goto agreed")),
]
ACL = NftChain(vni=VNI, name="acl-001388-0000000001-ingress", rules=("goto drop_acl_ingress",))
GROUP = NftChain(
    vni=VNI,
    name="ingress-001388-00000001",
    rules=("ip saddr @ingress-001388-00000001.4 goto received", "goto drop_sg_ingress"),
    sets=(ChainSet(name="ingress-001388-00000001.4", spec="type ipv4_addr", elements=("10.0.0.4",)),),
)
VERDICT = NftElement(vni=VNI, family="inet", set="egress_policy", items=(PORT.ifname,), value="jump border-001388-1-egress")
MEMBER = NftElement(vni=VNI, family="inet", set="identity-001388.4", items=("10.0.0.4",), value="0x1")
ALL = (TABLE, FLOWS, PORT, *DEVICES, ADDING, *OTHER, ACL, GROUP, VERDICT, MEMBER)


def state(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def held(*altered: KernelObject) -> dict[Key, KernelObject]:
    """Return what the kernel holds after another program altered these objects."""
    return state(*ALL) | state(*altered)


def open_to_all(chain: NftChain) -> NftChain:
    return structs.replace(chain, rules=("accept", *chain.rules))


def empties(ops: list[Op]) -> bool:
    """Return whether a plan empties the flowtable, and only that one, before anything else."""
    going = [Replace(ADDING, PAUSED), *(Delete(device) for device in DEVICES), Delete(FLOWS)]
    if Delete(FLOWS) not in ops:
        return False
    assert sorted(ops[:4], key=str) == sorted(going, key=str)
    assert ops.index(Replace(ADDING, PAUSED)) < ops.index(Delete(FLOWS)) == 3
    assert {Create(FLOWS), Replace(PAUSED, ADDING), *map(Create, DEVICES)} < set(ops[4:])
    assert PEER not in {op.obj.vni for op in ops}
    return True


@pytest.mark.parametrize("start", ["acl-", "answers-", "border-"])
def test_a_restored_chain_that_flows_rest_on_empties_the_flowtable_first(start: str) -> None:
    wanted = structs.replace(ACL, name=f"{start}001388-1")
    for was in (open_to_all(wanted), structs.replace(wanted, rules=())):
        ops = diff(state(*ALL, wanted), held(was))
        assert empties(ops)
        assert ops.index(Replace(was, wanted)) > 3


def test_a_restored_chain_that_adds_flows_empties_the_flowtable_even_if_it_was_left_paused() -> None:
    for was in (PAUSED, structs.replace(ADDING, rules=())):
        ops = diff(state(*ALL), held(was))
        assert Delete(FLOWS) in ops
        assert Create(FLOWS) in ops
        assert Replace(was, ADDING) in ops


def test_a_port_that_is_led_to_another_chain_empties_the_flowtable_first() -> None:
    was = structs.replace(VERDICT, value="jump border-001388-2-egress")
    ops = diff(state(*ALL), held(was))
    assert empties(ops)
    assert ops.index(Replace(was, VERDICT)) > 3
    forwarder = structs.replace(VERDICT, value="jump border-001388-1-forwarder")
    assert diff(state(*ALL), held(forwarder)) == [Replace(forwarder, VERDICT)]


def test_a_port_that_was_led_to_no_chain_may_have_had_other_groups_only_in_doubt() -> None:
    without = {key: obj for key, obj in held().items() if obj != VERDICT}
    for wanted in (VERDICT, structs.replace(VERDICT, value="jump border-001388-2-egress")):
        assert diff(state(*ALL, wanted), without) == [Create(wanted)]
        ops = diff(state(*ALL, wanted), without, doubted=[VNI])
        assert empties(ops)
        assert ops.index(Create(wanted)) > 3


def test_a_lost_member_never_empties_it() -> None:
    without = {key: obj for key, obj in held().items() if obj != MEMBER}
    assert diff(state(*ALL), without) == diff(state(*ALL), without, doubted=[VNI]) == [Create(MEMBER)]


@pytest.mark.parametrize("was", [open_to_all(GROUP), structs.replace(MEMBER, value="0x2")], ids=["group", "map"])
def test_other_changes_empty_it_only_in_doubt(was: KernelObject) -> None:
    wanted = state(*ALL)
    assert diff(wanted, held(was)) == diff(wanted, held(was), doubted=[PEER]) == [Replace(was, wanted[was.key])]
    assert empties(diff(wanted, held(was), doubted=[VNI]))
    assert diff(wanted, wanted, doubted=[VNI]) == []


def test_a_lost_chain_counts_only_in_doubt() -> None:
    actual = {key: obj for key, obj in held().items() if obj != ACL}
    assert diff(state(*ALL), actual) == [Create(ACL)]
    assert empties(diff(state(*ALL), actual, doubted=[VNI]))


def test_a_device_that_joins_a_flowtable_empties_it_only_in_doubt() -> None:
    """It may have left because the flowtable was to be emptied, which the kernel then refused."""
    port, vxlan = DEVICES
    actual = {key: obj for key, obj in held().items() if obj != port}
    assert diff(state(*ALL), actual) == [Create(port)]
    ops = diff(state(*ALL), actual, doubted=[VNI])
    assert ops.index(Delete(vxlan)) < ops.index(Delete(FLOWS)) < ops.index(Create(FLOWS)) < ops.index(Create(port))
    assert Create(vxlan) in ops


def test_another_flowtable_is_empty_anyway() -> None:
    other = structs.replace(FLOWS, name="flows-001388-2")
    adding = structs.replace(ADDING, rules=(f"flow add @{other.name}", "goto agreed"))
    devices = [structs.replace(device, flowtable=other.name) for device in DEVICES]
    wanted = {key: obj for key, obj in held(adding, other, *devices).items() if obj != FLOWS}
    ops = diff(wanted, held(open_to_all(ACL)), doubted=[VNI])
    assert [op.obj for op in ops if isinstance(op.obj, Flowtable)] == [other, FLOWS]
    assert Replace(ADDING, adding) in ops


def test_a_port_that_another_host_takes_over_leaves_its_flowtable_all_the_same() -> None:
    other = structs.replace(FLOWS, name="flows-001388-2")
    devices = [structs.replace(device, flowtable=other.name) for device in DEVICES]
    wanted = {key: obj for key, obj in held(other, *devices).items() if obj != FLOWS}
    ops = diff(wanted, held(), keep=[link_key(PORT.ifname)])
    assert set(ops[:2]) == set(map(Delete, DEVICES))
    assert [op.obj for op in ops if isinstance(op, Create)] == [other, devices[1]]
    rest = {key: obj for key, obj in held().items() if obj != DEVICES[0]}
    assert diff(rest, held(), keep=[link_key(PORT.ifname)]) == [Delete(DEVICES[0])]


def test_transactions_pause_chains_empty_the_flowtable_restore_rules_and_then_add_flows() -> None:
    was = open_to_all(ACL)
    found = [step.ops for step in transactions([op for op in diff(state(*ALL), held(was)) if not isinstance(op.obj, TapPort)])]
    first, made, changes, adding, joining = found
    assert first[0] == Replace(ADDING, PAUSED)
    assert first[-1] == Delete(FLOWS)
    assert {op.obj.key for op in first[1:-1]} == {device.key for device in DEVICES}
    assert (made, changes, adding) == ([Create(FLOWS)], [Replace(was, ACL)], [Replace(PAUSED, ADDING)])
    assert {op.obj.key for op in joining} == {device.key for device in DEVICES}


@pytest.mark.parametrize("op", [Create(ADDING), Replace(structs.replace(ADDING, rules=()), ADDING)], ids=["new", "blank"])
def test_a_new_or_blank_chain_adds_no_flows_before_rules_have_changed(op: Op) -> None:
    change = Replace(open_to_all(ACL), ACL)
    paused = Create(PAUSED) if isinstance(op, Create) else Replace(structs.replace(ADDING, rules=()), PAUSED)
    found = [(step.ops, step.waits) for step in transactions([op, change])]
    assert found == [([paused], False), ([change], False), ([Replace(PAUSED, ADDING)], True)]
