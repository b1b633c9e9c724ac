"""Fragments and extension headers: policy judges whole packets, whatever they are cut into and whatever stands before the port."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

import pytest
from scapy.layers.inet import TCP, UDP, fragment
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.packet import Packet, Raw

from netorch.control.permissions import Permission
from netorch.model.security import Way
from tests.integration.crafted import datagram, piece
from tests.integration.policed import (
    CLIENT,
    FAR,
    NEAR,
    NET6,
    PASSED,
    PATHS,
    SERVERS,
    Policed,
    address,
    cloud,
    ip,
    policed,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

OPEN, SHUT = 6000, 6001
GROUPS = """
  {name: clients},
  {name: servers, egress: [], ingress: [
    {protocol: udp, ports: 6000, source: 10.44.0.0/16}, {protocol: udp, ports: 6000, source: 'fd00:44:0:100::/56'},
    {protocol: tcp, ports: 6000, source: 10.44.0.0/16}, {protocol: tcp, ports: 6000, source: 'fd00:44:0:100::/56'}]}
"""
MEMBERS = {"client": "clients", "near": "servers", "far": "servers"}
_idents = itertools.count(100)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Two VPCs with equal addresses, whose servers may be sent UDP and TCP to one port."""
    vpcs = [vpc(name, GROUPS, MEMBERS) for name in ("acme", "globex")]
    with policed(tmp_path_factory.mktemp("fragments"), cloud(*vpcs)) as lab:
        yield lab


def pieces(packet: Packet, size: int = 1000) -> list[Packet]:
    """Return a packet in fragments with a fresh identification."""
    if packet.version == 4:
        packet.id = next(_idents)
        return list(fragment(packet, size))
    header = IPv6ExtHdrFragment(id=next(_idents), nh=packet.nh)
    packet.nh = 44
    whole = packet.copy()
    upper = whole.payload
    whole.remove_payload()
    return list(fragment6(whole / header / upper, size))


def backwards(packet: Packet) -> list[Packet]:
    """Return the fragments, the last one first."""
    return pieces(packet)[::-1]


def doubled(packet: Packet) -> list[Packet]:
    """Return the fragments, each twice but for the last one."""
    *most, last = pieces(packet)
    return [*itertools.chain.from_iterable((part, part) for part in most), last]


def tiny(packet: Packet) -> list[Packet]:
    """Return the smallest fragments: what stands behind the ports of TCP comes in later ones."""
    return pieces(packet, 8 if packet.version == 4 else 56)


def wanted(port: int) -> str:
    return PASSED if port == OPEN else "sg_ingress"


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
@pytest.mark.parametrize("cut", [pieces, backwards, doubled])
def test_a_large_datagram_in_fragments_is_judged_as_one(lab: Policed, server: str, version: int, port: int, cut: object) -> None:
    assert callable(cut)
    large = udp(CLIENT, server, port, version=version) / Raw(bytes(8000))
    assert lab.verdict(CLIENT, server, large, cut) == wanted(port)


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_a_header_in_tiny_fragments_is_judged_as_one(lab: Policed, server: str, version: int, port: int) -> None:
    segment = ip(CLIENT, server, version) / TCP(sport=next(_idents) + 10000, dport=port, flags="S")
    assert lab.verdict(CLIENT, server, segment, tiny) == wanted(port)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_part_of_a_permitted_datagram_does_not_pass(lab: Policed, server: str, version: int) -> None:
    source, target = address(CLIENT, version), address(server, version)
    needle = os.urandom(16)
    body = datagram(needle * 8, sport=7, dport=OPEN)
    first, later = (lambda ident: piece(source, target, body[:64], more=True, ident=ident)), (
        lambda ident: piece(source, target, body[64:], offset=64, ident=ident)
    )
    tiny_first = piece(source, target, body[:8], more=True, ident=next(_idents))
    apart = [first(next(_idents)), later(next(_idents)), tiny_first, later(next(_idents))]
    assert lab.vanishes(CLIENT, server, apart, needle, udp(CLIENT, server, OPEN, version=version))


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_fragments_that_overlap_do_not_pass(lab: Policed, server: str, version: int) -> None:
    """Neither an open port that a later fragment makes a shut one, nor the reverse, nor a payload written over."""
    source, target = address(CLIENT, version), address(server, version)
    needle = os.urandom(16)
    packets = []
    for ports in ((OPEN, SHUT), (SHUT, OPEN), (OPEN, OPEN)):
        ident = next(_idents)
        for cut, (port, (start, end)) in enumerate(zip((*ports, ports[0]), ((0, 64), (0, 72), (64, 136)), strict=True)):
            body = datagram(needle * 8, sport=7, dport=port)
            packets.append(piece(source, target, body[start:end], offset=start, more=cut < 2, ident=ident))
    assert lab.vanishes(CLIENT, server, packets, needle, udp(CLIENT, server, OPEN, version=version))


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_fragments_of_two_vpcs_are_not_put_together(lab: Policed, server: str, version: int) -> None:
    """The first half of acme's datagram and the second half of globex's agree in addresses and identification."""
    source, target = address(CLIENT, version), address(server, version)
    ident, needles = next(_idents), {"acme": os.urandom(16), "globex": os.urandom(16)}
    bodies = {name: datagram(needle * 8, sport=7, dport=OPEN) for name, needle in needles.items()}
    firsts = {name: piece(source, target, body[:64], more=True, ident=ident) for name, body in bodies.items()}
    lasts = {name: piece(source, target, body[64:], offset=64, ident=ident) for name, body in bodies.items()}
    place = server.rpartition("/")[2]
    marker = udp(CLIENT, server, OPEN, version=version)
    other = lab.ear(f"globex/{place}")
    assert lab.vanishes(CLIENT, server, [firsts["acme"]], needles["acme"], marker)
    lab.emit("globex/client", [lasts["globex"]])
    lab.emit("globex/client", [firsts["globex"]])
    assert other.hears(needles["globex"], within_s=5.0)
    assert not other.heard(needles["acme"])
    ear = lab.ear(server)
    lab.emit(CLIENT, [lasts["acme"]])
    assert ear.hears(needles["acme"], within_s=5.0)
    assert not ear.heard(needles["globex"])


# --- IPv6 headers before the port --------------------------------------------------------------------------------------------

HEADERS: dict[str, list[Packet]] = {
    "hop-by-hop": [IPv6ExtHdrHopByHop()],
    "destination options": [IPv6ExtHdrDestOpt()],
    "routing": [IPv6ExtHdrRouting(type=0, segleft=0)],
    "an atomic fragment": [IPv6ExtHdrFragment(id=5)],
    "all of them": [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(type=0, segleft=0), IPv6ExtHdrDestOpt()],
    "eight of them": [IPv6ExtHdrDestOpt() for _ in range(8)],
}


def behind(headers: list[Packet], server: str, port: int) -> Packet:
    """Return an IPv6 datagram behind extension headers."""
    packet = ip(CLIENT, server, 6)
    for header in headers:
        packet = packet / header.copy()
    return packet / UDP(sport=next(_idents) + 10000, dport=port)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
@pytest.mark.parametrize("case", sorted(HEADERS))
def test_the_port_behind_extension_headers_decides(lab: Policed, server: str, port: int, case: str) -> None:
    assert lab.verdict(CLIENT, server, behind(HEADERS[case], server, port)) == wanted(port)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_a_first_fragment_without_a_port_hides_none(lab: Policed, server: str, port: int) -> None:
    """The extension headers alone fill the first fragment."""
    packet = behind([IPv6ExtHdrDestOpt() for _ in range(3)], server, port)
    assert lab.verdict(CLIENT, server, packet, lambda whole: pieces(whole, 64)) == wanted(port)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", [59, 135, 139, 140, 253, 254])
def test_what_is_no_extension_header_is_a_protocol_without_a_rule(lab: Policed, server: str, kind: int) -> None:
    """No next header (59), mobility, HIP, shim6, and the numbers for experiments."""
    packet = ip(CLIENT, server, 6)
    packet.nh = kind
    assert lab.verdict(CLIENT, server, packet / Raw(bytes((17, 0)) + bytes(6) + bytes(UDP(sport=7, dport=OPEN)))) == "sg_ingress"


@pytest.mark.parametrize("server", SERVERS)
def test_nothing_behind_no_next_header_passes_by_its_own_number_only(lab: Policed, server: str) -> None:
    rule = Permission(protocol=59, peer=NET6)
    lab.allow("acme/servers", Way.INGRESS, rule)
    packet = ip(CLIENT, server, 6)
    packet.nh = 59
    assert lab.verdict(CLIENT, server, packet / Raw(bytes(8))) == PASSED
    packet.nh = 60
    assert lab.verdict(CLIENT, server, packet / Raw(bytes((59, 0)) + bytes(6))) == PASSED
    lab.revoke("acme/servers", Way.INGRESS, rule)
    assert lab.verdict(CLIENT, server, packet / Raw(bytes((59, 0)) + bytes(6))) == "sg_ingress"


@pytest.mark.parametrize("server", SERVERS)
def test_a_jumbogram_does_not_pass(lab: Policed, server: str) -> None:
    needle = os.urandom(16)
    body = datagram(needle, sport=7, dport=OPEN)
    jumbo = ip(CLIENT, server, 6) / Raw(struct.pack("!BBBBI", 17, 0, 0xC2, 4, len(body) + 8) + body)
    jumbo.nh, jumbo.plen = 0, 0
    assert lab.vanishes(CLIENT, server, [bytes(jumbo)], needle, udp(CLIENT, server, OPEN, version=6))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_the_port_behind_an_authentication_header_decides_in_ipv6(lab: Policed, server: str, port: int) -> None:
    """There it is an extension header (RFC 8200 section 4); in IPv4 it is a protocol."""
    packet = ip(CLIENT, server, 6)
    packet.nh = 51
    header = bytes((17, 4)) + bytes(22)  # RFC 4302: next header, length in words less two
    body = UDP(sport=next(_idents) + 10000, dport=port, chksum=0xFFFF)
    assert lab.verdict(CLIENT, server, packet / Raw(header + bytes(body))) in (wanted(port), "invalid")


def test_both_servers_are_where_these_tests_think(lab: Policed) -> None:
    assert (lab.world.mapping(NEAR).host, lab.world.mapping(FAR).host) == ("hv1", "hv2")
