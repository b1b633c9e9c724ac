"""An edge's cost: instructions a packet, one more VPC or address among 1,000, and a switch to the other edge.

64-byte UDP through the internet or NAT gateway of a VPC, out and in. QEMU counts the instructions in Debian's stock kernel, see
datapath; those of the sender and of the receivers, the same in all cases, are measured separately and subtracted. So ratios
are those of the edge alone. The rest is measured in the lab kernel with an agent in its own process for each host.
Arguments: `packets`, `nat` or `changes` for one of the three; with `changes`, other numbers of VPCs in place of 200 and 1,000.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from common import percentile, show
from datapath import COUNTING
from edge_parts import changes, nat, packets
from stock import run_in_stock_kernel

from netorch.lab.kernel import run_in_kernel

MEMORY_MB = 3_000
VPCS = (200, 1_000)
COUNTED = {"packets": packets, "nat": nat}


def report(name: str, values: list[float]) -> None:
    """Print a line of JSON."""
    print(msgspec.json.encode((name, values)).decode(), flush=True)


def count_packets(part: str) -> int:
    """Print the instructions a packet; return how many goals are missed."""
    with tempfile.TemporaryFile("w+") as out:
        argv = [sys.executable, __file__, "--inside", "machine", part]
        if run_in_stock_kernel(argv, memory_mb=MEMORY_MB, options=COUNTING, out=out):
            raise SystemExit("edge: it failed in the stock kernel, which said above why")
        out.seek(0)
        lines = [msgspec.json.decode(line, type=tuple[str, list[float]]) for line in out]
    cost = {name: statistics.median(values) for name, values in lines}
    spread = max(percentile(values, 75) / percentile(values, 25) - 1 for _, values in lines)
    title = f"instructions a packet on an edge, stock kernel (middle half of the runs within {spread * 100:.1f} %)"
    return show(title, COUNTED[part].figures(cost))


def measure_changes(sizes: Sequence[int]) -> int:
    """Print the cost of changes; this process runs in the lab kernel. Return how many goals are missed."""
    missed, found = 0, []
    with tempfile.TemporaryDirectory() as name:
        for vpcs in sizes:
            found.append(changes.measure(vpcs, Path(name, str(vpcs))))
            missed += show(f"{vpcs:,} VPCs, each with an internet gateway and an address", changes.figures(found[-1]))
    if len(found) > 1:
        missed += show(f"{sizes[0]:,} -> {sizes[-1]:,} VPCs", changes.growth_figures(found[0], found[-1]))
    return missed


def main(arguments: Sequence[str]) -> int:
    """Run the named parts, or the part for this process; return 1 when a goal is missed."""
    match arguments:
        case ["--inside", "machine", part]:
            subprocess.run(["modprobe", "pktgen"], check=True)  # not loaded on demand
            COUNTED[part].measure_all(report)
            return 0
        case ["--inside", "lab", *rest]:
            return int(measure_changes([int(word) for word in rest] or VPCS) > 0)
    unknown = [word for word in arguments if word not in (*COUNTED, "changes") and not word.isdigit()]
    if unknown:
        raise SystemExit(f"edge: no part called {unknown[0]}; there are {', '.join(COUNTED)} and changes")
    missed = 0
    for part in COUNTED:
        if not arguments or part in arguments:
            missed += count_packets(part)
    if not arguments or "changes" in arguments:
        sizes = [word for word in arguments if word.isdigit()]
        missed += run_in_kernel([sys.executable, __file__, "--inside", "lab", *sizes], memory_mb=MEMORY_MB)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
