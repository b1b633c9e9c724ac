"""An agent with other tables than its predecessor's: tables change at once with everything in them."""

from __future__ import annotations

import msgspec

from netorch.agent.reloads import reloads
from netorch.agent.slices import Slice
from netorch.compiler.interface_endpoint import AILING
from netorch.control.actions import instances
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.state.base import HOST_SLICE, OVERLAY, KernelObject, Key
from netorch.state.nft import VPC_TABLE, NftChain, NftElement, NftTable, PortChain, freed_zone
from netorch.state.op import Create, Delete, Op, Reload, Replace
from tests import chains
from tests.contract.kernel.stands import CHAIN, FLOWTABLE_DEVICES, VETH, VNI, ZONE
from tests.unit.agent.test_newer import NEWER
from tests.unit.agent.world import World

GONE = "chain gone {\n}\n"  # of an older text
OLD = NftTable(family="inet", netns=OVERLAY, body=GONE)
NEW = NftTable(family="inet", netns=OVERLAY, body="")
GATEWAY = "vpce-con-00138800a0b0c0d0e"
RELOADED = [(Reload, VPC_TABLE), (Reload, ("nft-table", OVERLAY, "netdev"))]


def age(kernel: FakeKernel, *vnis: int) -> None:
    """Give the overlay older tables, and these VPCs chains that lead to where only the older text has something."""
    for key, obj in list(kernel.objects.items()):
        if isinstance(obj, NftTable) and obj.netns == OVERLAY:
            kernel.host.objects[key] = msgspec.structs.replace(obj, body=obj.body + GONE)
        elif isinstance(obj, NftChain) and obj.vni in vnis and obj.name.startswith(("egress-", "ingress-")):
            kernel.host.objects[key] = msgspec.structs.replace(obj, rules=("goto gone",))
    for vni in vnis:
        left = NftChain(vni=vni, name=f"egress-{vni:06x}-0000dead", rules=("goto gone",))
        kernel.host.objects[left.key] = left


def of_nft(ops: list[Op]) -> list[Op]:
    return [op for op in ops if op.obj.kind == "nft-table" or op.obj.within is not None]


def test_each_table_changes_once_with_everything_in_it(world: World) -> None:
    vpc, subnet = world.vpc("a", ipv6="fd00::/56")
    other, _ = world.vpc("b")
    world.run(subnet, "hv1")
    world.settle(5)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    world.kill("hv1")
    age(kernel, vpc.vni, other.vni)
    world.new_ops("hv1")
    world.start("hv1")
    assert [(type(op), op.obj.key) for op in of_nft(world.new_ops("hv1"))] == RELOADED
    assert kernel.objects == before
    world.assert_settled()


def test_tables_of_one_namespace_change_together(world: World) -> None:
    """A guard, in one table, passes what a port's chain, in the other one, has checked."""
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(5)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    world.kill("hv1")
    table = kernel.objects[VPC_TABLE]
    assert isinstance(table, NftTable)
    kernel.host.objects[VPC_TABLE] = msgspec.structs.replace(table, body=table.body + GONE)
    for key, obj in before.items():
        if isinstance(obj, PortChain):
            kernel.host.objects[key] = msgspec.structs.replace(obj, rules=("accept",))
    world.new_ops("hv1")
    world.start("hv1")
    assert [(type(op), op.obj.key) for op in of_nft(world.new_ops("hv1"))] == RELOADED
    assert kernel.objects == before
    world.assert_settled()


def without_agent(world: World) -> tuple[Vpc, Vpc]:
    """Return two VPCs with an instance on hv1 each, of which the second has become unreadable since hv1's agent died."""
    vpc, unread = (run(world, name) for name in ("a", "b"))
    world.settle(5)
    world.kill("hv1")
    world.put(keys.vpc(unread.vni), NEWER)
    return vpc, unread


def run(world: World, name: str) -> Vpc:
    """Return a new VPC with an instance on hv1."""
    vpc, subnet = world.vpc(name)
    world.run(subnet, "hv1")
    return vpc


def test_a_vpc_that_does_not_compile_keeps_what_it_has(world: World) -> None:
    vpc, unread = without_agent(world)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    age(kernel, vpc.vni)
    own = NftChain(vni=unread.vni, name=f"egress-{unread.vni:06x}-0000dead", rules=("accept",))
    kernel.host.objects[own.key] = own
    world.start("hv1")
    world.settle(5)
    assert kernel.objects == before | {own.key: own}


def test_a_vpc_whose_old_chains_do_not_fit_costs_no_other_anything(world: World) -> None:
    _, unread = without_agent(world)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    age(kernel, unread.vni)
    world.new_ops("hv1")
    world.start("hv1")
    world.settle(5)
    assert [(type(op), op.obj.key) for op in of_nft(world.new_ops("hv1"))] == RELOADED
    of_others = {key: obj for key, obj in before.items() if obj.vni != unread.vni}
    assert {key: obj for key, obj in kernel.objects.items() if obj.vni != unread.vni} == of_others
    assert all(freed_zone(obj) for obj in kernel.objects.values() if obj.vni == unread.vni and obj.within == VPC_TABLE)


def test_nothing_is_left_out_before_the_store_has_spoken(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(5)
    kernel = world.kernels["hv1"]
    world.kill("hv1")
    age(kernel)
    left = NftChain(vni=vpc.vni, name=f"egress-{vpc.vni:06x}-0000dead", rules=("accept",))
    kernel.host.objects[left.key] = left
    world.wires["hv1"].cut = True
    world.start("hv1")
    assert any(isinstance(op, Reload) for op in world.new_ops("hv1"))
    assert kernel.objects[left.key] == left
    world.wires["hv1"].cut = False
    world.settle(30)
    assert left.key not in kernel.objects
    world.assert_settled()


def test_a_zone_ends_by_itself_and_so_do_its_connections(world: World) -> None:
    vpc, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(5)
    kernel = world.kernels["hv1"]
    world.kill("hv1")
    instances.terminate_instance(world.store, world.operator, placed.instance.id)
    age(kernel, vpc.vni)
    world.new_ops("hv1")
    world.start("hv1")
    world.settle(5)
    ended = [op for op in world.new_ops("hv1") if isinstance(op, Delete) and freed_zone(op.obj)]
    assert [op.obj.vni for op in ended] == [vpc.vni]
    world.assert_settled()


def changed(desired: tuple[KernelObject, ...], actual: tuple[KernelObject, ...], keep: frozenset[Key], ops: list[Op]) -> list[Op]:
    """Return the operations on a VPC's objects beside a changed table, as the agent applies them."""
    host, vpc = slice_of((NEW,), (OLD,)), slice_of(desired, actual)
    vpc.keep = keep
    return reloads([Replace(OLD, NEW), *ops], {HOST_SLICE: host, VNI: vpc}, lambda _: True, lambda _: False).ops


def slice_of(desired: tuple[KernelObject, ...], actual: tuple[KernelObject, ...]) -> Slice:
    made = Slice()
    made.desired, made.actual = ({obj.key: obj for obj in objects} for objects in (desired, actual))
    return made


def test_what_another_host_takes_over_stays_but_no_short_cut_past_rules() -> None:
    _, of_port = FLOWTABLE_DEVICES
    chain, other = chains.EGRESS_CHAIN, msgspec.structs.replace(chains.EGRESS_CHAIN, rules=("accept",))
    keep = frozenset({VETH.key, chain.key})
    assert changed((other,), (VETH, chain, of_port), keep, [Delete(of_port)]) == [Reload(OLD, NEW, (chain,))]
    assert changed((other, of_port), (VETH, chain, of_port), keep, []) == [Reload(OLD, NEW, (chain, of_port))]


def test_what_belongs_to_a_missing_device_follows_it() -> None:
    _, of_port = FLOWTABLE_DEVICES
    ops: list[Op] = [Create(VETH), Create(of_port)]
    assert changed((VETH, ZONE, of_port), (), frozenset(), ops) == [Reload(OLD, NEW, (ZONE,)), *ops]


def test_a_gateways_table_concerns_its_own_vpc_alone() -> None:
    """An owner changes it with each entry of a network ACL: that must not cost what other VPCs hold on the edge."""
    old, new = (NftTable(netns=GATEWAY, vni=VNI, family="inet", body=body) for body in (GONE, ""))
    held = NftElement(netns=GATEWAY, vni=VNI, family="inet", set=AILING, items=("10.0.0.5", "0x50"))
    slices = {HOST_SLICE: slice_of((NEW,), (NEW,)), VNI: slice_of((new, held), (old,)), 6000: slice_of((), (CHAIN,))}
    change = reloads([Replace(old, new)], slices, lambda _: True, lambda _: False)
    assert change.ops == [Reload(old, new, (held,))]
    assert change.contents == {VNI: {held.key: held}}


def test_other_tables_and_other_changes_stay_as_they_are() -> None:
    ops: list[Op] = [Create(CHAIN), Delete(VETH)]
    assert changed((CHAIN,), (CHAIN,), frozenset(), ops) == [Reload(OLD, NEW, ()), *ops]
    assert reloads(ops, {}, lambda _: True, lambda _: False).ops == ops
