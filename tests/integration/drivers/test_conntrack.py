"""Connections of real packets: read, forgotten, and continued in another zone."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.conntrack.flows import Conntrack
from netorch.state.flow import Flow
from tests.rig.packets import PATIENCE_S

pytestmark = pytest.mark.root

HOME, ZONE = "conntrack-test", 7
TRACKING = """table inet t {
 chain zones { type filter hook output priority -300; ct zone set 7; }
 chain marks { type filter hook output priority -150; ct mark set 3; }
 chain zones_in { type filter hook prerouting priority -300; ct zone set 7; }
 chain strict { type filter hook input priority 0; ct state invalid drop; }
}"""


@pytest.fixture
def home() -> Iterator[int]:
    """A namespace with a loopback device whose connections are tracked in one zone."""
    fd = netns.make(HOME)
    subprocess.run(["ip", "-n", HOME, "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "netns", "exec", HOME, "nft", TRACKING], check=True)
    with netns.inside(fd):
        for name, value in (("acct", "1"), ("timestamp", "1"), ("tcp_loose", "0")):
            with open(f"/proc/sys/net/netfilter/nf_conntrack_{name}", "w", encoding="ascii") as file:
                file.write(value)
    yield fd
    netns.remove(HOME)
    os.close(fd)


@pytest.fixture
def conntrack(home: int) -> Iterator[Conntrack]:
    conntrack = Conntrack(home)
    yield conntrack
    conntrack.close()


def test_a_datagram_and_its_answer_are_a_flow_with_counts(home: int, conntrack: Conntrack) -> None:
    with netns.inside(home):
        server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    server.bind(("127.0.0.1", 5353))
    client.connect(("127.0.0.1", 5353))
    client.send(b"x" * 100)
    answer_to = server.recvfrom(200)[1]
    server.sendto(b"y" * 50, answer_to)
    assert client.recv(200) == b"y" * 50
    (flow,) = conntrack.dump(ZONE)
    assert (flow.protocol, flow.source, flow.sport, flow.dport) == (17, "127.0.0.1", answer_to[1], 5353)
    assert (flow.packets, flow.bytes, flow.reply_packets, flow.reply_bytes) == (1, 128, 1, 78)
    assert (flow.mark, flow.replied) == (3, True)
    assert flow.started_ns > 1_600_000_000 * 10**9
    assert conntrack.dump(ZONE + 1) == ()
    server.close()
    client.close()


def test_a_stream_goes_on_when_it_is_restored_and_not_when_it_is_only_forgotten(home: int, conntrack: Conntrack) -> None:
    with netns.inside(home):
        listener, client = (socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2))
    listener.bind(("127.0.0.1", 5353))
    listener.listen()
    client.connect(("127.0.0.1", 5353))
    server = listener.accept()[0]
    server.settimeout(0.1)
    (flow,) = conntrack.dump(ZONE)
    assert (flow.protocol, flow.tcp_state, flow.assured) == (6, 3, True)
    conntrack.forget([flow])
    client.send(b"unknown")
    with pytest.raises(TimeoutError):
        server.recv(100)
    conntrack.restore([flow])
    server.settimeout(PATIENCE_S)  # TCP waits twice as long after each attempt
    assert server.recv(100) == b"unknown"  # sent again
    (found,) = conntrack.dump(ZONE)
    assert (found.key, found.mark, found.tcp_state) == (flow.key, flow.mark, 3)
    for sock in (listener, client, server):
        sock.close()


def test_a_flushed_zone_leaves_the_others_alone(home: int, conntrack: Conntrack) -> None:
    with netns.inside(home):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"x", ("127.0.0.1", 5353))
    (flow,) = conntrack.dump(ZONE)
    elsewhere = msgspec.structs.replace(flow, zone=ZONE + 1)
    conntrack.restore([elsewhere])
    conntrack.flush_zone(ZONE)
    assert conntrack.dump(ZONE) == ()
    assert [found.key for found in conntrack.dump(ZONE + 1)] == [elsewhere.key]
    client.close()


@pytest.mark.parametrize(
    "kind",
    [
        {"protocol": 6, "sport": 4000, "dport": 80, "nat_port": 50001, "tcp_state": 3},
        {"protocol": 17, "sport": 4000, "dport": 53, "nat_port": 50002},
        {"protocol": 1, "icmp_type": 8, "icmp_id": 7, "nat_port": 50003},
    ],
    ids=["tcp", "udp", "icmp"],
)
def test_a_translated_connection_is_restored_with_exactly_its_address_and_port(
    conntrack: Conntrack, kind: dict[str, int]
) -> None:
    base = Flow(
        zone=0, protocol=6, source="10.0.0.4", destination="203.0.113.10", timeout_s=300, replied=True, nat_source="10.0.9.9"
    )
    flow = msgspec.structs.replace(base, assured=kind["protocol"] != 1, **kind)
    conntrack.restore([flow, msgspec.structs.replace(flow, source="10.0.0.5", nat_port=flow.nat_port + 9)])
    found = {known.source: known for known in conntrack.dump(0)}
    assert msgspec.structs.replace(found["10.0.0.4"], timeout_s=300, started_ns=0) == flow
    assert found["10.0.0.5"].nat_port == flow.nat_port + 9
