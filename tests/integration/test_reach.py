"""Reachability: overlapping VPCs on the same hosts, IPv4 and IPv6."""

from __future__ import annotations

import itertools

import pytest

from netorch.drivers.probe.echo import Probe, ask
from tests.rig.world import World

pytestmark = pytest.mark.root

HOSTS = ("hv1", "hv1", "hv2", "hv3")


def overlapping_vpcs(names: list[str]) -> str:
    """Return a vpc.yaml in which every VPC has the same CIDRs and the same instance addresses."""
    lines = ["vpcs:"]
    for name in names:
        lines += [f"- name: {name}", f"  owner: {name}", "  cidrs: [10.44.0.0/16]", "  ipv6_cidrs: ['fd00:44:0:100::/56']"]
        lines += ["  subnets:", "  - {name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}"]
        lines += ["  - {name: db, cidr: 10.44.13.0/24, ipv6_cidr: 'fd00:44:0:101::/64'}", "  instances:"]
        for number, host in enumerate(HOSTS):
            subnet, net4, net6 = ("app", 12, 100) if number < 3 else ("db", 13, 101)
            addresses = f"address: 10.44.{net4}.{4 + number}, ipv6_address: 'fd00:44:0:{net6}::{4 + number}'"
            lines.append(f"  - {{name: i{number}, subnet: {subnet}, host: {host}, {addresses}}}")
    return "\n".join(lines)


def test_instances_reach_their_own_vpc_and_nobody_else(world: World) -> None:
    vpcs = ["acme", "globex", "initech"]
    world.start_agents()
    world.apply(overlapping_vpcs(vpcs))
    names = [f"{vpc}/i{number}" for vpc in vpcs for number in range(len(HOSTS))]
    instances = {name: world.instance(name) for name in names}
    enis = {name: world.eni(name) for name in names}

    for version in (4, 6):
        pairs = list(itertools.permutations(instances, 2))
        probes = []
        for source, target in pairs:
            eni = enis[target]
            probes.append(Probe(netns=instances[source].id, destination=eni.address if version == 4 else eni.ipv6_address))
        answers = ask(probes, timeout_s=3.0, tries=2)
        for (source, target), answer in zip(pairs, answers, strict=True):
            same_address = source.split("/")[1] == target.split("/")[1]
            # Every VPC has all these addresses, so an echo "to another VPC's instance" is answered by the own VPC's instance.
            assert answer.ok, f"IPv{version} {source} -> {target}: {answer.error}"
            assert not same_address or answer.rtt_s is not None


def test_an_echo_is_heard_in_its_own_vpc_only(world: World) -> None:
    from tests.rig.packets import PATIENCE_S, PacketListener

    vpcs = ["acme", "globex"]
    world.start_agents()
    world.apply(overlapping_vpcs(vpcs))
    for version, target in itertools.product((4, 6), ("i1", "i2", "i3")):
        listeners = {vpc: PacketListener(world.instance(f"{vpc}/{target}").id) for vpc in vpcs}
        from netorch.model.addr import packed

        eni = world.eni(f"acme/{target}")
        source = world.eni("acme/i0")
        addresses = (source.address, eni.address) if version == 4 else (source.ipv6_address, eni.ipv6_address)
        assert world.reaches("acme/i0", f"acme/{target}", version=version)
        needle = packed(addresses[0]) + packed(addresses[1])
        assert listeners["acme"].hears(needle, within_s=PATIENCE_S)
        assert not listeners["globex"].hears(needle, within_s=0.2)
        for listener in listeners.values():
            listener.__exit__(None, None, None)


def test_nobody_answers_for_an_address_without_a_mapping(world: World) -> None:
    world.start_agents()
    world.apply(overlapping_vpcs(["acme"]))
    answer = ask([Probe(netns=world.instance("acme/i0").id, destination="10.44.12.99")], timeout_s=1.5)[0]
    assert not answer.ok
    outside = ask([Probe(netns=world.instance("acme/i0").id, destination="10.99.0.1")], timeout_s=1.5)[0]
    assert "unreachable" in outside.error


def test_the_underlay_cannot_be_reached_from_an_instance(world: World) -> None:
    world.start_agents()
    world.apply(overlapping_vpcs(["acme"]))
    targets = [*(host.vtep for host in world.hosts.values()), "198.18.0.1", "127.0.0.1"]
    source = world.instance("acme/i0").id
    for answer, target in zip(
        ask([Probe(netns=source, destination=t) for t in targets[:-1]], timeout_s=1.5), targets, strict=False
    ):
        assert not answer.ok, target


def test_a_vpc_may_have_the_underlays_own_addresses(world: World) -> None:
    world.start_agents()
    world.apply(
        """
vpcs:
- name: twin
  cidrs: [192.0.2.0/24]
  subnets: [{name: s, cidr: 192.0.2.0/24}]
  instances:
  - {name: a, host: hv1, address: 192.0.2.11}
  - {name: b, host: hv2, address: 192.0.2.12}
"""
    )
    assert world.reaches("twin/a", "twin/b")
    assert world.reaches("twin/b", "twin/a")


def test_the_gateway_answers_and_full_size_packets_pass(world: World) -> None:
    world.start_agents()
    world.apply(overlapping_vpcs(["acme"]))
    source = world.instance("acme/i0").id
    full = 1500 - 28
    answers = ask(
        [
            Probe(netns=source, destination="10.44.12.1"),
            Probe(netns=source, destination="10.44.12.6", payload_bytes=full, dont_fragment=True),
            Probe(netns=source, destination="10.44.12.6", payload_bytes=4000),
            Probe(netns=source, destination="10.44.12.6", payload_bytes=full + 1, dont_fragment=True),
        ],
        timeout_s=2.0,
        tries=2,
    )
    assert [answer.ok for answer in answers] == [True, True, True, False]
    assert "long" in answers[3].error  # EMSGSIZE from the instance's own device, which has the VPC's MTU
