"""The kernel that a test is about: the fake, or Linux."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.drivers import netns
from tests.contract.kernel.both import FakeStand, LinuxStand
from tests.contract.kernel.stands import HOST, INSTANCE, Stand


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    if request.param == "fake":
        fake = FakeStand()
        yield fake
        fake.kernel.close()
        return
    from tests.rig.hosts import host

    with host(HOST) as kernel:
        yield LinuxStand(kernel)
        netns.remove(INSTANCE)
