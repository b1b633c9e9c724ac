"""The kernel under test: the fake, or Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.drivers import netns
from netorch.drivers.daemons.sealing import EdgeKey
from tests.contract.kernel.both import FakeStand, LinuxStand
from tests.contract.kernel.stands import HOST, INSTANCE, Stand


@pytest.fixture
def edge_key(tmp_path: Path) -> EdgeKey:
    """Return the key with which the kernel opens sealed values."""
    return EdgeKey(tmp_path / "key")


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def stand(request: pytest.FixtureRequest, edge_key: EdgeKey) -> Iterator[Stand]:
    if request.param == "fake":
        fake = FakeStand()
        yield fake
        fake.kernel.close()
        return
    from tests.rig.hosts import host

    with host(HOST, edge_key) as kernel:
        yield LinuxStand(kernel, edge_key)
        netns.remove(INSTANCE)
