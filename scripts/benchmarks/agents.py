"""Agents and etcd: 1,000 of them on one etcd, the mappings in an agent's memory, and 100 moves of an instance under TCP.

The modules in agent_parts say what is real and what is simulated. Moves run in the lab kernel.
Arguments: `many`, `lookup` or `moves` for one of the three; another number of agents, mappings or moves behind it; `three` for
three members of etcd instead of one. E.g. `agents many 100 three`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests, whose cluster and hosts are used

from agent_parts import lookup, many, moves

from netorch.lab.kernel import run_in_kernel

MEMORY_MB = 1_500
USUAL = {"many": 1_000, "lookup": 100_000, "moves": 100}


def main(arguments: Sequence[str]) -> int:
    """Print the tables; return 1 when a goal is missed."""
    parts = [part for part in USUAL if part in arguments] or list(USUAL)
    numbers = [int(word) for word in arguments if word.isdigit()]
    members = 3 if "three" in arguments else 1
    if "--inside" in arguments:
        return int(moves.measure(numbers[0], members) > 0)
    missed = 0
    for part in parts:
        number = numbers[0] if numbers else USUAL[part]
        if part == "many":
            missed += many.measure(number, members)
        elif part == "lookup":
            missed += lookup.measure(number)
        else:
            inside = ["--inside", str(number), *(["three"] if members == 3 else [])]
            missed += run_in_kernel([sys.executable, __file__, *inside], memory_mb=MEMORY_MB)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
