"""Model, kernel and live packet agree on a packet's way, and netorch reports when they do not."""

from __future__ import annotations

from contextlib import closing

import pytest

from netorch.control.actions.instances import terminate_instance
from netorch.diagnose.trace import Report, trace
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.state.base import OVERLAY
from netorch.state.op import Delete
from netorch.store import open_store
from netorch.trace.codes import Code
from tests.integration.test_drift import nft
from tests.rig.world import World

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  security_groups:
  - {name: web, ingress: [{protocol: tcp, ports: 443, source: 10.44.0.0/16}, {protocol: icmpv6, source: '::/0'}]}
  - name: db
    ingress: [{protocol: udp, ports: 53, source: sg-web}, {protocol: 47, source: sg-web}, {protocol: 132, source: sg-web}]
  network_acls:
  - name: strict
    ingress:
    - {rule: 100, action: deny, protocol: tcp, ports: 22, cidr: 0.0.0.0/0}
    - {rule: 200, action: allow, protocol: all, cidr: 0.0.0.0/0}
    egress: [{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}]
  subnets:
  - {name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}
  - {name: db, cidr: 10.44.13.0/24, network_acl: strict}
  instances:
  - {name: a, subnet: app, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4', security_groups: [web]}
  - {name: b, subnet: app, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5', security_groups: [web]}
  - {name: c, subnet: db, host: hv2, address: 10.44.13.4, security_groups: [db]}
"""


# The table `closed` leads to another subnet through an instance that is deleted later, and drops everything else.
ROUTES = """
  route_tables: [{name: closed, routes: ['10.44.13.0/24 via eni gone', '0.0.0.0/0 via blackhole']}]
"""
CLOSED = CLOUD.replace("  subnets:\n", ROUTES.strip("\n") + "\n  subnets:\n").replace(
    "cidr: 10.44.12.0/24,", "cidr: 10.44.12.0/24, route_table: closed,"
)
GONE = "  - {name: gone, subnet: db, host: hv2, address: 10.44.13.9}\n"


@pytest.fixture
def steady(world: World) -> World:
    """hv1 and hv2, in steady state."""
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    return world


def traced(world: World, source: str, destination: str, service: str) -> Report:
    with closing(open_store(str(world.store_path))) as store:
        return trace(store, read_inventory(store), Caller(operator=True), source, destination, service, timeout_s=2.0)


def later_hosts(found: Report) -> list[tuple[str, ...]]:
    """Return the hosts whose flowtables forward later packets, by model and kernel."""
    trips = (trip for trip in (found.model, found.kernel) if trip is not None)
    return [trip.later.offloaded_on for trip in trips if trip.later is not None]


STORIES = [
    ("a", "b", "tcp/443", None, ""),
    ("a", "b", "tcp/80", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
    ("a", "fd00:44:0:100::5", "icmp", None, ""),
    ("a", "c", "udp/53", None, ""),
    ("a", "c", "47", None, ""),
    ("a", "c", "132", None, ""),
    ("c", "b", "132", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
    ("a", "c", "50", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
    ("a", "c", "tcp/22", Code.SUBNET_ACL_RESTRICTION, "acl_ingress"),
    ("b", "c", "icmp", Code.ENI_SG_RULES_MISMATCH, "sg_ingress"),
    ("a", "10.44.12.99", "icmp", Code.NO_MAPPING, ""),
]


def test_model_kernel_and_live_packet_agree(steady: World) -> None:
    for source, destination, service, code, counter in STORIES:
        found = traced(steady, source, destination, service)
        assert found.disagreement == "", (source, destination, service)
        assert found.kernel_problem == found.live.why_not == ""
        assert (found.verdict.code, found.reachable) == (code, code is None)
        assert later_hosts(found) == ([("hv1", "hv2")] * 2 if code is None and service[:3] in ("tcp", "udp") else [])
        # The instances' own kernels send packets meanwhile, mostly IPv6, which may be counted too.
        assert not counter or ("hv2", counter) in found.live.drops


def test_a_route_that_leads_to_nothing_is_found_by_all_three_and_named(steady: World) -> None:
    steady.apply(CLOSED + GONE)
    gone = steady.eni("acme/gone").id
    terminate_instance(steady.store, steady.caller, steady.instance("acme/gone").id)
    steady.settle()
    stories = [("a", "c", "10.44.13.0/24", gone), ("a", "192.0.2.9", "0.0.0.0/0", "blackhole"), ("b", "c", "10.44.13.0/24", gone)]
    for source, destination, prefix, target in stories:
        found = traced(steady, source, destination, "udp/53")
        assert (found.disagreement, found.kernel_problem, found.live.why_not, found.live.arrived) == ("", "", "", False)
        assert found.verdict.code is Code.BAD_STATE_ROUTE
        assert found.verdict.sentence.endswith(f"route {prefix} via {target} of route table closed leads to nothing")
    assert traced(steady, "a", "b", "tcp/443").reachable


def test_an_answer_that_an_acl_eats_is_found_by_model_and_kernel_and_never_seen(steady: World) -> None:
    steady.apply(
        CLOUD.replace("egress: [{rule: 100, action: allow, protocol: all", "egress: [{rule: 100, action: allow, protocol: tcp")
    )
    found = traced(steady, "a", "c", "udp/53")
    assert (found.disagreement, found.kernel_problem) == ("", "")
    assert (found.live.arrived, found.live.answered, found.reachable) == (True, False, False)
    assert found.kernel is not None
    assert found.kernel.back is not None
    assert (found.verdict.code, found.kernel.back.counter) == (Code.SUBNET_ACL_RESTRICTION, "acl_egress")


def test_a_kernel_that_has_drifted_is_named(steady: World) -> None:
    steady.stop_agent("hv1")
    port = steady.port("acme/a")
    kernel = steady.reader("hv1")
    assert kernel.apply([Delete(kernel.dump()["nft-flowtable-device", OVERLAY, port])]) == []
    found = traced(steady, "a", "b", "tcp/443")
    slow = "on hv1 rules judge later packets that a flowtable should forward; the packets arrive, but more slowly"
    assert (found.offloading.hosts, found.disagreement, found.reachable) == (("hv1",), slow, True)
    nft(steady, OVERLAY, f'delete element inet netorch egress_policy {{ "{port}" }}')
    found = traced(steady, "a", "b", "tcp/443")
    assert found.model is not None
    assert found.model.there.arrived
    assert (found.verdict.code, found.reachable) == (Code.POLICY_NOT_IN_PLACE, False)
    assert ("hv1", "no_policy") in found.live.drops
    assert found.disagreement == "model says reachable, kernel says unreachable, probe says unreachable"
