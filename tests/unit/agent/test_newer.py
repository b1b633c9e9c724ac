"""Records of a newer version: the agent leaves their VPC or host unchanged, and reports why."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import moves
from netorch.control.actions.flow_logs import create_flow_log
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.state.base import OVERLAY
from netorch.state.l3 import Rule
from netorch.state.nft import NftTable
from tests.unit.agent.world import World

NEWER = b'{"schema":1000,"rules":"of tomorrow"}'


def status(world: World, host: str, vni: int) -> str:
    found = world.store.get(keys.vpc_status(host, vni))
    return found.value.decode() if found is not None else ""


def newer_keys(world: World, vpc: Vpc, subnet_id: str, eni_id: str, address: str) -> dict[str, str]:
    log = create_flow_log(world.store, world.operator, vpc.id, name="all")
    return {
        "vpc": keys.vpc(vpc.vni),
        "subnet": keys.resource(subnet_id),
        "eni": keys.resource(eni_id),
        "group": keys.resource(make_id("sg", vpc.vni, 1)),
        "flow log": keys.resource(log.id),
        "mapping": keys.mapping(vpc.vni, address),
        "unknown kind": keys.resource(make_id("vpce", vpc.vni, 1)),
        "placement": keys.placement("hv1", eni_id),
        "placement of an unknown kind": keys.placement("hv1", make_id("vpce", vpc.vni, 1)),
    }


@pytest.mark.parametrize(
    "which",
    ["vpc", "subnet", "eni", "group", "flow log", "mapping", "unknown kind", "placement", "placement of an unknown kind"],
)
def test_a_newer_record_isolates_its_vpc(world: World, which: str) -> None:
    vpc, subnet = world.vpc("a")
    _, other = world.vpc("b")
    local, moving = world.run(subnet, "hv1"), world.run(subnet, "hv2")
    key = newer_keys(world, vpc, subnet.id, local.eni.id, local.eni.address)[which]
    world.settle(2)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    known = world.store.get(key)
    world.put(key, NEWER)
    world.settle(2)
    assert kernel.objects == before
    assert "upgrade netorch here" in status(world, "hv1", vpc.vni)
    assert key in status(world, "hv1", vpc.vni)

    # Readable changes of that VPC change nothing either: their meaning may depend on the unreadable record.
    mapping = msgspec.json.decode(world.store.get(keys.mapping(vpc.vni, moving.eni.address)).value, type=Mapping)  # type: ignore[union-attr]
    gone = msgspec.structs.replace(mapping, host="hv3", vtep="192.0.2.13")
    if which != "mapping":
        world.put(keys.mapping(vpc.vni, moving.eni.address), msgspec.json.encode(gone))
    world.put(keys.resource(make_id("sg", vpc.vni, 2)), b'{"id":"x"}')
    world.turn("hv1")
    assert kernel.objects == before
    world.run(other, "hv1")  # other VPCs are still updated
    world.turn("hv1")
    assert before.items() < kernel.objects.items()
    world.start("hv1")  # a new agent cannot read the record either
    world.turn("hv1")
    assert before.items() < kernel.objects.items()

    world.delete(keys.resource(make_id("sg", vpc.vni, 2)))
    world.put(key, known.value) if known is not None else world.delete(key)
    world.turn("hv1")
    assert status(world, "hv1", vpc.vni) == ""
    if which != "mapping":
        route = kernel.objects["route", "overlay", vpc.vni, f"{moving.eni.address}/32", 0]
        assert "192.0.2.13" in str(route)  # the deferred change


def test_beside_an_isolated_vpc_a_new_agent_deletes_only_what_no_vpc_can_need(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    kernel = world.kernels["hv1"]
    before, known = dict(kernel.objects), world.store.get(keys.vpc(vpc.vni))
    assert known is not None
    world.put(keys.vpc(vpc.vni), NEWER)
    left = Rule(version=4, priority=9, table=9)  # of an earlier version of netorch
    table = NftTable(netns=OVERLAY, family="ip", body="chain earlier {\n}\n")
    assert not {left.key, table.key} & before.keys()
    kernel.objects.update({left.key: left, table.key: table})
    world.start("hv1")
    world.settle(2)
    assert left.key not in kernel.objects
    assert table.key in kernel.objects, "the VPC may have something in it"
    assert before.items() <= kernel.objects.items()
    world.put(keys.vpc(vpc.vni), known.value)
    world.settle(3)
    world.assert_settled()
    assert table.key not in kernel.objects


def test_a_newer_record_of_the_host_isolates_the_host(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    known = world.store.get(keys.host_spec("hv1"))
    assert known is not None
    world.put(keys.host_spec("hv1"), NEWER)
    for _ in range(2):
        world.run(subnet, "hv2")
        world.settle(2)
        assert world.kernels["hv1"].objects == before
        said = world.store.get(keys.agent_status("hv1"))
        assert said is not None
        assert b"upgrade netorch here" in said.value
        world.start("hv1")
    world.put(keys.host_spec("hv1"), known.value)
    world.settle(3)
    world.assert_settled()


@pytest.mark.parametrize("key", ["host/hv1/placement/nonsense", "host/hv1/reserved", "host/hv1/reserved/eni-1"])
def test_a_record_of_the_host_that_is_not_known_is_named_and_changes_nothing(world: World, key: str) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    before = dict(world.kernels["hv1"].objects)
    world.put(key, NEWER)
    world.settle(2)
    said = world.store.get(keys.agent_status("hv1"))
    assert said is not None
    assert f"cannot use {key}; upgrade netorch here".encode() in said.value
    assert world.kernels["hv1"].objects == before
    world.delete(key)
    world.settle(2)
    said = world.store.get(keys.agent_status("hv1"))
    assert said is not None
    assert key.encode() not in said.value


def test_a_newer_record_stops_no_move_of_another_vpc(world: World) -> None:
    vpc, subnet = world.vpc("a")
    _, other = world.vpc("b")
    world.run(subnet, "hv1")
    placed = world.run(other, "hv1")
    world.settle(2)
    world.put(keys.resource(make_id("vpce", vpc.vni, 1)), NEWER)
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    world.settle(10)
    found = world.store.get(keys.mapping(placed.eni.vni, placed.eni.address))
    assert found is not None
    assert msgspec.json.decode(found.value, type=Mapping).host == "hv2"
