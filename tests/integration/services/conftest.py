"""A host with two VPCs that have the same addresses: its clients are a container, a virtual machine and instances."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from netorch.drivers import netns
from tests.rig.world import World, wait_for

CLOUD = """
dhcp_options:
- {name: corp, domain_name: corp.example, domain_name_servers: [10.44.0.9], ntp_servers: [10.44.0.8]}
vpcs:
- name: acme
  vni: 5000
  cidrs: [10.44.0.0/16]
  dhcp_options: corp
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: box, host: hv1, address: 10.44.12.4, attachment: existing, netns: container}
  - {name: vm, host: hv1, address: 10.44.12.5, attachment: tap}
  - {name: rogue, host: hv1, address: 10.44.12.6}
- name: other
  vni: 5001
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: twin, host: hv1, address: 10.44.12.4}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return the host, with its agent and the service daemon."""
    world = World(tmp_path_factory.mktemp("served"), ("hv1",), serves=True)
    container = netns.make("container")
    try:
        world.start_agents()
        world.apply(CLOUD)
        world.settle()
        wait_for(lambda: "dhcp-ear" in {str(key[0]) for key in world.reader("hv1").dump()}, "the daemon to listen")
        yield world
    finally:
        world.close()
        netns.remove("container")
        os.close(container)
