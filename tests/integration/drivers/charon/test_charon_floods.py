"""A flood of IKE_SA_INIT requests takes little memory of an edge, and blocks no customer."""

from __future__ import annotations

import socket
import struct

import pytest

from netorch.drivers import netns
from netorch.drivers.charon.control import Control
from netorch.drivers.charon.driver import RUN
from tests.integration.drivers.charon.rig import EDGE, EDGE_ADDRESS, PSK, Site, customer_connection, psk
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.long]

CUSTOMER = "198.18.0.80"
MANY = 500
MOST = 64  # half-open IKE_SAs: the threshold of cookies, plus those under way when it was reached
_IKE, _UDP = 500, 17


def half_open() -> int:
    """Return how many IKE_SAs of the edge's charon are half-open."""
    with Control(RUN / EDGE / "charon.vici", 10.0) as control:
        found = control.ask("stats")["ikesas"]
    assert isinstance(found, dict)
    return int(str(found["half-open"]))


def ike_sa_init(number: int) -> bytes:
    """Return an IKE_SA_INIT request with one proposal, a key and a nonce. Source: RFC 7296 sections 3.1 to 3.9."""
    transforms = [(1, 12, struct.pack("!HH", 0x800E, 256)), (3, 12, b""), (2, 5, b""), (4, 14, b"")]
    coded = b""
    for place, (kind, name, attributes) in enumerate(transforms):
        more = 3 if place < len(transforms) - 1 else 0
        coded += struct.pack("!BBHBBH", more, 0, 8 + len(attributes), kind, 0, name) + attributes
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(coded), 1, 1, 0, len(transforms)) + coded
    sa = struct.pack("!BBH", 34, 0, 4 + len(proposal)) + proposal
    key = struct.pack("!BBHHH", 40, 0, 8 + 256, 14, 0) + number.to_bytes(4, "big") + bytes([7]) * 252
    nonce = struct.pack("!BBH", 0, 0, 4 + 32) + bytes(range(32))
    body = sa + key + nonce
    return struct.pack("!QQBBBBII", number + 1, 0, 33, 0x20, 34, 0x08, 0, 28 + len(body)) + body


def datagram(source: str, payload: bytes) -> bytes:
    """Return a UDP datagram from a source address, without a checksum; Linux fills in only the IP header's."""
    udp = struct.pack("!HHHH", _IKE, _IKE, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(EDGE_ADDRESS)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, _UDP, 0) + addresses + udp


@pytest.mark.parametrize("sources", [1, 100], ids=["from one address", "from many addresses"])
def test_a_flood_of_beginnings_takes_little_room_and_keeps_no_customer_away(world: Site, sources: int) -> None:
    connection, customer = world.joined()
    anybody = world.edge.connection(2, remote="", remote_identity="somebody.example")
    world.edge.create(anybody)  # so that charon answers strangers at all
    with netns.inside(customer.fd):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(MANY):
        source = f"198.18.0.{100 + number % sources}"
        raw.sendto(datagram(source, ike_sa_init(number)), (EDGE_ADDRESS, 0))
    raw.close()
    wait_for(lambda: half_open() > 0, "beginnings that were heard")
    assert half_open() <= MOST
    customer.load(customer_connection(CUSTOMER), psk(PSK, CUSTOMER, EDGE_ADDRESS))
    assert customer.initiate() == ""
    assert world.edge.wait_up(connection).problem == ""
    assert half_open() <= MOST
