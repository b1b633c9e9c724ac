"""An edge without sessions, and customers' routers that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.drivers.edge.customers import Customers, Edge, edges


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    yield from edges(tmp_path)


@pytest.fixture
def customers(edge: Edge, tmp_path: Path) -> Iterator[Customers]:
    found = Customers(tmp_path)
    yield found
    found.stop()
