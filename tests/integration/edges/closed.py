"""Packets that neither side of an interface endpoint may send: none of them arrives at the other side."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from netorch.drivers.probe.echo import ECHO_REQUEST_V4, checksum
from netorch.lab.wiring import in_node
from netorch.state.daemons.services.relay import RELAY_ADDRESS
from tests.integration.edges.linked import CONSUMERS, Linked
from tests.rig.outskirts import udp_socket
from tests.rig.packets import PacketListener
from tests.rig.world import wait_for

_GRE, _SCTP = 47, 132
_PORTS = (1, 22, 53, 443, 4789, 8443, 65535)  # of UDP; the service has only 443 of TCP, and 53 is open at the targets
_PARTIES = ("one", "two", "three")


def nothing_else_passes(linked: Linked) -> None:
    """Check both directions while a datagram of a's is under way. The endpoint's groups must permit everything."""
    from_consumer, from_provider = os.urandom(8), os.urandom(8)
    front, back = linked.front("a"), linked.back("a")
    with ExitStack() as stack:
        provider = _listeners(stack, linked, ("p",))
        consumers = _listeners(stack, linked, CONSUMERS)
        servers = {name: stack.enter_context(udp_socket(linked.place(f"p/{name}"), ("0.0.0.0", 53))) for name in ("one", "two")}
        client = stack.enter_context(udp_socket(linked.place("a/one")))
        client.connect((front, 5353))
        client.send(b"asks")
        name, peer = _asked(servers)
        for place in ("a/one", "a/two"):
            _send(linked.place(place), from_consumer, [(front, port) for port in _PORTS], (front, back, RELAY_ADDRESS))
        for place in ("p/one", "p/two", "p/three"):
            _send(linked.place(place), from_provider, [(back, port) for port in (*_PORTS, 5353, peer[1])], (back, RELAY_ADDRESS))
        assert all(linked.cannot("a/one", (front, port)) for port in (22, 8443))
        assert all(linked.cannot(f"p/{name}", (back, port)) for port in (443, peer[1]))
        servers[name].sendto(b"answers", peer)
        assert client.recv(16) == b"answers"
        assert not [each for each in provider if each.heard(from_consumer)]
        assert not [each for each in consumers if each.heard(from_provider)]


def _listeners(stack: ExitStack, linked: Linked, vpcs: Iterable[str]) -> list[PacketListener]:
    places = [linked.place(f"{vpc}/{name}") for vpc in vpcs for name in _PARTIES]
    return [stack.enter_context(PacketListener(place)) for place in places]


def _asked(servers: dict[str, socket.socket]) -> tuple[str, tuple[str, int]]:
    for server in servers.values():
        server.settimeout(0.05)

    def heard() -> tuple[str, tuple[str, int]] | None:
        for name, server in servers.items():
            try:
                return name, server.recvfrom(16)[1]
            except TimeoutError:
                continue
        return None

    found = wait_for(heard, "a datagram")
    assert found is not None
    return found


def _send(place: str, marker: bytes, ports: Iterable[tuple[str, int]], addresses: Iterable[str]) -> None:
    """Send datagrams to ports, and pings and packets of other protocols to addresses, with a marker in each."""
    with udp_socket(place) as sock:
        for to in ports:
            sock.sendto(marker, to)
    echo = bytes((ECHO_REQUEST_V4, 0, 0, 0, 0, 1, 0, 1)) + marker
    sums = checksum(echo).to_bytes(2)
    for protocol, data in ((socket.IPPROTO_ICMP, echo[:2] + sums + echo[4:]), (_GRE, marker * 2), (_SCTP, marker * 2)):
        with in_node(place):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        with raw:
            for address in addresses:
                raw.sendto(data, (address, 0))
