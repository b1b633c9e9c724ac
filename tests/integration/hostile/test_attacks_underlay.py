"""A lying host and a stranger on the underlay, while others work as usual."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from netorch.compiler.base import router_mac
from netorch.drivers.probe.echo import Probe, ask
from tests.rig.crafted import datagram, framed, outer, piece, redirect, router_advert, send_frames, send_packets, solicit
from tests.rig.packets import ETH_P_IP, ETH_P_IPV6, PATIENCE_S, PacketListener, ethernet, ip_packet, send_vxlan, udp, vxlan
from tests.rig.site import (
    A4,
    A6,
    B4,
    B6,
    BROADCAST_MAC,
    C4,
    C6,
    E4,
    GATEWAY4,
    GATEWAY6,
    HV1,
    HV2,
    HV3,
    OTHER_MAC,
    STRANGER,
    Site,
    attacked,
)
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

VNI = 20000
ALL = [(0, 9999)]
WHERE = {"hv2": HV2, "hv3": HV3, "stranger": STRANGER}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The attacked cloud."""
    with attacked(tmp_path_factory.mktemp("attacks")) as site:
        yield site


def inner(packet: bytes, *, to: str = "", sender: str = HV2) -> bytes:
    """Return the inner frame as a host sends it to hv1."""
    ethertype = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
    return ethernet(to or router_mac(HV1), router_mac(sender), ethertype, packet)


# --- hosts that may not send --------------------------------------------------------------------------------------------------

CUTS = {
    "whole": ALL,
    "two fragments": [(0, 1000), (1000, 9999)],
    "out of order": [(1000, 9999), (0, 1000)],
    "cut in the VXLAN header": [(0, 8), (8, 9999)],
    "cut in the inner Ethernet header": [(0, 24), (24, 9999)],
    "cut in front of the inner source": [(0, 40), (40, 9999)],
    "tiny fragments": [(at, at + 8) for at in range(0, 96, 8)] + [(96, 9999)],
    "the first one only": [(0, 1000)],
    "the last one only": [(1000, 9999)],
}


@pytest.mark.parametrize("place", sorted(WHERE))
@pytest.mark.parametrize("case", sorted(CUTS))
def test_outer_fragments_carry_no_forged_source(site: Site, place: str, case: str) -> None:
    needle = b"forged " + os.urandom(8)
    before = site.dropped("hv1")
    source = C4 if place == "hv2" else B4
    body = vxlan(VNI, inner(udp(source, A4, needle + bytes(1200) + needle)))
    with site.nobody_hears(needle):
        send_packets(place, HV1, outer(WHERE[place], HV1, body, CUTS[case]))
    if "only" not in case:
        wait_for(lambda: site.dropped("hv1") > before, "the drop to be counted")


def test_overlapping_outer_fragments_carry_no_forged_source(site: Site) -> None:
    """The first fragment carries an allowed source, a later one overwrites it with a forged source."""
    needle = b"forged " + os.urandom(8)
    honest = vxlan(VNI, inner(udp(B4, A4, bytes(1200 + len(needle)))))
    forged = vxlan(VNI, inner(udp(C4, A4, needle + bytes(1200))))
    with site.nobody_hears(needle):
        for cuts in ([(0, 64), (40, 9999)], [(0, 1000), (40, 1000), (1000, 9999)], [(40, 9999), (0, 64)]):
            first = outer(HV2, HV1, honest, cuts)
            second = outer(HV2, HV1, forged, cuts)
            send_packets("hv2", HV1, [first[0], *second[1:]])


def test_honest_outer_fragments_arrive(site: Site) -> None:
    for case, cuts in CUTS.items():
        needle = b"honest " + os.urandom(8)
        body = vxlan(VNI, inner(udp(B4, A4, needle + bytes(1200) + needle)))
        with PacketListener(site.netns["acme/a"]) as listener:
            packets = outer(HV2, HV1, body, cuts)
            for packet in packets:  # a unique identification, so that leftovers of earlier tests do not match
                packets[packets.index(packet)] = packet[:4] + needle[-2:] + packet[6:]
            send_packets("hv2", HV1, packets)
            assert listener.hears(needle, within_s=0.05 if "only" in case else PATIENCE_S) == ("only" not in case), case


OPTIONS = {
    "padding": b"\1" * 40,
    "a route to record": b"\x07\x27\x04" + bytes(36),
    "times to record": b"\x44\x24\x05\x00" + bytes(32),
}


@pytest.mark.parametrize("case", sorted(OPTIONS))
def test_ip_options_hide_no_forged_source(site: Site, case: str) -> None:
    needle = b"forged " + os.urandom(8)
    before = site.dropped("hv1")
    with site.nobody_hears(needle):
        for source, target in ((C4, A4), (C6, A6)):
            body = vxlan(VNI, inner(udp(source, A4 if target == A4 else A6, needle)))
            send_packets("hv2", HV1, outer(HV2, HV1, body, ALL, options=OPTIONS[case]))
    wait_for(lambda: site.dropped("hv1") >= before + 2, "the drops to be counted")


HEADERS = {
    "VNI 0": struct.pack("!BBHI", 8, 0, 0, 0),
    "the largest VNI": struct.pack("!BBHI", 8, 0, 0, 0xFFFFFF00),
    "a reserved last byte": struct.pack("!BBHI", 8, 0, 0, VNI << 8 | 1),
    "a group policy": struct.pack("!BBHI", 0x88, 0, 7, VNI << 8),
    "another protocol inside": struct.pack("!BBHI", 0x0C, 0, 3, VNI << 8),
    "an OAM packet": struct.pack("!BBHI", 0x09, 0, 0, VNI << 8),
    "remote checksum offload": struct.pack("!BBHI", 0x08, 0x20, 0, VNI << 8),
    "all flags": struct.pack("!BBHI", 0xFF, 0xFF, 0xFFFF, VNI << 8),
    "no flags": struct.pack("!BBHI", 0, 0, 0, VNI << 8),
}


@pytest.mark.parametrize("case", sorted(HEADERS))
def test_a_strange_vxlan_header_is_dropped_and_counted(site: Site, case: str) -> None:
    needle = b"strange " + os.urandom(8)
    before = site.dropped("hv1")
    with site.nobody_hears(needle):
        send_vxlan("hv2", HV2, HV1, HEADERS[case] + inner(udp(B4, A4, needle)))
        send_vxlan("hv2", HV2, HV1, HEADERS[case] + inner(udp(B6, A6, needle)))
    wait_for(lambda: site.dropped("hv1") >= before + 2, "the drops to be counted")


@pytest.mark.parametrize("source", [GATEWAY4, GATEWAY6, "fe80::1", "fe80::c000:20c", "::", "0.0.0.0", "127.0.0.1", HV2])
def test_a_host_does_not_speak_as_the_gateway(site: Site, source: str) -> None:
    needle = b"gateway " + os.urandom(8)
    before = site.dropped("hv1")
    with site.nobody_hears(needle):
        target = A6 if ":" in source else A4
        kind = (1, b"\5\1") if target == A4 else (58, b"\x89\0")  # redirects, and user data
        packets = [ip_packet(source, target, kind[0], kind[1] + bytes(6) + needle), udp(source, target, needle)]
        for packet in packets:
            for place in sorted(WHERE):
                send_packets(place, HV1, outer(WHERE[place], HV1, vxlan(VNI, inner(packet)), ALL))
    wait_for(lambda: site.dropped("hv1") >= before + 6, "the drops to be counted")


# --- a host that lies with its own instance's address -------------------------------------------------------------------------

TARGETS = [GATEWAY4, "10.44.12.255", "10.44.12.99", "10.44.200.1", "10.50.1.1", "10.50.1.4", HV1, HV2, "198.18.0.1", "8.8.8.8"]
TARGETS += ["127.0.0.1", "0.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "169.254.169.254", B4]
TARGETS6 = [
    GATEWAY6,
    "fd00:44:0:100::99",
    "fd00:50:0:100::1",
    "2001:db8::1",
    "::1",
    "::",
    "ff02::1",
    "ff02::2",
    "fe80::1",
    "fe80::99",
    B6,
]


def test_a_destination_that_hv1_does_not_carry_is_nowhere_and_causes_no_answer(site: Site) -> None:
    needle = b"nowhere " + os.urandom(8)
    packets = [udp(B4, target, needle) for target in TARGETS] + [udp(B6, target, needle) for target in TARGETS6]
    with site.nobody_hears(needle), PacketListener("hv1", "eth0") as wire:
        for packet in packets:
            for mac in ("", BROADCAST_MAC, OTHER_MAC):
                send_vxlan("hv2", HV2, HV1, vxlan(VNI, inner(packet, to=mac)))
        assert not _answers(wire, needle)


def test_a_packet_at_the_end_of_its_life_causes_no_answer_on_the_underlay(site: Site) -> None:
    needle = b"dying " + os.urandom(8)
    before = site.world.counters("hv2")["unverified"]
    with site.nobody_hears(needle), PacketListener("hv1", "eth0") as wire:
        for ttl in (0, 1):
            for source, target in ((B4, A4), (B6, A6)):
                send_vxlan("hv2", HV2, HV1, vxlan(VNI, inner(ip_packet(source, target, 17, datagram(needle), ttl=ttl))))
        assert not _answers(wire, needle)
    assert site.world.counters("hv2")["unverified"] == before


@pytest.mark.parametrize("mac", [BROADCAST_MAC, "01:00:5e:00:00:01", "33:33:00:00:00:01", OTHER_MAC, router_mac(HV2)])
def test_an_inner_frame_to_another_mac_is_not_routed(site: Site, mac: str) -> None:
    needle = b"astray " + os.urandom(8)
    with site.nobody_hears(needle), PacketListener("hv1", "eth0") as wire:
        for packet in (udp(B4, A4, needle), udp(B6, A6, needle)):
            send_vxlan("hv2", HV2, HV1, vxlan(VNI, inner(packet, to=mac)))
        assert not _answers(wire, needle)


def test_no_host_speaks_neighbour_discovery_or_icmp_to_another(site: Site) -> None:
    needle = b"control " + os.urandom(8)
    mac = router_mac(HV2)
    packets = [router_advert(B6, mac, GATEWAY6), solicit(B6, A6, mac, GATEWAY6), redirect(B6, GATEWAY6, B6, A6, mac)]
    packets += [
        ip_packet(B4, GATEWAY4, 1, bytes((kind, code)) + bytes(6) + needle)
        for kind, code in ((3, 4), (5, 1), (8, 0), (11, 0), (13, 0))
    ]
    packets += [ip_packet(B6, GATEWAY6, 58, bytes((kind, 0)) + bytes(6) + needle) for kind in (1, 2, 3, 4, 128, 137)]
    packets += [piece(B4, GATEWAY4, needle, more=True), piece(B6, GATEWAY6, needle, more=True)]
    before = site.dropped("hv1")
    with site.nobody_hears(needle), PacketListener("hv1", "eth0") as wire:
        for packet in packets:
            send_vxlan("hv2", HV2, HV1, vxlan(VNI, inner(packet)))
        assert not _answers(wire, needle)
    wait_for(lambda: site.dropped("hv1") >= before + len(packets) - 2, "the drops to be counted")


def _answers(wire: PacketListener, needle: bytes) -> list[bytes]:
    """Return the packets that hv1 has sent with these bytes in them."""
    wire.heard(needle)
    return [frame for frame in wire._frames if needle in frame and frame[26:30] == bytes((192, 0, 2, 11))]


# --- what a customer can find out about the hosts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "ttl"), [(A4, 1), (A4, 2), (E4, 1), (A6, 1), (A6, 2), ("10.44.12.99", 64), ("fd00:44:0:100::99", 64)]
)
def test_icmp_errors_stay_in_the_vpc_and_tell_nothing_of_the_underlay(site: Site, target: str, ttl: int) -> None:
    needle = b"traced " + os.urandom(8)
    suspected = site.world.counters("hv2")["unverified"]
    source = B6 if ":" in target else B4
    with PacketListener(site.b) as listener:
        with site.nobody_hears(needle):
            packet = ip_packet(source, target, 17, datagram(needle), ttl=ttl)
            send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet)])
        listener.heard(needle)
        told = [frame[14:] for frame in listener._frames if needle in frame]
    heard = {1: {2}, 2: {1}, 64: {1, 2}}  # by TTL: the packet, and the answer of its own router, which Linux rate-limits
    assert len(told) in heard[ttl]
    assert not [packet for packet in told if bytes((192, 0, 2)) in packet or bytes((198, 18, 0)) in packet]
    assert site.world.counters("hv2")["unverified"] == suspected


def test_an_echo_between_customers_with_the_same_addresses_stays_apart(site: Site) -> None:
    assert all(answer.ok for answer in ask([Probe(netns=site.b, destination=address) for address in (A4, A6)], 2.0, 2))
