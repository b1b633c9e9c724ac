"""Diagnosis models an edge with the same objects as its agent makes, including public addresses."""

from __future__ import annotations

import msgspec

from netorch.diagnose.desired import compiled_agent, desired_objects
from netorch.state.base import OUTSIDE
from netorch.state.l3 import Route
from tests.unit.edges.pair import Pair


def test_an_edge_that_is_as_it_should_be_has_no_drift(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, "198.51.100.5", "10.0.0.4")
    pair.world.settle(3)
    reconciler = compiled_agent("e1", pair.world.store, pair.world.kernels["e1"], read_kernel=True)
    assert reconciler.pending() == []


def test_an_uplink_may_be_called_as_other_hosts_underlays_are(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    record = pair.world.agents["e1"].records.host
    assert record is not None
    assert record.uplink is not None
    pair.put_edge(msgspec.structs.replace(record, uplink=msgspec.structs.replace(record.uplink, device="eth0")))
    assert desired_objects("e1", pair.world.store, vpc.vni)


def test_an_address_that_is_left_out_stops_no_diagnosis(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    for address in ("198.51.100.5", "203.0.113.5"):
        pair.associate(vpc, address, "10.0.0.4")
    pair.world.settle(3)
    assert pair.world.agents["e1"].reconciler.problems
    objects = desired_objects("e1", pair.world.store, vpc.vni).values()
    assert {obj.dst for obj in objects if isinstance(obj, Route) and obj.netns == OUTSIDE and obj.vni} == {"198.51.100.5/32"}
    assert compiled_agent("e1", pair.world.store, pair.world.kernels["e1"], read_kernel=True).pending() == []
