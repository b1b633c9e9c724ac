"""Fixtures for tests that need root and a kernel with VRF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three hosts without agents."""
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.close()
