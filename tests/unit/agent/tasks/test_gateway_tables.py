"""The connection tables of an edge's gateways: one limit for all of them; a VPC's flood does not affect other VPCs."""

from __future__ import annotations

import pytest

from netorch.agent.gateway_tables import GatewayTables
from netorch.agent.tasks.allowance import SAMPLE, Allowance
from netorch.agent.tasks.base import Turn
from netorch.drivers.fake.host import FakeHost
from netorch.drivers.fake.tracker import FakeTracker
from netorch.model.ids import make_id
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from netorch.state.nft import NftTable

A, B = 5000, 5001
GATEWAYS = {make_id("nat", A, 1): A, make_id("nat", A, 2): A, make_id("nat", B, 1): B}
MOST = 100


@pytest.fixture
def trackers() -> dict[str, FakeTracker]:
    """Two gateways of one VPC, one of another, and the overlay, whose table is full of unrelated connections."""
    host = FakeHost(NftTable(netns=label, vni=vni, family="inet", body="") for label, vni in GATEWAYS.items())
    found = {label: FakeTracker(host, label) for label in (OVERLAY, *GATEWAYS)}
    for tracker in found.values():
        tracker.most = MOST
    hold(found[OVERLAY], MOST)
    return found


def hold(tracker: FakeTracker, count: int) -> None:
    tracker.tracked.clear()
    tracker.restore(Flow(zone=0, protocol=17, source="10.0.0.4", destination="10.0.0.5", sport=port) for port in range(count))


def refused(trackers: dict[str, FakeTracker]) -> set[str]:
    return {label for label, tracker in trackers.items() if tracker.refused_zones}


def of(vni: int) -> set[str]:
    return {label for label, owner in GATEWAYS.items() if owner == vni}


def owner(vni: int) -> Vpc:
    return Vpc(id=make_id("vpc", vni, 1), vni=vni, owner=str(vni), name="v", cidrs=("10.0.0.0/16",))


def test_a_vpc_is_refused_at_all_its_gateways_for_what_they_hold_together(trackers: dict[str, FakeTracker]) -> None:
    tables = GatewayTables(trackers)
    assert tables.vnis() == {A: A, B: B}
    allowance = Allowance(tables, lambda: {vni: owner(vni) for vni in (A, B)})
    first, second = sorted(of(A))
    (other,) = of(B)
    for now, held, expected in (
        (0.0, {first: 25, second: 25, other: 5}, of(A)),
        (1.0, {first: 25, second: 10, other: 5}, set()),
        (2.0, {first: 0, second: 0, other: 60}, of(B)),
        (3.0, {first: 0, second: 0, other: 0}, set()),
    ):
        for label, count in held.items():
            hold(trackers[label], count)
        allowance.turn(Turn(now=now))
        assert refused(trackers) == expected, now
    assert allowance.vnis == ()


def test_all_gateways_together_have_room_for_what_one_table_has(trackers: dict[str, FakeTracker]) -> None:
    for label in GATEWAYS:
        hold(trackers[label], 30)
    tables = GatewayTables(trackers)
    assert (tables.use().held, tables.use().most) == (90, MOST)
    assert tables.sample(SAMPLE) == {A: 60, B: 30}


def test_what_is_counted_is_not_scaled_as_a_sample_would_be(trackers: dict[str, FakeTracker]) -> None:
    for tracker in trackers.values():
        tracker.most = 10 * SAMPLE
    (other,) = of(B)
    hold(trackers[other], 4 * SAMPLE)
    hold(trackers[sorted(of(A))[0]], 3 * SAMPLE)
    allowance = Allowance(GatewayTables(trackers), lambda: {vni: owner(vni) for vni in (A, B)})
    allowance.turn(Turn(now=0.0))
    assert refused(trackers) == {other}  # 4 and 3 parts, and 3 are free


def test_a_restarted_agent_goes_on_and_a_gateway_that_goes_is_forgotten(trackers: dict[str, FakeTracker]) -> None:
    (other,) = of(B)
    hold(trackers[other], 60)
    Allowance(GatewayTables(trackers), dict).turn(Turn(now=0.0))
    hold(trackers[other], 45)
    tables = GatewayTables(trackers)
    again = Allowance(tables, dict)
    again.turn(Turn(now=0.0))
    assert refused(trackers) == {other}
    del trackers[other]
    again.turn(Turn(now=1.0))
    assert again.refused == frozenset()
    assert tables.vnis() == {A: A}


def test_a_host_without_gateways_asks_nothing_of_its_overlay(trackers: dict[str, FakeTracker]) -> None:
    allowance = Allowance(GatewayTables({OVERLAY: trackers[OVERLAY]}), dict)
    allowance.turn(Turn(now=0.0))
    assert refused(trackers) == set()
    assert allowance.percent == 0
