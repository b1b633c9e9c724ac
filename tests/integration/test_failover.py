"""An edge fails, and comes back: hypervisors find it out by themselves, whatever the store and the edge's agent do.

hv2 and hv3 stand for the edges of a pair, hv1 for a hypervisor.
"""

from __future__ import annotations

import os
import shutil

import pytest
from pyroute2 import IPRoute

from netorch.drivers import netns
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.l2 import Fdb
from netorch.state.nft import NFT_KINDS, unready
from netorch.state.op import Create, Delete
from tests.rig.seats import gateway_of, seat_gateway
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

VNI = 20000
EDGES = {"hv2": "192.0.2.12", "hv3": "192.0.2.13"}
CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
"""


@pytest.fixture
def cloud(world: World) -> World:
    """A VPC on hv1 with a gateway on the other hosts."""
    world.start_agents()
    world.apply(CLOUD)
    seat_gateway(world.store, VNI, EDGES)
    world.settle()
    return world


def sends_to(world: World) -> str:
    """Return the VTEP that hv1's kernel sends the gateway's packets to."""
    found = world.reader("hv1").dump(frozenset({Fdb.kind})).values()
    return next((obj.dst for obj in found if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(gateway_of(VNI))), "")


def edge_at(vtep: str) -> str:
    return next(name for name, known in EDGES.items() if known == vtep)


def set_link(world: World, host: str, state: str) -> None:
    """Take a host's cable to the underlay down, or up again, at its other end."""
    spine = netns.find("spine")
    with netns.inside(spine), IPRoute() as ipr:
        index = ipr.link_lookup(ifname=f"to-{host}")[0]
        ipr.link("set", index=index, state=state)
        if state == "up":
            ipr.route("replace", dst=f"{world.hosts[host].vtep}/32", oif=index, scope=253)
    os.close(spine)


def test_a_dead_edge_is_left_and_taken_again(cloud: World) -> None:
    first = sends_to(cloud)
    set_link(cloud, edge_at(first), "down")
    wait_for(lambda: sends_to(cloud) not in ("", first), "hv1 to send to the other edge")
    set_link(cloud, edge_at(first), "up")
    wait_for(lambda: sends_to(cloud) == first, "hv1 to send to the first edge again")


def test_an_edge_is_left_while_the_store_and_the_edges_own_agent_are_away(cloud: World) -> None:
    first = sends_to(cloud)
    for edge in EDGES:
        cloud.stop_agent(edge)  # its kernel answers
    shutil.rmtree(cloud.store_path.parent)
    before = cloud.agent("hv1").probes._round_at
    wait_for(lambda: cloud.agent("hv1").probes._round_at > before + 3, "some rounds")
    assert sends_to(cloud) == first
    set_link(cloud, edge_at(first), "down")
    wait_for(lambda: sends_to(cloud) not in ("", first), "hv1 to send to the other edge")


def test_an_edge_that_is_not_ready_is_left(cloud: World) -> None:
    first = sends_to(cloud)
    edge = edge_at(first)
    cloud.stop_agent(edge)
    element = unready(first)
    assert cloud.reader(edge).dump(NFT_KINDS)
    assert cloud.reader(edge).apply([Create(element)]) == []
    wait_for(lambda: sends_to(cloud) not in ("", first), "hv1 to send to the other edge")
    assert cloud.reader(edge).apply([Delete(element)]) == []
    wait_for(lambda: sends_to(cloud) == first, "hv1 to send to the first edge again")


def test_a_hypervisors_agent_that_was_away_stays_with_the_edge_that_lives(cloud: World) -> None:
    first = sends_to(cloud)
    set_link(cloud, edge_at(first), "down")
    wait_for(lambda: sends_to(cloud) not in ("", first), "hv1 to send to the other edge")
    other = sends_to(cloud)
    cloud.stop_agent("hv1")
    cloud.start_agents("hv1")
    agent = cloud.agent("hv1")
    rounds = agent.probes._round_at
    wait_for(lambda: agent.probes._round_at > rounds + 3, "some rounds")
    assert agent.reconciler.writes == 0
    assert sends_to(cloud) == other
