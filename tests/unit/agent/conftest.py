"""A world of two hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.agent.world import World


@contextmanager
def a_world(directory: Path) -> Iterator[World]:
    """Yield a world of two hosts, and then close its agents."""
    made = World(directory, "hv1", "hv2")
    yield made
    for name in list(made.agents):
        made.kill(name)
    for kernel in made.kernels.values():
        kernel.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made
