"""Events of connection tracking and dropped packets of a real kernel, with a small ruleset for this test.

flow-a eth0 10.0.1.2 --- to-a flow-r to-b --- eth0 10.0.2.2 flow-b
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from netorch.drivers import netns
from netorch.drivers.conntrack.attrs import SEEN_REPLY, Connection, Counts
from netorch.drivers.conntrack.events import FlowDump, FlowEvents, Happening
from netorch.drivers.conntrack.nflog import DroppedPacket, DroppedPackets
from netorch.drivers.netlink import HEADER
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.errors import KernelError
from netorch.model.security import TCP, UDP
from tests.rig.packets import PATIENCE_S
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

A, B = "10.0.1.2", "10.0.2.2"
GROUP, ZONE = 77, 5
RULESET = f"""
table inet t {{
    counter refused {{
    }}
    chain zones {{
        type filter hook prerouting priority -450; policy accept;
        iifname {{ "to-a", "to-b" }} ct zone set {ZONE}
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        udp dport 9 counter name "refused" meta mark set 0x1 log prefix "sg_ingress" group {GROUP} snaplen 128 drop
        udp dport 10 limit rate 1/hour burst 3 packets log prefix "flood" group {GROUP} snaplen 128 drop
        udp dport 10 drop
    }}
}}
table netdev t {{
    chain a {{
        type filter hook ingress device "to-a" priority -500; policy accept;
        ip saddr 10.9.9.9 log prefix "spoofed" group {GROUP} snaplen 128 drop
    }}
}}
"""


@pytest.fixture
def router() -> Iterator[int]:
    """Yield the namespace between the two others, as a descriptor."""
    fds = {name: netns.make(name) for name in ("flow-a", "flow-r", "flow-b")}
    batch = ["link set lo up"]
    for name, near, far in (("a", "10.0.1.1", A), ("b", "10.0.2.1", B)):
        subprocess.run(
            [
                "ip",
                "-n",
                "flow-r",
                "link",
                "add",
                "name",
                f"to-{name}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"flow-{name}",
            ],
            check=True,
        )
        batch += [f"addr add {near}/24 dev to-{name}", f"link set to-{name} up"]
        inside = f"addr add {far}/24 dev eth0\nlink set eth0 up\nlink set lo up\nroute add default via {near}\n"
        subprocess.run(["ip", "-n", f"flow-{name}", "-batch", "-"], input=inside, text=True, check=True)
    subprocess.run(["ip", "-n", "flow-r", "-batch", "-"], input="\n".join(batch) + "\n", text=True, check=True)
    with netns.inside(fds["flow-r"]):
        for path, value in (
            ("ipv4/ip_forward", "1"),
            ("netfilter/nf_conntrack_acct", "1"),
            ("netfilter/nf_conntrack_timestamp", "1"),
        ):
            with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as file:
                file.write(value)
    subprocess.run(["ip", "netns", "exec", "flow-r", "nft", "-f", "-"], input=RULESET, text=True, check=True)
    yield fds["flow-r"]
    for name, fd in fds.items():
        netns.remove(name)
        os.close(fd)


def udp(name: str, address: str = "") -> socket.socket:
    """Return a UDP socket in a namespace."""
    fd = netns.find(name)
    with netns.inside(fd):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    os.close(fd)
    if address:
        sock.bind((address, 5000))
    sock.settimeout(PATIENCE_S)
    return sock


def echo_once(size: int = 100) -> tuple[str, int]:
    """Send a packet from A to B and one back; return A's end."""
    with udp("flow-a") as a, udp("flow-b", B) as b:
        a.sendto(bytes(size), (B, 5000))
        _, sender = b.recvfrom(2000)
        b.sendto(bytes(size), sender)
        a.recv(2000)
    return str(sender[0]), int(sender[1])


def readable(fd: int, timeout_s: float = PATIENCE_S) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


def flush(router: int) -> None:
    """Delete all connections, as if all timers had expired."""
    with netns.inside(router), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.send(HEADER.pack(HEADER.size + 4, 1 << 8 | 2, 0x5, 0, 0) + bytes(4))
        sock.recv(1000)


def test_a_beginning_and_an_end_are_heard_with_counts(router: int) -> None:
    events = FlowEvents(router, Happening.BEGIN | Happening.END, {ZONE})
    before = time.time()
    port = echo_once()[1]
    assert readable(events.fileno())
    (begun,) = events.read(10).connections
    assert (socket.inet_ntoa(begun.original.source), socket.inet_ntoa(begun.original.destination)) == (A, B)
    assert (begun.original.protocol, begun.original.source_port, begun.original.destination_port) == (UDP, port, 5000)
    assert begun.reply == begun.original.reversed()
    assert begun.zone == ZONE
    flush(router)
    assert readable(events.fileno())
    (ended,) = events.read(10).connections
    assert ended.id == begun.id
    assert (ended.original_counts, ended.reply_counts) == (Counts(1, 128), Counts(1, 128))
    assert ended.status & SEEN_REPLY
    assert before - 1 < ended.started_s <= ended.ended_s < time.time() + 1
    events.close()


def test_of_other_zones_nothing_is_heard(router: int) -> None:
    events = FlowEvents(router, Happening.BEGIN, {ZONE + 1, 0, 7})
    echo_once()
    assert not readable(events.fileno(), 0.2)
    events.close()


def walk(router: int) -> list[Connection]:
    dump = FlowDump(router, {ZONE}, taking=True)
    found: list[Connection] = []
    while not dump.done:
        assert readable(dump.fileno())
        found += dump.read(10).connections
    dump.close()
    return found


def test_each_packet_is_told_by_one_walk_or_by_the_end(router: int) -> None:
    events = FlowEvents(router, Happening.END, {ZONE})
    with udp("flow-a") as a, udp("flow-b", B) as b:
        a.sendto(bytes(100), (B, 5000))
        b.recv(2000)
        (first,) = walk(router)
        a.sendto(bytes(10), (B, 5000))
        b.recv(2000)
    (second,) = walk(router)
    (third,) = walk(router)
    flush(router)
    assert readable(events.fileno())
    (ended,) = events.read(10).connections
    counts = [connection.original_counts for connection in (first, second, third, ended)]
    assert counts == [Counts(1, 128), Counts(1, 38), Counts(), Counts()]
    events.close()


def test_a_walk_shows_the_state_of_tcp(router: int) -> None:
    a, b = netns.find("flow-a"), netns.find("flow-b")
    with netns.inside(b):
        server = socket.create_server((B, 80))
    with netns.inside(a):
        client = socket.create_connection((B, 80), timeout=PATIENCE_S)
    server.settimeout(PATIENCE_S)
    accepted, _ = server.accept()  # the last packet of the handshake has passed the router, too
    (connection,) = walk(router)
    assert (connection.original.protocol, connection.tcp_state) == (TCP, 3)
    for thing in (client, accepted, server):
        thing.close()
    os.close(a)
    os.close(b)


def refused(packets: DroppedPackets, count: int) -> list[DroppedPacket]:
    """Return `count` dropped packets, after waiting for them."""
    found: list[DroppedPacket] = []
    while len(found) < count:
        assert readable(packets.fileno())
        found += packets.read(10).packets
    return found


def test_a_refused_packet_is_told_with_its_reason_and_headers(router: int) -> None:
    packets = DroppedPackets(router, GROUP)
    with udp("flow-a") as a:
        a.sendto(bytes(500), (B, 9))
    (packet,) = refused(packets, 1)
    headers = packet.headers
    assert headers is not None
    assert (packet.reason, packet.indev, packet.outdev, packet.mark, packet.ethertype) == (
        "sg_ingress",
        "to-a",
        "to-b",
        1,
        0x0800,
    )
    assert len(packet.payload) == 128
    assert headers.length == 528
    assert (socket.inet_ntoa(headers.tuple.source), headers.tuple.destination_port) == (A, 9)
    packets.close()


def test_a_packet_that_is_refused_at_its_port_is_told_too(router: int) -> None:
    packets = DroppedPackets(router, GROUP)
    subprocess.run(["ip", "-n", "flow-a", "addr", "add", "10.9.9.9/32", "dev", "eth0"], check=True)
    with udp("flow-a") as a:
        a.bind(("10.9.9.9", 0))
        a.sendto(bytes(5), (B, 5000))
    (packet,) = refused(packets, 1)
    assert (packet.reason, packet.indev, packet.outdev) == ("spoofed", "to-a", "")
    assert packet.headers is not None
    assert socket.inet_ntoa(packet.headers.tuple.source) == "10.9.9.9"
    assert len(packet.lladdr) == 17
    packets.close()


def test_a_flood_is_told_at_the_rules_rate(router: int) -> None:
    packets = DroppedPackets(router, GROUP)
    with udp("flow-a") as a:
        for _ in range(20):
            a.sendto(b"x", (B, 10))
        a.sendto(b"x", (B, 9))
    assert [packet.reason for packet in refused(packets, 4)] == ["flood"] * 3 + ["sg_ingress"]
    packets.close()


def refused_so_far() -> int:
    """Return how many packets have met the rule."""
    command = ["ip", "netns", "exec", "flow-r", "nft", "list", "counter", "inet", "t", "refused"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(shown[shown.index("packets") + 1])


def test_what_the_kernel_cannot_deliver_is_counted_as_lost(router: int) -> None:
    packets = DroppedPackets(router, GROUP)
    flood = 40_000
    with udp("flow-a") as a:
        for _ in range(flood):
            a.sendto(bytes(300), (B, 9))
        wait_for(lambda: refused_so_far() == flood, "the flood at its rule")
        told = lost = 0

        def take() -> bool:
            """Read on; return whether there was anything."""
            nonlocal told, lost
            read = packets.read(1000)
            told, lost = told + len(read.packets), lost + read.lost
            return bool(read.packets)

        while take():  # makes room for one more, whose number tells how many were lost
            pass
        a.sendto(b"x", (B, 9))
    wait_for(lambda: not take() and told + lost > flood, "all packets, told or counted as lost")
    assert lost
    assert told + lost == flood + 1
    packets.close()


def test_only_one_listens_to_a_group(router: int) -> None:
    packets = DroppedPackets(router, GROUP)
    with pytest.raises(KernelError, match="another program may be listening"):
        DroppedPackets(router, GROUP)
    packets.close()
    DroppedPackets(router, GROUP).close()
