"""Routers with private addresses on the path to the internet, hosts that pretend to be such routers, and endless pings."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netorch.drivers.probe.echo import checksum
from netorch.lab.wiring import in_node
from tests.integration.edges.conftest import PUBLIC
from tests.integration.edges.test_internet_gateway import counters, dropped, learnt_mtu
from tests.rig.outskirts import BORDER, EDGES, INTERNET, POOL, SERVER, UPLINKS, Outskirts
from tests.rig.packets import PATIENCE_S, PacketListener, ip_packet, udp
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

ROUTER = "10.0.1.77"  # of the border; inside the range of the VPCs
BOGON = "192.168.7.7"
ONE = PUBLIC["a/one"]
UNREACHABLE, REDIRECT, EXCEEDED, PROBLEM = 3, 5, 11, 12


@contextmanager
def answering_as(outskirts: Outskirts, source: str, edge: str) -> Iterator[None]:
    """Let the border router send its errors from this address."""
    with outskirts.rtnl(BORDER) as border:
        lo = border.link_lookup(ifname="lo")[0]
        border.addr("add", index=lo, address=source, prefixlen=32)
        try:
            gateway = UPLINKS[edge].address.partition("/")[0]
            border.route("replace", dst=POOL, gateway=gateway, prefsrc=source)
            yield
        finally:
            border.addr("delete", index=lo, address=source, prefixlen=32)
            outskirts.arrive_at("e1")


@pytest.mark.parametrize(("edge", "name", "source"), [("e1", "a/two", ROUTER), ("e2", "b/one", BOGON)])
def test_an_instance_learns_the_path_mtu_from_a_router_with_a_private_address(
    outskirts: Outskirts, edge: str, name: str, source: str
) -> None:
    outskirts.arrive_at(edge)
    with answering_as(outskirts, source, edge), outskirts.rtnl(BORDER) as border:
        index = border.link_lookup(ifname="to-inet")[0]
        border.link("set", index=index, mtu=1300)
        try:
            assert learnt_mtu(outskirts.place(name), SERVER, 1400) == 1300
        finally:
            border.link("set", index=index, mtu=1500)


def send(place: str, destination: str, packets: list[bytes]) -> None:
    with in_node(place), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for packet in packets:
            raw.sendto(packet, (destination, 0))


def icmp(kind: int, body: bytes) -> bytes:
    head = struct.pack("!BBHI", kind, 0, 0, 0)
    return head[:2] + struct.pack("!H", checksum(head + body)) + head[4:] + body


@pytest.mark.parametrize("kind", [UNREACHABLE, EXCEEDED])
def test_an_error_of_such_a_router_comes_from_no_address_of_the_vpc(outskirts: Outskirts, kind: int) -> None:
    """The quoted packet was never sent, so the instance does not receive the error, but its hypervisor's edge does."""
    error = icmp(kind, udp(ONE, SERVER, b"never sent"))
    with PacketListener("hv1") as wire:
        send(BORDER, ONE, [ip_packet(ROUTER, ONE, socket.IPPROTO_ICMP, error)])
        assert wire.hears(b"never sent", within_s=PATIENCE_S)
        frame = next(frame for frame in wire.take() if b"never sent" in frame)
    assert socket.inet_aton("192.0.0.8") in frame
    assert socket.inet_aton(ROUTER) not in frame


FORGED = {
    "an error about a packet of nobody's here": (BOGON, UNREACHABLE, udp("203.0.113.99", SERVER, b"forged")),
    "an error from an address of the pool": (PUBLIC["b/one"], UNREACHABLE, udp(ONE, SERVER, b"forged")),
    "a redirection": (BOGON, REDIRECT, udp(ONE, SERVER, b"forged")),
    "a parameter problem": (BOGON, PROBLEM, udp(ONE, SERVER, b"forged")),
    "an error without what it is about": (BOGON, UNREACHABLE, b"forged"),
    "a ping": (BOGON, 8, udp(ONE, SERVER, b"forged")),
}


@pytest.mark.parametrize("case", sorted(FORGED))
def test_nothing_else_comes_from_where_nobody_is(outskirts: Outskirts, case: str) -> None:
    source, kind, body = FORGED[case]
    before = dropped(outskirts, "outside_source")
    with PacketListener("hv1") as wire:
        send(BORDER, ONE, [ip_packet(source, ONE, socket.IPPROTO_ICMP, icmp(kind, body))])
        wait_for(lambda: dropped(outskirts, "outside_source") == before + 1, "the drop to be counted")
        assert not wire.hears(b"forged")


def pings(source: str, destination: str, count: int) -> list[bytes]:
    return [ip_packet(source, destination, socket.IPPROTO_ICMP, icmp(8, struct.pack("!I", number))) for number in range(count)]


@pytest.mark.parametrize("source", ["8.8.8.8", "8.8.8.{}"])
def test_who_pings_an_edge_without_end_silences_nobody_but_himself(outskirts: Outskirts, source: str) -> None:
    address = UPLINKS["e1"].address.partition("/")[0]
    before = counters(outskirts, "e1")["pings"]
    send(BORDER, address, [each for number in range(60) for each in pings(source.format(number), address, 4)])
    assert outskirts.ping(INTERNET, address).ok
    assert counters(outskirts, "e1")["pings"] > before


def test_an_instance_that_pings_edges_without_end_silences_no_other(outskirts: Outskirts) -> None:
    before = dropped(outskirts, "pings")
    addresses = [UPLINKS[edge].address.partition("/")[0] for edge in EDGES]
    for address in addresses:
        send(outskirts.place("a/one"), address, pings("10.0.1.5", address, 240))
    for name in ("a/two", "b/one"):
        assert all(outskirts.ping(name, address).ok for address in addresses)
    assert dropped(outskirts, "pings") > before
