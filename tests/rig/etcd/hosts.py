"""Hosts that follow a store in etcd: agents with kernels in memory, which work in turn in the test's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from netorch.agent.loop import STORE_PATIENCE_S, Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.drivers.fake.kernel import FakeKernel
from netorch.store import open_store
from netorch.store.base import Store

PATIENCE_S = 60.0


class Hosts:
    """Started agents, and their kernels."""

    def __init__(self, urls: Mapping[str, str], directory: Path) -> None:
        """Take the store's URL of each host, and a directory for snapshots."""
        self.kernels = {name: FakeKernel() for name in urls}
        self.agents = {name: self._agent(name, url, directory) for name, url in urls.items()}
        for agent in self.agents.values():
            agent.start()

    def _agent(self, name: str, url: str, directory: Path) -> Agent:
        def opened() -> Store:
            return open_store(url, patience_s=STORE_PATIENCE_S)

        return Agent(name, self.kernels[name], opened, SnapshotFile(directory / f"{name}.snapshot"), load_compilers())

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the agents work until a condition is true."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up, {name: agent.follower.trouble for name, agent in self.agents.items()}
            for agent in self.agents.values():
                agent.step(0.02)

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
