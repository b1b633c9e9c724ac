"""Instances with several interfaces: each answers the packets that it receives, in both IP versions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.control.actions.enis import attach_network_interface, create_network_interface, detach_network_interface
from netorch.control.actions.moves import move_instance
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask
from netorch.model.eni import NetworkInterface
from netorch.model.security import SecurityGroup
from netorch.model.vpc import Subnet
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.82.0.0/16]
  ipv6_cidrs: ['fd00:82:0:100::/56']
  security_groups:
  - name: open
    ingress: [{protocol: all, source: 0.0.0.0/0}, {protocol: all, source: '::/0'}]
  subnets:
  - {name: a, cidr: 10.82.1.0/24, ipv6_cidr: 'fd00:82:0:101::/64'}
  - {name: b, cidr: 10.82.2.0/24, ipv6_cidr: 'fd00:82:0:102::/64'}
  instances:
  - {name: many, subnet: a, host: hv1, address: 10.82.1.4, IPV6security_groups: [open]}
  - {name: near, subnet: a, host: hv1, address: 10.82.1.5, ipv6_address: 'fd00:82:0:101::5', security_groups: [open]}
  - {name: far, subnet: b, host: hv2, address: 10.82.2.5, ipv6_address: 'fd00:82:0:102::5', security_groups: [open]}
"""
IPV6 = "ipv6_address: 'fd00:82:0:101::4', "


@pytest.fixture
def two_hosts(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, ("hv1", "hv2"))
    try:
        yield world
    finally:
        world.close()


def attach(world: World, subnet: str, address: str, ipv6_address: str) -> NetworkInterface:
    """Give the instance another interface and wait until it is attached."""
    records = world.vpc("acme")
    subnet_id = next(found.record.id for found in records.of(Subnet).values() if found.record.name == subnet)
    groups = [found.record.id for found in records.of(SecurityGroup).values() if found.record.name == "open"]
    eni = create_network_interface(
        world.store, world.caller, subnet_id, address=address, ipv6_address=ipv6_address, groups=groups
    )
    attach_network_interface(world.store, world.caller, eni.id, world.instance("acme/many").id)
    world.wait_attached()
    return eni


def all_answer(world: World, when: str, *addresses: str) -> None:
    """Check that each address of the instance answers others, and that the instance can open flows from each."""
    many = world.instance("acme/many")
    inside = many.netns or many.id
    probes = [Probe(netns=world.instance(f"acme/{peer}").id, destination=to) for peer in ("near", "far") for to in addresses]
    for peer in ("near", "far"):
        eni = world.eni(f"acme/{peer}")
        probes += [
            Probe(netns=inside, source=own, destination=eni.ipv6_address if ":" in own else eni.address) for own in addresses
        ]
        probes += [Probe(netns=inside, destination=eni.address)]
        if any(":" in address for address in addresses):
            probes += [Probe(netns=inside, destination=eni.ipv6_address)]
    failed = [probe for probe, answer in zip(probes, ask(probes, 1.0, 5), strict=True) if not answer.ok]
    assert not failed, when
    assert {world.counters(host)["spoofed"] for host in world.hosts} == {0}, when


def strict_about_sources(world: World) -> None:
    """Turn on strict reverse-path filtering in the instance, as many distributions do."""
    fd = netns.find(world.instance("acme/many").id)
    with netns.inside(fd):
        for conf in Path("/proc/sys/net/ipv4/conf").iterdir():
            (conf / "rp_filter").write_text("1")
    os.close(fd)


def rules(world: World) -> list[str]:
    """Return netorch's rules in the instance's namespace."""
    many = world.instance("acme/many").id
    found = [
        subprocess.run(["ip", "-n", many, v, "rule"], check=True, capture_output=True, text=True).stdout for v in ("-4", "-6")
    ]
    return [line for text in found for line in text.splitlines() if line.startswith(("1000", "328"))]


def test_every_address_answers_and_begins_while_interfaces_come_and_go(two_hosts: World) -> None:
    world = two_hosts
    world.start_agents("hv2")
    agent = world.start_process("hv1")
    world.apply(CLOUD.replace("IPV6", IPV6))
    own = ("10.82.1.4", "fd00:82:0:101::4")
    all_answer(world, "alone", *own)
    same = attach(world, "a", "10.82.1.6", "fd00:82:0:101::6")
    all_answer(world, "two in one subnet", *own, *same.addresses)
    other = attach(world, "b", "10.82.2.6", "fd00:82:0:102::6")
    strict_about_sources(world)
    all_answer(world, "and one in another", *own, *same.addresses, *other.addresses)
    agent.kill()
    agent = world.start_process("hv1")
    detach_network_interface(world.store, world.caller, same.id)
    wait_for(lambda: len(rules(world)) == 6, "the rules of what is gone to go")
    all_answer(world, "after the first has gone", *own, *other.addresses)
    attach_network_interface(world.store, world.caller, same.id, world.instance("acme/many").id)
    world.wait_attached()
    all_answer(world, "when it is back", *own, *same.addresses, *other.addresses)
    move_instance(world.store, world.caller, world.instance("acme/many").id, "hv2")
    world.wait_attached()
    all_answer(world, "elsewhere", *own, *same.addresses, *other.addresses)
    assert len(rules(world)) == 11


def test_the_ipv6_of_a_second_interface_is_of_use_when_the_first_has_none(two_hosts: World) -> None:
    world = two_hosts
    world.start_agents()
    world.apply(CLOUD.replace("IPV6", ""))
    second = attach(world, "b", "10.82.2.6", "fd00:82:0:102::6")
    all_answer(world, "IPv6 on the second alone", "10.82.1.4", *second.addresses)


def test_a_namespace_with_a_default_route_of_its_own_answers_the_vpc_by_its_interface(two_hosts: World) -> None:
    world = two_hosts
    container = netns.make("container")
    try:
        for command in (
            "link add up0 type dummy",
            "link set up0 up",
            "addr add 192.0.2.2/24 dev up0",
            "addr add 2001:db8:9::2/64 dev up0 nodad",
            "route add default via 192.0.2.1 dev up0",
            "-6 route add default via 2001:db8:9::1 dev up0",
        ):
            subprocess.run(["ip", "-n", "container", *command.split()], check=True)
        world.start_agents()
        where = "attachment: existing, netns: container, "
        world.apply(CLOUD.replace("IPV6", IPV6 + where))
        addresses = "10.82.1.4", "fd00:82:0:101::4"
        far = world.instance("acme/far").id
        probes = [Probe(netns=far, destination=to) for to in addresses]
        probes += [Probe(netns="container", destination=world.eni("acme/near").address)]
        assert [answer.error for answer in ask(probes, 1.0, 5)] == ["", "", ""]
        default = subprocess.run(["ip", "-n", "container", "route", "get", "203.0.113.1"], check=True, capture_output=True)
        assert b"dev up0" in default.stdout
    finally:
        netns.remove("container")
        os.close(container)
