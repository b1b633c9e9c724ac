"""Fragments and extension headers: policy judges whole packets, however they are cut, whatever precedes the port."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Packet, Raw

from netorch.control.actions.permissions import Permission
from netorch.model.security import Direction
from tests.rig.crafted import DESTINATION, datagram, piece
from tests.rig.packets import PATIENCE_S
from tests.rig.policed import (
    CLIENT,
    DB_NEAR,
    NEAR,
    NET6,
    PASSED,
    PATHS,
    SERVERS,
    Cut,
    Policed,
    address,
    cloud,
    ip,
    pieces,
    policed,
    tcp,
    udp,
    vpc,
)

pytestmark = pytest.mark.root

OPEN, SHUT = 6000, 6001
GROUPS = """
  {name: clients},
  {name: servers, egress: [], ingress: [
    {protocol: udp, ports: 6000, source: 10.44.0.0/16}, {protocol: udp, ports: 6000, source: 'fd00:44:0:100::/56'},
    {protocol: tcp, ports: 6000, source: 10.44.0.0/16}, {protocol: tcp, ports: 6000, source: 'fd00:44:0:100::/56'},
    {protocol: icmp, source: 10.44.0.0/16}, {protocol: icmpv6, source: 'fd00:44:0:100::/56'}]}
"""
MEMBERS = {"client": "clients", "near": "servers", "far": "servers", "db-near": "servers"}
_idents = itertools.count(30000)  # distinct from those of `pieces`


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """Two VPCs with equal addresses, whose servers accept pings, and UDP and TCP to one port."""
    vpcs = [vpc(name, GROUPS, MEMBERS) for name in ("acme", "globex")]
    with policed(tmp_path_factory.mktemp("fragments"), cloud(*vpcs)) as lab:
        yield lab


def backwards(packet: Packet) -> list[bytes]:
    """Return the fragments in reverse order."""
    return pieces(packet)[::-1]


def doubled(packet: Packet) -> list[bytes]:
    """Return the fragments, each twice except the last one."""
    *most, last = pieces(packet)
    return [*itertools.chain.from_iterable((part, part) for part in most), last]


def tiny(packet: Packet) -> list[bytes]:
    """Return a first fragment with only the ports, and a second one with the rest."""
    head, body = (20, bytes(packet)[20:]) if packet.version == 4 else (40, bytes(packet)[40:])
    ident = next(_idents)
    protocol = packet.proto if head == 20 else packet.nh
    cuts = ((0, body[:8], True), (8, body[8:], False))
    return [piece(packet.src, packet.dst, part, offset=at, more=more, ident=ident, protocol=protocol) for at, part, more in cuts]


def wanted(port: int) -> str:
    return PASSED if port == OPEN else "sg_ingress"


@pytest.mark.parametrize(("server", "version"), PATHS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
@pytest.mark.parametrize("cut", [pieces, backwards, doubled])
def test_a_large_datagram_in_fragments_is_judged_as_one(lab: Policed, server: str, version: int, port: int, cut: Cut) -> None:
    large = udp(CLIENT, server, port, version=version) / Raw(bytes(8000))
    assert lab.verdict(CLIENT, server, large, cut) == wanted(port)


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_ping_in_fragments_passes_whatever_its_bytes_are(lab: Policed, server: str, version: int) -> None:
    """Even bytes that would be the type of an ICMP error or of a redirect at the start of a message."""
    request = ICMP(type=8) if version == 4 else ICMPv6EchoRequest()
    for byte in (*range(0x0E), 0x60, 0x7F, *range(0x80, 0x8A), 0xFF):
        request.id = next(_idents)
        ping = ip(CLIENT, server, version) / request / Raw(bytes([byte]) * 3000)
        assert (byte, lab.verdict(CLIENT, server, ping, pieces)) == (byte, PASSED)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_a_header_in_two_fragments_is_judged_as_one(lab: Policed, server: str, port: int) -> None:
    segment = tcp(CLIENT, server, port) / Raw(bytes(204))  # a length that keeps the needle in one piece when fragmented again
    assert lab.verdict(CLIENT, server, segment, tiny) == wanted(port)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_a_first_fragment_of_ipv6_without_a_whole_header_is_dropped(lab: Policed, server: str, port: int) -> None:
    """As RFC 8200 section 4.5 requires."""
    assert lab.verdict(CLIENT, server, tcp(CLIENT, server, port, version=6) / Raw(bytes(204)), tiny) == "invalid"


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_a_part_of_a_permitted_datagram_does_not_pass(lab: Policed, server: str, version: int) -> None:
    source, target = address(CLIENT, version), address(server, version)
    needle = os.urandom(16)
    body = datagram(needle * 8, sport=7, dport=OPEN)
    first, tiny_first = (piece(source, target, part, more=True, ident=next(_idents)) for part in (body[:64], body[:8]))
    later = [piece(source, target, body[64:], offset=64, ident=next(_idents)) for _ in range(2)]
    assert lab.vanishes(
        CLIENT, server, [first, later[0], tiny_first, later[1]], needle, udp(CLIENT, server, OPEN, version=version)
    )


@pytest.mark.parametrize(("server", "version"), PATHS)
def test_fragments_that_overlap_do_not_pass(lab: Policed, server: str, version: int) -> None:
    """A later fragment may neither change a permitted port into a forbidden one, nor the reverse, nor overwrite payload."""
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
    """The first half of acme's datagram and the second half of globex's have the same addresses and identification."""
    source, target = address(CLIENT, version), address(server, version)
    ident, needles = next(_idents), {"acme": os.urandom(16), "globex": os.urandom(16)}
    bodies = {name: datagram(needle * 8, sport=7, dport=OPEN) for name, needle in needles.items()}
    firsts = {name: piece(source, target, body[:64], more=True, ident=ident) for name, body in bodies.items()}
    lasts = {name: piece(source, target, body[64:], offset=64, ident=ident) for name, body in bodies.items()}
    place = server.rpartition("/")[2]
    marker = udp(CLIENT, server, OPEN, version=version)
    other = lab.listener(f"globex/{place}")
    assert lab.vanishes(CLIENT, server, [firsts["acme"]], needles["acme"], marker)
    lab.emit("globex/client", [lasts["globex"]])
    lab.emit("globex/client", [firsts["globex"]])
    assert other.hears(needles["globex"], within_s=PATIENCE_S)
    assert not other.heard(needles["acme"])
    listener = lab.listener(server)
    lab.emit(CLIENT, [lasts["acme"]])
    assert listener.hears(needles["acme"], within_s=PATIENCE_S)
    assert not listener.heard(needles["globex"])


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
def test_a_first_fragment_full_of_extension_headers_hides_no_port(lab: Policed, server: str) -> None:
    needle = os.urandom(16)
    packet = behind([IPv6ExtHdrDestOpt() for _ in range(3)], server, SHUT) / Raw(needle)
    assert lab.vanishes(CLIENT, server, pieces(packet, 64), needle[:8], udp(CLIENT, server, OPEN, version=6))


def torn(says: int, behind: bytes = b"") -> Cut:
    """Return a cut within the extension headers.

    `says`: the type of header with which the second fragment claims to start. `behind` follows the declared end of the first one,
    where its chain could continue; the kernel cuts `behind` off before any chain but the port's sees it.
    """

    def cut(packet: Packet) -> list[bytes]:
        ident = next(_idents)
        first, second = (bytes((follows, 0, 1, 4, 0, 0, 0, 0)) for follows in (DESTINATION, packet.nh))
        return [
            piece(packet.src, packet.dst, first, more=True, ident=ident, protocol=DESTINATION) + behind,
            piece(packet.src, packet.dst, second + bytes(packet)[40:], offset=8, ident=ident, protocol=says),
        ]

    return cut


TORN = pytest.mark.parametrize(
    "cut",
    [torn(DESTINATION), torn(17), torn(17, bytes((17, 0, 1, 4, 0, 0, 0, 0)) + datagram(b""))],
    ids=["truthful", "lying", "trailing"],
)


@TORN
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("port", [OPEN, SHUT])
def test_headers_that_go_on_in_a_second_fragment_are_refused(lab: Policed, server: str, port: int, cut: Cut) -> None:
    assert lab.verdict(CLIENT, server, udp(CLIENT, server, port, version=6), cut) == "invalid"


@TORN
@pytest.mark.parametrize("server", SERVERS)
def test_an_authentication_header_in_a_second_fragment_opens_no_port(lab: Policed, server: str, cut: Cut) -> None:
    rule = Permission(protocol=51, peer=NET6)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    segment = TCP(sport=22, dport=22, flags="S")
    hidden = ip(CLIENT, server, 6)
    hidden.nh = 51
    authenticated = hidden / Raw(bytes((6, 4)) + bytes(22) + bytes(segment))
    assert lab.verdict(CLIENT, server, authenticated, cut) == "invalid"
    assert lab.verdict(CLIENT, server, ip(CLIENT, server, 6) / segment) == "sg_ingress"
    lab.revoke("acme/servers", Direction.INGRESS, rule)


@TORN
def test_a_complaint_in_a_second_fragment_meets_nobody_elses_connection(lab: Policed, cut: Cut) -> None:
    flow = udp(CLIENT, NEAR, OPEN, version=6)
    assert lab.verdict(CLIENT, NEAR, flow) == PASSED
    complaint = ip(DB_NEAR, CLIENT, 6) / ICMPv6DestUnreach(code=4) / Raw(bytes(flow))
    assert lab.verdict(DB_NEAR, CLIENT, complaint, cut) == "invalid"


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", [135, 139, 140, 253, 254])
def test_what_is_no_extension_header_is_a_protocol_without_a_rule(lab: Policed, server: str, kind: int) -> None:
    """Mobility, HIP, shim6, and the numbers for experiments."""
    packet = ip(CLIENT, server, 6)
    packet.nh = kind
    assert lab.verdict(CLIENT, server, packet / Raw(bytes((17, 0)) + bytes(6) + bytes(UDP(sport=7, dport=OPEN)))) == "sg_ingress"


@pytest.mark.parametrize("server", SERVERS)
def test_a_packet_without_a_next_header_belongs_to_nothing(lab: Policed, server: str) -> None:
    """Not even a rule for its number permits it, because the packet forms no flow."""
    rule = Permission(protocol=59, peer=NET6)
    lab.allow("acme/servers", Direction.INGRESS, rule)
    packet = ip(CLIENT, server, 6)
    packet.nh = 59
    assert lab.verdict(CLIENT, server, packet / Raw(bytes(UDP(sport=7, dport=OPEN)))) == "invalid"
    lab.revoke("acme/servers", Direction.INGRESS, rule)


@pytest.mark.parametrize("server", SERVERS)
def test_a_jumbogram_does_not_pass(lab: Policed, server: str) -> None:
    needle = os.urandom(16)
    body = datagram(needle, sport=7, dport=OPEN)
    jumbo = ip(CLIENT, server, 6) / Raw(struct.pack("!BBBBI", 17, 0, 0xC2, 4, len(body) + 8) + body)
    jumbo.nh, jumbo.plen = 0, 0
    assert lab.vanishes(CLIENT, server, [bytes(jumbo)], needle, udp(CLIENT, server, OPEN, version=6))
