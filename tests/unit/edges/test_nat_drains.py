"""Draining addresses of NAT gateways: the edge in use ends them when they have no connections or when their time is over."""

from __future__ import annotations

import time
from types import SimpleNamespace

import msgspec
import pytest

from netorch.agent.tasks import nat_drains
from netorch.drivers.fake.tracker import FakeTracker
from netorch.model.eni import NetworkInterface
from netorch.model.outside.gateway import NatGateway
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import get
from tests.rig.seats import nat_of, seat_nat
from tests.unit.edges.pair import EDGES, Pair

SECONDARY = ("10.0.0.201", "10.0.0.202")
LONG_S = 4000.0


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC with a NAT gateway; its secondary addresses have connections on the first edge."""
    vpc, subnet = pair.vpc("a")
    seat_nat(pair.world.store, subnet, "10.0.0.200", "198.51.100.9", EDGES)
    nat = stored(pair, vpc)
    eni = get(pair.world.store, keys.resource(nat.eni), NetworkInterface)
    assert eni is not None
    pair.world.put(keys.resource(nat.eni), encode(msgspec.structs.replace(eni.record, secondary=SECONDARY)))
    pair.world.settle(8)  # until both edges are active
    connections(pair, vpc, *SECONDARY)
    return vpc


def stored(pair: Pair, vpc: Vpc) -> NatGateway:
    found = get(pair.world.store, keys.resource(nat_of(vpc.vni)), NatGateway)
    assert found is not None
    return found.record


def connections(pair: Pair, vpc: Vpc, *addresses: str) -> None:
    """Make the first edge track connections of these addresses, and no others."""
    tracker = pair.world.kernels["e1"].trackers[nat_of(vpc.vni)]
    assert isinstance(tracker, FakeTracker)
    tracker.translated = set(addresses)


def drain(pair: Pair, vpc: Vpc, **until: float) -> None:
    nat = stored(pair, vpc)
    pair.world.put(
        keys.resource(nat.id), encode(msgspec.structs.replace(nat, draining=dict(zip(SECONDARY, until.values(), strict=False))))
    )
    pair.world.settle(6)


def test_one_that_has_connections_stays_until_they_have_ended(pair: Pair, vpc: Vpc) -> None:
    drain(pair, vpc, first=time.time() + LONG_S, second=time.time() + LONG_S)
    assert set(stored(pair, vpc).draining) == set(SECONDARY)
    connections(pair, vpc, SECONDARY[1])
    pair.world.settle(6)
    assert set(stored(pair, vpc).draining) == {SECONDARY[1]}
    connections(pair, vpc)
    pair.world.settle(6)
    assert stored(pair, vpc).draining == {}
    eni = get(pair.world.store, keys.resource(stored(pair, vpc).eni), NetworkInterface)
    assert eni is not None
    assert eni.record.secondary == ()
    pair.world.assert_settled()


@pytest.mark.parametrize("days", [-3650, -1, 1, 3650])
def test_a_clock_that_is_set_during_a_drain_ends_and_lengthens_nothing(
    pair: Pair, vpc: Vpc, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    drain(pair, vpc, first=time.time() + 60, second=time.time() + LONG_S)
    set_to = time.time() + 86400.0 * days
    monkeypatch.setattr(nat_drains, "time", SimpleNamespace(time=lambda: set_to))
    pair.world.settle(40)
    assert set(stored(pair, vpc).draining) == set(SECONDARY)
    pair.world.settle(20)
    assert set(stored(pair, vpc).draining) == {SECONDARY[1]}


def test_one_whose_time_is_over_goes_with_its_connections(pair: Pair, vpc: Vpc) -> None:
    drain(pair, vpc, first=time.time() - 1, second=time.time() + LONG_S)
    assert set(stored(pair, vpc).draining) == {SECONDARY[1]}


def test_a_drain_wakes_nobody_while_the_store_is_away(pair: Pair, vpc: Vpc) -> None:
    drain(pair, vpc, first=time.time() + LONG_S, second=time.time() + LONG_S)
    task = next(task for task in pair.world.agents["e1"].tasks if isinstance(task, nat_drains.NatDrains))
    assert task.wake_at(pair.world.clock.now) is not None
    pair.world.wires["e1"].cut = True
    pair.world.settle(2 * nat_drains.LOOK_EVERY_S)
    assert task.wake_at(pair.world.clock.now) is None
    pair.world.wires["e1"].cut = False
    connections(pair, vpc)
    pair.world.settle(40)
    assert stored(pair, vpc).draining == {}
