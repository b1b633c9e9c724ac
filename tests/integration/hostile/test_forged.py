"""Forbidden packets: VXLAN from strangers and lying hosts, spoofing instances. Each is dropped and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nftables
import pytest
from pyroute2 import IPRoute

from netorch.compiler.base import router_mac
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask
from netorch.model.ids import vni_of
from netorch.model.security import AH, UDP
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

GATEWAY_MAC = "02:4e:54:ff:ff:01"
CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4'}
  - {name: b, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5'}
  - {name: e, host: hv2, address: 10.44.12.8}
  - {name: c, host: hv3, address: 10.44.12.6, ipv6_address: 'fd00:44:0:100::6'}
- name: globex
  vni: 30000
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4}
  - {name: d, host: hv2, address: 10.44.12.7}
"""
B6, A6, C6 = "fd00:44:0:100::5", "fd00:44:0:100::4", "fd00:44:0:100::6"


@pytest.fixture
def forgery(world: World) -> Iterator[World]:
    """Two customers, and a stranger on the underlay who belongs to neither."""
    world.start_agents()
    world.apply(CLOUD)
    stranger = netns.make("stranger")
    spine = netns.find("spine")
    with netns.inside(spine), IPRoute() as ipr:
        ipr.link("add", ifname="to-stranger", kind="veth", peer={"ifname": "eth0", "net_ns_fd": "stranger"})
        index = ipr.link_lookup(ifname="to-stranger")[0]
        ipr.addr("add", index=index, address="198.51.100.1", prefixlen=24)
        ipr.link("set", index=index, state="up")
    with netns.inside(stranger), IPRoute() as ipr:
        index = ipr.link_lookup(ifname="eth0")[0]
        ipr.addr("add", index=index, address="198.51.100.9", prefixlen=24)
        ipr.link("set", index=index, state="up")
        ipr.route("add", dst="default", gateway="198.51.100.1")
    try:
        yield world
    finally:
        netns.remove("stranger")
        os.close(stranger)
        os.close(spine)


def dropped(world: World, host: str) -> int:
    """Return the number of packets that a host dropped, for any reason."""
    return sum(world.counters(host).values())


def refused(world: World, host: str) -> int:
    """Return the number of VXLAN packets that a host dropped."""
    counters = world.counters(host)
    return counters["unverified"] + counters["unknown_vtep"]


def inner(world: World, source: str, destination: str, payload: bytes, *, router: str = "192.0.2.11") -> bytes:
    """Return an inner frame as the sending hypervisor makes it."""
    ethertype = ETH_P_IPV6 if ":" in source else ETH_P_IP
    return ethernet(router_mac(router), router_mac("192.0.2.12"), ethertype, udp(source, destination, payload))


def authenticated(frame: bytes) -> bytes:
    """Return an IPv6 UDP frame with an authentication header. Source: RFC 4302 section 2."""
    header, ip, segment = frame[:14], frame[14:54], frame[54:]
    length = int.from_bytes(ip[4:6], "big") + 24
    return header + ip[:4] + length.to_bytes(2, "big") + bytes((AH,)) + ip[7:] + bytes((UDP, 4)) + bytes(22) + segment


FORGED = {
    "a stranger with a right inner source": ("stranger", "198.51.100.9", 20000, "10.44.12.5", "10.44.12.4"),
    "a stranger, IPv6 inside": ("stranger", "198.51.100.9", 20000, B6, A6),
    "a host that speaks for another's instance": ("hv3", "192.0.2.13", 20000, "10.44.12.5", "10.44.12.4"),
    "a host that speaks for another's instance, IPv6": ("hv3", "192.0.2.13", 20000, B6, A6),
    "a host that speaks for an instance of the receiver": ("hv3", "192.0.2.13", 20000, "10.44.12.4", "10.44.12.4"),
    "a host that speaks in a VPC where it has nothing": ("hv3", "192.0.2.13", 30000, "10.44.12.7", "10.44.12.4"),
    "the right host and source in the wrong VPC": ("hv2", "192.0.2.12", 30000, "10.44.12.5", "10.44.12.4"),
    "an unknown VNI": ("hv2", "192.0.2.12", 31000, "10.44.12.5", "10.44.12.4"),
    "the VPC's router as a source": ("hv2", "192.0.2.12", 20000, "10.44.12.1", "10.44.12.4"),
    "a source outside the VPC": ("hv2", "192.0.2.12", 20000, "8.8.8.8", "10.44.12.4"),
    "a multicast source": ("hv2", "192.0.2.12", 20000, "224.0.0.1", "10.44.12.4"),
}


@pytest.mark.parametrize("case", sorted(FORGED))
def test_forged_vxlan_is_dropped_and_counted(forgery: World, case: str) -> None:
    sender, outer, vni, source, destination = FORGED[case]
    before = refused(forgery, "hv1")
    payload = b"forged " + os.urandom(8)
    victims = [forgery.instance("acme/a").id, forgery.instance("globex/a").id]
    with PacketListener(victims[0]) as first, PacketListener(victims[1]) as second:
        send_vxlan(sender, outer, "192.0.2.11", vxlan(vni, inner(forgery, source, destination, payload)))
        wait_for(lambda: refused(forgery, "hv1") == before + 1, "the drop to be counted")
        assert not first.hears(payload)
        assert not second.hears(payload)


def test_an_honest_packet_made_by_the_same_means_arrives(forgery: World) -> None:
    for source, destination in (("10.44.12.5", "10.44.12.4"), (B6, A6)):
        payload = b"honest " + os.urandom(8)
        with PacketListener(forgery.instance("acme/a").id) as listener:
            send_vxlan("hv2", "192.0.2.12", "192.0.2.11", vxlan(20000, inner(forgery, source, destination, payload)))
            assert listener.hears(payload, within_s=PATIENCE_S), source


def test_nothing_arrives_unverified_while_the_hosts_own_tables_are_flushed(forgery: World) -> None:
    agent, descriptor = forgery.agent("hv1"), netns.find("hv1")
    with netns.inside(descriptor):
        another = nftables.Nftables()
    os.close(descriptor)
    ways = (("10.44.12.5", "10.44.12.4"), (B6, A6))
    frames = [inner(forgery, source, destination, b"unproven") for source, destination in ways]
    frames.append(authenticated(frames[-1]))
    with PacketListener(forgery.instance("acme/a").id) as listener:
        with agent.busy:  # the agent is as slow as possible
            assert another.cmd("flush ruleset")[0] == 0
            senders = (("stranger", "198.51.100.9"), ("hv3", "192.0.2.13"), ("hv2", "192.0.2.12"))
            for frame in frames:
                for sender, outer in senders:
                    send_vxlan(sender, outer, "192.0.2.11", vxlan(20000, frame))
            wait_for(lambda: forgery.counters("hv1")["unproven"] == len(senders) * len(frames), "the drops to be counted")
            assert not listener.hears(b"unproven")
        for source, destination in ways:
            wait_for(lambda ends=(source, destination): _arrives(forgery, listener, *ends), "the table to be back")  # type: ignore[misc]


def _arrives(world: World, listener: PacketListener, source: str, destination: str) -> bool:
    """Return whether an honest packet from hv2 to hv1 arrives."""
    payload = b"honest " + os.urandom(8)
    send_vxlan("hv2", "192.0.2.12", "192.0.2.11", vxlan(20000, inner(world, source, destination, payload)))
    return listener.hears(payload)


MALFORMED = {
    "no VNI flag": lambda frame: vxlan(20000, frame, flags=0),
    "cut inside the VXLAN header": lambda frame: vxlan(20000, frame)[:6],
    "cut inside the inner Ethernet header": lambda frame: vxlan(20000, frame)[:18],
    "cut inside the inner IP header": lambda frame: vxlan(20000, frame)[:30],
    "an inner 802.1Q tag": lambda frame: vxlan(20000, frame[:12] + b"\x81\x00\x00\x05" + frame[12:]),
    "an inner ARP reply": lambda frame: vxlan(
        20000,
        ethernet("ff:ff:ff:ff:ff:ff", GATEWAY_MAC, ETH_P_ARP, arp(2, GATEWAY_MAC, "10.44.12.5", GATEWAY_MAC, "10.44.12.4")),
    ),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_vxlan_from_an_honest_host_is_dropped_and_counted(forgery: World, case: str) -> None:
    before = refused(forgery, "hv1")
    payload = b"malformed " + os.urandom(8)
    frame = inner(forgery, "10.44.12.5", "10.44.12.4", payload)
    with PacketListener(forgery.instance("acme/a").id) as listener:
        send_vxlan("hv2", "192.0.2.12", "192.0.2.11", MALFORMED[case](frame))
        wait_for(lambda: refused(forgery, "hv1") == before + 1, "the drop to be counted")
        assert not listener.hears(payload)


def spoofs(world: World) -> dict[str, bytes]:
    """Return the packets that instance acme/b, on hv2, may not send."""
    b, c = world.eni("acme/b"), world.eni("acme/c")
    other = "06:00:00:00:00:99"
    return {
        "another's IPv4 source": ethernet(GATEWAY_MAC, b.mac, ETH_P_IP, udp(c.address, "10.44.12.4", b"spoof")),
        "another's MAC": ethernet(GATEWAY_MAC, c.mac, ETH_P_IP, udp(b.address, "10.44.12.4", b"spoof")),
        "a MAC that nobody has": ethernet(GATEWAY_MAC, other, ETH_P_IP, udp(b.address, "10.44.12.4", b"spoof")),
        "another's IPv6 source": ethernet(GATEWAY_MAC, b.mac, ETH_P_IPV6, udp(c.ipv6_address, A6, b"spoof")),
        "no IPv4 source": ethernet(GATEWAY_MAC, b.mac, ETH_P_IP, udp("0.0.0.0", "10.44.12.4", b"spoof")),
        "the router's source": ethernet(GATEWAY_MAC, b.mac, ETH_P_IP, udp("10.44.12.1", "10.44.12.4", b"spoof")),
        "an ARP reply for the router": ethernet(
            GATEWAY_MAC, b.mac, ETH_P_ARP, arp(2, b.mac, "10.44.12.1", GATEWAY_MAC, "10.44.12.1")
        ),
        "an ARP reply for a neighbour": ethernet(
            GATEWAY_MAC, b.mac, ETH_P_ARP, arp(2, b.mac, c.address, GATEWAY_MAC, "10.44.12.1")
        ),
        "an ARP reply with another's hardware address": ethernet(
            GATEWAY_MAC, b.mac, ETH_P_ARP, arp(2, c.mac, b.address, GATEWAY_MAC, "10.44.12.1")
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "another's IPv4 source",
        "another's MAC",
        "a MAC that nobody has",
        "another's IPv6 source",
        "no IPv4 source",
        "the router's source",
        "an ARP reply for the router",
        "an ARP reply for a neighbour",
        "an ARP reply with another's hardware address",
    ],
)
def test_a_spoofing_instance_is_stopped_at_its_port(forgery: World, case: str) -> None:
    before = dropped(forgery, "hv2")
    with PacketListener(forgery.instance("acme/a").id) as listener:
        send_frame(forgery.instance("acme/b").id, "eth0", spoofs(forgery)[case])
        wait_for(lambda: dropped(forgery, "hv2") > before, "the drop to be counted")
        assert not listener.hears(b"spoof")
    assert forgery.reaches("acme/c", "acme/b")


def test_a_port_without_its_chain_is_mute(forgery: World) -> None:
    """However the chain was lost: without an agent that restores it, no packet of the instance passes."""
    forgery.stop_agent("hv2")
    overlay = netns.find(forgery.hosts["hv2"].overlay)
    with netns.inside(overlay):
        nft = nftables.Nftables()
    os.close(overlay)
    assert forgery.reaches("acme/b", "acme/a")
    port = forgery.port("acme/b")
    assert nft.cmd(f"flush chain netdev netorch {port}; delete chain netdev netorch {port}")[0] == 0
    before = forgery.counters("hv2")
    far, near, router = "10.44.12.4", "10.44.12.8", "10.44.12.1"
    probes = [Probe(netns=forgery.instance("acme/b").id, destination=address) for address in (far, near, A6, router)]
    assert [answer.ok for answer in ask(probes)] == [False] * 4
    after = forgery.counters("hv2")
    assert after["unchecked"] >= before["unchecked"] + len(probes)


def test_an_instance_cannot_speak_vxlan_to_a_host(forgery: World) -> None:
    b = forgery.eni("acme/b")
    packet = vxlan(vni_of(b.id), inner(forgery, b.address, "10.44.12.4", b"nested"))
    with PacketListener(forgery.instance("acme/a").id) as listener, PacketListener("hv1", "eth0") as wire:
        for target in ("192.0.2.11", "192.0.2.12", "10.44.12.1", "198.18.0.1"):
            frame = ethernet(GATEWAY_MAC, b.mac, ETH_P_IP, udp(b.address, target, packet, dport=4789))
            send_frame(forgery.instance("acme/b").id, "eth0", frame)
        assert not listener.hears(b"nested")
        assert not wire.hears(b"nested", within_s=0.1)


@pytest.mark.parametrize(("source", "destination"), [("10.44.12.5", "10.44.12.6"), (B6, C6)])
def test_what_came_from_the_overlay_does_not_go_back_to_the_overlay(forgery: World, source: str, destination: str) -> None:
    before = forgery.counters("hv1")["transit"]
    with PacketListener("hv3") as wire:
        frame = vxlan(20000, inner(forgery, source, destination, b"in transit"))
        send_vxlan("hv2", "192.0.2.12", "192.0.2.11", frame)
        wait_for(lambda: forgery.counters("hv1")["transit"] == before + 1, "the drop to be counted")
        assert not wire.hears(b"in transit")


def test_a_frame_that_is_not_ip_goes_nowhere(forgery: World) -> None:
    b = forgery.eni("acme/b")
    with PacketListener(forgery.instance("acme/a").id) as listener, PacketListener("hv1", "eth0") as wire:
        for ethertype in (0x88CC, 0x0842, 0x8100, 0x88E5):
            send_frame(forgery.instance("acme/b").id, "eth0", ethernet("ff:ff:ff:ff:ff:ff", b.mac, ethertype, b"strange" * 10))
        assert not listener.hears(b"strange")
        assert not wire.hears(b"strange", within_s=0.1)


def test_an_unknown_vtep_is_counted_while_no_vpc_is_on_the_host(world: World, tmp_path: Path) -> None:
    world.start_agents("hv1")
    wait_for(lambda: world.agent("hv1").follower.in_sync, "the agent to be in sync")
    before = refused(world, "hv1")
    frame = inner(world, "10.44.12.5", "10.44.12.4", b"early")
    send_vxlan("hv2", "192.0.2.12", "192.0.2.11", vxlan(20000, frame))
    wait_for(lambda: refused(world, "hv1") == before + 1, "the drop to be counted")
