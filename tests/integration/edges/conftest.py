"""A cloud with a pair of edges and an internet host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.drivers.bird import password
from tests.integration.edges.speaking import Speaking
from tests.rig.hosts import end_bird
from tests.rig.outskirts import EDGES, Outskirts

CLOUD = """
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, address: 10.0.1.5, security_groups: [open]}
  - {name: two, host: hv2, address: 10.0.1.6, security_groups: [open]}
  - {name: mute, host: hv1, address: 10.0.1.7, security_groups: [open]}
- name: b
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, address: 10.0.1.5, security_groups: [open]}
"""
PUBLIC = {"a/one": "198.51.100.5", "a/two": "198.51.100.7", "b/one": "198.51.100.6"}


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with the same addresses, and with public addresses for some instances."""
    found = Outskirts(tmp_path_factory.mktemp("outskirts"))
    try:
        found.world.start_agents()
        found.world.apply(CLOUD)
        for name in ("a", "b"):
            found.seat(name)
        for name, address in PUBLIC.items():
            found.associate(name, address)
        found.world.settle()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaking]:
    password.FILE.unlink(missing_ok=True)
    outskirts = Outskirts(tmp_path_factory.mktemp("outskirts"))
    found = None
    try:
        found = Speaking(outskirts, tmp_path_factory.mktemp("border"))
        outskirts.world.start_agents()
        outskirts.world.apply(CLOUD)
        outskirts.seat("a")
        outskirts.associate("a/one", PUBLIC["a/one"])
        outskirts.world.settle()
        yield found
    finally:
        if found is not None:
            found.border.stop()
        outskirts.close()
        for edge in EDGES:
            end_bird(edge)
        password.FILE.unlink(missing_ok=True)


@pytest.fixture(params=EDGES)
def arrival(outskirts: Outskirts, request: pytest.FixtureRequest) -> Iterator[str]:
    """The edge to which the border sends everything, whichever edge hosts use or a gateway is on."""
    outskirts.arrive_at(request.param)
    yield request.param
    outskirts.arrive_at("e1")
