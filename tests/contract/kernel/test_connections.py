"""Connection tracking of the overlay namespace."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from netorch.drivers.base import ConnectionTracker
from netorch.errors import KernelError
from netorch.state.base import OVERLAY
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow
from netorch.state.op import Delete
from tests import chains
from tests.contract.kernel.stands import (
    FLOW,
    FLOWS,
    PORT,
    TABLES,
    ZONE,
    Stand,
    create,
    missing,
)


def tracker(stand: Stand) -> ConnectionTracker:
    return stand.kernel.trackers[OVERLAY]


def steady(flows: Iterable[Flow]) -> set[Flow]:
    """Return connections without their remaining time, which changes."""
    return {msgspec.structs.replace(flow, timeout_s=0) for flow in flows}


def test_restored_connections_are_known_and_forgotten_ones_are_not(stand: Stand) -> None:
    stranger = msgspec.structs.replace(FLOW, zone=8)
    tracker(stand).restore([*FLOWS, stranger])
    tracker(stand).restore([FLOW])
    assert steady(tracker(stand).flows(7)) == steady(FLOWS)
    tracker(stand).forget(FLOWS[1:])
    tracker(stand).forget(FLOWS[1:])
    assert steady(tracker(stand).flows(7)) == steady([FLOW])
    assert steady(tracker(stand).flows(8)) == steady([stranger])


def test_connections_are_told_by_the_addresses_that_are_their_ends(stand: Stand) -> None:
    elsewhere = msgspec.structs.replace(FLOW, zone=8)
    others = [msgspec.structs.replace(flow, source=flow.source + "0", destination=flow.destination + "0") for flow in FLOWS]
    tracker(stand).restore([*FLOWS, *others, elsewhere])
    for ends in (["10.0.0.11"], ["10.0.0.12"], ["10.0.0.11", "10.0.0.12"]):
        assert steady(tracker(stand).flows(7, ends)) == steady(flow for flow in FLOWS if ":" not in flow.source)
        assert len(tracker(stand).flows(7, ends)) == 3  # each of them once
    assert steady(tracker(stand).flows(7, ["2001:db8::12"])) == steady(flow for flow in FLOWS if ":" in flow.source)
    assert steady(tracker(stand).flows(7, ["10.0.0.12", "2001:db8::11"])) == steady(FLOWS)
    many = [f"10.9.9.{number}" for number in range(20)]
    assert steady(tracker(stand).flows(7, [*many, "10.0.0.110"])) == steady(flow for flow in others if ":" not in flow.source)
    assert steady(tracker(stand).flows(8, ["10.0.0.12"])) == steady([elsewhere])
    assert tracker(stand).flows(7, []) == tracker(stand).flows(7, many) == ()


def test_a_connection_that_is_known_already_stays_as_it_is(stand: Stand) -> None:
    tracker(stand).restore([FLOW])
    tracker(stand).restore([msgspec.structs.replace(FLOW, mark=0, timeout_s=1, tcp_state=1)])
    assert steady(tracker(stand).flows(7)) == steady([FLOW])


def test_a_connection_that_is_known_already_learns_who_tracks_it(stand: Stand) -> None:
    for mark in (BEGINNER_TRACKS, OTHER_END_TRACKS):
        tracker(stand).restore([msgspec.structs.replace(FLOW, mark=mark)])
    assert steady(tracker(stand).flows(7)) == steady([msgspec.structs.replace(FLOW, mark=BEGINNER_TRACKS | OTHER_END_TRACKS)])


def test_zones_are_counted_and_a_full_table_is_told(stand: Stand) -> None:
    before = tracker(stand).use()
    elsewhere = msgspec.structs.replace(FLOW, zone=8)
    tracker(stand).restore([*FLOWS, elsewhere])
    assert tracker(stand).use().held == before.held + len(FLOWS) + 1
    assert tracker(stand).use().most == before.most > 1000
    assert tracker(stand).sample(100) == {7: len(FLOWS), 8: 1}
    assert sum(tracker(stand).sample(3).values()) == 3


def test_zones_are_refused_in_place_of_those_that_were(stand: Stand) -> None:
    assert tracker(stand).refused() == frozenset()  # no table
    with pytest.raises(KernelError):
        tracker(stand).refuse({7})
    create(stand.kernel, *TABLES)
    assert tracker(stand).refused() == frozenset()
    for zones in ({7, 0x1234}, {7}, {7, 8}, set(), set(range(1, 1001))):
        tracker(stand).refuse(zones)
        assert tracker(stand).refused() == zones


def test_a_refused_zone_is_no_object_and_no_drift(stand: Stand) -> None:
    create(stand.kernel, *TABLES, ZONE)
    dumped = stand.kernel.dump()
    stand.kernel.events()
    tracker(stand).refuse({7})
    assert stand.kernel.dump() == dumped
    assert missing(stand.kernel, *TABLES) == []
    assert stand.kernel.events() == []


def test_a_zone_that_is_given_back_is_forgotten(stand: Stand) -> None:
    stranger = msgspec.structs.replace(FLOW, zone=8)
    create(stand.kernel, *TABLES, ZONE, chains.element("zone", PORT, value="0x7"))
    tracker(stand).restore([*FLOWS, stranger])
    assert stand.kernel.apply([Delete(chains.element("zone", PORT, value="0x7"))]) == []
    assert len(tracker(stand).flows(7)) == len(FLOWS)
    assert stand.kernel.apply([Delete(ZONE)]) == []
    assert tracker(stand).flows(7) == ()
    assert steady(tracker(stand).flows(8)) == steady([stranger])
