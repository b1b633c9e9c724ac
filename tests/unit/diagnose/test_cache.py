"""`map cache` says which mappings an agent and a kernel hold otherwise than the store."""

from __future__ import annotations

import msgspec
import pytest

from netorch.agent.snapshot import SnapshotFile
from netorch.control.actions.instances import Placed, terminate_instance
from netorch.control.actions.moves import move_instance
from netorch.diagnose.desired import compiled, known_records
from netorch.diagnose.host.cache import Cache, compare
from netorch.model.vpc import Subnet
from netorch.state.l2 import Fdb
from netorch.state.l3 import Route
from netorch.state.op import Create, Delete, Replace
from tests.unit.agent.conftest import world as world
from tests.unit.agent.world import World


class Pair:
    """Two instances of one VPC, on hv1 and on hv2, and an instance of another VPC on hv2."""

    def __init__(self, world: World) -> None:
        self.subnet: Subnet = world.vpc("v")[1]
        self.one: Placed = world.run(self.subnet, "hv1", "one")
        self.two: Placed = world.run(self.subnet, "hv2", "two")
        world.run(world.vpc("w")[1], "hv2", "far")
        world.settle()


@pytest.fixture
def pair(world: World) -> Pair:
    return Pair(world)


def cache_of(world: World, host: str = "hv1") -> Cache:
    records = known_records(host, world.store)
    held = SnapshotFile(world.path / f"{host}.snapshot").load()
    assert held is not None
    return compare(records, compiled(records, world.kernels[host], read_kernel=True), held, running=True)


def said(cache: Cache) -> set[tuple[str, str, str]]:
    return {(found.where, found.address, found.state) for found in cache.differences}


def test_a_settled_host_holds_what_the_store_has_for_it_and_nothing_else(world: World, pair: Pair) -> None:
    cache = cache_of(world)
    assert cache.differences == ()
    assert (cache.host, cache.vpcs, cache.mappings) == ("hv1", 1, 2)
    assert 0 < cache.revision <= world.store.revision()
    far = cache_of(world, "hv2")
    assert (far.differences, far.vpcs, far.mappings) == ((), 2, 3)


def test_a_host_without_the_store_lacks_what_is_new_and_keeps_what_is_gone(world: World, pair: Pair) -> None:
    world.wires["hv1"].cut = True
    new = world.run(pair.subnet, "hv2", "new").eni.address
    terminate_instance(world.store, world.operator, pair.two.instance.id)
    move_instance(world.store, world.operator, pair.one.instance.id, "hv2")
    world.turn()
    one, two = pair.one.eni.address, pair.two.eni.address
    found = cache_of(world)
    assert said(found) >= {
        ("agent", one, "stale"),
        ("agent", two, "foreign"),
        ("agent", new, "missing"),
        ("kernel", two, "foreign"),
        ("kernel", new, "missing"),
    }
    assert {(each.vpc, each.vni) for each in found.differences} == {("default/v", pair.subnet.vni)}
    world.wires["hv1"].cut = False
    world.settle()
    assert cache_of(world).differences == ()


def test_a_damaged_kernel_is_told_apart_from_its_agent(world: World, pair: Pair) -> None:
    kernel, two = world.kernels["hv1"], pair.two.eni.address
    (route,) = (obj for obj in kernel.objects.values() if isinstance(obj, Route) and obj.dst == f"{two}/32")
    kernel.disturb(Delete(route))
    assert said(cache_of(world)) == {("kernel", two, "missing")}
    elsewhere = msgspec.structs.replace(route, via="192.0.2.77")
    kernel.disturb(Create(elsewhere))
    assert said(cache_of(world)) == {("kernel", two, "stale")}
    stranger = msgspec.structs.replace(route, dst="10.0.0.99/32")
    kernel.disturb(Create(stranger))
    assert said(cache_of(world)) == {("kernel", two, "stale"), ("kernel", "10.0.0.99", "foreign")}
    kernel.disturb(Replace(elsewhere, route))
    kernel.disturb(Delete(stranger))
    (entry,) = (obj for obj in kernel.objects.values() if isinstance(obj, Fdb))
    kernel.disturb(Delete(entry))  # all mappings of one host need it
    assert said(cache_of(world)) == {("kernel", two, "missing")}
