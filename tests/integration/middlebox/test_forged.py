"""Packets that an interface without source/destination check, and its host for it, may send, and no others."""

from __future__ import annotations

import os

import nftables
import pytest

from netorch.compiler.base import router_mac
from netorch.drivers import netns
from tests.rig.appliance import VNI, address, cloud, lead_through
from tests.rig.crafted import framed, solicit
from tests.rig.packets import (
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    PATIENCE_S,
    PacketListener,
    arp,
    ethernet,
    send_frame,
    send_vxlan,
    udp,
    vxlan,
)
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

OTHER = """
- name: globex
  vni: 30000
  cidrs: [10.44.0.0/16]
  subnets: [{name: a, cidr: 10.44.1.0/24}]
  instances:
  - {name: a1, host: hv1, address: 10.44.1.4}
  - {name: c1, host: hv3, address: 10.44.1.5}
"""
HV = {f"hv{n}": f"192.0.2.{10 + n}" for n in (1, 2, 3)}
OUTSIDE, OUTSIDE6 = "198.51.100.7", "2001:db8:77::7"
GATEWAY_MAC, OTHER_MAC = "02:4e:54:ff:ff:01", "06:00:00:00:00:99"


@pytest.fixture
def site(world: World) -> World:
    """fw3, on hv3, has no source/destination check; another customer also has an interface on hv3."""
    world.start_agents()
    world.apply(cloud("fw3", check=False) + OTHER.lstrip("\n"))
    world.settle()
    return world


def refused(world: World, host: str = "hv1") -> int:
    counters = world.counters(host)
    return counters["unverified"] + counters["unknown_vtep"]


def tunnelled(world: World, sender: str, vni: int, source: str, destination: str, payload: bytes, mac: str = "") -> None:
    """Send hv1 a VXLAN packet as a host would send it."""
    ethertype = ETH_P_IPV6 if ":" in source else ETH_P_IP
    frame = ethernet(mac or router_mac(HV["hv1"]), router_mac(HV[sender]), ethertype, udp(source, destination, payload))
    send_vxlan(sender, HV[sender], HV["hv1"], vxlan(vni, frame))


@pytest.mark.parametrize(("source", "version"), [(OUTSIDE, 4), (OUTSIDE6, 6), ("10.44.2.5", 4)])
def test_the_host_of_such_an_interface_speaks_for_everybody_in_its_vpc(site: World, source: str, version: int) -> None:
    """The group of a1 accepts only packets of its members: the packet is verified, and dropped by a1's own rules."""
    before, refusals = refused(site), site.counters("hv1")["sg_ingress"]
    payload = b"honest " + os.urandom(8)
    with PacketListener(site.instance("acme/a1").id) as listener:
        tunnelled(site, "hv3", VNI, source, address(site, "a1", version), payload)
        if source == "10.44.2.5":
            assert listener.hears(payload, within_s=PATIENCE_S)
        else:
            wait_for(lambda: site.counters("hv1")["sg_ingress"] == refusals + 1, "the refusal by a1's group")
    assert refused(site) == before


@pytest.mark.parametrize(
    ("sender", "vni", "victim"), [("hv2", VNI, "acme/a1"), ("hv3", 30000, "globex/a1")], ids=["another host", "another VPC"]
)
@pytest.mark.parametrize("source", [OUTSIDE, "10.44.2.5"])
def test_nobody_else_does(site: World, sender: str, vni: int, victim: str, source: str) -> None:
    if (sender, source) == ("hv2", "10.44.2.5"):
        source = "10.44.9.4"  # b2 is on hv2, and fw1 is not
    before, payload = refused(site), b"forged " + os.urandom(8)
    with PacketListener(site.instance(victim).id) as listener:
        tunnelled(site, sender, vni, source, "10.44.1.4", payload)
        wait_for(lambda: refused(site) == before + 1, "the drop to be counted")
        assert not listener.hears(payload)


def test_with_the_check_the_host_is_no_speaker_any_more(site: World) -> None:
    site.apply(cloud("fw3") + OTHER.lstrip("\n"))
    site.settle()
    before = refused(site)
    tunnelled(site, "hv3", VNI, OUTSIDE, "10.44.1.4", b"forged")
    wait_for(lambda: refused(site) == before + 1, "the drop to be counted")


def test_nothing_comes_in_by_an_inlet_unverified(world: World) -> None:
    """While the host's own tables are flushed, nothing enters by the VXLAN device or by a filter's redirect."""
    world.start_agents()
    lead_through(world, "fw1", check=False)
    agent, descriptor = world.agent("hv1"), netns.find("hv1")
    with netns.inside(descriptor):
        another = nftables.Nftables()
    os.close(descriptor)
    with PacketListener(world.instance("acme/fw1").id) as listener, agent.busy:  # the agent is as slow as possible
        assert another.cmd("flush ruleset")[0] == 0
        for source, destination in (("10.44.2.5", OUTSIDE), ("fd00:44:0:102::5", OUTSIDE6)):
            tunnelled(world, "hv2", VNI, source, destination, b"unproven", mac=world.eni("acme/fw1").mac)
        wait_for(lambda: world.counters("hv1")["unproven"] == 2, "the drops to be counted")
        assert not listener.hears(b"unproven")


def test_its_port_lets_other_addresses_pass_but_no_other_mac_and_nothing_that_is_never_forwarded(site: World) -> None:
    eni, box = site.eni("acme/fw3"), site.instance("acme/fw3").id
    mac, a1 = eni.mac, address(site, "a1", 4)
    spoofed = site.counters("hv3")["spoofed"]
    with PacketListener(site.instance("acme/a1").id) as listener:
        passes = b"passes " + os.urandom(8)
        send_frame(box, "eth0", framed(mac, udp("10.44.2.5", a1, passes)))
        assert listener.hears(passes, within_s=PATIENCE_S)
        forged = b"forged " + os.urandom(8)
        frames = [
            framed(OTHER_MAC, udp("10.44.2.5", a1, forged)),
            ethernet(GATEWAY_MAC, mac, ETH_P_ARP, arp(1, mac, "10.44.2.5", "00:00:00:00:00:00", "10.44.9.1")),
            framed(mac, solicit("fd00:44:0:102::5", "fe80::1", mac)),
        ]
        for count, frame in enumerate(frames, 1):
            send_frame(box, "eth0", frame)
            wait_for(lambda c=count: site.counters("hv3")["spoofed"] >= spoofed + c, f"frame {count} to be counted")  # type: ignore[misc]
        send_frame(box, "eth0", framed(mac, udp("169.254.1.1", a1, forged)))
        send_frame(box, "eth0", framed(mac, udp("10.44.2.5", a1, passes + b" again")))
        assert listener.hears(passes + b" again", within_s=PATIENCE_S)
        assert not listener.heard(forged)
