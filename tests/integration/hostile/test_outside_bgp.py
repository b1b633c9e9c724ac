"""Forged BGP and BFD packets in the border router's name, from further away than the router is."""

from __future__ import annotations

import socket
import struct

import pytest

from netorch.drivers.probe.echo import checksum
from netorch.lab.wiring import in_node
from netorch.model.addr import packed
from tests.integration.edges.border import same
from tests.integration.edges.speaking import ADDRESSES, Speaking
from tests.integration.edges.test_internet_gateway import counters
from tests.rig.outskirts import BORDER, EDGES, UPLINKS
from tests.rig.packets import PacketListener, ip_packet
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

BGP, BFD = 179, 3784
ROUTER = UPLINKS["e1"].gateway
SYN, RST, SYN_ACK = 2, 4, 0x12


@pytest.fixture(autouse=True)
def settled(speaking: Speaking) -> None:
    speaking.wait_for_both()


def opening(port: int, ttl: int) -> bytes:
    """Return a packet that would open a session with the first edge, from the router's address."""
    head = struct.pack("!HHIIBBHHH", port, BGP, 7, 0, 5 << 4, SYN, 1000, 0, 0)
    pseudo = packed(ROUTER) + packed(ADDRESSES["e1"]) + struct.pack("!HH", socket.IPPROTO_TCP, len(head))
    segment = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
    return ip_packet(ROUTER, ADDRESSES["e1"], socket.IPPROTO_TCP, segment, ttl=ttl)


def send(packet: bytes) -> None:
    with in_node(BORDER), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (ADDRESSES["e1"], 0))


def is_answer(frame: bytes, port: int) -> bool:
    """Return whether a frame is the edge's SYN-ACK to a port."""
    packet = frame[14:]
    return packet[9:10] == b"\x06" and packet[20:24] == struct.pack("!HH", BGP, port) and packet[33] == SYN_ACK


@pytest.mark.parametrize("ttl", [1, 64, 254])
def test_who_is_further_away_opens_no_session(speaking: Speaking, ttl: int) -> None:
    port, before = 30000 + ttl, counters(speaking.outskirts, "e1")["border_ttl"]
    with PacketListener(BORDER, "to-e1") as wire:
        send(opening(port, ttl))
        send(opening(port + 1, 255))
        heard: list[bytes] = []

        def answered() -> bool:
            heard.extend(wire.take())
            return any(is_answer(frame, port + 1) for frame in heard)

        wait_for(answered, "the answer to the router itself")
        assert not [frame for frame in heard if is_answer(frame, port)]
    assert counters(speaking.outskirts, "e1")["border_ttl"] > before  # resets of the router's Linux count, too


def is_of_session(packet: bytes) -> bool:
    """Return whether a TCP packet opens a session or carries BGP messages. Linux sends resets, and ACKs for what is over."""
    header = packet[20:]
    length = int.from_bytes(packet[2:4]) - 20 - (header[12] >> 4) * 4
    return not header[13] & RST and (bool(header[13] & SYN) or length > 0)


def test_both_sides_speak_with_the_highest_ttl(speaking: Speaking) -> None:
    ttls: set[tuple[bytes, int]] = set()
    sides = packed(ROUTER), packed(ADDRESSES["e1"])
    with PacketListener(BORDER, "to-e1") as wire:
        speaking.border.ask("restart e1")

        def established() -> bool:
            segments = [frame[14:] for frame in wire.take() if frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x06"]
            ttls.update((packet[12:16], packet[8]) for packet in segments if is_of_session(packet))
            return speaking.border.established("e1") and {side for side, _ in ttls} >= set(sides)

        wait_for(established, "the session", 60.0)
    assert ttls == {(side, 255) for side in sides}


def test_forged_bfd_from_afar_ends_no_session(speaking: Speaking) -> None:
    with speaking.border.patient():
        since = {edge: same(speaking.border.since(edge)) for edge in EDGES}
        forge_bfd(speaking)
        assert {edge: speaking.border.since(edge) for edge in EDGES} == since
        assert {edge: speaking.border.established(edge) for edge in EDGES} == dict.fromkeys(EDGES, True)


def forge_bfd(speaking: Speaking) -> None:
    """Send AdminDown as from the router, with the discriminators seen on the wire, and wait until the edge has taken it in.

    Source: RFC 5880 section 4.1.
    """
    before = counters(speaking.outskirts, "e1")["border_ttl"]
    with PacketListener(BORDER, "to-e1") as wire:
        found: list[bytes] = []

        def heard() -> bool:
            frames = (frame for frame in wire.take() if frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x11")
            found.extend(
                frame[14:] for frame in frames if frame[26:30] == packed(ROUTER) and frame[36:38] == struct.pack("!H", BFD)
            )
            return bool(found)

        wait_for(heard, "a packet of the router's")
    datagram = bytearray(found[-1][20:])
    datagram[9] = datagram[9] & 0x3F  # state: AdminDown
    datagram[6:8] = bytes(2)
    for ttl in (1, 254):
        send(ip_packet(ROUTER, ADDRESSES["e1"], socket.IPPROTO_UDP, bytes(datagram), ttl=ttl))
    with PacketListener(BORDER, "to-e1") as wire:
        send(opening(31001, 255))
        wait_for(lambda: any(is_answer(frame, 31001) for frame in wire.take()), "the answer to what was sent last")
    assert counters(speaking.outskirts, "e1")["border_ttl"] >= before + 2
