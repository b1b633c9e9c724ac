"""Connections of ended addresses, in peers and behind interfaces that are targets of routes: no later holder inherits them."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.control.actions import instances, peerings
from netorch.control.actions.instances import Placed
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from tests.unit.agent.tasks.test_connections import flow, tracked, zone
from tests.unit.agent.test_middleboxes import Shop
from tests.unit.agent.test_peerings import Pair
from tests.unit.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2", "hv3")


class Talk:
    """An interface of a VPC on hv1 with connections to an interface of its peer on hv2, and to one of its own VPC there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pair = Pair(world)
        self.near, self.far = world.run(self.pair.a_subnet, "hv1"), world.run(self.pair.b_subnet, "hv2")
        self.own = world.run(self.pair.a_subnet, "hv2")
        world.settle(3)
        self.with_peer = self.track(self.pair.a, self.far)
        self.with_own = self.track(self.pair.a, self.own)

    def track(self, vpc: Vpc, other: Placed) -> tuple[str, str, int]:
        found = flow(self.world, "hv1", vpc, self.near.eni.address, other.eni.address, 443)
        return found.source, found.destination, found.dport

    def tracked(self) -> set[tuple[str, str, int]]:
        return tracked(self.world.kernels["hv1"])


def test_an_address_of_a_peer_that_ends_has_no_connections_with_its_peers(world: World) -> None:
    talk = Talk(world)
    instances.terminate_instance(world.store, world.operator, talk.far.instance.id)
    world.turn()
    assert talk.tracked() == {talk.with_own}


def test_a_peering_connection_that_ends_takes_connections_with_the_peer_along(world: World) -> None:
    talk = Talk(world)
    peerings.delete_peering(world.store, world.operator, talk.pair.connection.id)
    world.turn()
    assert talk.tracked() == {talk.with_own}


@pytest.mark.parametrize("what", ["address", "peering"])
def test_so_they_do_while_the_agent_is_dead(world: World, what: str) -> None:
    talk = Talk(world)
    world.kill("hv1")
    if what == "address":
        instances.terminate_instance(world.store, world.operator, talk.far.instance.id)
    else:
        peerings.delete_peering(world.store, world.operator, talk.pair.connection.id)
    world.start("hv1")
    world.turn()
    assert talk.tracked() == {talk.with_own}


def test_an_address_that_ends_has_no_connections_that_pass_an_appliance(world: World) -> None:
    shop = Shop(world)
    shop.route("198.51.100.0/24")
    other = world.run(shop.subnet, "hv1")
    world.settle(3)
    own = zone(world, "hv3", shop.vpc)
    (inlet,) = set(world.agents["hv3"].reconciler.zones_of(shop.vni)) - {own}
    flows = [
        Flow(zone=inlet, protocol=17, source=source, destination="198.51.100.7", sport=4000, dport=53, timeout_s=30)
        for source in (other.eni.address, shop.eni.address)
    ]
    world.kernels["hv3"].trackers[OVERLAY].restore(flows)
    instances.terminate_instance(world.store, world.operator, other.instance.id)
    world.turn()
    assert {found.source for found in world.kernels["hv3"].tracker.tracked.values()} == {shop.eni.address}
