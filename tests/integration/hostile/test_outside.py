"""Packets from outside a VPC: only the edges of its gateways may send them, and no edge may use sources of the VPC or its peers.

hv3 stands for an edge, and hv2 for a hypervisor that lies.
"""

from __future__ import annotations

import os
import struct

import pytest

from netorch.compiler.base import router_mac
from netorch.drivers.probe.echo import checksum
from netorch.model.routing.next_hop import gateway_mac
from tests.rig.packets import (
    ETH_P_IP,
    ETH_P_IPV6,
    PATIENCE_S,
    PacketListener,
    ethernet,
    ip_packet,
    send_frame,
    send_vxlan,
    udp,
    vxlan,
)
from tests.rig.seats import gateway_of, lead_out, seat_gateway
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

VNI, FOREIGN, PEER = 20000, 30000, 40000
CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}]
  security_groups:
  - {name: open, ingress: [{protocol: all, source: 0.0.0.0/0}, {protocol: all, source: '::/0'}]}
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4', security_groups: [open]}
  - {name: b, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5', security_groups: [open]}
  peerings: [{name: to-globex, peer: globex}]
- name: globex
  vni: 40000
  cidrs: [10.45.0.0/16]
  ipv6_cidrs: ['fd00:44:0:200::/56']
  subnets: [{name: app, cidr: 10.45.12.0/24, ipv6_cidr: 'fd00:44:0:200::/64'}]
  instances:
  - {name: c, host: hv2, address: 10.45.12.4}
- name: initech
  vni: 30000
  cidrs: [10.46.0.0/16]
  subnets: [{name: app, cidr: 10.46.12.0/24}]
  instances:
  - {name: d, host: hv1, address: 10.46.12.4}
"""
A, A6 = "10.44.12.4", "fd00:44:0:100::4"
INTERNET, INTERNET6 = "8.8.8.8", "2001:db8:99::8"
EDGE, HYPERVISOR = ("hv3", "192.0.2.13"), ("hv2", "192.0.2.12")


@pytest.fixture
def cloud(world: World) -> World:
    """A VPC with a gateway on hv3, a peer, and another customer's VPC."""
    world.start_agents()
    world.apply(CLOUD)
    seat_gateway(world.store, VNI, {"hv3": "192.0.2.13"})
    lead_out(world.store, VNI)
    world.settle()
    return world


def from_edge(source: str, destination: str, payload: bytes) -> bytes:
    """Return an inner frame as an edge sends it to hv1."""
    ethertype = ETH_P_IPV6 if ":" in source else ETH_P_IP
    return ethernet(router_mac("192.0.2.11"), router_mac("192.0.2.13"), ethertype, udp(source, destination, payload))


def unverified(world: World) -> int:
    counters = world.counters("hv1")
    return counters["unverified"] + counters["unknown_vtep"]


@pytest.mark.parametrize(("source", "destination"), [(INTERNET, A), (INTERNET6, A6), ("10.43.255.255", A), ("10.47.0.0", A)])
def test_an_edge_speaks_for_the_outside(cloud: World, source: str, destination: str) -> None:
    payload = b"outside " + os.urandom(8)
    with PacketListener(cloud.instance("acme/a").id) as listener:
        send_vxlan(*EDGE, "192.0.2.11", vxlan(VNI, from_edge(source, destination, payload)))
        assert listener.hears(payload, within_s=PATIENCE_S)


FORGED = {
    "an edge in the name of an instance": (*EDGE, VNI, "10.44.12.5", A),
    "an edge in the name of an instance of the receiver": (*EDGE, VNI, A, A),
    "an edge in the name of an instance, IPv6": (*EDGE, VNI, "fd00:44:0:100::5", A6),
    "an edge in a name of the VPC that nobody has": (*EDGE, VNI, "10.44.255.255", A),
    "an edge in a name of the VPC that nobody has, IPv6": (*EDGE, VNI, "fd00:44:0:1ff::9", A6),
    "an edge in the name of the VPC's router": (*EDGE, VNI, "10.44.12.1", A),
    "an edge in the name of a peer's instance": (*EDGE, VNI, "10.45.12.4", A),
    "an edge in a name of a peer that nobody has": (*EDGE, VNI, "10.45.0.0", A),
    "an edge in a name of a peer, IPv6": (*EDGE, VNI, "fd00:44:0:200::4", A6),
    "an edge in a VPC whose gateway it does not carry": (*EDGE, FOREIGN, INTERNET, "10.46.12.4"),
    "an edge in the VPC of a peer that has no gateway": (*EDGE, PEER, INTERNET, "10.45.12.4"),
    "a hypervisor in a name from outside": (*HYPERVISOR, VNI, INTERNET, A),
    "a hypervisor in a name from outside, IPv6": (*HYPERVISOR, VNI, INTERNET6, A6),
    "a hypervisor in the name of an edge's errors": (*HYPERVISOR, VNI, "192.0.0.8", A),
}


@pytest.mark.parametrize("case", sorted(FORGED))
def test_what_is_sent_in_a_name_that_is_not_the_senders_is_dropped_and_counted(cloud: World, case: str) -> None:
    netns_name, outer, vni, source, destination = FORGED[case]
    before, payload = unverified(cloud), b"forged " + os.urandom(8)
    victims = [cloud.instance(name).id for name in ("acme/a", "initech/d")]
    with PacketListener(victims[0]) as first, PacketListener(victims[1]) as second:
        send_vxlan(netns_name, outer, "192.0.2.11", vxlan(vni, from_edge(source, destination, payload)))
        wait_for(lambda: unverified(cloud) == before + 1, "the drop to be counted")
        assert not first.hears(payload)
        assert not second.hears(payload)


def test_what_is_neither_ipv4_nor_ipv6_comes_from_no_edge(cloud: World) -> None:
    before = unverified(cloud)
    frame = ethernet(router_mac("192.0.2.11"), router_mac("192.0.2.13"), 0x0806, bytes(28))
    send_vxlan(*EDGE, "192.0.2.11", vxlan(VNI, frame))
    wait_for(lambda: unverified(cloud) == before + 1, "the drop to be counted")


def test_an_edge_speaks_no_more_once_it_carries_the_gateway_no_more(cloud: World) -> None:
    seat_gateway(cloud.store, VNI, {})
    cloud.settle()
    before = unverified(cloud)
    send_vxlan(*EDGE, "192.0.2.11", vxlan(VNI, from_edge(INTERNET, A, b"late")))
    wait_for(lambda: unverified(cloud) == before + 1, "the drop to be counted")


def test_what_an_instance_sends_outside_goes_to_the_edge_with_the_gateways_mac_and_an_error_about_it_comes_back(
    cloud: World,
) -> None:
    eni, payload = cloud.eni("acme/a"), b"to outside " + os.urandom(8)
    packet = udp(A, INTERNET, payload)
    with PacketListener("hv3") as wire, PacketListener(cloud.instance("acme/a").id) as listener:
        send_frame(cloud.instance("acme/a").id, "eth0", ethernet("02:4e:54:ff:ff:01", eni.mac, ETH_P_IP, packet))
        assert wire.hears(payload, within_s=PATIENCE_S)
        assert wire.hears(bytes.fromhex(gateway_mac(gateway_of(VNI)).replace(":", "")))
        error = struct.pack("!BBHI", 11, 0, 0, 0) + packet
        error = error[:2] + struct.pack("!H", checksum(error)) + error[4:]
        inner = ip_packet("192.0.0.8", A, 1, error)
        frame = ethernet(router_mac("192.0.2.11"), router_mac("192.0.2.13"), ETH_P_IP, inner)
        send_vxlan(*EDGE, "192.0.2.11", vxlan(VNI, frame))
        assert listener.hears(error, within_s=PATIENCE_S)
