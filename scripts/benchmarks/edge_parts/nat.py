"""The cost of a packet on a NAT gateway: of a connection known at both ends, and the first packet of a new connection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import fmean, median
from typing import Final

import msgspec
from common import Figure
from datapath_vm.topologies import clear
from datapath_vm.traffic import forget_flows

from edge_parts import hand_nat
from edge_parts.packets import PACKETS, RUNS, SAMPLE_RUNS, VPCS, Report, build, report_ends, sample
from edge_parts.records import FIRST_VNI, gateway, nat_gateway, nat_of, public_address
from edge_parts.wires import EDGE, Way, check, ends, measure, send, tunnel
from netorch.state.owner import netns_name
from netorch.store.base import Store

NEW: Final = "new"  # a kind of packet, besides the ways
# The gateways by hand, and the namespaces that track their connections.
BY_HAND: Final = {
    "one arm": (hand_nat.one_arm, hand_nat.TRACKER),
    "namespaces apart": (hand_nat.apart, hand_nat.TRACKER),
    "all together": (hand_nat.together, EDGE),
}


def measure_all(report: Report) -> None:
    """Report the cost of a packet on every edge."""
    report_ends(report)
    for name, (build_by_hand, tracker) in BY_HAND.items():
        build_by_hand(FIRST_VNI)
        _report(name, [_ways(0, tracker, RUNS)], report)
        clear()
    build(1, 1, _records)
    _report("netorch", [_ways(0, _tracker(0), RUNS)], report)
    clear()
    build(VPCS, 1, _records)
    _report("many VPCs", [_ways(number, _tracker(number), SAMPLE_RUNS) for number in sample(VPCS)], report)
    clear()


def _tracker(number: int) -> str:
    """Return the namespace in which netorch tracks the connections of a VPC."""
    return netns_name(EDGE, nat_of(FIRST_VNI + number))


def _report(name: str, found: list[dict[str, float]], report: Report) -> None:
    """Report the mean over VPCs."""
    for kind in found[0]:
        report(f"{name}, {kind}", [fmean(costs[kind] for costs in found)])


def _records(store: Store, vni: int, number: int) -> Iterator[tuple[str, msgspec.Struct]]:
    yield from gateway(vni)
    yield from nat_gateway(store, vni, number)


def _ways(number: int, tracker: str, runs: int) -> dict[str, float]:
    """Return all costs of a VPC whose connections are tracked in the namespace `tracker`."""
    vni = FIRST_VNI + number
    tunnel(vni)
    found = {way: ends(way, nat_of(vni), public=public_address(number)) for way in Way}
    forget_flows(tracker)
    for way in Way:  # the first packet of the connection, and an answer
        send(1, found[way])
    costs = {}
    for way in Way:
        check(found[way])
        costs[way.value] = median(measure(found[way], PACKETS, runs))
    costs[NEW] = median(measure(found[Way.OUT], PACKETS, runs, partial(forget_flows, tracker)))
    return costs


def figures(cost: dict[str, float]) -> list[Figure]:
    """Return instructions a packet on the edge, less those of the sender and the receivers, and their ratios."""
    table = []
    for kind in (*(way.value for way in Way), NEW):
        sent = Way.OUT.value if kind == NEW else kind
        ends_cost = cost[f"ends, {sent}"]
        own, many = (cost[f"{name}, {kind}"] - ends_cost for name in ("netorch", "many VPCs"))
        what = f"NAT gateway, {'first packet of a connection' if kind == NEW else kind}"
        for name in BY_HAND:
            by_hand = cost[f"{name}, {kind}"] - ends_cost
            note = f"{by_hand:,.0f} : {own:,.0f} instructions"
            goal = 0.95 if name == "one arm" else None
            title = f"{what} : by hand, {name}"
            table.append(Figure(name=title, value=by_hand / own, goal=goal, at_least=True, digits=3, note=note))
        more, note = (many / own - 1) * 100, f"{many:,.0f} instructions"
        table.append(Figure(name=f"{what}, 1 -> {VPCS:,} VPCs", value=more, unit="% more", goal=1.0, note=note))
    return table
