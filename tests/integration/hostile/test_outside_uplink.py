"""Machines on an edge's uplink, and instances, that try to fill its neighbour table, or to reach each other."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name
from tests.integration.edges.test_internet_gateway import counters
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, UPLINKS, Outskirts, udp_socket
from tests.rig.packets import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, arp, ethernet, send_frame, udp
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

STRANGER = "02:00:00:00:00:99"
BROADCAST = "ff:ff:ff:ff:ff:ff"
KNOWN = 64 + 4  # neighbours that an edge answers, plus its routers
ONE = "198.51.100.5"


def neighbours(edge: str) -> set[str]:
    """Return the addresses whose MAC the outside of an edge has learnt or tries to resolve."""
    command = ["ip", "-n", netns_name(edge, OUTSIDE), "neigh", "show", "dev", "out0"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line}


def mac_of(place: str, ifname: str) -> str:
    command = ["ip", "-n", place, "-json", "link", "show", "dev", ifname]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(found[0]["address"])


def flood(outskirts: Outskirts, edge: str, frames: Iterator[bytes], counter: str) -> None:
    """Send frames from the uplink's network until the last of them is dropped."""
    before, sent = counters(outskirts, edge).get(counter, 0), list(frames)
    for frame in sent:
        send_frame(BORDER, f"to-{edge}", frame)
    wait_for(lambda: counters(outskirts, edge).get(counter, 0) >= before + len(sent) - KNOWN, "the drops to be counted")


def asked(edge: str, source: str) -> bytes:
    """Return an ARP request for an edge's address."""
    own = UPLINKS[edge].address.partition("/")[0]
    return ethernet(BROADCAST, STRANGER, ETH_P_ARP, arp(1, STRANGER, source, "00:00:00:00:00:00", own))


@pytest.mark.parametrize("source", ["198.19.0.{}", "203.0.113.{}"])
def test_a_flood_of_questions_leaves_room_for_the_router(outskirts: Outskirts, source: str) -> None:
    flood(outskirts, "e1", (asked("e1", source.format(last)) for last in range(2, 250)), "uplink_arp")
    assert len(neighbours("e1")) <= KNOWN
    assert outskirts.ping(INTERNET, ONE).ok
    assert outskirts.ping("a/one", SERVER).ok


def solicitation(edge: str, source: str, hop_limit: int = 255) -> bytes:
    """Return a neighbour solicitation for an edge's IPv6 address, with the sender's MAC. Source: RFC 4861 section 4.3."""
    target = socket.inet_pton(socket.AF_INET6, UPLINKS[edge].ipv6_address.partition("/")[0])
    group = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
    sender, mac = socket.inet_pton(socket.AF_INET6, source), bytes.fromhex(STRANGER.replace(":", ""))
    body = struct.pack("!BBHI", 135, 0, 0, 0) + target + b"\x01\x01" + mac
    total = sum(struct.unpack(f"!{(40 + len(body)) // 2}H", sender + group + struct.pack("!II", len(body), 58) + body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, hop_limit) + sender + group
    return ethernet("33:33:ff:" + ":".join(f"{byte:02x}" for byte in target[13:]), STRANGER, ETH_P_IPV6, header + body)


@pytest.mark.parametrize("source", ["fe80::1:{:x}", "2001:db8:1::1:{:x}", "2001:db8:dead::{:x}"])
def test_a_flood_of_ipv6_questions_likewise(outskirts: Outskirts, source: str) -> None:
    flood(outskirts, "e1", (solicitation("e1", source.format(last)) for last in range(2, 250)), "uplink_nd")
    assert len({each for each in neighbours("e1") if ":" in each}) <= KNOWN


@pytest.mark.parametrize(
    ("source", "hop_limit"), [("fe80::2:{:x}", 254), ("2001:db8:1::2:{:x}", 60), ("2001:db8:dead::2:{:x}", 255)]
)
def test_nobody_from_further_away_takes_the_places_of_neighbours(outskirts: Outskirts, source: str, hop_limit: int) -> None:
    counter = "uplink_nd" if hop_limit == 255 else "forwarded_nd"
    before = counters(outskirts, "e1").get(counter, 0)
    for last in range(2, 250):
        send_frame(BORDER, "to-e1", solicitation("e1", source.format(last), hop_limit))
    wait_for(lambda: counters(outskirts, "e1").get(counter, 0) >= before + 248, "all of them to be dropped")
    command = ["ip", "netns", "exec", netns_name("e1", OUTSIDE), "nft", "list", "set", "inet", "netorch", "neighbours"]
    known = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert source.partition("2:")[0] + "2:" not in known


def in_use(outskirts: Outskirts, act: Callable[[int], None]) -> str:
    """Act once for the network of each edge's uplink; return the edge that dropped the packets."""
    before = {edge: counters(outskirts, edge).get("uplink_network", 0) for edge in EDGES}
    for number in range(len(EDGES)):
        act(number)
    found: list[str] = []

    def dropped() -> bool:
        found[:] = [edge for edge in EDGES if counters(outskirts, edge).get("uplink_network", 0) > before[edge]]
        return bool(found)

    wait_for(dropped, "the packets to be counted")
    assert len(found) == 1, "a hypervisor uses one edge"
    return found[0]


def test_an_instance_reaches_nobody_on_the_uplinks_network(outskirts: Outskirts) -> None:
    with udp_socket(outskirts.place("a/one")) as sock:

        def scan(number: int) -> None:
            for last in range(2, 255):
                sock.sendto(b"who is there", (f"198.19.{number}.{last}", 9999))

        edge = in_use(outskirts, scan)
    uplink = UPLINKS[edge]
    assert not {each for each in neighbours(edge) if each.startswith(uplink.gateway.rpartition(".")[0])} - {uplink.gateway}
    assert not outskirts.ping("a/one", uplink.gateway, tries=1).ok
    assert outskirts.ping("a/one", SERVER).ok


def test_an_edge_asks_for_nobody_who_is_said_to_have_sent(outskirts: Outskirts) -> None:
    """Its errors and its answers to pings go only to the router: it knows and resolves no MAC of other machines on the uplink."""
    mac = mac_of(netns_name("e1", OUTSIDE), "out0")
    frames = (
        ethernet(mac, STRANGER, ETH_P_IP, udp(f"198.19.0.{last}", destination, b"who is that"))
        for last in range(20, 120)
        for destination in ("198.51.100.99", ONE)
    )
    before = neighbours("e1")
    for frame in frames:
        send_frame(BORDER, "to-e1", frame)
    assert not outskirts.ping(INTERNET, "198.51.100.99").ok, "what comes behind them is answered"
    assert neighbours("e1") - before <= {UPLINKS["e1"].gateway}
