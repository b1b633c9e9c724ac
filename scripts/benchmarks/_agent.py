"""A real agent of one host of the lab kernel, in a process of its own, for benchmarks: what starting, changing and reading take.

It is told what to do by lines of stdin, and tells what became of it by lines of JSON.
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
    """What answers an agent's echoes: all edges but those that are silent."""

    def __init__(self, silent: set[str]) -> None:
        self._silent = silent
        self._asked: set[str] = set()

    def send(self, vteps: Iterable[str]) -> None:
        """Note who is asked."""
        self._asked |= set(vteps)

    def heard(self) -> dict[str, Answer]:
        """Return who has answered since the last call; all are active."""
        heard, self._asked = self._asked - self._silent, set()
        return dict.fromkeys(heard, Answer.ACTIVE)

    def asked(self) -> bool:
        """Return that others ask, too."""
        return True

    def close(self) -> None:
        """Do nothing."""


class TimedKernel(LinuxKernel):
    """A LinuxKernel that knows how long each driver's operations took."""

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
            driver._apply_table = partial(self._timed, "skeletons", driver._apply_table)  # type: ignore[method-assign]

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations."""
        begin = time.perf_counter()
        failures = super().apply(ops)
        self.applied_s += time.perf_counter() - begin
        assert not failures, str(failures[0].error)
        return failures

    def echoes(self, source: str) -> Edges:  # type: ignore[override]
        """Return what answers without a network."""
        return Edges(self.silent)

    def _apply_by(self, driver: Driver, ops: list[Op]) -> list[Failure]:
        return self._timed(f"{type(driver).__name__.lower()} {driver.netns}", driver.apply, ops)

    def _timed(self, name: str, work: Callable[[A], R], argument: A) -> R:
        begin = time.perf_counter()
        result = work(argument)
        self.seconds[name] += time.perf_counter() - begin
        return result


class Started(msgspec.Struct, kw_only=True):
    """What an agent's start took: in all, in the kernel, of that in each driver; and what it holds."""

    seconds: float
    applied_s: float
    drivers: dict[str, float]
    writes: int
    objects: int
    rss: int


class Applied(msgspec.Struct, kw_only=True):
    """When the agent was done with a change, by the monotonic clock, and how many operations it took."""

    at: float
    writes: int


class Audited(msgspec.Struct, kw_only=True):
    """How long an audit took."""

    seconds: float


class Switched(msgspec.Struct, kw_only=True):
    """What leaving an edge took: until the kernel sends elsewhere, of that in the kernel, and the number of operations."""

    seconds: float
    applied_s: float
    writes: int


def run_agent(host: str, store_path: str, state_dir: str) -> None:
    """Start a host's agent, tell what that took and each change, then do what lines say: audit, silent VTEP, or end."""
    kernel = TimedKernel(host, EdgeKey(Path(state_dir, f"{host}.key")))
    agent = Agent(host, kernel, lambda: open_store(store_path), SnapshotFile(Path(state_dir, host)), load_compilers())
    rss = resident_bytes()
    seconds = stopwatch(agent.start)
    agent.turn()  # in which an edge says that it is ready
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
    """Have the agent find one edge silent and no other, and act on it as a turn does."""
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
    """Return whether something can be read."""
    return bool(select.select([descriptor], [], [], 0)[0])


def tell(word: msgspec.Struct) -> None:
    """Print one line of JSON."""
    print(msgspec.json.encode(word).decode(), flush=True)


def resident_bytes() -> int:
    """Return what this process holds of the memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class AgentProcess:
    """An agent that was started, and what it told of that."""

    def __init__(self, underlay: str, store_path: Path, state_dir: Path, host: str = "hv1") -> None:
        command = [sys.executable, __file__, host, str(store_path), str(state_dir)]
        descriptor = netns.find(underlay)
        with netns.inside(descriptor):  # not `ip netns exec`, in whose own mount namespace the overlay's name would stay unseen
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.close(descriptor)
        self.started = self.hear(Started)

    def hear(self, kind: type[T]) -> T:
        """Return the next thing that the agent tells."""
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
        """Let it end; the kernel keeps everything."""
        self.ask("end")
        assert self._process.wait(60) == 0


if __name__ == "__main__":
    run_agent(*sys.argv[1:])
