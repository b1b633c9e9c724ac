"""A hostile instance sends false neighbour claims, floods and scans, while others work as usual."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from pyroute2 import IPRoute

from netorch.compiler.base import PORT_MAC, link_local
from netorch.drivers import netns
from netorch.model.addr import packed
from tests.rig.crafted import (
    advertise,
    framed,
    icmpv6,
    redirect,
    router_advert,
    send_frames,
    solicit,
)
from tests.rig.packets import ETH_P_ARP, PATIENCE_S, PacketListener, arp, ethernet, mac_bytes, udp
from tests.rig.site import (
    A4,
    A6,
    B4,
    B6,
    BROADCAST_MAC,
    E4,
    E6,
    GATEWAY4,
    GATEWAY6,
    HV1,
    OTHER_MAC,
    Site,
    attacked,
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The attacked cloud."""
    with attacked(tmp_path_factory.mktemp("attacks")) as site:
        yield site


# --- an instance with false claims about neighbours ---------------------------------------------------------------------------


def _lies(site: Site) -> list[bytes]:
    """Return acme/b's claims about others: ARP only with its own address, neighbour discovery with every address."""
    mac = site.mac["acme/b"]
    own = link_local(mac)
    packets = [solicit("::", target, mac) for target in ("fe80::1", GATEWAY6, A6, E6)]
    for source in (own, B6, "fe80::1", GATEWAY6, E6, link_local(site.mac["acme/e"])):
        for destination in ("", "fe80::1", GATEWAY6, E6, link_local(site.mac["acme/e"])):
            for target in ("fe80::1", GATEWAY6, A6, E6, "fe80::c000:20b", "fe80::77"):
                packets += [advertise(source, target, mac, destination), advertise(source, target, OTHER_MAC, destination)]
                packets += [solicit(source, target, OTHER_MAC, destination)]
            packets.append(router_advert(source, mac, destination))
        packets += [redirect(source, victim, own, A6, mac) for victim in ("fe80::1", GATEWAY6, E6)]
    frames = [framed(mac, packet) for packet in packets]
    frames += [framed(mac, packet, to=f"33:33:{bytes(packet[36:40]).hex(':')}") for packet in packets if packet[24] == 0xFF]
    for target in (GATEWAY4, A4, E4, "10.44.12.99", HV1):
        for operation in (1, 2, 3, 4, 8, 9):
            frames.append(ethernet(BROADCAST_MAC, mac, ETH_P_ARP, arp(operation, mac, target, mac, target)))
            frames.append(ethernet(PORT_MAC, mac, ETH_P_ARP, arp(operation, OTHER_MAC, B4, OTHER_MAC, target)))
    return frames


def test_lies_about_neighbours_are_believed_by_nobody(site: Site) -> None:
    for version in (4, 6):
        assert site.world.reaches("acme/b", "acme/e", version=version)
    before = {name: _known(name) for name in (site.netns["acme/e"], "netorch-hv2")}
    with PacketListener(site.netns["acme/e"]) as listener, PacketListener(site.netns["globex/b"]) as other:
        send_frames(site.b, "eth0", _lies(site))
        site.settle(listener)
        for mac in (site.mac["acme/b"], OTHER_MAC):
            assert not other.heard(mac_bytes(mac))
            assert not listener.heard(ethernet(site.mac["acme/e"], mac, 0, b"")[:12])
    assert {name: _known(name) for name in before} == before


def test_the_router_answers_for_itself_only(site: Site) -> None:
    mac = site.mac["acme/b"]
    own = link_local(mac)
    targets = [A6, E6, "fe80::c000:20b", link_local(site.mac["acme/e"]), "fd00:44:0:100::99"]
    with PacketListener(site.b) as listener:
        send_frames(site.b, "eth0", [framed(mac, solicit(own, target, mac)) for target in targets])
        send_frames(site.b, "eth0", [framed(mac, solicit(own, "fe80::1", mac))])
        assert listener.hears(packed("fe80::1") + b"\2\1" + bytes.fromhex(PORT_MAC.replace(":", "")), within_s=PATIENCE_S)
        for target in targets:
            assert not listener.heard(packed(target) + b"\2\1" + bytes.fromhex(PORT_MAC.replace(":", "")))


def test_the_link_local_gateway_answers_an_echo(site: Site) -> None:
    own = link_local(site.mac["acme/b"])
    needle = os.urandom(8)
    with PacketListener(site.b) as listener:
        send_frames(site.b, "eth0", [framed(site.mac["acme/b"], icmpv6(own, "fe80::1", 128, bytes(4) + needle))])
        assert listener.hears(packed("fe80::1") + packed(own) + b"\x81", within_s=PATIENCE_S)


def _known(place: str) -> set[tuple[object, ...]]:
    """Return a namespace's neighbours (without the time of their last confirmation), FDB entries and routes."""
    fd = netns.find(place)
    try:
        with netns.inside(fd):
            ipr = IPRoute()
    finally:
        os.close(fd)
    found: set[tuple[object, ...]] = set()
    with ipr:
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_BRIDGE):
            for entry in ipr.get_neighbours(family=family):
                if not entry["state"] & 0x40:  # NUD_NOARP: never resolved, such as multicast
                    attrs = [entry.get_attr(name) for name in ("NDA_DST", "NDA_LLADDR")]
                    found.add((family, entry["ifindex"], *attrs, entry["state"] & 0x80))
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in ipr.get_routes(family=family):
                if route.get_attr("RTA_TABLE") != 255:  # RT_TABLE_LOCAL grows when an address has passed DAD
                    found.add((family, route.get_attr("RTA_TABLE"), route.get_attr("RTA_DST"), route["dst_len"], route["type"]))
    return found


def test_floods_and_scans_leave_no_state_in_the_kernel(site: Site) -> None:
    mac = site.mac["acme/b"]
    own = link_local(mac)
    before = {place: _known(place) for place in ("netorch-hv2", "netorch-hv1")}
    scanned = [f"10.44.{number >> 3 & 255}.{number * 37 & 255}" for number in range(600)]
    frames = [framed(mac, udp(B4, address, b"scan")) for address in scanned]
    frames += [ethernet(BROADCAST_MAC, mac, ETH_P_ARP, arp(1, mac, B4, "00:00:00:00:00:00", address)) for address in scanned]
    frames += [ethernet(BROADCAST_MAC, mac, ETH_P_ARP, arp(1, mac, address, mac, B4)) for address in scanned]
    for number in range(300):
        address, stranger, flood = (
            f"fd00:44:0:100::f:{number:x}",
            f"fe80::f:{number:x}",
            f"06:00:00:01:{number >> 8:02x}:{number & 255:02x}",
        )
        frames += [framed(mac, udp(source, target, b"scan")) for source in (own, B6) for target in (address, stranger)]
        frames += [framed(mac, icmpv6(B6, stranger, 128, bytes(8)))]
        frames += [framed(mac, solicit(own, target, mac)) for target in (address, stranger)]
        frames += [framed(mac, solicit(stranger, "fe80::1", mac)), framed(mac, advertise(stranger, stranger, flood, "fe80::1"))]
        frames += [framed(flood, udp(B4, A4, b"flood")), framed(flood, udp(B6, A6, b"flood"))]
    send_frames(site.b, "eth0", frames)
    with PacketListener(site.netns["acme/a"]) as listener:
        site.settle(listener)
        assert not listener.heard(b"flood")
    after = {place: _known(place) for place in before}
    for place, known in before.items():
        assert len(after[place] - known) == 0, (place, sorted(map(str, after[place] - known))[:5])
        assert not known - after[place]
