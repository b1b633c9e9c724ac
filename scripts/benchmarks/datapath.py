"""Instructions a packet between two instances on two hosts: netorch against plain VXLAN and against rules by hand.

64-byte UDP, one way, same subnet; both hosts are namespaces of one kernel with one processor. Instructions are counted by QEMU in
Debian's stock kernel, unaffected by other load; the median of several runs. Microseconds are those of the lab kernel, the least
of several runs: other load does affect them. netorch's topology and rules are built by its control plane and its agents.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from common import Figure, percentile, show
from datapath_vm.machine import run_in_machine
from datapath_vm.topologies import build_netorch, build_plain, clear, rules_by_hand, without_rules
from datapath_vm.traffic import check_spoofing, deafen_receiver, measure

from netorch.lab.kernel import run_in_kernel

PACKETS = 4_000
RUNS = 7
LAB_RUNS = 25
OTHERS = 1_499
MEMORY_MB = 3_000


def measure_all(runs: int, others: int, report: Callable[[str, list[float]], None]) -> None:
    """Build one topology after another and report the nanoseconds a packet of each run."""
    clear()
    target = build_plain()
    deafen_receiver()
    report("plain", measure(target, PACKETS, runs))
    clear()
    target = build_netorch()
    deafen_receiver()
    report("netorch", measure(target, PACKETS, runs))
    check_spoofing(target, expected=0)
    rules_by_hand(on_the_port=False)
    report("hand", measure(target, PACKETS, runs))
    check_spoofing(target, expected=0)
    rules_by_hand(on_the_port=True)
    report("hand on the port", measure(target, PACKETS, runs))
    check_spoofing(target, expected=0)
    without_rules()
    report("without rules", measure(target, PACKETS, runs))
    clear()
    if others:
        target = build_netorch(others)
        deafen_receiver()
        report("others", measure(target, PACKETS, runs))
        clear()


def figures(best: dict[str, float]) -> list[Figure]:
    """Return the ratios, from what a packet costs in each topology."""
    plain, netorch, bare, hand, port = (best[name] for name in ("plain", "netorch", "without rules", "hand", "hand on the port"))
    cost = "{:,.0f} instructions".format
    table = [
        Figure(name="plain VXLAN, a bridge by hand", value=1.0, note=cost(plain)),
        Figure(name="netorch without rules : plain", value=plain / bare, goal=0.93, at_least=True, digits=3, note=cost(bare)),
        Figure(name="netorch : rules by hand", value=hand / netorch, goal=0.95, at_least=True, digits=3, note=cost(hand)),
        Figure(name="netorch : rules by hand, spoofing on the port", value=port / netorch, digits=3, note=cost(port)),
        Figure(name="netorch : plain", value=plain / netorch, digits=3, note=cost(netorch)),
    ]
    if "others" in best:
        more = (best["others"] / netorch - 1) * 100
        name = f"1 -> {OTHERS + 1:,} VPCs on both hosts"
        table.append(Figure(name=name, value=more, unit="% more", goal=2.0, note=cost(best["others"])))
    return table


def lab_figures(best: dict[str, float]) -> list[Figure]:
    """Return the microseconds of each topology."""
    return [Figure(name=name, value=value / 1000, unit="us") for name, value in best.items()]


def inside(where: str) -> int:
    """Measure in the kernel that runs us: print a line of JSON for each topology, or in the lab kernel the table."""
    if where == "machine":
        measure_all(RUNS, OTHERS, lambda name, values: print(msgspec.json.encode((name, values)).decode(), flush=True))
        return 0
    best: dict[str, float] = {}
    measure_all(LAB_RUNS, 0, lambda name, values: best.update({name: min(values)}))
    show("lab kernel, wall time a packet, both hosts", lab_figures(best))
    return 0


def main(arguments: list[str]) -> int:
    """Run this file in both kernels; return 1 when a goal is missed."""
    if arguments[:1] == ["--inside"]:
        return inside(arguments[1])
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "out")
        run_in_machine([sys.executable, __file__, "--inside", "machine"], out)
        lines = [msgspec.json.decode(line, type=tuple[str, list[float]]) for line in out.read_bytes().splitlines()]
    best = {name: statistics.median(values) for name, values in lines}
    spread = max(percentile(values, 75) / percentile(values, 25) - 1 for _, values in lines)
    missed = show(
        f"instructions a packet, both hosts, stock kernel (middle half of the runs within {spread * 100:.1f} %)", figures(best)
    )
    status = run_in_kernel([sys.executable, __file__, "--inside", "lab"], memory_mb=MEMORY_MB)
    return 1 if missed or status else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
