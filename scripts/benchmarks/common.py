"""Shared parts of the benchmarks: timing in turns, best of several, and one table with goals and verdicts."""

from __future__ import annotations

import gc
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec


class Figure(msgspec.Struct, kw_only=True):
    """One line of a table. A goal bounds `value` from above, or from below with `at_least`; a line without goal informs."""

    name: str
    value: float
    unit: str = ""
    goal: float | None = None
    at_least: bool = False
    digits: int = 2
    note: str = ""

    @property
    def met(self) -> bool:
        """Return whether the goal, if any, is met."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the texts of the columns."""
        goal = "" if self.goal is None else f"{'>=' if self.at_least else '<='} {self.goal:g}"
        verdict = "" if self.goal is None else "met" if self.met else "MISSED"
        return self.name, f"{self.value:,.{self.digits}f} {self.unit}".rstrip(), goal, verdict, self.note


def stopwatch(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how many seconds an action takes, after a run of the garbage collector."""
    gc.collect()
    begin = clock()
    action()
    return clock() - begin


def best_in_turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the best seconds of each action, taken in turns, so that other load on the machine affects all alike."""
    best = dict.fromkeys(actions, math.inf)
    for _ in range(rounds):
        for name, action in actions.items():
            best[name] = min(best[name], stopwatch(action))
    return best


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent of the growth from the first to the last size: 0 is constant, 1 linear."""
    return math.log(costs[-1] / costs[0]) / math.log(sizes[-1] / sizes[0])


def show(title: str, figures: Sequence[Figure]) -> int:
    """Print a table; return how many goals are missed."""
    lines = [("", "figure", "goal", "", "")] + [figure.cells() for figure in figures]
    name, value, goal, verdict = (max(len(line[column]) for line in lines) for column in range(4))
    print(title)
    for line in lines:
        print(f"  {line[0]:{name}}  {line[1]:>{value}}  {line[2]:>{goal}}  {line[3]:{verdict}}  {line[4]}".rstrip())
    return sum(not figure.met for figure in figures)


def anonymous_bytes(pid: int | str) -> int:
    """Return the resident memory of a process that is its own, without pages of mapped files. proc_pid_smaps(5)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) << 10
    raise AssertionError("smaps_rollup has no Anonymous")


def lab_underlay(host: str, vtep: str, mtu: int = 1550) -> str:
    """Create a namespace with a device that holds the VTEP, like a host of the lab kernel; return its name."""
    name = f"u-{host}"
    for command in (
        f"netns add {name}",
        f"-n {name} link set lo up",
        f"-n {name} link add eth0 mtu {mtu} type veth peer name eth1 mtu {mtu}",
        f"-n {name} address add {vtep}/24 dev eth0",
        f"-n {name} link set eth0 up",
        f"-n {name} link set eth1 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return name
