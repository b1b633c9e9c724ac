"""Records that cannot be read or compiled: one VPC is degraded and keeps its objects."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from netorch.compiler.base import MappingPart, VpcPart, VpcView
from netorch.control.actions import instances
from netorch.errors import CompileError
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.base import KernelObject
from netorch.state.l3 import Address
from netorch.state.op import Delete
from tests.unit.agent.world import World
from tests.views import OneOff

DEEP = b'{"x":' + b"[" * 100_000


def status(world: World, host: str, vni: int) -> bytes:
    found = world.store.get(keys.vpc_status(host, vni))
    return found.value if found is not None else b""


@pytest.mark.parametrize("value", [b"{", b"\xff", b'{"vni":"x"}', b"null", DEEP])
@pytest.mark.parametrize(
    "key", ["vpc/001001/vpc", "vpc/001001/sg/sg-1", "vpc/001001/subnet/{subnet}", "vpc/001001/eni/{eni}", "map/001001/{remote}"]
)
def test_an_unreadable_record_degrades_one_vpc_and_keeps_its_objects(world: World, key: str, value: bytes) -> None:
    vpc, subnet = world.vpc("a")
    _, other = world.vpc("b")
    local, remote = world.run(subnet, "hv1"), world.run(subnet, "hv2")
    world.settle(2)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    key = key.format(subnet=subnet.id, eni=local.eni.id, remote=remote.eni.address)
    good = world.store.get(key)
    world.put(key, value)
    world.settle(3)
    assert kernel.objects == before
    assert key.encode() in status(world, "hv1", vpc.vni)
    world.run(other, "hv1")
    world.settle(70)
    assert before.items() <= kernel.objects.items()
    assert not any(isinstance(op, Delete) for op in world.new_ops("hv1"))
    world.start("hv1")
    world.settle(70)
    assert before.items() <= kernel.objects.items()
    assert key.encode() in status(world, "hv1", vpc.vni)
    assert world.agents["hv1"].reconciler.problems.keys() == {vpc.vni}
    kernel.disturb(Delete(before["rule", "overlay", 4, 32765]))
    if good is None:
        world.delete(key)
    else:
        world.put(key, good.value)
    world.settle(5)
    assert status(world, "hv1", vpc.vni) == b""
    world.assert_settled()


def test_a_degraded_vpc_is_still_put_right_after_others_disturb_it(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(2)
    world.put("vpc/001001/sg/sg-1", b"{}")
    world.turn()
    record = world.store.get(keys.host_spec("hv1"))
    assert record is not None
    world.put(keys.host_spec("hv1"), record.value.replace(b"}", b',"tags":{"rack":"7"}}'))
    world.turn()
    kernel = world.kernels["hv1"]
    route = kernel.objects["route", "overlay", 4097, "10.0.0.5/32", 0]
    kernel.disturb(Delete(route))
    world.turn("hv1")
    assert kernel.objects[route.key] == route


@pytest.mark.parametrize("field", ["vtep", "address", "vni"])
def test_a_mapping_that_makes_no_sense_hides_no_other_mapping(world: World, field: str) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    bad, good = world.run(subnet, "hv2"), world.run(subnet, "hv2")
    found = world.store.get(keys.mapping(vpc.vni, bad.eni.address))
    assert found is not None
    mapping = msgspec.json.decode(found.value, type=Mapping)
    nonsense: str | int = 77 if field == "vni" else "nonsense"
    world.put(found.key, msgspec.json.encode(msgspec.structs.replace(mapping, **{field: nonsense})))
    world.start("hv1")
    world.settle(3)
    kernel = world.kernels["hv1"]
    assert ("route", "overlay", vpc.vni, f"{good.eni.address}/32", 0) in kernel.objects
    assert bad.eni.address.encode() in status(world, "hv1", vpc.vni)
    later = world.run(subnet, "hv2")  # other records of the VPC still compile
    world.run(subnet, "hv1")
    world.settle(3)
    assert ("route", "overlay", vpc.vni, f"{later.eni.address}/32", 0) in kernel.objects
    assert bad.eni.address.encode() in status(world, "hv1", vpc.vni)
    world.put(found.key, found.value)
    world.settle(3)
    assert status(world, "hv1", vpc.vni) == b""
    world.assert_settled()


@pytest.mark.parametrize("value", [b"{", b"null", b'{"name":"hv1","underlay":7}', b'{"name":"hv1","underlay":"fd00::1"}'])
def test_an_unreadable_host_record_keeps_the_host_as_it_is(world: World, value: bytes) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    good = world.store.get(keys.host_spec("hv1"))
    assert good is not None
    world.put(good.key, value)
    for _ in range(2):
        world.settle(3)
        assert world.kernels["hv1"].objects == before
        assert world.agents["hv1"].reconciler.problems
        world.start("hv1")
    world.put(good.key, good.value)
    world.settle(3)
    world.assert_settled()


def test_a_placement_that_cannot_be_read_counts_by_its_key(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    world.put(keys.placement("hv1", placed.eni.id), b"{")
    world.put("host/hv1/placement/nonsense", b"{")
    world.put("host/hv1/placement/eni-123", b"{}")
    world.start("hv1")
    world.settle(2)
    assert world.kernels["hv1"].objects == before


def test_a_word_that_cannot_be_read_is_no_word(world: World) -> None:
    from netorch.control.actions import moves

    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    world.kill("hv1")
    world.put(keys.eni_status("hv1", placed.eni.id), b"{")
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    world.settle(10)
    found = world.store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert found is not None
    assert msgspec.json.decode(found.value, type=Mapping).host == "hv2"


def test_a_move_whose_records_cannot_be_read_does_not_end_the_agent(world: World) -> None:
    from netorch.control.actions import moves

    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    good = world.store.get(keys.resource(placed.eni.id))
    assert good is not None
    for _ in range(8):
        world.turn("hv1")
        world.turn("hv2")
        world.clock.now += 0.1
        if ("link", "overlay", f"v-{placed.eni.id[4:17]}") in world.kernels["hv2"].objects:
            world.put(good.key, b"{")
    world.settle(5)
    world.put(good.key, good.value)
    world.settle(10)
    world.assert_settled()


def _strict_vpc(view: VpcView) -> Iterable[KernelObject]:
    if "raise" in view.vpc.tags:
        raise ZeroDivisionError(view.vpc.tags["raise"])
    if "refuse" in view.vpc.tags:
        raise CompileError(view.vpc.tags["refuse"])
    return ()


def _strict_mapping(view: VpcView, mapping: Mapping) -> Iterable[KernelObject]:
    if "mark" in view.vpc.tags:
        yield Address(vni=view.vni, ifname=view.vrf, address=f"{mapping.address}/32")


# A third-party compiler: it reads the VPC's tags for each mapping, and rejects some.
STRICT = OneOff(
    "strict",
    VpcPart(id="strict", compile=_strict_vpc, inputs=frozenset({Vpc})),
    MappingPart(id="strict.mapping", compile=_strict_mapping, inputs=frozenset({Vpc})),
)


def retag(world: World, vpc: Vpc, **tags: str) -> None:
    found = world.store.get(keys.vpc(vpc.vni))
    assert found is not None
    record = decode(found, Vpc)
    world.put(found.key, msgspec.json.encode(msgspec.structs.replace(record, tags=tags)))


@pytest.mark.parametrize("how", ["raise", "refuse"])
def test_a_compiler_that_fails_degrades_one_vpc(world: World, how: str) -> None:
    world.compilers = [*world.compilers, STRICT]
    world.start("hv1")
    (vpc, one), (_, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    retag(world, vpc, **{how: "no luck"})
    placed = world.run(two, "hv1")
    world.settle(2)
    assert b"no luck" in status(world, "hv1", vpc.vni)
    assert before.items() <= world.kernels["hv1"].objects.items()
    assert ("link", "overlay", f"v-{placed.eni.id[4:17]}") in world.kernels["hv1"].objects
    retag(world, vpc)
    world.settle(2)
    world.assert_settled()


def test_a_mapping_that_depends_on_the_vpc_record_follows_it(world: World) -> None:
    world.compilers = [*world.compilers, STRICT]
    world.start("hv1")
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(2)
    retag(world, vpc, mark="yes")
    world.settle(2)
    world.assert_host_settled("hv1")
    retag(world, vpc)
    world.settle(2)
    world.assert_host_settled("hv1")


def test_a_vpc_that_leaves_while_it_is_degraded_leaves_nothing(world: World) -> None:
    vpc, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    world.put("vpc/001001/sg/sg-1", b"{}")
    world.settle(2)
    instances.terminate_instance(world.store, world.operator, placed.instance.id)
    world.settle(2)
    world.delete("vpc/001001/sg/sg-1")
    world.settle(2)
    assert status(world, "hv1", vpc.vni) == b""
    assert not any(key[0] == "link" for key in world.kernels["hv1"].objects)
    world.assert_settled()
