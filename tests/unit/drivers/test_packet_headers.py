from __future__ import annotations

import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from netorch.drivers.conntrack.headers import ACK, SYN, parse, parse_vxlan

A, B = "10.0.0.4", "10.0.0.5"
A6, B6 = "2001:db8::4", "2001:db8::5"

PACKETS: dict[str, tuple[Packet, tuple[int, int, int, int]]] = {
    "TCP": (IP(src=A, dst=B) / TCP(sport=1000, dport=443, flags="SA"), (6, 1000, 443, SYN | ACK)),
    "UDP": (IP(src=A, dst=B) / UDP(sport=1000, dport=53) / Raw(b"xx"), (17, 1000, 53, 0)),
    "ICMP": (IP(src=A, dst=B) / ICMP(type=8, code=0, id=7), (1, 7, 0x800, 0)),
    "a first fragment": (IP(src=A, dst=B, flags="MF") / UDP(sport=1, dport=2), (17, 1, 2, 0)),
    "a later fragment": (IP(src=A, dst=B, frag=10, proto=17) / Raw(b"12345678"), (17, 0, 0, 0)),
    "another protocol": (IP(src=A, dst=B, proto=47) / Raw(b"12345678"), (47, 0, 0, 0)),
    "options of IP": (IP(src=A, dst=B, options=[b"\x01\x01\x01\x01"]) / UDP(sport=1, dport=2), (17, 1, 2, 0)),
    "TCP of IPv6": (IPv6(src=A6, dst=B6) / TCP(sport=1000, dport=443, flags="S"), (6, 1000, 443, SYN)),
    "ICMPv6": (IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(id=9), (58, 9, 0x8000, 0)),
    "extensions": (IPv6(src=A6, dst=B6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment() / UDP(sport=3, dport=4), (17, 3, 4, 0)),
    "a later fragment of IPv6": (IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(offset=5, nh=17) / Raw(b"x" * 8), (17, 0, 0, 0)),
}


@pytest.mark.parametrize("case", sorted(PACKETS))
def test_a_packet_says_its_flow_and_length(case: str) -> None:
    packet, wanted = PACKETS[case]
    data = bytes(packet)
    found = parse(data[:128])
    assert found is not None
    flow = found.tuple
    assert (flow.protocol, flow.source_port, flow.destination_port, found.tcp_flags) == wanted
    family, source = (socket.AF_INET, A) if data[0] >> 4 == 4 else (socket.AF_INET6, A6)
    assert socket.inet_ntop(family, flow.source) == source
    assert found.length == len(data)


def test_what_is_not_ip_says_nothing() -> None:
    assert parse(bytes(ARP())) is None
    assert parse(b"") is None


@pytest.mark.parametrize("case", sorted(PACKETS))
def test_a_packet_that_is_cut_short_anywhere_is_no_error(case: str) -> None:
    data = bytes(PACKETS[case][0])
    assert all(parse(data[:size]) is None or size >= 20 for size in range(len(data)))


def test_what_a_vxlan_packet_carries_is_told_with_its_vni() -> None:
    inner = bytes(Ether() / IP(src=A, dst=B) / TCP(dport=22))
    vxlan = struct.pack("!II", 0x08000000, 5000 << 8)
    data = bytes(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(dport=4789) / Raw(vxlan + inner))
    found = parse_vxlan(data[:128])
    assert found is not None
    assert found.headers is not None
    assert (found.vni, found.headers.tuple.destination_port) == (5000, 22)
    assert parse_vxlan(bytes(PACKETS["UDP"][0])) is None
    assert all(parse_vxlan(data[:size]) is None for size in range(36))
