"""Connections that a flowtable forwards, as the connection tracker shows them: a router between two hosts."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.conntrack.attrs import OFFLOADED, parse
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.netlink import Channel
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.model.security import TCP, UDP
from netorch.state.base import OVERLAY
from netorch.state.nft import FLOWTABLE_SPEC
from netorch.state.sysctls import idle_timeouts
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

ROUTER, CLIENT, SERVER = "offloaded-router", "offloaded-client", "offloaded-server"
ZONE, PORT = 7, 5353
TABLE = f"""table inet t {{
 flowtable f {{ {FLOWTABLE_SPEC}; devices = {{ to-client, to-server }}; }}
 chain zones {{ type filter hook prerouting priority -300; ct zone set {ZONE}; }}
 chain forward {{ type filter hook forward priority 0; ct status & 0x4 != 0x0 flow add @f; }}
}}"""


def run(*words: str) -> None:
    subprocess.run(words, check=True)


@pytest.fixture
def world() -> Iterator[dict[str, int]]:
    """Return descriptors of the namespaces: 10.1.0.2 and 10.2.0.2 with a router between them that offloads."""
    with ExitStack() as stack:
        fds = {}
        for name in (ROUTER, CLIENT, SERVER):
            fds[name] = netns.make(name)
            stack.callback(os.close, fds[name])
            stack.callback(netns.remove, name)
        for name, device, number in ((CLIENT, "to-client", 1), (SERVER, "to-server", 2)):
            run("ip", "-n", ROUTER, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", ROUTER, "addr", "add", f"10.{number}.0.1/24", "dev", device)
            run("ip", "-n", ROUTER, "link", "set", device, "up")
            run("ip", "-n", name, "addr", "add", f"10.{number}.0.2/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "route", "add", "default", "via", f"10.{number}.0.1")
        for setting in ("ipv4/ip_forward", "netfilter/nf_conntrack_acct"):
            with netns.inside(fds[ROUTER]), open(f"/proc/sys/net/{setting}", "w", encoding="ascii") as file:
                file.write("1")
        run("ip", "netns", "exec", ROUTER, "nft", TABLE)
        yield fds


def statuses(router: int) -> list[int]:
    """Return the status of each connection."""
    channel = Channel(router, NETLINK_NETFILTER)
    try:
        found = [parse(body) for _, _, body in channel.dump(1 << 8 | 1, bytes(4))]
        return [known.status for known in found if known is not None]
    finally:
        channel.close()


def sockets(world: dict[str, int], kind: int) -> tuple[socket.socket, socket.socket]:
    """Return connected sockets of the client and the server."""
    with netns.inside(world[CLIENT]):
        client = socket.socket(socket.AF_INET, kind)
    with netns.inside(world[SERVER]):
        server = socket.socket(socket.AF_INET, kind)
    server.bind(("10.2.0.2", PORT))
    if kind == socket.SOCK_STREAM:
        server.listen()
        client.connect(("10.2.0.2", PORT))
        listener, server = server, server.accept()[0]
        listener.close()
    else:
        client.connect(("10.2.0.2", PORT))
        client.send(b"first")
        server.connect(server.recvfrom(100)[1])
    for sock in (client, server):
        sock.settimeout(5)
    return client, server


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, TCP), (socket.SOCK_DGRAM, UDP)], ids=["tcp", "udp"])
def test_an_offloaded_connection_is_handed_over_as_established(world: dict[str, int], kind: int, protocol: int) -> None:
    client, server = sockets(world, kind)
    asked = 0

    def is_offloaded() -> bool:
        nonlocal asked
        asked += 1
        client.send(b"question")
        assert server.recv(100) == b"question"
        server.send(b"answer")
        assert client.recv(100) == b"answer"
        return any(status & OFFLOADED for status in statuses(world[ROUTER]))

    wait_for(is_offloaded, "the connection is offloaded")  # one of datagrams is assured after two seconds
    conntrack = Conntrack(world[ROUTER])
    (flow,) = conntrack.dump(ZONE)
    assert (flow.tcp_state, flow.timeout_s) == (3 if protocol == TCP else 0, idle_timeouts(OVERLAY)[protocol])
    assert (flow.replied, flow.assured) == (True, True)
    assert flow.packets > asked  # the questions, and what began the connection
    assert flow.reply_packets >= asked
    conntrack.restore([msgspec.structs.replace(flow, zone=ZONE + 1)])
    (restored,) = conntrack.dump(ZONE + 1)
    assert (restored.key[1:], restored.tcp_state, restored.assured) == (flow.key[1:], flow.tcp_state, True)
    assert flow.timeout_s - 60 < restored.timeout_s <= flow.timeout_s
    conntrack.forget([flow])
    assert [status & OFFLOADED for status in statuses(world[ROUTER])] == [0]
    conntrack.close()
    for sock in (client, server):
        sock.close()
