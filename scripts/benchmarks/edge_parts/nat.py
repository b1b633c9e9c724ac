"""What a packet costs a NAT gateway: of a connection that both ends know, and the first one of a new connection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec
from common import Figure
from datapath_vm.topologies import clear
from datapath_vm.traffic import forget_flows

from edge_parts import hand_nat
from edge_parts.packets import PACKETS, RUNS, VPCS, Report, build
from edge_parts.records import FIRST_VNI, gateway, nat_gateway, nat_of
from edge_parts.wires import EDGE, Way, check, ends, measure, measure_ends, send
from netorch.state.owner import netns_name
from netorch.store.base import Store

NEW: Final = "new"  # beside the ways
EDGES: Final = ("netorch", "apart", "together", "many VPCs")


def measure_all(report: Report) -> None:
    """Report what a packet costs on every edge."""
    hand_nat.together(FIRST_VNI)
    for way in Way:
        report(f"ends, {way.value}", measure_ends(way, nat_of(FIRST_VNI), PACKETS, RUNS))
    _ways("together", FIRST_VNI, EDGE, report)
    clear()
    hand_nat.apart(FIRST_VNI)
    _ways("apart", FIRST_VNI, hand_nat.TRACKER, report)
    clear()
    for name, vpcs in (("netorch", 1), ("many VPCs", VPCS)):
        build(vpcs, 1, _records)
        vni = FIRST_VNI + vpcs // 2
        _ways(name, vni, netns_name(EDGE, nat_of(vni)), report)
        clear()


def _records(store: Store, vni: int, number: int) -> Iterator[tuple[str, msgspec.Struct]]:
    yield from gateway(vni)
    yield from nat_gateway(store, vni, number)


def _ways(name: str, vni: int, tracker: str, report: Report) -> None:
    """Report all figures of an edge whose connections are in the namespace `tracker`."""
    found = {way: ends(way, nat_of(vni)) for way in Way}
    forget = partial(forget_flows, tracker)
    forget()
    for way in Way:  # the first packet of the connection, and an answer
        send(1, found[way])
    for way in Way:
        check(found[way])
        report(f"{name}, {way.value}", measure(found[way], PACKETS, RUNS))
    report(f"{name}, {NEW}", measure(found[Way.OUT], PACKETS, RUNS, forget))


def figures(cost: dict[str, float]) -> list[Figure]:
    """Return instructions a packet on the edge, without those of the sender and the receivers, and their ratios."""
    table = []
    for kind in (*(way.value for way in Way), NEW):
        sent = Way.OUT.value if kind == NEW else kind
        on_edge = {
            name: cost[f"{name}, {kind}"] - cost[f"ends, {sent}"] for name in ("netorch", "apart", "together", "many VPCs")
        }
        own = on_edge["netorch"]
        what = f"NAT gateway, {'first packet of a connection' if kind == NEW else kind}"
        for name, goal in (("apart", 0.95), ("together", None)):
            title = f"{what} : by hand, {'namespaces' if name == 'apart' else 'all'} {name}"
            note = f"{on_edge[name]:,.0f} : {own:,.0f} instructions"
            table.append(Figure(name=title, value=on_edge[name] / own, goal=goal, at_least=True, digits=3, note=note))
        more, note = (on_edge["many VPCs"] / own - 1) * 100, f"{on_edge['many VPCs']:,.0f} instructions"
        table.append(Figure(name=f"{what}, 1 -> {VPCS:,} VPCs", value=more, unit="% more", goal=1.0, note=note))
    return table
