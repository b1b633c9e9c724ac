"""Rules for protocols, ports and ICMP types, checked with packets: on one host and across hosts, IPv4 and IPv6."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6Unknown
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Packet, Raw

from netorch.control.actions.permissions import Permission
from netorch.model.security import Direction
from tests.rig.packets import PATIENCE_S
from tests.rig.policed import (
    CLIENT,
    FAR,
    NEAR,
    NEEDLE_BYTES,
    NET4,
    NET6,
    PASSED,
    PATHS,
    SERVERS,
    Policed,
    address,
    cloud,
    ip,
    policed,
    tcp,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

GROUPS = """
  {name: clients},
  {name: servers, egress: [], ingress: [
    {protocol: tcp, ports: 8000-8080, source: 10.44.0.0/16}, {protocol: tcp, ports: 8000-8080, source: 'fd00:44:0:100::/56'},
    {protocol: udp, ports: 6000, source: 10.44.0.0/16}, {protocol: udp, ports: 6000, source: 'fd00:44:0:100::/56'},
    {protocol: tcp, ports: 4000, source: 10.44.0.0/16}, {protocol: tcp, ports: 6666, source: '::/0'},
    {protocol: icmp, ports: 8/0, source: 10.44.0.0/16}, {protocol: icmp, ports: 13, source: 10.44.0.0/16},
    {protocol: icmpv6, ports: 128, source: '::/0'}]}
"""
MEMBERS = {"client": "clients", "near": "servers", "far": "servers"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """A client that may send everything, and servers that may only answer."""
    with policed(tmp_path_factory.mktemp("protocols"), cloud(vpc("acme", GROUPS, MEMBERS))) as lab:
        yield lab


# --- ports -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_range_of_ports_is_permitted_from_its_first_to_its_last(lab: Policed, server: str, version: int) -> None:
    ports = {7999: "sg_ingress", 8000: PASSED, 8080: PASSED, 8081: "sg_ingress", 0: "sg_ingress", 65535: "sg_ingress"}
    assert {port: lab.verdict(CLIENT, server, tcp(CLIENT, server, port, version=version)) for port in ports} == ports


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_port_of_tcp_says_nothing_of_udp_and_the_reverse(lab: Policed, server: str, version: int) -> None:
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, 6000, version=version)) == PASSED
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, 6000, version=version)) == "sg_ingress"
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, 8000, version=version)) == "sg_ingress"


@pytest.mark.parametrize("server", SERVERS)
def test_rules_of_ipv4_permit_no_ipv6_and_the_reverse(lab: Policed, server: str) -> None:
    verdicts = {
        (port, v): lab.verdict(CLIENT, server, tcp(CLIENT, server, port, version=v)) for port in (4000, 6666) for v in (4, 6)
    }
    assert verdicts == {(4000, 4): PASSED, (4000, 6): "sg_ingress", (6666, 4): "sg_ingress", (6666, 6): PASSED}


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("sport", [0, 53, 67, 123, 547, 6000, 8000])
def test_no_source_port_opens_a_door(lab: Policed, server: str, version: int, sport: int) -> None:
    datagram = ip(CLIENT, server, version) / UDP(sport=sport, dport=33000)
    assert lab.verdict(CLIENT, server, datagram) == "sg_ingress"
    answer = ip(server, CLIENT, version) / UDP(sport=sport, dport=33000)
    assert lab.verdict(server, CLIENT, answer) == "sg_egress"


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_to_its_own_sender_is_judged_as_any_other(lab: Policed, version: int) -> None:
    land = ip(CLIENT, CLIENT, version) / TCP(sport=8000, dport=8000, flags="S")
    assert lab.verdict(CLIENT, FAR, land) == "sg_ingress"
    assert lab.verdict(NEAR, FAR, ip(NEAR, NEAR, version) / UDP(sport=6000, dport=6000)) == "sg_egress"


@pytest.mark.parametrize("source", ["255.255.255.255", "10.44.12.255", "10.44.255.255", "0.0.0.0"])
def test_a_permitted_port_does_not_excuse_a_broadcast_source(lab: Policed, source: str) -> None:
    assert lab.verdict(CLIENT, NEAR, IP(src=source, dst=address(NEAR)) / UDP(sport=1, dport=6000)) == "spoofed"


# --- hops --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("hops", [1, 2, 3, 255])
def test_each_host_takes_one_hop(lab: Policed, server: str, version: int, hops: int) -> None:
    """As docs/design/dataplane.md says, including the effect on protocols that send 1 or require 255."""
    taken = 1 if server == NEAR else 2
    field, needle = "ttl" if version == 4 else "hlim", os.urandom(NEEDLE_BYTES)
    packet = udp(CLIENT, server, 6000, version=version) / Raw(needle)
    setattr(packet, field, hops)
    if hops <= taken:
        assert lab.vanishes(CLIENT, server, [bytes(packet)], needle, udp(CLIENT, server, 6000, version=version))
        return
    listener = lab.listener(server)
    lab.emit(CLIENT, [bytes(packet)])
    assert listener.hears(needle, within_s=PATIENCE_S)
    (heard,) = (Ether(frame) for frame in listener.take() if needle in frame)
    assert getattr(heard.payload, field) == hops - taken


# --- protocols by number -----------------------------------------------------------------------------------------------------

UNKNOWN = {"GRE": 47, "ESP": 50, "VRRP": 112, "UDP-Lite": 136, "ICMPv6": 58, "reserved": 255, "zero": 0, "IPv4": 4}
MALFORMED = (58, 136)  # connection tracking knows these protocols, so it reports the packets as malformed first


def unknown(source: str, target: str, protocol: int, version: int) -> Packet:
    """Return a packet of a protocol that has, or shows, no ports: the bytes in their place are zero, or a permitted port."""
    header = ip(source, target, version)
    setattr(header, "proto" if version == 4 else "nh", protocol)
    return header / Raw(bytes(2) + (8000).to_bytes(2, "big") + bytes(12))


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_ports_permit_no_protocol_without_ports(lab: Policed, server: str, version: int) -> None:
    """Even if the bytes in the place of TCP's port are a permitted port."""
    numbers = [number for number in UNKNOWN.values() if version == 4 or number not in (0, 58)]
    verdicts = {number: lab.verdict(CLIENT, server, unknown(CLIENT, server, number, version)) for number in numbers}
    assert verdicts == {number: "invalid" if number in MALFORMED else "sg_ingress" for number in numbers}


@pytest.mark.parametrize("protocol", [47, 50, 112, 255])
def test_a_protocol_is_permitted_by_its_number_and_no_other_is(lab: Policed, protocol: int) -> None:
    rules = [Permission(protocol=protocol, peer=net) for net in (NET4, NET6)]
    lab.allow("acme/servers", Direction.INGRESS, *rules)
    verdicts = {
        (number, server, version): lab.verdict(CLIENT, server, unknown(CLIENT, server, number, version))
        for number in (protocol - 1, protocol)
        for server, version in PATHS
    }
    lab.revoke("acme/servers", Direction.INGRESS, *rules)
    assert verdicts == {key: PASSED if key[0] == protocol else "sg_ingress" for key in verdicts}


def test_protocol_zero_is_a_protocol_of_ipv4(lab: Policed) -> None:
    rule = Permission(protocol=0, peer=NET4)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    assert [lab.verdict(CLIENT, server, unknown(CLIENT, server, 0, 4)) for server in SERVERS] == [PASSED] * 2
    assert lab.verdict(CLIENT, NEAR, unknown(CLIENT, NEAR, 99, 4)) == "sg_ingress"
    lab.revoke("acme/servers", Direction.INGRESS, rule)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_sctp_needs_a_rule_of_its_own(lab: Policed, server: str, version: int) -> None:
    begin = SCTPChunkInit(len=20 + NEEDLE_BYTES, init_tag=1, a_rwnd=1500, n_out_streams=1, n_in_streams=1)
    init = ip(CLIENT, server, version) / SCTP(sport=8000 + version, dport=8000) / begin
    assert lab.verdict(CLIENT, server, init) == "sg_ingress"
    rule = Permission(protocol=132, peer=NET4 if version == 4 else NET6)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    assert lab.verdict(CLIENT, server, init) == PASSED
    lab.revoke("acme/servers", Direction.INGRESS, rule)


def authenticated(source: str, target: str, version: int, hidden: Packet) -> Packet:
    """Return a payload hidden behind an authentication header. Source: RFC 4302: next header, length in words minus two."""
    header = ip(source, target, version)
    setattr(header, "proto" if version == 4 else "nh", 51)
    return header / Raw(bytes((6, 4)) + bytes(22) + bytes(hidden))


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_authenticated_packet_needs_a_rule_of_its_own(lab: Policed, server: str, version: int) -> None:
    """Even if the hidden packet belongs to a known connection."""
    segment = TCP(sport=1, dport=8000, flags="S")
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, version) / segment) == PASSED
    hidden = authenticated(CLIENT, server, version, segment)
    assert lab.verdict(CLIENT, server, hidden) == "sg_ingress"
    rule = Permission(protocol=51, peer=NET4 if version == 4 else NET6)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    assert lab.verdict(CLIENT, server, hidden) == PASSED
    lab.revoke("acme/servers", Direction.INGRESS, rule)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_permitted_authentication_header_opens_no_port_for_those_without(lab: Policed, server: str, version: int) -> None:
    rule = Permission(protocol=51, peer=NET4 if version == 4 else NET6)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    segment = TCP(sport=22, dport=22, flags="S")
    assert lab.verdict(CLIENT, server, authenticated(CLIENT, server, version, segment)) == PASSED
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, version) / segment) == "sg_ingress"
    lab.revoke("acme/servers", Direction.INGRESS, rule)


# --- ICMP --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_types_and_codes_of_icmp_are_permitted_one_by_one(lab: Policed, server: str) -> None:
    wanted = {
        (8, 0): PASSED,
        (8, 1): "sg_ingress",
        (13, 0): PASSED,
        (13, 7): PASSED,
        (15, 0): "sg_ingress",
        (17, 0): "sg_ingress",
    }
    verdicts = {
        (kind, code): lab.verdict(CLIENT, server, ip(CLIENT, server) / ICMP(type=kind, code=code, id=kind + code))
        for kind, code in wanted
    }
    assert verdicts == wanted
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, 6) / ICMPv6EchoRequest(id=1)) == PASSED


@pytest.mark.parametrize("server", SERVERS)
def test_icmp_of_the_other_ip_version_is_refused(lab: Policed, server: str) -> None:
    echo4, echo6 = bytes(ICMP(type=8, id=9)), bytes((128, 0)) + bytes(6)
    in4, in6 = ip(CLIENT, server), ip(CLIENT, server, 6)
    in4.proto, in6.nh = 58, 1
    assert lab.verdict(CLIENT, server, in4 / Raw(echo6)) == "invalid"
    assert lab.verdict(CLIENT, server, in6 / Raw(echo4)) == "invalid"


@pytest.mark.parametrize("server", SERVERS)
def test_an_echo_is_answered_once_it_was_asked(lab: Policed, server: str) -> None:
    for ask, answer, version in (
        (ICMP(type=8, id=71), ICMP(type=0, id=71), 4),
        (ICMPv6EchoRequest(id=71), ICMPv6EchoReply(id=71), 6),
    ):
        assert lab.verdict(server, CLIENT, ip(server, CLIENT, version) / answer) == "sg_egress"
        assert lab.verdict(CLIENT, server, ip(CLIENT, server, version) / ask) == PASSED
        assert lab.verdict(server, CLIENT, ip(server, CLIENT, version) / answer) == PASSED
        other = answer.copy()
        other.id = 72
        assert lab.verdict(server, CLIENT, ip(server, CLIENT, version) / other) == "sg_egress"


@pytest.mark.parametrize(("kind", "code"), [(0, 0), (3, 3), (3, 4), (4, 0), (9, 0), (11, 0), (12, 0), (14, 0), (18, 0)])
def test_answers_and_errors_that_belong_to_nothing_are_invalid(lab: Policed, kind: int, code: int) -> None:
    """Whatever the rules: the sender may send everything."""
    about = bytes(udp(NEAR, CLIENT, 6000))
    for server in SERVERS:
        assert lab.verdict(CLIENT, server, ip(CLIENT, server) / ICMP(type=kind, code=code) / Raw(about)) == "invalid"


def errors(version: int) -> list[Packet]:
    """Return the ICMP errors that a sender must learn of."""
    if version == 4:
        return [ICMP(type=3, code=3), ICMP(type=3, code=4, nexthopmtu=1400), ICMP(type=11)]
    return [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1400), *unknown_errors()]


def unknown_errors() -> list[Packet]:
    """Return undefined ICMPv6 errors: all types below 128 are errors. Source: RFC 4443 section 2.1."""
    return [ICMPv6Unknown(type=kind, msgbody=bytes(4)) for kind in (0, 5, 100, 127)]


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_error_about_a_tracked_flow_comes_back(lab: Policed, server: str, version: int) -> None:
    flow = udp(CLIENT, server, 6000, version=version)
    back = ip(server, CLIENT, version)
    for error in errors(version):
        assert lab.verdict(server, CLIENT, back / error / Raw(bytes(udp(CLIENT, server, 6000, version=version)))) == "sg_egress"
    assert lab.verdict(CLIENT, server, flow) == PASSED
    for error in errors(version):
        assert lab.verdict(server, CLIENT, back / error / Raw(bytes(flow))) == PASSED


@pytest.mark.parametrize("version", [4, 6])
def test_nobody_complains_of_packets_that_were_addressed_to_others(lab: Policed, version: int) -> None:
    flow = udp(CLIENT, FAR, 6000, version=version)
    assert lab.verdict(CLIENT, FAR, flow) == PASSED
    answer = ip(FAR, CLIENT, version) / UDP(sport=6000, dport=flow[UDP].sport)
    for target, about in ((CLIENT, flow), (FAR, answer)):
        for error in errors(version):
            assert lab.verdict(NEAR, target, ip(NEAR, target, version) / error / Raw(bytes(about))) == "spoofed"


@pytest.mark.parametrize("server", SERVERS)
def test_redirects_are_not_an_instances_to_send(lab: Policed, server: str) -> None:
    """Not even to the other end of a connection, about which the instance may send errors."""
    flow = udp(CLIENT, server, 6000)
    assert lab.verdict(CLIENT, server, flow) == PASSED
    assert lab.verdict(server, CLIENT, ip(server, CLIENT) / ICMP(type=5, code=1, gw="10.44.12.9") / Raw(bytes(flow))) == "spoofed"


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_an_error_about_a_refused_flow_does_not_come_back(lab: Policed, server: str, version: int) -> None:
    flow = udp(CLIENT, server, 6001, version=version)
    assert lab.verdict(CLIENT, server, flow) == "sg_ingress"
    for error in errors(version):
        assert lab.verdict(server, CLIENT, ip(server, CLIENT, version) / error / Raw(bytes(flow))) == "sg_egress"
