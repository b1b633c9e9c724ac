"""Routes to an interface: without source/destination check both directions of a connection pass it, with the check neither."""

from __future__ import annotations

import itertools
import socket
import subprocess

import msgspec
import pytest

from netorch.model.eni import NetworkInterface
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from tests.rig.appliance import echo_server, forward, passed, says
from tests.rig.packets import Ear
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

VNI = 20000
A, B, APPLIANCE = (1, 2, 9)  # subnets
CLOUD = f"""
vpcs:
- name: acme
  vni: {VNI}
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  route_tables: [{{name: a}}, {{name: b}}]
  subnets:
  - {{name: a, cidr: 10.44.1.0/24, ipv6_cidr: 'fd00:44:0:101::/64', route_table: a}}
  - {{name: b, cidr: 10.44.2.0/24, ipv6_cidr: 'fd00:44:0:102::/64', route_table: b}}
  - {{name: fw, cidr: 10.44.9.0/24, ipv6_cidr: 'fd00:44:0:109::/64'}}
  instances:
  - {{name: a1, subnet: a, host: hv1, address: 10.44.1.4, ipv6_address: 'fd00:44:0:101::4'}}
  - {{name: b1, subnet: b, host: hv1, address: 10.44.2.4, ipv6_address: 'fd00:44:0:102::4'}}
  - {{name: b2, subnet: b, host: hv2, address: 10.44.2.5, ipv6_address: 'fd00:44:0:102::5'}}
  - {{name: fw1, subnet: fw, host: hv1, address: 10.44.9.4, ipv6_address: 'fd00:44:0:109::4'}}
  - {{name: fw2, subnet: fw, host: hv2, address: 10.44.9.5, ipv6_address: 'fd00:44:0:109::5'}}
  - {{name: fw3, subnet: fw, host: hv3, address: 10.44.9.6, ipv6_address: 'fd00:44:0:109::6'}}
"""
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
PORT = 7007


def put(world: World, record: RouteTable | NetworkInterface) -> None:
    world.store.txn((), [Put(keys.resource(record.id), encode(record))])


def lead_through(world: World, appliance: str) -> None:
    """Let the subnets a and b reach each other by way of an appliance."""
    eni = world.eni(f"acme/{appliance}")
    for name, far in (("a", B), ("b", A)):
        found = (stored.record for stored in world.vpc("acme").of(RouteTable).values())
        table = next(each for each in found if each.name == name)
        to = (f"10.44.{far}.0/24", f"fd00:44:0:10{far}::/64")
        put(world, msgspec.structs.replace(table, routes=tuple(VpcRoute(destination=each, target=eni.id) for each in to)))
    world.settle()


def check_source(world: World, appliance: str, check: bool) -> None:
    put(world, msgspec.structs.replace(world.eni(f"acme/{appliance}"), source_dest_check=check))
    world.settle()


@pytest.fixture
def cloud(world: World) -> World:
    world.start_agents()
    world.apply(CLOUD)
    for name in ("fw1", "fw2", "fw3"):
        forward(world.instance(f"acme/{name}").id)
    return world


def address(world: World, name: str, version: int) -> str:
    eni = world.eni(f"acme/{name}")
    return eni.address if version == 4 else eni.ipv6_address


def talks(world: World, source: str, destination: str, kind: str, version: int, timeout_s: float = 5.0) -> bool:
    """Return whether one instance hears the echo of another."""
    near, far = world.instance(f"acme/{source}").id, world.instance(f"acme/{destination}").id
    to = address(world, destination, version)
    with echo_server(far, to, PORT, KINDS[kind]):
        return says(near, to, PORT, KINDS[kind], timeout_s)


@pytest.mark.parametrize("appliance", ["fw1", "fw2", "fw3"])
def test_both_directions_pass_an_appliance(cloud: World, appliance: str) -> None:
    check_source(cloud, appliance, False)
    lead_through(cloud, appliance)
    for version, kind, (source, destination) in itertools.product(
        (4, 6), KINDS, (("a1", "b1"), ("b1", "a1"), ("a1", "b2"), ("b2", "a1"))
    ):
        with Ear(cloud.instance(f"acme/{appliance}").id) as ear:
            assert talks(cloud, source, destination, kind, version), (source, destination, kind, version)
            ends = (address(cloud, name, version) for name in (source, destination))
            there, back = passed(ear, *ends)
            assert there >= 2, "each packet comes and goes"
            assert back >= 2
    for host in cloud.hosts:
        assert {name: count for name, count in cloud.counters(host).items() if count and name in ("invalid", "unverified")} == {}


@pytest.mark.parametrize("appliance", ["fw1", "fw2"])
def test_with_the_check_neither_direction_passes(cloud: World, appliance: str) -> None:
    lead_through(cloud, appliance)
    with Ear(cloud.instance(f"acme/{appliance}").id) as ear:
        for version, kind in itertools.product((4, 6), KINDS):
            assert not talks(cloud, "a1", "b1", kind, version, timeout_s=0.5)
            assert not talks(cloud, "b2", "a1", kind, version, timeout_s=0.5)
            ends = tuple(address(cloud, name, version) for name in ("a1", "b1"))
            assert passed(ear, *ends) == (0, 0), "nothing arrives at the appliance"
    assert cloud.reaches("acme/a1", f"acme/{appliance}"), "what is its own does"
    check_source(cloud, appliance, False)
    assert talks(cloud, "a1", "b1", "tcp", 4)
    check_source(cloud, appliance, True)
    assert not talks(cloud, "a1", "b1", "tcp", 4, timeout_s=0.5)


def shown(world: World, host: str, command: str) -> str:
    words = ["ip", "-n", world.hosts[host].overlay, *command.split()]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_an_inlet_is_there_for_as_long_as_a_route_leads_to_it(cloud: World) -> None:
    before = shown(cloud, "hv2", "rule")
    lead_through(cloud, "fw2")
    assert "vrf20000.201" in shown(cloud, "hv2", "link")
    assert "vrf20000.201" not in shown(cloud, "hv1", "link")
    assert shown(cloud, "hv2", "rule") == before
    lead_through(cloud, "fw1")
    wait_for(lambda: "vrf20000.201" not in shown(cloud, "hv2", "link"), "the inlet to go")
    for host in ("hv1", "hv2", "hv3"):
        cloud.agent(host).audit()
        assert cloud.agent(host).reconciler.pending() == []
        recomputed = cloud.agent(host).reconciler.recomputed(VNI)
        assert recomputed == cloud.agent(host).reconciler.slices[VNI].desired
