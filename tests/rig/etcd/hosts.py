"""Hosts that follow a store in etcd: agents with kernels in memory, which work in the test's thread or each in its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.main import STORE_OPEN_S
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers.fake.kernel import FakeKernel
from netorch.store import open_store
from netorch.store.aside import OpenedAside
from netorch.store.base import Store

PATIENCE_S = 60.0


class Hosts:
    """Started agents, and their kernels."""

    def __init__(self, urls: Mapping[str, str], directory: Path, before: Hosts | None = None) -> None:
        """Take the store's URL of each host, a directory for snapshots, and earlier agents, whose kernels go on."""
        objects = {name: kernel.objects.values() for name, kernel in before.kernels.items()} if before is not None else {}
        self.kernels: dict[str, FakeKernel] = {name: FakeKernel(objects.get(name, ())) for name in urls}
        self.agents = {name: self._agent(name, url, directory) for name, url in urls.items()}
        for agent in self.agents.values():
            agent.start()

    def _agent(self, name: str, url: str, directory: Path) -> Agent:
        def opened() -> Store:
            return open_store(url, patience_s=STORE_PATIENCE_S)

        snapshot = SnapshotFile(directory / f"{name}.snapshot")
        return Agent(name, self.kernels[name], OpenedAside(opened, STORE_OPEN_S), snapshot, load_compilers())

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the agents work until a condition is true."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up, {name: agent.follower.trouble for name, agent in self.agents.items()}
            for agent in self.agents.values():
                agent.step(0.02)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Counter[str]]:
        """Let each agent work in a thread of its own, as on a host. Yield how many turns each has taken."""
        turns: Counter[str] = Counter()
        done = threading.Event()

        def work(name: str, agent: Agent) -> None:
            while not done.is_set():
                agent.step(0.5)
                turns[name] += 1

        threads = [threading.Thread(target=work, args=item, name=item[0], daemon=True) for item in self.agents.items()]
        for thread in threads:
            thread.start()
        try:
            yield turns
        finally:
            done.set()
            for thread in threads:
                thread.join(PATIENCE_S)

    def in_sync(self) -> bool:
        """Return whether all agents follow all that they need."""
        return all(agent.follower.in_sync for agent in self.agents.values())

    def carried(self, name: str) -> set[str]:
        """Return the VPCs that an agent follows, as six digits."""
        return {prefix[4:10] for prefix in self.agents[name].records.prefixes if prefix.startswith("vpc/")}

    def close(self) -> None:
        """End the agents."""
        for agent in self.agents.values():
            agent.close()
