"""A real agent of one host of the lab kernel, in its own process, for benchmarks of starting, changing and reading.

Lines of stdin control the agent; it reports results as lines of JSON.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from common import stopwatch

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers import netns
from netorch.drivers.base import Answer, Driver
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.rtnl.driver import Handler
from netorch.state.op import Failure, Op
from netorch.store import open_store

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")


class Edges:
    """The answers to an agent's echoes: all edges answer but the silent ones."""

    def __init__(self, silent: set[str]) -> None:
        self._silent = silent
        self._asked: set[str] = set()

    def send(self, vteps: Iterable[str]) -> None:
        """Record the VTEPs asked."""
        self._asked |= set(vteps)

    def heard(self) -> dict[str, Answer]:
        """Return the VTEPs that have answered since the last call, all as active."""
        heard, self._asked = self._asked - self._silent, set()
        return dict.fromkeys(heard, Answer.ACTIVE)

    def asked(self) -> bool:
        """Return True: as if other hosts sent echoes too."""
        return True

    def close(self) -> None:
        """Do nothing."""


class TimedKernel(LinuxKernel):
    """A LinuxKernel that measures how long each driver's operations take."""

    def __init__(self, host: str, key: EdgeKey) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.applied_s = 0.0
        self.silent: set[str] = set()
        super().__init__(host, key)
        handler_of = self._rtnl._handler_of
        timed: dict[Handler, Handler] = {}

        def timed_handler_of(op: Op) -> Handler:
            handler = handler_of(op)
            return timed.setdefault(handler, partial(self._timed, getattr(handler, "__name__", op.obj.kind), handler))

        self._rtnl._handler_of = timed_handler_of  # type: ignore[method-assign]
        for driver in self._nft:
            driver._apply_tables = partial(self._timed, "skeletons", driver._apply_tables)  # type: ignore[method-assign]

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations."""
        begin = time.perf_counter()
        failures = super().apply(ops)
        self.applied_s += time.perf_counter() - begin
        assert not failures, str(failures[0].error)
        return failures

    def echoes(self, source: str) -> Edges:  # type: ignore[override]
        """Return answers that need no network."""
        return Edges(self.silent)

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return self._timed(f"{type(driver).__name__.lower()} {driver.netns}", driver.apply, ops)

    def _timed(self, name: str, work: Callable[[A], R], argument: A) -> R:
        begin = time.perf_counter()
        result = work(argument)
        self.seconds[name] += time.perf_counter() - begin
        return result


class Started(msgspec.Struct, kw_only=True):
    """The cost of an agent's start: total seconds, seconds in the kernel, seconds by driver; and what the agent holds."""

    seconds: float
    applied_s: float
    drivers: dict[str, float]
    writes: int
    objects: int
    rss: int


class Applied(msgspec.Struct, kw_only=True):
    """When the agent was done with a change, by the monotonic clock, and the number of operations."""

    at: float
    writes: int


class Audited(msgspec.Struct, kw_only=True):
    """The duration of an audit."""

    seconds: float


class Switched(msgspec.Struct, kw_only=True):
    """The cost of leaving an edge: seconds until the kernel sends elsewhere, seconds in the kernel, number of operations."""

    seconds: float
    applied_s: float
    writes: int


def run_agent(host: str, store_path: str, state_dir: str) -> None:
    """Start a host's agent; report the start and each change; obey lines: `audit`, `silent VTEP`, anything else ends."""
    kernel = TimedKernel(host, EdgeKey(Path(state_dir, f"{host}.key")))
    agent = Agent(host, kernel, lambda: open_store(store_path), SnapshotFile(Path(state_dir, host)), load_compilers())
    rss = resident_bytes()
    seconds = stopwatch(agent.start)
    agent.turn()  # an edge reports in this turn that it is ready
    assert not agent.reconciler.problems, agent.reconciler.problems
    started = Started(
        seconds=seconds,
        applied_s=kernel.applied_s,
        drivers=dict(kernel.seconds),
        writes=agent.reconciler.writes,
        objects=agent.reconciler.object_count(),
        rss=resident_bytes() - rss,
    )
    tell(started)
    while True:
        done = agent.reconciler.writes
        agent.step(10.0, sys.stdin.fileno())
        if agent.reconciler.writes != done:
            tell(Applied(at=time.monotonic(), writes=agent.reconciler.writes - done))
        elif readable(sys.stdin.fileno()):
            match sys.stdin.readline().split():
                case ["audit"]:
                    tell(Audited(seconds=stopwatch(agent.reconciler.read_kernel)))
                case ["silent", vtep]:
                    tell(switch(agent, kernel, vtep))
                case _:
                    break
    agent.close()


def switch(agent: Agent, kernel: TimedKernel, vtep: str) -> Switched:
    """Make one edge, and no other, silent for the agent, and act on it as a turn does."""
    kernel.silent.clear()
    kernel.silent.add(vtep)
    agent.records.set_silent(frozenset(kernel.silent))
    writes, applied_s = agent.reconciler.writes, kernel.applied_s

    def act() -> None:
        now = time.monotonic()
        agent.reconciler.compile(agent.records.take_dirty(), now)
        agent.reconciler.apply(now, may_delete=True)

    seconds = stopwatch(act)
    return Switched(seconds=seconds, applied_s=kernel.applied_s - applied_s, writes=agent.reconciler.writes - writes)


def readable(descriptor: int) -> bool:
    """Return whether the descriptor is readable."""
    return bool(select.select([descriptor], [], [], 0)[0])


def tell(word: msgspec.Struct) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(word).decode(), flush=True)


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class AgentProcess:
    """A running agent process, and its report of the start."""

    def __init__(self, underlay: str, store_path: Path, state_dir: Path, host: str = "hv1") -> None:
        command = [sys.executable, __file__, host, str(store_path), str(state_dir)]
        descriptor = netns.find(underlay)
        with netns.inside(descriptor):  # not by `ip netns exec`: the overlay's name would be invisible in its mount namespace
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.close(descriptor)
        self.started = self.hear(Started)

    def hear(self, kind: type[T]) -> T:
        """Return the agent's next report."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the agent died"
        return msgspec.json.decode(line, type=kind)

    def ask(self, what: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """End the agent; the kernel keeps everything."""
        self.ask("end")
        assert self._process.wait(60) == 0


if __name__ == "__main__":
    run_agent(*sys.argv[1:])
