"""Groups and ACLs towards the internet: an outside address is a CIDR like any other, and answers pass as known.

hv3 stands for the edge, and sends hand-made packets from the internet.
"""

from __future__ import annotations

import os

import pytest

from netorch.compiler.base import PORT_MAC, router_mac
from tests.rig.packets import ETH_P_IP, ETH_P_IPV6, PATIENCE_S, PacketListener, ethernet, send_frame, send_vxlan, udp, vxlan
from tests.rig.seats import lead_out, seat_gateway
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

VNI = 20000
CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  security_groups:
  - name: dns
    egress: [{protocol: udp, ports: 53, destination: 198.51.100.0/24}, {protocol: udp, ports: 53, destination: '2001:db8::/32'},
             {protocol: udp, ports: 53, destination: 203.0.113.0/24}]
    ingress: [{protocol: udp, ports: 80, source: 198.51.100.0/24}]
  network_acls:
  - name: border
    egress: [{rule: 90, action: deny, protocol: all, cidr: 203.0.113.0/24},
             {rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}, {rule: 101, action: allow, protocol: all, cidr: '::/0'}]
    ingress: [{rule: 90, action: deny, protocol: udp, ports: 80, cidr: 198.51.100.128/25},
              {rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}, {rule: 101, action: allow, protocol: all, cidr: '::/0'}]
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64', network_acl: border}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4', security_groups: [dns]}
"""
A, A6 = "10.44.12.4", "fd00:44:0:100::4"


@pytest.fixture
def cloud(world: World) -> World:
    """An instance whose table leads everything else to a gateway on hv3."""
    world.start_agents()
    world.apply(CLOUD)
    seat_gateway(world.store, VNI, {"hv3": "192.0.2.13"})
    lead_out(world.store, VNI)
    world.settle()
    return world


def frame(source: str, destination: str, payload: bytes, to: str, by: str, sport: int, dport: int) -> bytes:
    packet = udp(source, destination, payload, sport=sport, dport=dport)
    return ethernet(to, by, ETH_P_IPV6 if ":" in source else ETH_P_IP, packet)


def send(cloud: World, destination: str, payload: bytes, dport: int = 53) -> None:
    """Let the instance send a datagram."""
    eni, source = cloud.eni("acme/a"), A6 if ":" in destination else A
    send_frame(cloud.instance("acme/a").id, "eth0", frame(source, destination, payload, PORT_MAC, eni.mac, 5000, dport))


def come(source: str, payload: bytes, sport: int, dport: int) -> None:
    """Let a datagram arrive from the internet."""
    inner = frame(source, A6 if ":" in source else A, payload, router_mac("192.0.2.11"), router_mac("192.0.2.13"), sport, dport)
    send_vxlan("hv3", "192.0.2.13", "192.0.2.11", vxlan(VNI, inner))


@pytest.mark.parametrize("server", ["198.51.100.9", "2001:db8::9"])
def test_what_rules_permit_leaves_and_its_answer_comes_back(cloud: World, server: str) -> None:
    there, back = b"query " + os.urandom(8), b"answer " + os.urandom(8)
    with PacketListener("hv3") as wire, PacketListener(cloud.instance("acme/a").id) as listener:
        send(cloud, server, there)
        assert wire.hears(there, within_s=PATIENCE_S)
        come(server, back, 53, 5000)
        assert listener.hears(back, within_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("destination", "dport", "reason"),
    [
        ("198.51.101.9", 53, "sg_egress"),
        ("198.51.100.9", 54, "sg_egress"),
        ("2001:db9::9", 53, "sg_egress"),
        ("203.0.113.9", 53, "acl_egress"),
    ],
)
def test_what_rules_refuse_does_not_leave(cloud: World, destination: str, dport: int, reason: str) -> None:
    before, payload = cloud.counters("hv1")[reason], b"refused " + os.urandom(8)
    with PacketListener("hv3") as wire:
        send(cloud, destination, payload, dport)
        wait_for(lambda: cloud.counters("hv1")[reason] == before + 1, "the drop to be counted")
        assert not wire.hears(payload)


@pytest.mark.parametrize(
    ("source", "dport", "reason"),
    [
        ("198.51.100.9", 80, ""),
        ("198.51.100.129", 80, "acl_ingress"),
        ("198.51.101.9", 80, "sg_ingress"),
        ("198.51.100.9", 81, "sg_ingress"),
        ("2001:db8::9", 80, "sg_ingress"),
    ],
)
def test_what_comes_unasked_meets_the_rules(cloud: World, source: str, dport: int, reason: str) -> None:
    payload = b"unasked " + os.urandom(8)
    with PacketListener(cloud.instance("acme/a").id) as listener:
        before = cloud.counters("hv1")
        come(source, payload, 5000, dport)
        if not reason:
            assert listener.hears(payload, within_s=PATIENCE_S)
            return
        wait_for(lambda: cloud.counters("hv1")[reason] == before[reason] + 1, "the drop to be counted")
        assert not listener.hears(payload)
