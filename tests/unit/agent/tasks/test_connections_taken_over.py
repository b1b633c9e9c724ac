"""Connections that a compromised old host hands over with a moving interface: the new host takes the interface's, and few."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions.instances import Placed
from netorch.drivers.fake.tracker import FakeTracker
from netorch.model.mapping import Mapping
from netorch.model.security import UDP
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import decode, encode, encode_at
from netorch.records.flows import HandedOver
from netorch.state.base import OVERLAY
from netorch.state.flow import BEGINNER_TRACKS, Flow
from tests.unit.agent.tasks import test_connections
from tests.unit.agent.world import World

FEW = 10  # connections that an honest host hands over


@pytest.fixture
def vpc(world: World) -> tuple[Vpc, Subnet]:
    return world.vpc("a")


@pytest.fixture
def placed(world: World, vpc: tuple[Vpc, Subnet]) -> Placed:
    """An interface that moves from hv1, which does not run and says what it likes, to hv2."""
    placed = test_connections.moved(world, *vpc)
    world.turn("hv2")
    world.kill("hv1")
    return placed


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netorch.agent.tasks.connections.HANDED_OVER", FEW)


def own(placed: Placed, port: int, **more: object) -> Flow:
    """Return a connection that the moving interface began."""
    flow = Flow(
        zone=0,
        protocol=UDP,
        source=placed.eni.address,
        destination="198.51.100.1",
        sport=port,
        dport=161,
        mark=BEGINNER_TRACKS,
        timeout_s=180,
        replied=True,
        assured=True,
    )
    return msgspec.structs.replace(flow, **more)


def say(world: World, placed: Placed, *flows: Flow) -> None:
    world.put(keys.eni_flows("hv1", placed.eni.id), encode(HandedOver(flows=flows)))
    world.turn("hv2")


def tracker(world: World) -> FakeTracker:
    found = world.kernels["hv2"].trackers[OVERLAY]
    assert isinstance(found, FakeTracker)
    return found


def ports(world: World) -> set[int]:
    return {flow.sport for flow in tracker(world).tracked.values()}


@pytest.mark.parametrize(
    "change",
    [
        {"nat_source": "10.0.0.200", "nat_port": 5353},
        {"nat_port": 5353},
        {"nat_destination": "10.0.0.200", "nat_dport": 53},
        {"nat_dport": 53},
        {"original_zone": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_connection_of_an_interface_is_not_translated(world: World, placed: Placed, change: dict[str, object]) -> None:
    say(world, placed, own(placed, 1), own(placed, 2, **change))
    assert ports(world) == {1}


@pytest.mark.usefixtures("few")
def test_no_more_connections_are_taken_over_than_one_record_holds_however_often_it_is_written(
    world: World, placed: Placed
) -> None:
    for start in range(0, 5 * FEW, FEW - 1):
        say(world, placed, *(own(placed, port) for port in range(start, start + FEW - 1)))
        assert ports(world) == set(range(min(start + FEW - 1, FEW)))


@pytest.mark.usefixtures("few")
def test_a_move_that_begins_again_takes_over_no_further_connections(world: World, placed: Placed) -> None:
    key = keys.mapping(placed.eni.vni, placed.eni.address)
    say(world, placed, *(own(placed, port) for port in range(FEW)))
    stored = world.store.get(key)
    assert stored is not None
    ended = msgspec.structs.replace(decode(stored, Mapping), host="hv2", vtep="192.0.2.12", move=None)
    for value in (encode_at(key, ended), stored.value):
        world.put(key, value)
        world.turn("hv2")
    say(world, placed, *(own(placed, port) for port in range(FEW, 2 * FEW)))
    assert ports(world) == set(range(FEW))


@pytest.mark.usefixtures("few")
def test_a_record_that_is_written_again_adds_connections_that_opened_in_between(world: World, placed: Placed) -> None:
    say(world, placed, *(own(placed, port) for port in range(FEW - 1)))
    say(world, placed, *(own(placed, port) for port in range(FEW)))
    assert ports(world) == set(range(FEW))


def test_a_vpc_takes_over_no_more_connections_than_its_share_of_the_table(world: World, placed: Placed) -> None:
    tracker(world).most = 100
    tracker(world).restore(own(placed, port, zone=99) for port in range(40))  # another VPC's
    say(world, placed, *(own(placed, port) for port in range(100, 160)))
    assert len([port for port in ports(world) if port >= 100]) == 30  # as many as stay free


def test_a_host_hands_over_the_connections_in_use_first(world: World, vpc: tuple[Vpc, Subnet]) -> None:
    placed = test_connections.moved(world, *vpc)
    zone = world.agents["hv1"].reconciler.zone_of(placed.eni.vni)
    alive = [own(placed, 2, zone=zone, timeout_s=10), own(placed, 3, zone=zone)]
    world.kernels["hv1"].trackers[OVERLAY].restore([own(placed, 1, zone=zone, assured=False), *alive])
    world.turn("hv1")
    stored = world.store.get(keys.eni_flows("hv1", placed.eni.id))
    assert stored is not None
    said = [flow.sport for flow in msgspec.json.decode(stored.value, type=HandedOver).flows]
    assert [port for port in said if port < 10] == [3, 2, 1]
