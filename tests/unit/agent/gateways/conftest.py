"""Four hosts with agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.gateways.shop import EDGES, Shop
from tests.unit.agent.world import World


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    world = World(tmp_path, "hv1", "hv2", *EDGES)
    yield Shop(world)
    for name in list(world.agents):
        world.kill(name)
    for kernel in world.kernels.values():
        kernel.close()
