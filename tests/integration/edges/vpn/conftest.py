"""Two customers with the same addresses in their VPCs and at their sites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.edges.conftest import CLOUD
from tests.integration.edges.vpn.sites import Site, Stage
from tests.rig.outskirts import Outskirts


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """a's site has static routes, b's speaks BGP; a's VPC also has an internet gateway."""
    outskirts = Outskirts(tmp_path_factory.mktemp("outskirts"))
    found = Stage(outskirts)
    try:
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        for number, name in enumerate("ab", 1):
            found.sites[name] = Site(outskirts, name, 80 + number, tmp_path_factory.mktemp("sites"))
            found.private.seat(name)
            found.sites[name].follow(found.private.connect(name, found.sites[name], static=name == "a"))
        outskirts.seat("a")
        outskirts.associate("a/one", "198.51.100.5")
        outskirts.world.settle()
        found.wait_up()
        yield found
    finally:
        found.close()
