"""A hostile instance, while others work as usual.

acme/b is the attacker's instance. It shares hv2 with acme/e and with globex/b, another customer's instance that has the
attacker's addresses. No victim may receive the attacker's packets; a harmless packet sent last shows that no more can arrive.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pyroute2 import IPRoute

from netorch.compiler.base import PORT_MAC, link_local
from netorch.drivers import netns
from netorch.drivers.probe.echo import checksum
from netorch.model.addr import packed
from tests.rig.crafted import (
    DESTINATION,
    HOP_BY_HOP,
    ROUTING,
    advertise,
    datagram,
    extended,
    framed,
    icmpv6,
    piece,
    send_frames,
    send_giant,
    solicit,
    with_options,
)
from tests.rig.packets import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, PacketListener, arp, ethernet, ip_packet, mac_bytes, udp
from tests.rig.site import (
    A4,
    A6,
    B4,
    B6,
    BROADCAST_MAC,
    C4,
    C6,
    E4,
    E6,
    GATEWAY4,
    GATEWAY6,
    HV1,
    HV2,
    OTHER_MAC,
    STRANGER,
    Site,
    attacked,
)
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The attacked cloud."""
    with attacked(tmp_path_factory.mktemp("attacks")) as site:
        yield site


# --- an instance that sends with others' addresses ----------------------------------------------------------------------------

SPOOFED_PACKETS: dict[str, Callable[[bytes], bytes]] = {
    "a first fragment": lambda p: piece(C4, A4, datagram(p + bytes(64)), more=True),
    "a later fragment": lambda p: piece(C4, A4, p, offset=64),
    "a tiny fragment": lambda p: piece(C4, A4, p[:8], more=True),
    "fragment of an own and of another's source": lambda p: piece(E4, A4, p, offset=8),
    "IPv6, a first fragment": lambda p: piece(C6, A6, datagram(p + bytes(64)), more=True),
    "IPv6, a later fragment": lambda p: piece(C6, A6, p, offset=64),
    "IPv6, an atomic fragment": lambda p: piece(C6, A6, datagram(p)),
    "IPv6, destination options": lambda p: extended(C6, A6, [(DESTINATION, b"\1\4")], p),
    "IPv6, a routing header": lambda p: extended(C6, B6, [(ROUTING, struct.pack("!BBI", 0, 1, 0) + packed(A6))], p),
    "IPv6, a chain of headers": lambda p: extended(C6, A6, [(DESTINATION, b"\1\4")] * 8, p),
    "a source route": lambda p: with_options(C4, GATEWAY4, b"\x83\x07\x04" + packed(A4), p),
    "a multicast source": lambda p: udp("224.0.0.1", A4, p),
    "a broadcast source": lambda p: udp("255.255.255.255", A4, p),
    "a subnet's broadcast address as source": lambda p: udp("10.44.12.255", A4, p),
    "a loopback source": lambda p: udp("127.0.0.1", A4, p),
    "an automatic source": lambda p: udp("169.254.1.1", A4, p),
    "a reserved source": lambda p: udp("240.0.0.1", A4, p),
    "a host's source": lambda p: udp(HV1, A4, p),
    "a victim that talks to itself": lambda p: udp(A4, A4, p),
    "a victim that talks to itself, IPv6": lambda p: udp(A6, A6, p),
    "the gateway's source, IPv6": lambda p: udp(GATEWAY6, A6, p),
    "the gateway's link-local source": lambda p: udp("fe80::1", E6, p),
    "an ICMP redirect of the gateway": lambda p: ip_packet(GATEWAY4, E4, 1, b"\5\1" + bytes(2) + packed(B4) + p),
    "an IPv6 source that maps an IPv4 one": lambda p: udp("::ffff:10.44.12.6", A6, p),
}


@pytest.mark.parametrize("case", sorted(SPOOFED_PACKETS))
def test_a_packet_in_anothers_name_is_dropped_and_counted(site: Site, case: str) -> None:
    needle = b"spoof " + os.urandom(8)
    before = site.dropped("hv2")
    with site.nobody_hears(needle[:8] if "tiny" in case else needle, wire="hv2"):
        send_frames(site.b, "eth0", [framed(site.mac["acme/b"], SPOOFED_PACKETS[case](needle))])
    wait_for(lambda: site.dropped("hv2") > before, "the drop to be counted")


NOBODY_MAC, ALL_DHCP, ALL_MDNS, ALL_MLD = "00:00:00:00:00:00", "ff02::1:2", "224.0.0.251", "ff02::16"

PRIVATE = "fe80::1c2d:3e4f:5a6b:7c8d"  # a link-local address that is not derived from the MAC: RFC 7217, RFC 4941


def _group(packet: bytes) -> str:
    """Return the multicast MAC of an address."""
    return f"33:33:{packet[36:40].hex(':')}" if packet[0] >> 4 == 6 else BROADCAST_MAC


def _boot(mac: str) -> dict[str, bytes]:
    """Return the packets that honest machines send when they boot, before they have addresses; none names another instance."""
    own, discover = link_local(mac), b"\1\1\6\0" + bytes(232) + b"\x63\x82\x53\x63\x35\1\1\xff"
    report = bytes(2) + b"\0\1\4\0\0\0" + packed("ff02::fb")
    packets = {
        "DHCPDISCOVER": udp("0.0.0.0", "255.255.255.255", discover, sport=68, dport=67),
        "IGMP of nobody yet": ip_packet("0.0.0.0", "224.0.0.22", 2, b"\x22\0\xf9\2\0\0\0\1\4\0\0\0\xe0\0\0\xfb", ttl=1),
        "IGMP": ip_packet(B4, "224.0.0.22", 2, b"\x22\0\xf9\2\0\0\0\1\4\0\0\0\xe0\0\0\xfb", ttl=1),
        "mDNS of an automatic address": udp("169.254.7.9", ALL_MDNS, b"mdns", sport=5353, dport=5353),
    }
    for source in ("::", own, PRIVATE):
        packets[f"router solicitation of {source}"] = icmpv6(source, ALL_ROUTERS, 133, bytes(4))
        packets[f"MLD of {source}"] = icmpv6(source, ALL_MLD, 143, report, hops=1)
        packets[f"solicitation of {source}"] = solicit(source, "fe80::1", mac, "ff02::1:ff00:1")
        packets[f"DHCPv6 of {source}"] = udp(source, ALL_DHCP, b"\1abc", sport=546, dport=547)
    packets["an advertisement of a private address"] = advertise(PRIVATE, PRIVATE, mac)
    packets["a probe of a private address"] = solicit("::", PRIVATE, mac)
    frames = {name: framed(mac, packet, to=_group(packet)) for name, packet in packets.items()}
    frames["a question to the router"] = framed(mac, solicit(PRIVATE, "fe80::1", mac, "fe80::1"))
    for number, part in enumerate((icmpv6(PRIVATE, "fe80::1", 128, bytes(60))[40:104],) * 2):
        fragment = piece(PRIVATE, "fe80::1", part, offset=64 * number, more=not number, protocol=socket.IPPROTO_ICMPV6)
        frames[f"fragment {number} of a private address"] = framed(mac, fragment)
    for name, address in (("own", B4), ("automatic", "169.254.7.9"), ("another's", E4)):
        probe = arp(1, mac, "0.0.0.0", NOBODY_MAC, address)
        frames[f"ARP probe of the {name} address"] = ethernet(BROADCAST_MAC, mac, ETH_P_ARP, probe)
    for address in (B4, "169.254.7.9"):
        claim = arp(1, mac, address, NOBODY_MAC, address)
        frames[f"ARP announcement of {address}"] = ethernet(BROADCAST_MAC, mac, ETH_P_ARP, claim)
    others = {
        "LLDP": 0x88CC,
        "EAPOL": 0x888E,
        "LACP": 0x8809,
        "PPPoE": 0x8863,
        "RARP": 0x8035,
        "a length: STP": 38,
        "AoE": 0x88A2,
    }
    for name, ethertype in others.items():
        frames[name] = ethernet("01:80:c2:00:00:0e", mac, ethertype, b"\x42\x42\x03" + bytes(60))
    return frames


def test_what_an_honest_machine_says_when_it_boots_raises_no_alarm(site: Site) -> None:
    mac, before = site.mac["acme/b"], site.world.counters("hv2")
    frames = _boot(mac)
    with PacketListener(site.netns["acme/e"]) as listener, PacketListener(site.netns["globex/b"]) as other:
        for name, frame in frames.items():
            send_frames(site.b, "eth0", [frame])
            site.settle(listener)
            after = site.world.counters("hv2")
            assert (name, after["spoofed"], after["invalid"]) == (name, before["spoofed"], before["invalid"])
        for each in (listener, other):
            assert not each.heard(mac_bytes(mac) + frames["LLDP"][12:])


@pytest.mark.parametrize("case", ["ARP", "another's MAC", "the router's link-local address"])
def test_what_names_somebody_else_raises_the_alarm_at_boot_too(site: Site, case: str) -> None:
    mac, before = site.mac["acme/b"], site.world.counters("hv2")["spoofed"]
    frame = {
        "ARP": ethernet(BROADCAST_MAC, mac, ETH_P_ARP, arp(1, mac, E4, NOBODY_MAC, E4)),
        "another's MAC": ethernet(BROADCAST_MAC, OTHER_MAC, 0x88CC, bytes(46)),
        "the router's link-local address": framed(mac, advertise("fe80::1", "fe80::1", mac), to="33:33:00:00:00:01"),
    }[case]
    send_frames(site.b, "eth0", [frame])
    wait_for(lambda: site.world.counters("hv2")["spoofed"] == before + 1, "the alarm")


COMPLAINTS: dict[str, bytes] = {  # discarded by routers, with an error to the source: RFC 8200 section 4.2, RFC 2675 section 3
    "an unknown option": b"\xfe\x04\0\0\0\0",
    "an unknown option, even to a multicast group": b"\xbe\x04\0\0\0\0",
    "a jumbogram that is none": b"\xc2\x04\0\0\0\1",
    "a jumbogram with a length of its own": b"\xc2\x04\0\1\0\0",
}


@pytest.mark.parametrize("case", sorted(COMPLAINTS))
def test_a_router_complains_to_nobody_of_what_he_has_not_sent(site: Site, case: str) -> None:
    needle = b"blamed " + os.urandom(8)
    with site.nobody_hears(needle, wire="hv2"):
        for source, target in ((E6, A6), (A6, E6), (C6, GATEWAY6)):
            packet = extended(source, target, [(HOP_BY_HOP, COMPLAINTS[case])], needle)
            send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet)])


def test_loopback_and_multicast_ipv6_sources_are_dropped(site: Site) -> None:
    needle = b"spoof " + os.urandom(8)
    with site.nobody_hears(needle, wire="hv2"):
        packets = [udp(source, target, needle) for source in ("::1", "ff02::1", "::") for target in (A6, E6, GATEWAY6)]
        send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet) for packet in packets])


@pytest.mark.parametrize("tags", ["81000000", "88a80000", "8100000081000000", "88a8000081000000", "810000050800", "8100e000"])
def test_a_vlan_tag_hides_no_spoofed_source(site: Site, tags: str) -> None:
    needle = b"tagged " + os.urandom(8)
    mac = bytes.fromhex(PORT_MAC.replace(":", "") + site.mac["acme/b"].replace(":", "")) + bytes.fromhex(tags)
    with site.nobody_hears(needle, wire="hv2"):
        for ethertype, packet in (
            (ETH_P_IP, udp(C4, A4, needle)),
            (ETH_P_IP, udp(C4, E4, needle)),
            (ETH_P_IPV6, udp(C6, E6, needle)),
        ):
            send_frames(site.b, "eth0", [mac + struct.pack("!H", ethertype) + packet])


# --- an instance that sends, with its own address, to addresses without a host ------------------------------------------------

NOWHERE4 = ["127.0.0.1", "127.9.9.9", "169.254.169.254", "0.0.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1", "239.1.1.1"]

NOWHERE4 += ["10.44.12.255", "10.44.255.255", "10.44.12.0", "10.50.1.1", "10.50.1.4", HV1, HV2, "198.18.0.1", STRANGER]

NOWHERE6 = ["::1", "ff02::1", "ff02::2", "ff05::2", "ff0e::1", "fe80::99", "::", "::ffff:10.44.12.4", "2001:db8::1"]

NOWHERE6 += ["fd00:50:0:100::1", "fd00:50:0:100::4", "fd00:44:0:100::", "fe80::c000:20b"]


@pytest.mark.parametrize("mac", [PORT_MAC, BROADCAST_MAC, "01:00:5e:00:00:01", "33:33:00:00:00:01", OTHER_MAC])
def test_a_destination_outside_the_vpc_is_nowhere(site: Site, mac: str) -> None:
    needle = b"nowhere " + os.urandom(8)
    packets = [udp(B4, target, needle) for target in NOWHERE4] + [udp(B6, target, needle) for target in NOWHERE6]
    with site.nobody_hears(needle, wire="hv2"):
        send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet, to=mac) for packet in packets])


@pytest.mark.parametrize("mac", [BROADCAST_MAC, "01:00:5e:00:00:01", OTHER_MAC])
def test_a_frame_that_is_not_for_the_router_is_not_routed(site: Site, mac: str) -> None:
    needle = b"flooded " + os.urandom(8)
    packets = [udp(B4, A4, needle), udp(B4, E4, needle), udp(B6, A6, needle), udp(B6, E6, needle)]
    with site.nobody_hears(needle, wire="hv2"):
        send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet, to=mac) for packet in packets])


def test_nobody_reaches_a_service_of_the_host(site: Site) -> None:
    ports = (53, 179, 4789, 8472, 500)
    host, needle = site.world.hosts["hv2"], b"service " + os.urandom(8)
    with ExitStack() as stack:
        listening = [stack.enter_context(opened) for place in (host.name, host.overlay) for opened in _services(place, ports)]
        targets4 = [GATEWAY4, HV2, "198.18.0.1", "127.0.0.1", "255.255.255.255", "224.0.0.1"]
        targets6 = [GATEWAY6, "fe80::1", link_local(PORT_MAC), ALL_ROUTERS, "ff02::1", "::1"]
        with site.nobody_hears(needle):
            for port in ports:
                packets = [udp(B4, target, needle, dport=port) for target in targets4]
                packets += [_syn(B4, target, port) for target in targets4]
                packets += [udp(B6, target, needle, dport=port) for target in targets6]
                packets += [udp(link_local(site.mac["acme/b"]), target, needle, dport=port) for target in targets6]
                for mac in (PORT_MAC, BROADCAST_MAC):
                    send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet, to=mac) for packet in packets])
        for service in listening:
            with pytest.raises(BlockingIOError):
                service.accept() if service.type == socket.SOCK_STREAM else service.recv(2000)


ALL_ROUTERS = "ff02::2"


def _services(place: str, ports: tuple[int, ...]) -> Iterator[socket.socket]:
    """Yield UDP and TCP sockets bound to the wildcard address in a namespace."""
    fd = netns.find(place)
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            for port in ports:
                with netns.inside(fd):
                    service = socket.socket(socket.AF_INET6, kind)
                if port in (4789, 8472) and kind == socket.SOCK_DGRAM:
                    service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # VXLAN uses the IPv4 port
                service.bind(("::", port))
                if kind == socket.SOCK_STREAM:
                    service.listen()
                service.setblocking(False)
                yield service
    finally:
        os.close(fd)


def _syn(source: str, target: str, port: int) -> bytes:
    return ip_packet(source, target, 6, struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 1000, 0, 0))


def test_a_jumbo_frame_is_not_passed_on(site: Site) -> None:
    needle = b"jumbo " + os.urandom(8)
    _set_mtu(site.b, 9000)
    try:
        with site.nobody_hears(needle, wire="hv2"):
            packets = [
                udp(source, target, bytes(size) + needle)
                for source, target in ((B4, A4), (B4, E4), (B6, E6))
                for size in (1600, 8000)
            ]
            send_frames(site.b, "eth0", [framed(site.mac["acme/b"], packet) for packet in packets])
    finally:
        _set_mtu(site.b, 1500)


TCP_V4, TCP_V6, UDP_L4 = 1, 4, 5  # VIRTIO_NET_HDR_GSO_*


def _giants(source4: str, source6: str, needle: bytes) -> list[tuple[bytes, int, int]]:
    """Return packets of 6,000 bytes, their kind of segmentation and the length of their headers."""
    data = needle + bytes(6000)
    return [
        (ip_packet(source4, A4, 6, _syn_of_giant(source4, A4, len(data)) + data), TCP_V4, 54),
        (ip_packet(source6, A6, 6, _syn_of_giant(source6, A6, len(data)) + data), TCP_V6, 74),
        (ip_packet(source4, A4, 17, datagram(data)), UDP_L4, 42),
    ]


def _syn_of_giant(source: str, target: str, data_bytes: int) -> bytes:
    """Return the header of a SYN with data: it needs no connection. The checksum covers only the pseudo-header, for offload."""
    pseudo = packed(source) + packed(target) + struct.pack("!II", 20 + data_bytes, 6)
    return struct.pack("!HHIIBBHHH", 5000, 6000, 1, 0, 0x50, 0x02, 1000, checksum(pseudo) ^ 0xFFFF, 0)


@pytest.mark.parametrize("segment_bytes", [100, 1400, 5000])
def test_segmentation_hides_no_spoofed_source(site: Site, segment_bytes: int) -> None:
    needle = b"giant " + os.urandom(8)
    before = site.dropped("hv2")
    with site.nobody_hears(needle, wire="hv2"):
        for packet, kind, header_bytes in _giants(C4, C6, needle):
            send_giant(site.b, "eth0", framed(site.mac["acme/b"], packet), kind, segment_bytes, header_bytes)
    assert site.dropped("hv2") > before
    honest = b"giant " + os.urandom(8)
    with PacketListener(site.netns["acme/a"]) as listener:
        for packet, kind, header_bytes in _giants(B4, B6, honest):
            send_giant(site.b, "eth0", framed(site.mac["acme/b"], packet), kind, segment_bytes, header_bytes)
        site.settle(listener)
        assert listener.heard(honest)


def test_what_a_router_is_asked_is_dropped_and_counted(site: Site) -> None:
    ports = [*range(20, 60), 4789, 8472, 51820, 65535]
    before = site.dropped("hv2")
    frames = [framed(site.mac["acme/b"], udp(B4, GATEWAY4, b"asked", dport=port)) for port in ports]
    frames += [framed(site.mac["acme/b"], udp(B6, GATEWAY6, b"asked", dport=port)) for port in ports]
    with PacketListener(site.b) as listener, PacketListener(site.netns["acme/a"]) as other:
        send_frames(site.b, "eth0", frames)
        site.settle(other)
        listener.heard(b"asked")
        assert len([frame for frame in listener._frames if b"asked" in frame]) == len(frames)  # no ICMP error came back for them
    wait_for(lambda: site.dropped("hv2") >= before + len(frames), "the drops to be counted")


def _set_mtu(place: str, mtu: int) -> None:
    fd = netns.find(place)
    with netns.inside(fd), IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname="eth0")[0], mtu=mtu)
    os.close(fd)
