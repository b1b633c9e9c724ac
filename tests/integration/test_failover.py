"""An edge fails and comes back: hypervisors notice by themselves, whatever the store and the edge's agent do."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from edges import readiness
from netorch.drivers.probe.echo import Probe, ask
from netorch.lab.wiring import in_node
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.l2 import Fdb
from netorch.state.nft import NFT_KINDS
from tests.rig.outskirts import BORDER, EDGES, Outskirts
from tests.rig.seats import gateway_of
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
"""
GATEWAY = gateway_of(20000)
SOMEBODY_ELSES = "table inet filter {\n chain input {\n type filter hook input priority 0; policy accept;\n }\n}"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Outskirts]:
    """A VPC on hv1 with a gateway on a pair of edges, both ready."""
    found = Outskirts(tmp_path)
    try:
        found.world.start_agents()
        found.world.apply(CLOUD)
        found.seat("acme")
        found.world.settle()
        for edge in EDGES:
            wait_for(partial(is_ready, found, edge), f"{edge} to be ready")
        wait_for(lambda: sends_to(found), "hv1 to send to an edge")
        yield found
    finally:
        found.close()


def sends_to(cloud: Outskirts) -> str:
    """Return the VTEP that hv1's kernel sends the gateway's packets to."""
    found = cloud.world.reader("hv1").dump(frozenset({Fdb.kind})).values()
    return next((obj.dst for obj in found if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(GATEWAY)), "")


def is_ready(cloud: Outskirts, edge: str) -> bool:
    """Return whether an edge's kernel answers that it is ready."""
    return readiness.ready(cloud.world.hosts[edge].vtep).key in cloud.world.reader(edge).dump(NFT_KINDS)


def edge_at(cloud: Outskirts, vtep: str) -> str:
    return next(edge for edge in EDGES if cloud.world.hosts[edge].vtep == vtep)


def wait_for_switch(cloud: Outskirts, first: str) -> str:
    """Wait until hv1 sends to the second edge; return its VTEP."""
    wait_for(lambda: sends_to(cloud) not in ("", first), "hv1 to send to the other edge")
    return sends_to(cloud)


def wait_for_return(cloud: Outskirts, first: str) -> None:
    wait_for(lambda: sends_to(cloud) == first, "hv1 to send to the first edge again")


def pass_rounds(cloud: Outskirts) -> None:
    """Wait for more rounds of hv1's probes than hv1 needs to leave an edge."""
    agent = cloud.world.agent("hv1")
    rounds = agent.probes._round_at
    wait_for(lambda: agent.probes._round_at > rounds + 3, "some rounds")


def set_link(cloud: Outskirts, host: str, state: str) -> None:
    """Set a host's cable to the underlay down or up, at the other end."""
    with cloud.rtnl("spine") as ipr:
        index = _set(ipr, f"to-{host}", state)
        if state == "up":
            ipr.route("replace", dst=f"{cloud.world.hosts[host].vtep}/32", oif=index, scope=253)


def set_uplink(cloud: Outskirts, edge: str, state: str) -> None:
    """Set an edge's cable to the border down or up, at the border."""
    with cloud.rtnl(BORDER) as ipr:
        _set(ipr, f"to-{edge}", state)


def _set(ipr: IPRoute, ifname: str, state: str) -> int:
    index: int = ipr.link_lookup(ifname=ifname)[0]
    ipr.link("set", index=index, state=state)
    return index


def nft(place: str, text: str) -> None:
    with in_node(place):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def test_a_dead_edge_is_left_and_taken_again(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    set_link(cloud, edge_at(cloud, first), "down")
    wait_for_switch(cloud, first)
    set_link(cloud, edge_at(cloud, first), "up")
    wait_for_return(cloud, first)


def test_an_edge_is_left_while_the_store_and_the_edges_own_agent_are_away(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    for edge in EDGES:
        cloud.world.stop_agent(edge)  # the edge's kernel keeps answering
    shutil.rmtree(cloud.world.store_path.parent)
    pass_rounds(cloud)
    assert sends_to(cloud) == first
    set_link(cloud, edge_at(cloud, first), "down")
    wait_for_switch(cloud, first)


def test_an_edge_whose_uplink_has_no_carrier_is_left_and_taken_again(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    edge = edge_at(cloud, first)
    set_uplink(cloud, edge, "down")
    wait_for_switch(cloud, first)
    wait_for(
        lambda: cloud.world.inventory().agents[edge].not_ready == "uplink out0 has no carrier",
        "the edge to say why it is not ready",
    )
    set_uplink(cloud, edge, "up")
    wait_for_return(cloud, first)
    wait_for(lambda: not cloud.world.inventory().agents[edge].not_ready, "the edge to say that it is ready")


def test_an_edge_that_has_nothing_but_its_kernel_is_left_until_its_agent_has_done_all(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    edge = edge_at(cloud, first)
    cloud.world.stop_agent(edge)
    pass_rounds(cloud)
    assert sends_to(cloud) == first
    nft(edge, f"flush ruleset\n{SOMEBODY_ELSES}")
    assert ask([Probe(netns="hv1", destination=first)])[0].ok
    wait_for_switch(cloud, first)
    cloud.world.start_agents(edge)
    wait_for_return(cloud, first)


def test_a_killed_agent_leaves_its_edge_ready_and_the_next_one_writes_nothing(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    edge = edge_at(cloud, first)
    cloud.world.stop_agent(edge)
    process = cloud.world.start_process(edge)
    wait_for(lambda: cloud.world.inventory().agents[edge].pid == process.pid, "the agent to report")
    process.kill()
    pass_rounds(cloud)
    assert sends_to(cloud) == first
    cloud.world.start_agents(edge)
    cloud.world.settle()
    assert cloud.world.agent(edge).reconciler.writes == 0
    assert sends_to(cloud) == first


def test_a_hypervisors_agent_that_was_away_stays_with_the_edge_that_lives(cloud: Outskirts) -> None:
    first = sends_to(cloud)
    set_link(cloud, edge_at(cloud, first), "down")
    other = wait_for_switch(cloud, first)
    cloud.world.stop_agent("hv1")
    cloud.world.start_agents("hv1")
    pass_rounds(cloud)
    assert cloud.world.agent("hv1").reconciler.writes == 0
    assert sends_to(cloud) == other
