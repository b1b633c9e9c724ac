"""Connections that a flowtable forwards: the kernel shows neither their TCP state nor their timeout."""

from __future__ import annotations

import socket
import struct

import pytest

from netorch.drivers.conntrack import attrs, flows
from netorch.drivers.netlink import attr, nested
from netorch.model.security import ICMP, TCP, UDP
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from netorch.state.sysctls import idle_timeouts

ZONE = 7
ANSWERED = attrs.SEEN_REPLY | attrs.ASSURED
GATEWAY = "nat-001388-0123456789abcdef0"
ALL = {TCP: 432000, UDP: 180}


def message(protocol: int, status: int, *rest: bytes) -> bytes:
    """Return a connection as ctnetlink shows it."""
    client, server = socket.inet_aton("10.0.0.4"), socket.inet_aton("10.0.0.5")
    ports = [struct.pack(">H", port) for port in (40000, 443)]

    def direction(kind: int, source: bytes, destination: bytes, source_port: bytes, destination_port: bytes) -> bytes:
        numbers = attr(attrs.SOURCE_PORT, source_port), attr(attrs.SOURCE_PORT + 1, destination_port)
        ends = nested(attrs.IP, attr(attrs.V4_SOURCE, source), attr(attrs.V4_DESTINATION, destination))
        return nested(kind, ends, nested(attrs.PROTO, attr(attrs.NUMBER, bytes((protocol,))), *numbers))

    there = direction(attrs.ORIGINAL, client, server, *ports)
    back = direction(attrs.REPLY, server, client, *reversed(ports))
    zone, bits = attr(attrs.ZONE, struct.pack(">H", ZONE)), attr(attrs.STATUS, struct.pack(">I", status))
    return bytes(4) + there + back + zone + bits + b"".join(rest)


def read(body: bytes) -> Flow:
    """Return the connection as a dump does."""
    found = attrs.parse(body)
    assert found is not None
    return flows.flow_of(found, idle_timeouts(OVERLAY))


def shown(state: int, timeout_s: int) -> tuple[bytes, bytes]:
    """Return what the kernel shows of a TCP connection that is not offloaded."""
    protoinfo = nested(attrs.PROTOINFO, nested(attrs.TCP_INFO, attr(attrs.TCP_STATE, bytes((state,)))))
    return attr(attrs.TIMEOUT, struct.pack(">I", timeout_s)), protoinfo


@pytest.mark.parametrize("protocol", sorted(ALL))
def test_an_offloaded_connection_is_established_and_lives_as_long_as_an_idle_one(protocol: int) -> None:
    flow = read(message(protocol, ANSWERED | attrs.OFFLOADED))
    assert (flow.tcp_state, flow.timeout_s) == (3 if protocol == TCP else 0, ALL[protocol])
    assert (flow.zone, flow.replied, flow.assured) == (ZONE, True, True)


def test_what_the_kernel_shows_is_taken_as_it_is() -> None:
    flow = read(message(TCP, ANSWERED, *shown(state=7, timeout_s=42)))
    assert (flow.tcp_state, flow.timeout_s) == (7, 42)
    between = read(message(TCP, ANSWERED | attrs.OFFLOADED, *shown(state=4, timeout_s=9)))  # offloaded during the dump
    assert (between.tcp_state, between.timeout_s) == (4, 9)


def test_a_connection_that_is_not_offloaded_gets_no_invented_timeout() -> None:
    assert read(message(TCP, ANSWERED)).timeout_s == 0
    assert read(message(ICMP, ANSWERED | attrs.OFFLOADED)).timeout_s == 0


def test_a_moved_connection_arrives_as_one_that_was_not_offloaded() -> None:
    offloaded = read(message(TCP, ANSWERED | attrs.OFFLOADED))
    plain = read(message(TCP, ANSWERED, *shown(state=3, timeout_s=ALL[TCP])))
    assert offloaded == plain
    restored = attrs.parse(flows.whole(offloaded))
    assert restored is not None
    assert not restored.status & attrs.OFFLOADED
    assert flows.flow_of(restored, {}) == offloaded


def test_gateways_have_their_own_idle_timeouts() -> None:
    assert idle_timeouts(GATEWAY) == {TCP: 350, UDP: 350}
