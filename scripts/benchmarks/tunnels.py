"""VPN tunnels of an edge: speed of set-up, cost of one more among 500, speed of packets against a hand-made tunnel.

Everything runs in the lab kernel, which has one processor, with real charon and bird. First tunnels are set up through charon's
control socket, both ends on that processor; then an edge runs with the agent, whose customers' devices do not answer; then
1,400-byte UDP goes through one tunnel. Arguments: `setup`, `changes` or `speed` for one of the three; other numbers of
connections in place of 10, 100 and 500.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common import show
from tunnel_parts import agents, ike, speed

from netorch.lab.kernel import run_in_kernel

MEMORY_MB = 3_000
CONNECTIONS = (10, 100, 500)
PARTS = ("setup", "changes", "speed")


def measure_setup(sizes: Sequence[int], directory: Path) -> int:
    """Print the cost of setting up tunnels; return how many goals are missed."""
    missed, found = 0, []
    for connections in sizes:
        found.append(ike.measure(connections, directory / f"i{connections}"))
        missed += show(f"{connections:,} tunnels through charon's control socket", ike.figures(found[-1]))
    if len(found) > 1:
        missed += show(f"growth from {sizes[0]:,} to {sizes[-1]:,} tunnels", ike.growth_figures(found))
    return missed


def measure_changes(sizes: Sequence[int], directory: Path) -> int:
    """Print the cost of changes for an edge's agent; return how many goals are missed."""
    missed, found = 0, []
    for connections in sizes:
        found.append(agents.measure(connections, directory / f"a{connections}"))
        missed += show(f"an edge with {connections:,} VPN connections, with BGP", agents.figures(found[-1]))
    if len(found) > 1:
        missed += show(f"{sizes[0]:,} -> {sizes[-1]:,} connections", agents.growth_figures(found[0], found[-1]))
    return missed


def inside(parts: Sequence[str], sizes: Sequence[int]) -> int:
    """Measure; this process runs in the lab kernel. Return 1 when a goal is missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        if "setup" in parts:
            missed += measure_setup(sizes, Path(name))
        if "changes" in parts:
            missed += measure_changes(sizes, Path(name))
        if "speed" in parts:
            missed += show("UDP in frames of 1,400 bytes through a tunnel", speed.measure(Path(name)))
    return int(missed > 0)


def main(arguments: Sequence[str]) -> int:
    """Run this file in the lab kernel, or the part for this process."""
    match arguments:
        case ["--inside", *rest]:
            parts = [word for word in rest if not word.isdigit()] or list(PARTS)
            return inside(parts, [int(word) for word in rest if word.isdigit()] or CONNECTIONS)
    unknown = [word for word in arguments if word not in PARTS and not word.isdigit()]
    if unknown:
        raise SystemExit(f"tunnels: no part called {unknown[0]}; there are {', '.join(PARTS)}")
    return run_in_kernel([sys.executable, __file__, "--inside", *arguments], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
