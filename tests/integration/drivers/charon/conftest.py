"""An edge, and a factory for customers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.drivers.charon.rig import Site, site


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Site]:
    """An edge with an outside namespace, on a network without customers."""
    with site(tmp_path) as found:
        yield found
