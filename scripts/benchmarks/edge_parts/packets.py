"""The cost of a packet on an edge: netorch's internet gateway with and without its parts, and gateways by hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Final

import msgspec
from common import Figure
from datapath_vm.topologies import clear, ip, run
from datapath_vm.traffic import FOREIGN_MAC

from edge_parts import hand
from edge_parts.records import FIRST_VNI, association, fill, gateway, gateway_of, private_address, public_address, put
from edge_parts.wires import EDGE, UPLINK, Way, check, ends, measure, measure_ends, neighbour, tunnel, wire
from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.state.base import OUTSIDE
from netorch.state.names import vxlan_name
from netorch.state.owner import netns_name, overlay_netns
from netorch.store import open_store
from netorch.store.base import Store

PACKETS: Final = 4_000
RUNS: Final = 5
SAMPLE: Final = 10  # out of many VPCs or addresses
SAMPLE_RUNS: Final = 3
VPCS: Final = 1_000
ADDRESSES: Final = 1_000

Report = Callable[[str, list[float]], None]


def measure_all(report: Report) -> None:
    """Report the cost of a packet each way on every edge."""
    report_ends(report)
    for name, build in (("together", hand.together), ("apart", hand.apart)):
        build(FIRST_VNI)
        _ways(name, FIRST_VNI, report)
        clear()
    _measure_parts(report)
    netorch(VPCS, 1)
    _sampled("many VPCs", [(FIRST_VNI + number, number, 0) for number in sample(VPCS)], report)
    clear()
    netorch(1, ADDRESSES)
    _sampled("many addresses", [(FIRST_VNI, number, number) for number in sample(ADDRESSES)], report)
    clear()


def report_ends(report: Report) -> None:
    """Report the cost of the sender and the receivers: without an edge, frames are dropped where it would receive them."""
    wire(FIRST_VNI)
    ip(EDGE, f"link set {UPLINK.device} up")
    for way in Way:
        report(f"ends, {way.value}", measure_ends(way, gateway_of(FIRST_VNI), PACKETS, RUNS))
    clear()


def sample(count: int) -> range:
    """Return about `SAMPLE` numbers below `count`, evenly spaced, because the length of a hash table look-up is luck for each."""
    return range(0, count, count // SAMPLE)


def _sampled(name: str, places: Sequence[tuple[int, int, int]], report: Report) -> None:
    """Report the mean of several addresses, each given as VNI, number of the public and number of the private address."""
    for way in Way:
        values = []
        for vni, public, private in places:
            tunnel(vni)
            found = ends(way, gateway_of(vni), private_address(private), public_address(public))
            check(found)
            values.append(median(measure(found, PACKETS, SAMPLE_RUNS)))
        report(f"{name}, {way.value}", [fmean(values)])


def _measure_parts(report: Report) -> None:
    """Report netorch's gateway, and the gateway with one part after another removed."""
    netorch(1, 1)
    _ways("netorch", FIRST_VNI, report)
    overlay, outside = overlay_netns(EDGE), netns_name(EDGE, OUTSIDE)
    first = run("tc", "-n", overlay, "filter", "show", "dev", vxlan_name(FIRST_VNI), "ingress").split("pref ")[1].split()[0]
    run(*f"tc -n {overlay} filter delete dev {vxlan_name(FIRST_VNI)} ingress pref {first}".split())
    _ways("no filter of unverified", FIRST_VNI, report)
    for name, namespace in (("no rules outside", outside), ("no rules inside", overlay)):
        run("ip", "netns", "exec", namespace, "nft", "flush", "ruleset")
        _ways(name, FIRST_VNI, report, checked=False)
    clear()


def _ways(name: str, vni: int, report: Report, *, checked: bool = True) -> None:
    for way in Way:
        found = ends(way, gateway_of(vni))
        if checked:
            check(found)
        report(f"{name}, {way.value}", measure(found, PACKETS, RUNS))


def netorch(vpcs: int, addresses: int) -> None:
    """Let netorch build an edge with so many VPCs, each with so many consecutive addresses."""

    def records(store: Store, vni: int, number: int) -> Iterator[tuple[str, msgspec.Struct]]:
        yield from gateway(vni)
        yield from (association(store, vni, number * addresses + each, each) for each in range(addresses))

    build(vpcs, addresses, records)


def build(vpcs: int, instances: int, records: Callable[[Store, int, int], Iterable[tuple[str, msgspec.Struct]]]) -> None:
    """Let netorch build an edge with so many VPCs; `records` yields those of a gateway, by VNI and number."""
    wire(FIRST_VNI)
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "netorch.db"))
        store = open_store(path, create=True)
        fill(store, vpcs, instances)
        for number in range(vpcs):
            put(store, records(store, FIRST_VNI + number, number))
        descriptor = netns.find(EDGE)
        with netns.inside(descriptor):
            kernel = LinuxKernel(EDGE)
        os.close(descriptor)
        agent = Agent(EDGE, kernel, lambda: open_store(path), SnapshotFile(Path(directory, EDGE)), load_compilers())
        agent.start()
        agent.records.set_silent(frozenset())  # soon after its start an edge is ready and active, also in its own agent's view
        agent.records.set_standby(frozenset())
        agent.turn()
        if agent.reconciler.problems:
            raise RuntimeError(f"agent of {EDGE}: {agent.reconciler.problems}")
        agent.close()
        store.close()
    ip(netns_name(EDGE, OUTSIDE), neighbour(UPLINK.gateway, FOREIGN_MAC, UPLINK.device))


def figures(cost: dict[str, float]) -> list[Figure]:
    """Return instructions a packet on the edge, less those of the sender and the receivers, and their ratios."""
    table = []
    for way in Way:
        on_edge = {
            name.removesuffix(f", {way.value}"): value - cost[f"ends, {way.value}"]
            for name, value in cost.items()
            if name.endswith(f", {way.value}")
        }
        own = on_edge["netorch"]
        what = f"internet gateway, {way.value}"
        for name, goal in (("apart", 0.95), ("together", None)):
            title = f"{what} : by hand, {'namespaces' if name == 'apart' else 'all'} {name}"
            note = f"{on_edge[name]:,.0f} : {own:,.0f} instructions"
            table.append(Figure(name=title, value=on_edge[name] / own, goal=goal, at_least=True, digits=3, note=note))
        parts = ("netorch", "no filter of unverified", "no rules outside", "no rules inside")
        for with_it, without in pairwise(parts):
            share = (on_edge[with_it] - on_edge[without]) / own * 100
            table.append(Figure(name=f"  {without.removeprefix('no ')}", value=share, unit="% of it", digits=1))
        for name, count in (("many VPCs", f"{VPCS:,} VPCs"), ("many addresses", f"{ADDRESSES:,} addresses")):
            more = (on_edge[name] / own - 1) * 100
            note = f"{on_edge[name]:,.0f} instructions"
            table.append(Figure(name=f"{what}, 1 -> {count}", value=more, unit="% more", goal=1.0, note=note))
    return table
