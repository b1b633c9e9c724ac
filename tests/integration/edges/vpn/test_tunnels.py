"""VPN connections end to end: agents, charon and bird on both edges, and customers' devices as their configuration says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.drivers.probe.echo import Probe, ask
from tests.integration.edges.conftest import CLOUD
from tests.integration.edges.vpn.sites import SERVER, Private, Site
from tests.rig.outskirts import Outskirts
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


class Stage:
    """Two customers with the same addresses in their VPCs and at their sites."""

    def __init__(self, outskirts: Outskirts, sites: dict[str, Site]) -> None:
        self.outskirts = outskirts
        self.sites = sites
        self.private = Private(outskirts)

    def reaches(self, name: str, destination: str = SERVER) -> bool:
        return ask([Probe(netns=self.outskirts.place(name), destination=destination)], 1.0, 1)[0].ok


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    outskirts = Outskirts(tmp_path_factory.mktemp("outskirts"))
    sites: dict[str, Site] = {}
    try:
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        for number, name in enumerate("ab"):
            sites[name] = Site(outskirts, name, 81 + number, tmp_path_factory.mktemp("sites"))
        found = Stage(outskirts, sites)
        for name, site in sites.items():
            found.private.seat(name)
            site.follow(found.private.connect(name, site))
        outskirts.world.settle()
        yield found
    finally:
        for site in sites.values():
            site.close()
        outskirts.close()


def test_two_customers_with_the_same_addresses_each_reach_their_own_site(stage: Stage) -> None:
    for name in "ab":
        wait_for(lambda name=name: stage.sites[name].device.installed() == 2, f"both tunnels of {name}", 60.0)  # type: ignore[misc]
    assert stage.outskirts.world.agent("e1").reconciler.problems == {}
    for name in "ab":
        wait_for(lambda name=name: stage.reaches(f"{name}/one"), f"{name}'s instance to reach its site", 30.0)  # type: ignore[misc]
