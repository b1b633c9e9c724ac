"""The edge of a pair that NAT gateways use: all hosts agree, whatever fails, and no host returns to the first by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edges.readiness import active, ready
from netorch.agent.flowlog.targets import targets_of
from netorch.agent.liveness import ROUND_S
from netorch.control.actions.flow_logs import create_flow_log
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.vpc import Vpc
from netorch.state.l2 import Fdb
from tests.rig.seats import nat_of, seat_nat
from tests.unit.edges.pair import EDGES, Pair
from tests.unit.edges.test_nat import INSIDE, PUBLIC, lead, port, routes

HOSTS = ("hv1", "e1", "e2")


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC with a NAT gateway whose first seat is e1, and a route of its main table to the gateway."""
    vpc, subnet = pair.vpc("a")
    seat_nat(pair.world.store, subnet, INSIDE, PUBLIC, EDGES)
    lead(pair, vpc, nat_of(vpc.vni))
    pass_time(pair, 3)
    return vpc


def pass_time(pair: Pair, seconds: float, *hosts: str) -> None:
    """Let time pass for these hosts, or for all with agents."""
    end = pair.world.clock.now + seconds
    while pair.world.clock.now < end:
        pair.world.clock.now += ROUND_S / 2
        for host in hosts or HOSTS:
            if host in pair.world.agents:
                pair.world.turn(host, audits=False)


def used(pair: Pair, vpc: Vpc, host: str) -> str:
    """Return the edge to which a host sends the gateway's packets."""
    if host == "hv1":
        held = pair.world.kernels[host].objects.values()
        (vtep,) = (obj.dst for obj in held if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(nat_of(vpc.vni)))
    else:
        (way,) = routes(pair, host, vpc, f"{INSIDE}/32", vpc.vni)
        vtep = EDGES[host] if way == port(vpc) else way.split()[1]
    return next(edge for edge in EDGES if EDGES[edge] == vtep)


def all_use(pair: Pair, vpc: Vpc) -> str:
    """Return the one edge that all hosts use."""
    (found,) = {used(pair, vpc, host) for host in HOSTS}
    return found


def is_active(pair: Pair, edge: str) -> bool:
    return active(EDGES[edge]).key in pair.world.kernels[edge].objects


def silence(pair: Pair, host: str, *edges: str) -> None:
    pair.world.kernels[host].silent |= {EDGES[edge] for edge in edges}


@contextmanager
def cut_off(pair: Pair, edge: str) -> Iterator[None]:
    """Cut an edge off the underlay, permanently or within a `with` block."""
    (other,) = EDGES.keys() - {edge}
    pair.world.kernels[edge].isolated = True
    silence(pair, edge, other)
    silence(pair, other, edge)
    silence(pair, "hv1", edge)
    yield
    pair.world.kernels[edge].isolated = False
    for kernel in pair.world.kernels.values():
        kernel.silent.clear()


def test_both_edges_of_a_pair_are_active_at_first(pair: Pair, vpc: Vpc) -> None:
    assert all_use(pair, vpc) == "e1"
    assert is_active(pair, "e1")
    assert is_active(pair, "e2")


@pytest.mark.parametrize("is_away", [False, True])
def test_an_edge_that_comes_back_is_on_standby_and_hosts_stay_where_they_are(pair: Pair, vpc: Vpc, is_away: bool) -> None:
    for host in HOSTS:
        pair.world.wires[host].cut = is_away
    with cut_off(pair, "e1"):
        pass_time(pair, 2)
        assert {used(pair, vpc, host) for host in ("hv1", "e2")} == {"e2"}
    pass_time(pair, 10)
    assert all_use(pair, vpc) == "e2"
    assert not is_active(pair, "e1")
    with cut_off(pair, "e2"):
        pass_time(pair, 2)
        assert {used(pair, vpc, host) for host in ("hv1", "e1")} == {"e1"}
    pass_time(pair, 10)
    assert all_use(pair, vpc) == "e1"


def test_an_edge_that_nobody_uses_takes_nothing_along_when_it_was_cut_off(pair: Pair, vpc: Vpc) -> None:
    with cut_off(pair, "e2"):
        pass_time(pair, 2)
    pair.world.new_ops("hv1")
    pass_time(pair, 10)
    assert all_use(pair, vpc) == "e1"
    assert pair.world.new_ops("hv1") == []


def test_a_host_that_alone_hears_an_edge_no_more_returns_to_it(pair: Pair, vpc: Vpc) -> None:
    silence(pair, "hv1", "e1")
    pass_time(pair, 2)
    assert used(pair, vpc, "hv1") == "e2"
    assert used(pair, vpc, "e2") == "e1"
    pair.world.kernels["hv1"].silent.clear()
    pass_time(pair, 2)
    assert all_use(pair, vpc) == "e1"


def test_edges_that_hear_each_other_no_more_change_nothing(pair: Pair, vpc: Vpc) -> None:
    silence(pair, "e1", "e2")
    pair.world.new_ops("hv1")
    pass_time(pair, 3)
    assert used(pair, vpc, "hv1") == used(pair, vpc, "e1") == "e1"
    pair.world.kernels["e1"].silent.clear()
    pass_time(pair, 3)
    assert pair.world.new_ops("hv1") == []
    assert all_use(pair, vpc) == "e1"


def test_a_rebooted_edge_is_on_standby(pair: Pair, vpc: Vpc) -> None:
    with cut_off(pair, "e1"):
        pair.world.kill("e1")
        pass_time(pair, 2)
        fresh = pair.kernel()
        fresh.identity = pair.world.kernels["e1"].identity
        pair.world.kernels["e1"] = fresh
    pair.world.start("e1")
    pass_time(pair, 10)
    assert ready(EDGES["e1"]).key in fresh.objects
    assert all_use(pair, vpc) == "e2"


def test_a_pair_that_was_cut_off_as_a_whole_is_as_before(pair: Pair, vpc: Vpc) -> None:
    with cut_off(pair, "e1"), cut_off(pair, "e2"):
        pass_time(pair, 3)
        assert not is_active(pair, "e1")
        assert not is_active(pair, "e2")
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e1"
    assert is_active(pair, "e1")
    assert is_active(pair, "e2")


@pytest.mark.parametrize("host", HOSTS)
def test_an_agent_that_is_killed_and_restarted_writes_nothing(pair: Pair, vpc: Vpc, host: str) -> None:
    with cut_off(pair, "e1"):
        pass_time(pair, 2)
    pass_time(pair, 5)
    pair.world.kill(host)
    pass_time(pair, 2)
    pair.world.new_ops(host)
    pair.world.start(host)
    pass_time(pair, 5)
    assert pair.world.new_ops(host) == []
    assert all_use(pair, vpc) == "e2"


def test_tables_that_are_emptied_for_a_moment_move_nothing(pair: Pair, vpc: Vpc) -> None:
    kernel = pair.world.kernels["e1"]
    kernel.unplugged.add("eth1")
    pass_time(pair, 2 * ROUND_S)
    assert ready(EDGES["e1"]).key not in kernel.objects
    kernel.unplugged.clear()
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e1"


def test_an_edge_that_says_for_long_that_it_is_not_ready_is_on_standby_when_it_is(pair: Pair, vpc: Vpc) -> None:
    pair.world.kernels["e1"].unplugged.add("eth1")
    pass_time(pair, 3)
    assert all_use(pair, vpc) == "e2"
    pair.world.kernels["e1"].unplugged.clear()
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e2"


def test_flow_logs_of_its_interface_are_written_where_it_is_used(pair: Pair, vpc: Vpc) -> None:
    create_flow_log(pair.world.store, pair.world.operator, vpc.id, name="all")
    pass_time(pair, 3)
    assert logging_edges(pair, vpc) == ["e1"]
    for host in HOSTS:
        pair.world.agents[host].records.set_standby(frozenset({EDGES["e1"]}))
    assert logging_edges(pair, vpc) == ["e2"]


def logging_edges(pair: Pair, vpc: Vpc) -> list[str]:
    """Return the edges that log the traffic of the gateway's interface."""
    gateway, agents = nat_of(vpc.vni), pair.world.agents
    found = {
        edge: targets_of(agents[edge].records, vpc.vni, agents[edge].reconciler.phases, {gateway})
        for edge in EDGES
        if vpc.vni in agents[edge].records.logged
    }
    return [edge for edge, targets in found.items() for each in targets for eni in each.interfaces if eni.gateway == gateway]
