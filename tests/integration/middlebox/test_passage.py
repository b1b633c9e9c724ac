"""Without source/destination check both directions of a connection pass the routes' target; with the check neither does."""

from __future__ import annotations

import itertools
import subprocess
from contextlib import suppress

import pytest

from netorch.control.actions.groups import create_security_group
from netorch.control.actions.memberships import modify_interface_groups
from netorch.control.actions.permissions import Permission, authorize, revoke
from netorch.errors import ApiError
from netorch.model.addr import packed
from netorch.model.security import Direction
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from tests.rig.appliance import APPLIANCES, KINDS, VNI, address, forward, lead_through, passed, talks
from tests.rig.packets import PacketListener
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def cloud(world: World) -> World:
    world.start_agents()
    return world


@pytest.mark.parametrize("appliance", APPLIANCES)
def test_both_directions_pass_an_appliance(cloud: World, appliance: str) -> None:
    lead_through(cloud, appliance, check=False)
    pairs = (("a1", "b1"), ("b1", "a1"), ("a1", "b2"), ("b2", "a1"))
    for version, kind, (source, destination) in itertools.product((4, 6), KINDS, pairs):
        with PacketListener(cloud.instance(f"acme/{appliance}").id) as listener:
            assert talks(cloud, source, destination, kind, version), (source, destination, kind, version)
            there, back = passed(listener, address(cloud, source, version), address(cloud, destination, version))
            assert there >= 2, "each packet comes and goes"
            assert back >= 2
    for host in cloud.hosts:
        assert {name: count for name, count in cloud.counters(host).items() if count} == {}


@pytest.mark.parametrize("appliance", ["fw1", "fw2"])
def test_with_the_check_neither_direction_passes(cloud: World, appliance: str) -> None:
    lead_through(cloud, appliance)
    with PacketListener(cloud.instance(f"acme/{appliance}").id) as listener:
        for version, kind in itertools.product((4, 6), KINDS):
            assert not talks(cloud, "a1", "b1", kind, version, timeout_s=0.5)
            assert not talks(cloud, "b2", "a1", kind, version, timeout_s=0.5)
            assert passed(listener, address(cloud, "a1", version), address(cloud, "b1", version)) == (0, 0)
    assert cloud.reaches("acme/a1", f"acme/{appliance}"), "what is its own does"
    lead_through(cloud, appliance, check=False)
    assert talks(cloud, "a1", "b1")
    lead_through(cloud, appliance)
    assert not talks(cloud, "a1", "b1", timeout_s=0.5)
    lead_through(cloud)
    assert talks(cloud, "a1", "b1"), "without the routes they are neighbours"


def chain(second_host: str) -> str:
    """Return a cloud with the path a, first, second, b, and the same path back."""
    ways = {"a": (2, "first"), "x": (2, "second"), "b": (1, "second"), "y": (1, "first")}
    tables = "".join(
        f"\n  - {{name: {name}, routes: [10.44.{to}.0/24 via eni {box}, 'fd00:44:0:10{to}::/64 via eni {box}']}}"
        for name, (to, box) in ways.items()
    )
    subnets = "".join(
        f"\n  - {{name: {name}, cidr: 10.44.{n}.0/24, ipv6_cidr: 'fd00:44:0:10{n}::/64', route_table: {name}}}"
        for n, name in enumerate("abxy", 1)
    )
    unchecked = "source_dest_check: false"
    return f"""
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  route_tables:{tables}
  subnets:{subnets}
  instances:
  - {{name: a1, subnet: a, host: hv1, address: 10.44.1.4, ipv6_address: 'fd00:44:0:101::4'}}
  - {{name: b1, subnet: b, host: hv1, address: 10.44.2.4, ipv6_address: 'fd00:44:0:102::4'}}
  - {{name: first, subnet: x, host: hv1, address: 10.44.3.4, ipv6_address: 'fd00:44:0:103::4', {unchecked}}}
  - {{name: second, subnet: y, host: {second_host}, address: 10.44.4.4, ipv6_address: 'fd00:44:0:104::4', {unchecked}}}
"""


@pytest.mark.parametrize("second_host", ["hv1", "hv2"])
def test_two_appliances_follow_each_other(cloud: World, second_host: str) -> None:
    cloud.apply(chain(second_host))
    cloud.settle()
    for name in ("first", "second"):
        forward(cloud.instance(f"acme/{name}").id)
    for kind, version in itertools.product(KINDS, (4, 6)):
        with PacketListener(cloud.instance("acme/first").id) as first, PacketListener(cloud.instance("acme/second").id) as second:
            assert talks(cloud, "a1", "b1", kind, version), (kind, version)
            ends = address(cloud, "a1", version), address(cloud, "b1", version)
            assert min(*passed(first, *ends), *passed(second, *ends)) >= 2
    assert cloud.counters("hv1")["invalid"] == 0


def test_an_appliance_s_own_rules_and_the_receiver_s_are_asked(cloud: World) -> None:
    """The appliance and the receiver accept different packets: each has its own verdict, also on one host."""
    lead_through(cloud, "fw1", check=False)
    world, vpc = cloud, cloud.vpc("acme").vpc.record
    closed = create_security_group(world.store, world.caller, vpc.id, name="closed")  # accepts nothing, sends everything
    default = world.eni("acme/a1").groups
    for name in ("fw1", "b1"):
        eni = world.eni(f"acme/{name}")
        modify_interface_groups(world.store, world.caller, eni.id, [closed.id])
        world.settle()
        with PacketListener(eni.instance) as listener:
            assert not talks(world, "a1", "b1", "udp", timeout_s=0.5)
            assert passed(listener, address(world, "a1", 4), address(world, "b1", 4)) == (0, 0), name
        modify_interface_groups(world.store, world.caller, eni.id, default)
        world.settle()
        assert talks(world, "a1", "b1", "udp")


def test_a_termination_ends_what_an_appliance_has_let_pass(cloud: World) -> None:
    """On a host of neither end, received connections end with the ingress rule, those sent for others with the egress rule."""
    lead_through(cloud, "fw3", check=False)
    world, reconciler = cloud, cloud.agent("hv3").reconciler
    box = create_security_group(world.store, world.caller, cloud.vpc("acme").vpc.record.id, name="box").id
    modify_interface_groups(world.store, world.caller, world.eni("acme/fw3").id, [box])
    everything = [Permission(protocol="all", peer=peer) for peer in ("0.0.0.0/0", "::/0")]
    revoke(world.store, world.caller, box, Direction.EGRESS, everything)
    rule = [Permission(protocol="udp", peer="10.44.0.0/16")]
    inlet = reconciler.inlet_zone(VNI, world.eni("acme/fw3").id)
    assert inlet is not None
    zones = {Direction.INGRESS: inlet, Direction.EGRESS: reconciler.zone_of(VNI)}
    for direction, zone in zones.items():
        for each in Direction:
            with suppress(ApiError):  # InvalidPermission.Duplicate
                authorize(world.store, world.caller, box, each, rule)
        world.settle()
        assert talks(world, "a1", "b2", "udp")
        assert _tracked(world, zone)
        revoke(world.store, world.caller, box, direction, rule)
        world.settle()
        assert _tracked(world, zone), "a rule that goes leaves connections alone unless that is asked for"
        authorize(world.store, world.caller, box, direction, rule)
        revoke(world.store, world.caller, box, direction, rule, terminate_established=True)
        wait_for(lambda z=zone: not _tracked(world, z), "the connection to end")  # type: ignore[misc]
        assert not talks(world, "a1", "b2", "udp", timeout_s=0.5)


def _tracked(world: World, zone: int) -> list[Flow]:
    """Return the connections that the kernel of hv3 tracks for any interface."""
    return [flow for flow in world.reader("hv3").trackers[OVERLAY].flows(zone) if flow.mark]


@pytest.mark.parametrize("version", [4, 6])
def test_an_appliance_says_what_is_too_large_for_its_next_way(cloud: World, version: int) -> None:
    """Its ICMP errors have its own address, and quote a connection of others: without them large packets do not arrive."""
    lead_through(cloud, "fw2", check=False)
    far, router = address(cloud, "b2", version), "10.44.9.1" if version == 4 else "fe80::1"
    words = ("route", "add", far, "via", router, "dev", "eth0", "mtu", "lock", "1300")
    subprocess.run(["ip", "-n", cloud.instance("acme/fw2").id, *words], check=True)
    with PacketListener(cloud.instance("acme/a1").id) as listener:
        assert talks(cloud, "a1", "b2", version=version, size=20_000)
        from_box = packed(address(cloud, "fw2", version)) + packed(address(cloud, "a1", version))
        assert listener.heard(from_box)
