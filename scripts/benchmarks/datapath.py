"""Instructions a packet between two instances on two hosts: netorch's policy against plain VXLAN and against rules by hand.

64-byte UDP, one way, between two subnets; both hosts are namespaces of one kernel with one processor. QEMU counts the
instructions in Debian's stock kernel, unaffected by other load; the median of several runs. Microseconds are measured in the lab
kernel, the least of several runs: other load does affect them. netorch's control plane and agents build its topology and rules.

There are four kinds of packets: of an answered connection, which has passed its rules; of a connection without answers; first
packets of connections, each of which is evaluated; and of lasting connections, which a flowtable may forward. Groups grow at both
ends at once, so that a packet meets the rules twice. With several route tables, sender and receiver are in different VRFs, and
the VXLAN device is in a third.
Another tenant's changes make packets of lasting connections pass the chains; `datapath_vm/churn.py` says how that is measured.
Arguments: `lasting` for lasting connections alone, `churn` for another tenant's changes alone.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable

import msgspec
from common import Figure, percentile, show
from datapath_vm.churn import PACKETS_PER_S, RATES, Tenant, changes_of, measure_changes
from datapath_vm.policy import (
    FULL_RULES,
    Policy,
    networks_of_one,
    no_policy,
    only_connections,
    only_ports_and_verification,
    only_verification,
    peers,
    peers6,
    policy_by_hand,
    ports_of_one,
)
from datapath_vm.topologies import Site, build_plain, clear
from datapath_vm.traffic import EVALUATED, Flow, check_drop, check_spoofing, deafen_receiver, measure, memory_of_flows
from datapath_vm.transfer import BYTES, NETORCH, PLAIN, PLAIN_WITHOUT_GRO, measure_transfers
from stock import run_in_stock_kernel

from netorch.compiler.base import PORT_MAC
from netorch.lab.kernel import run_in_kernel

PACKETS = 4_000
RUNS = 7
GROWTH_RUNS = 3
LAB_RUNS = 25
OTHERS = 1_499
FLOWS = (1, 10_000)
VERSIONS = (4, 6)
RULES = (10, 100, 1_000)
MEMBERS = (10, 10_000)
TABLES = (1, 3, 10)
GROWING = {
    "rules": RULES,
    "ports of one network": RULES,
    "networks with one port": RULES,
    "untracked": RULES,
    "groups": RULES,
    "members": MEMBERS,
}
MEMORY_MB = 3_000
# The machine's clock advances one nanosecond per instruction, whatever the other load: a microsecond is 1,000 instructions.
# Cache misses are not counted, and a string instruction counts once per byte.
COUNTING = ("--disable-kvm", "--cpus", "1", "--qemu-opts=-icount shift=0,sleep=off,align=off")

Report = Callable[[str, list[float]], None]


def measure_flows(name: str, runs: int, report: Report) -> None:
    """Report the cost of a packet of each kind that passes the chains."""
    for flow in EVALUATED:
        report(f"{name}, {flow.value}", measure(PORT_MAC, PACKETS, runs, flow))


def measure_parts(runs: int, report: Report) -> None:
    """Report plain VXLAN, the full policy, the policy with one part after another removed, and rules by hand."""
    clear()
    target = build_plain()
    deafen_receiver()
    report("plain", measure(target, PACKETS, runs))
    clear()
    site = Site()
    policy = Policy(site)
    deafen_receiver()
    policy.full()
    measure_flows("full", runs, report)
    check_spoofing(PORT_MAC)
    check_drop(PORT_MAC)
    policy.without_acl()
    measure_flows("no ACL", runs, report)
    site.close()
    only_connections()
    measure_flows("connections", runs, report)
    for reduce, name in ((only_ports_and_verification, "stateless"), (only_verification, "verified"), (no_policy, "bare")):
        reduce()
        report(name, measure(PORT_MAC, PACKETS, runs))
    policy_by_hand()
    measure_flows("hand", runs, report)
    check_spoofing(PORT_MAC)
    check_drop(PORT_MAC)
    clear()


def measure_lasting(runs: int, report: Report) -> None:
    """Report plain VXLAN and lasting connections, one and many, by IPv4 and IPv6: tracked, behind ACLs, and untracked."""
    clear()
    target = build_plain()
    deafen_receiver()
    _measure_streams("plain", target, None, runs, report)
    clear()
    site = Site(dual_stack=True)
    policy = Policy(site)
    deafen_receiver()
    policy.permit(peers(FULL_RULES) + peers6(FULL_RULES))
    _measure_streams("tracked", PORT_MAC, Flow.LASTING, runs, report)
    for flow in (Flow.ANSWERED, Flow.LASTING):
        report(f"memory, {flow.value}", [memory_of_flows(flow, PORT_MAC, FLOWS[-1]) for _ in range(GROWTH_RUNS)])
    policy.full(dual_stack=True)
    _measure_streams("tracked, ACLs", PORT_MAC, Flow.LASTING, runs, report)
    policy.without_acl()
    policy.permit_untracked(FULL_RULES)
    _measure_streams("untracked", PORT_MAC, Flow.LASTING, runs, report)
    site.close()
    clear()


def _measure_streams(name: str, target: str, flow: Flow | None, runs: int, report: Report) -> None:
    for version in VERSIONS:
        for flows in FLOWS:
            # Many connections take long to prepare, and each of them sends a packet in a run.
            values = measure(target, max(PACKETS, flows), runs if flows == 1 else GROWTH_RUNS, flow, flows=flows, version=version)
            report(f"{name}, IPv{version}, {flows}", values)


def measure_churn(report: Report) -> None:
    """Report what another tenant's changes cost packets of a lasting connection, and how many of them the chains judge."""
    clear()
    site = Site(1, dual_stack=True)
    deafen_receiver()
    Policy(site).permit(peers(FULL_RULES) + peers6(FULL_RULES))
    for name, change, version in changes_of(Tenant(site)):
        for rate in RATES:
            still, changing = (measure_changes(each, rate, PORT_MAC, version) for each in (None, change))
            report(f"{name}, IPv{version}, {rate}", [changing.nanoseconds - still.nanoseconds])
            report(f"slow, {name}, IPv{version}, {rate}", [changing.slow - still.slow])
    site.close()
    clear()


def measure_growth(runs: int, report: Report) -> None:
    """Report the cost of a packet while rules and members grow a hundredfold and more."""
    changes: dict[str, Callable[[Policy, int], None]] = {
        "rules": lambda policy, count: policy.permit(peers(count)),
        "ports of one network": lambda policy, count: policy.permit(ports_of_one(count)),
        "networks with one port": lambda policy, count: policy.permit(networks_of_one(count)),
        "untracked": Policy.permit_untracked,
        "groups": Policy.permit_groups,
        "members": Policy.permit_members,
    }
    for what, sizes in GROWING.items():
        for count in sizes:
            site = Site()
            deafen_receiver()
            changes[what](Policy(site), count)
            site.close()
            measure_flows(f"{count} {what}", runs, report)
            check_drop(PORT_MAC)
            clear()


def measure_others(others: int, runs: int, report: Report) -> None:
    """Report the cost of a packet with many other VPCs on both hosts."""
    site = Site(others)
    deafen_receiver()
    policy = Policy(site)
    policy.full()
    measure_flows("others", runs, report)
    policy.without_acl()
    site.close()
    report("others, lasting", measure(PORT_MAC, PACKETS, runs, Flow.LASTING))
    clear()


def measure_tables(runs: int, report: Report) -> None:
    """Report the cost of a packet by the number of route tables on both hosts; sender and receiver use different ones."""
    for count in TABLES:
        site = Site(tables=count)
        deafen_receiver()
        Policy(site).full()
        site.close()
        measure_flows(f"{count} route tables", runs, report)
        check_drop(PORT_MAC)
        clear()


def part_figures(cost: dict[str, float]) -> list[Figure]:
    """Return the cost of the policy and of its parts, in instructions a packet and as ratios."""
    plain = cost["plain"]
    table = [
        Figure(name="plain VXLAN, a bridge by hand", value=1.0, note=_instructions(plain)),
        Figure(
            name="no rules : plain",
            value=plain / cost["bare"],
            goal=0.93,
            at_least=True,
            digits=3,
            note=_instructions(cost["bare"]),
        ),
    ]
    for flow in EVALUATED:
        full, hand = (cost[f"{name}, {flow.value}"] for name in ("full", "hand"))
        name = f"full policy, {flow.value}"
        table.append(
            Figure(name=f"{name} : by hand", value=hand / full, goal=0.95, at_least=True, digits=3, note=_instructions(hand))
        )
        table.append(Figure(name=f"{name} : plain", value=plain / full, digits=3, note=_instructions(full)))
    for flow in EVALUATED:
        steps = {
            "ACLs": ("full", "no ACL"),
            "groups": ("no ACL", "connections"),
            "zones and connections": ("connections", "stateless"),
        }
        for name, (more, less) in steps.items():
            without = cost[less] if less in cost else cost[f"{less}, {flow.value}"]
            share = (cost[f"{more}, {flow.value}"] - without) / plain * 100
            table.append(Figure(name=f"{name}, {flow.value}", value=share, unit="% of plain", digits=1))
    for name, more, less in (("spoofing", "stateless", "verified"), ("verification", "verified", "bare")):
        table.append(Figure(name=name, value=(cost[more] - cost[less]) / plain * 100, unit="% of plain", digits=1))
    return table


def lasting_figures(cost: dict[str, float]) -> list[Figure]:
    """Return plain VXLAN's share of what a packet of a lasting connection costs, and what a connection takes of memory."""
    table = []
    for name in ("tracked", "tracked, ACLs", "untracked"):
        for version in VERSIONS:
            for flows in FLOWS:
                plain, own = (cost[f"{kind}, IPv{version}, {flows}"] for kind in ("plain", name))
                what = f"lasting, {name}, IPv{version}, {flows:,} flows : plain"
                note = f"{plain:,.0f} : {own:,.0f} instructions"
                table.append(Figure(name=what, value=plain / own, goal=0.95, at_least=True, digits=3, note=note))
    table += [
        Figure(name=f"kernel memory of a connection, {flow.value}", value=cost[f"memory, {flow.value}"], unit="B")
        for flow in (Flow.ANSWERED, Flow.LASTING)
    ]
    return table


def churn_figures(cost: dict[str, float]) -> list[Figure]:
    """Return how much more a packet of a lasting connection costs while another tenant makes changes."""
    table = []
    for what, value in cost.items():
        found = re.fullmatch(r"(launches|IPv6 launches|rules), IPv(.), (\d+)", what)
        if found is not None:
            kind, version, rate = found.groups()
            name = f"{int(rate):,} {kind} a second of another VPC, {PACKETS_PER_S:,} packets a second by IPv{version}"
            note = f"{cost[f'slow, {what}'] * 100:.2f} % of the passages of a host are slow"
            table.append(Figure(name=name, value=value, unit="instructions more", digits=0, note=note))
    return table


def growth_figures(cost: dict[str, float]) -> list[Figure]:
    """Return how much more a packet costs with the most rules or members than with the fewest."""
    table = []
    for what, sizes in GROWING.items():
        for flow in EVALUATED:
            costs = [cost[f"{size} {what}, {flow.value}"] for size in sizes]
            note = " -> ".join(f"{value:,.0f}" for value in costs)
            name = f"{sizes[0]} -> {sizes[-1]:,} {what}, {flow.value}"
            table.append(Figure(name=name, value=(costs[-1] / costs[0] - 1) * 100, unit="% more", goal=10.0, note=note))
    return table


def others_figures(cost: dict[str, float]) -> list[Figure]:
    """Return how much more a packet costs with many VPCs on both hosts than with one."""
    table = []
    kinds = [(flow.value, f"full, {flow.value}") for flow in EVALUATED] + [("lasting", f"tracked, IPv4, {FLOWS[0]}")]
    for kind, alone in kinds:
        others = cost[f"others, {kind}"]
        name = f"1 -> {OTHERS + 1:,} VPCs on both hosts, {kind}"
        table.append(
            Figure(name=name, value=(others / cost[alone] - 1) * 100, unit="% more", goal=2.0, note=_instructions(others))
        )
    return table


def table_figures(cost: dict[str, float]) -> list[Figure]:
    """Return how much more a packet costs with several route tables than with the main one alone."""
    table = []
    for flow in EVALUATED:
        for count in TABLES[1:]:
            alone, several = (cost[f"{number} route tables, {flow.value}"] for number in (TABLES[0], count))
            name = f"{TABLES[0]} -> {count} route tables, {flow.value}"
            table.append(
                Figure(name=name, value=(several / alone - 1) * 100, unit="% more", goal=1.0, note=_instructions(several))
            )
    return table


def transfer_figures(took: dict[str, float]) -> list[Figure]:
    """Return netorch's TCP throughput as a ratio to that of plain VXLAN, with and without GRO on its VXLAN devices."""
    rates = {name: BYTES * 8 / seconds / 1e9 for name, seconds in took.items()}
    return [
        Figure(
            name=f"TCP throughput : {name}",
            value=rates[NETORCH] / rates[name],
            digits=2,
            note=f"{rates[NETORCH]:.1f} : {rates[name]:.1f} Gbit/s",
        )
        for name in (PLAIN, PLAIN_WITHOUT_GRO)
    ]


def _instructions(count: float) -> str:
    return f"{count:,.0f} instructions"


def inside(where: str) -> int:
    """Measure in this kernel: print a line of JSON for each topology, or in the lab kernel the table."""
    if where != "lab":

        def report(name: str, values: list[float]) -> None:
            print(msgspec.json.encode((name, values)).decode(), flush=True)

        subprocess.run(["modprobe", "pktgen"], check=True)  # not loaded on demand
        if where != "churn":
            measure_lasting(RUNS, report)
        if where != "lasting":
            measure_churn(report)
        if where != "machine":
            return 0
        measure_parts(RUNS, report)
        measure_growth(GROWTH_RUNS, report)
        measure_others(OTHERS, RUNS, report)
        measure_tables(RUNS, report)
        return 0
    best: dict[str, float] = {}
    measure_parts(LAB_RUNS, lambda name, values: best.update({name: min(values)}))
    figures = [Figure(name=name, value=value / 1000, unit="us") for name, value in best.items()]
    show("lab kernel, wall time a packet, both hosts", figures)
    took = measure_transfers()
    show("lab kernel, one connection, the fastest of several transfers", transfer_figures(took))
    return 0


def main(arguments: list[str]) -> int:
    """Run this file in both kernels; return 1 when a goal is missed."""
    if arguments[:1] == ["--inside"]:
        return inside(arguments[1])
    alone = next((name for name in ("lasting", "churn") if name in arguments), "")
    with tempfile.TemporaryFile("w+") as out:
        argv = [sys.executable, __file__, "--inside", alone or "machine"]
        if run_in_stock_kernel(argv, memory_mb=MEMORY_MB, options=COUNTING, out=out):
            raise SystemExit("datapath: it failed in the stock kernel, which said above why")
        out.seek(0)
        lines = [msgspec.json.decode(line, type=tuple[str, list[float]]) for line in out]
    cost = {name: statistics.median(values) for name, values in lines}
    several = (values for name, values in lines if len(values) > 1 and "memory" not in name)
    spread = max((percentile(values, 75) / percentile(values, 25) - 1 for values in several), default=0.0)
    title = f"instructions a packet, both hosts, stock kernel (middle half of the runs within {spread * 100:.1f} %)"
    lasting, churn = ([] if alone == "churn" else lasting_figures(cost)), churn_figures(cost)
    if alone:
        return 1 if show(title, lasting + churn) else 0
    figures = part_figures(cost) + lasting + churn + others_figures(cost) + growth_figures(cost) + table_figures(cost)
    missed = show(title, figures)
    status = run_in_kernel([sys.executable, __file__, "--inside", "lab"], memory_mb=MEMORY_MB)
    return 1 if missed or status else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
