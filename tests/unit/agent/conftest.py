"""A world of two hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, "hv1", "hv2")
    yield made
    for name in list(made.agents):
        made.kill(name)
    for kernel in made.kernels.values():
        kernel.close()
