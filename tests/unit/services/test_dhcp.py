"""Answers to DHCP clients, in every state and for any message."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.model.addr import packed
from netorch.model.rules import PORT_MAC
from netorch.model.services.dhcp_options import DhcpOptions
from netorch.services.dhcp import frames, handler
from netorch.services.dhcp.answers import answer
from netorch.services.dhcp.message import COOKIE, FIXED, Code, Kind, Malformed, Reply, Request, decode, encode
from netorch.state.daemons.services.dhcp import DhcpEar, DhcpLease

MAC = bytes.fromhex("02aabbccdd01")
OWN, ROUTER, OTHER = packed("10.0.1.5"), packed("10.0.1.1"), packed("10.0.1.6")
LEASE = DhcpLease(
    vni=5000,
    ifname="v-0013880000001",
    vrf="vrf5000",
    mac="02:aa:bb:cc:dd:01",
    address="10.0.1.5",
    length=24,
    router="10.0.1.1",
    mtu=1450,
    hostname="ip-10-0-1-5",
    near=("169.254.169.254",),
    options=DhcpOptions(domain_name="corp.example", domain_name_servers=("10.0.0.2",), ntp_servers=("10.0.0.9",)),
)


def message(
    kind: Kind, *, client: bytes = bytes(4), flags: int = 0, mac: bytes = MAC, relay: bytes = bytes(4), **options: bytes
) -> bytes:
    fixed = FIXED.pack(1, 1, 6, 0, 0x1234, 0, flags, client, bytes(4), bytes(4), relay, mac, b"", b"", COOKIE)
    found = {Code.KIND: bytes([kind]), **{Code[name]: value for name, value in options.items()}}
    return fixed + b"".join(bytes([code, len(value)]) + value for code, value in found.items()) + b"\xff"


def answered(raw: bytes, lease: DhcpLease = LEASE) -> Reply | None:
    return answer(lease, decode(raw))


def told(reply: Reply | None) -> dict[int, bytes]:
    assert reply is not None
    return dict(reply.options)


STATES = {
    "SELECTING": message(Kind.REQUEST, ADDRESS=OWN, SERVER=ROUTER),
    "INIT-REBOOT": message(Kind.REQUEST, ADDRESS=OWN),
    "RENEWING": message(Kind.REQUEST, client=OWN),
    "REBINDING": message(Kind.REQUEST, client=OWN, flags=0x8000),
}


@pytest.mark.parametrize("raw", STATES.values(), ids=STATES)
def test_a_client_gets_its_address_in_every_state(raw: bytes) -> None:
    reply = answered(raw)
    assert reply is not None
    assert (reply.kind, reply.yours, reply.xid) == (Kind.ACK, OWN, 0x1234)
    options = told(reply)
    assert options[Code.SERVER] == options[Code.ROUTER] == ROUTER
    times = [struct.unpack(">I", options[code])[0] for code in (Code.RENEWAL_TIME, Code.REBINDING_TIME, Code.LEASE_TIME)]
    assert times == [1800, 3150, 3600]
    assert options[Code.MTU] == struct.pack(">H", 1450)
    assert options[Code.MASK] == b"\xff\xff\xff\0"
    assert options[Code.BROADCAST] == packed("10.0.1.255")
    assert options[Code.ROUTES] == bytes([32]) + packed("169.254.169.254") + ROUTER + bytes([0]) + ROUTER
    assert options[Code.NAME_SERVERS] == packed("10.0.0.2")
    assert (options[Code.DOMAIN], options[Code.HOSTNAME]) == (b"corp.example", b"ip-10-0-1-5")


def test_an_offer_is_the_same_for_everybody_who_asks() -> None:
    reply = answered(message(Kind.DISCOVER, ADDRESS=OTHER))
    assert reply is not None
    assert (reply.kind, reply.yours, reply.client) == (Kind.OFFER, OWN, bytes(4))


@pytest.mark.parametrize(
    "raw",
    [
        message(Kind.REQUEST, ADDRESS=OTHER, SERVER=ROUTER),
        message(Kind.REQUEST, ADDRESS=OTHER),
        message(Kind.REQUEST, client=OTHER),
        message(Kind.REQUEST, client=OTHER, ADDRESS=OWN),
        message(Kind.REQUEST),
    ],
)
def test_another_address_is_wrong(raw: bytes) -> None:
    reply = answered(raw)
    assert reply is not None
    assert (reply.kind, reply.yours, told(reply)) == (Kind.NAK, bytes(4), {Code.SERVER: ROUTER})


@pytest.mark.parametrize(
    "raw",
    [
        message(Kind.REQUEST, ADDRESS=OWN, SERVER=OTHER),  # the client has chosen another server
        message(Kind.DECLINE, ADDRESS=OWN, SERVER=ROUTER),
        message(Kind.RELEASE, client=OWN, SERVER=ROUTER),
        message(Kind.INFORM, client=OTHER),
        message(Kind.DISCOVER, mac=bytes.fromhex("02aabbccdd02")),
        message(Kind.OFFER),
        message(Kind.ACK),
        message(Kind.NAK),
    ],
)
def test_some_are_answered_nothing(raw: bytes) -> None:
    assert answered(raw) is None


def test_who_has_its_address_from_elsewhere_is_told_the_rest() -> None:
    reply = answered(message(Kind.INFORM, client=OWN))
    assert reply is not None
    assert (reply.kind, reply.yours, reply.client) == (Kind.ACK, bytes(4), OWN)
    assert Code.LEASE_TIME not in told(reply)
    assert Code.NAME_SERVERS in told(reply)


def test_a_client_is_told_what_it_wants_to_know_in_its_order() -> None:
    wanted = bytes([Code.DOMAIN, 250, Code.ROUTES, Code.ROUTER, Code.DOMAIN])
    options = list(told(answered(message(Kind.DISCOVER, WANTED=wanted))))
    assert options[-4:] == [Code.MASK, Code.DOMAIN, Code.ROUTES, Code.ROUTER]


@pytest.mark.parametrize(("size", "least", "most"), [(0, 300, 548), (64, 300, 548), (1500, 549, 1472), (65535, 549, 1472)])
def test_an_answer_is_no_larger_than_the_client_takes(size: int, least: int, most: int) -> None:
    names = msgspec.structs.replace(LEASE.options, domain_name="a" * 250)
    lease = msgspec.structs.replace(LEASE, options=names, hostname="h" * 63)
    request = decode(message(Kind.DISCOVER, MESSAGE_SIZE=struct.pack(">H", size)))
    reply = answer(lease, request)
    assert reply is not None
    assert least <= len(encode(reply, request.size)) <= most


BAD = {
    "short": message(Kind.DISCOVER)[:239],
    "a server's": b"\2" + message(Kind.DISCOVER)[1:],
    "no Ethernet": message(Kind.DISCOVER)[:1] + b"\7" + message(Kind.DISCOVER)[2:],
    "BOOTP": message(Kind.DISCOVER)[:236] + bytes(64),
    "a relay's": message(Kind.DISCOVER, relay=OTHER),
    "no end": message(Kind.DISCOVER)[:-1],
    "cut off": message(Kind.DISCOVER)[:-1] + bytes([50, 4, 10]),
    "no length": message(Kind.DISCOVER)[:-1] + bytes([50]),
    "no type": FIXED.pack(1, 1, 6, 0, 1, 0, 0, *[bytes(4)] * 4, MAC, b"", b"", COOKIE) + b"\xff",
    "odd type": message(Kind.DISCOVER).replace(b"\x35\1\1", b"\x35\1\x63"),
    "long type": message(Kind.DISCOVER)[:-1] + bytes([53, 1, 1, 255]),
    "other fields": message(Kind.DISCOVER, OVERLOAD=b"\1"),
    "odd address": message(Kind.REQUEST, ADDRESS=b"\1"),
    "odd server": message(Kind.REQUEST, SERVER=b"\1" * 5),
    "large": message(Kind.DISCOVER).ljust(1473, b"\0"),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_what_no_client_can_have_meant_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decode(raw)


@given(st.binary(max_size=1600))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    for candidate in (raw, message(Kind.REQUEST)[:240] + raw):
        with suppress(Malformed):
            assert isinstance(decode(candidate), Request)
    frames.heard(raw)
    frames.heard(delivered(raw))


def test_padding_and_an_option_in_parts_are_read() -> None:
    raw = message(Kind.REQUEST)[:-1] + bytes([0, 0, 50, 2, 10, 0, 50, 2, 1, 5, 255, 9, 9])
    assert decode(raw).options[Code.ADDRESS] == OWN


def packet(payload: bytes, source: bytes = bytes(4), sport: int = 68, dport: int = 67, fragment: int = 0) -> bytes:
    udp = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, fragment, 64, 17, 0, source, b"\xff" * 4) + udp


def delivered(payload: bytes, index: int = 7) -> bytes:
    """Return the kernel's message for a packet that a rule has logged."""

    def part(kind: int, value: bytes) -> bytes:
        return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((4 + len(value) + 3) & ~3, b"\0")

    body = bytes(4) + part(4, struct.pack(">I", index)) + part(9, payload)
    return struct.pack("=IHHII", 16 + len(body), 4 << 8, 0, 0, 0) + body


def test_questions_are_found_in_what_the_kernel_delivers() -> None:
    whole = delivered(packet(b"abc"), 7) + delivered(packet(b"defg", OWN), 8)
    assert frames.heard(whole) == [frames.Heard(7, bytes(4), b"abc"), frames.Heard(8, OWN, b"defg")]


@pytest.mark.parametrize(
    "raw",
    [
        packet(b"abc", sport=67),
        packet(b"abc", dport=68),
        packet(b"abc", fragment=0x2000),
        packet(b"abc", fragment=1),
        packet(b"abc")[:-1],
        packet(b"abc")[:19],
        b"\x65" + packet(b"abc")[1:],
        b"\x44" + packet(b"abc")[1:],
        packet(b"abc")[:24] + b"\0\7" + packet(b"abc")[26:],
        packet(b"abc")[:24] + b"\0\xff" + packet(b"abc")[26:],
        packet(b"abc")[:9] + b"\6" + packet(b"abc")[10:],
    ],
)
def test_what_is_no_whole_datagram_from_a_client_is_none(raw: bytes) -> None:
    assert frames.heard(delivered(raw)) == []


def test_a_frame_is_one_that_any_machine_takes() -> None:
    raw = frames.frame(b"hello", MAC, ROUTER, OWN)
    assert raw[:14] == MAC + bytes.fromhex(PORT_MAC.replace(":", "")) + b"\x08\0"
    assert checksum(raw[14:34]) == 0
    assert checksum(ROUTER + OWN + b"\0\x11" + raw[38:40] + raw[34:]) == 0
    assert frames.frame(b"hello", MAC, ROUTER, frames.ANYBODY)[:6] == b"\xff" * 6


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Sent:
    """A fake of the socket that sends frames."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []

    def sendto(self, raw: bytes, address: tuple[str, int]) -> None:
        self.frames.append((address[0], raw))

    def close(self) -> None:
        pass


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], list[tuple[str, bytes]]]:
    """Return a function that gives a message to a handler with two VPCs' leases of one address, and returns the sent frames."""
    names = {7: LEASE.ifname, 8: "v-0013890000001", 9: "vrf5000", 10: "vrf5001", 11: "v-stranger"}
    monkeypatch.setattr(handler.Dhcp, "_name", lambda _self, index: names[index])
    second = msgspec.structs.replace(LEASE, vni=5001, ifname=names[8], vrf="vrf5001", mtu=1400)

    def serve(delivery: bytes) -> list[tuple[str, bytes]]:
        async def run() -> list[tuple[str, bytes]]:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            sent = Sent()
            found = handler.Dhcp(tmp_path)
            await found.put(DhcpEar(), (ours, sent))  # type: ignore[arg-type]
            for lease in (LEASE, second):
                await found.put(lease, ())
            theirs.send(delivery)
            while not sent.frames:
                await asyncio.sleep(0)
                if not pending(ours):
                    break
            await found.delete(DhcpEar())
            theirs.close()
            return sent.frames

        return asyncio.run(run())

    return serve


def pending(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def mtu_in(raw: bytes) -> int:
    return int(struct.unpack(">H", raw[raw.index(bytes([Code.MTU, 2])) + 2 :][:2])[0])


@pytest.mark.parametrize(
    ("index", "source", "port", "mtu"),
    [
        (7, bytes(4), LEASE.ifname, 1450),
        (8, bytes(4), "v-0013890000001", 1400),
        (9, OWN, LEASE.ifname, 1450),
        (10, OWN, "v-0013890000001", 1400),
    ],
)
def test_the_device_says_who_asks_and_the_answer_leaves_by_that_port(
    serving: Callable[[bytes], list[tuple[str, bytes]]], index: int, source: bytes, port: str, mtu: int
) -> None:
    raw = STATES["RENEWING"] if source != bytes(4) else STATES["INIT-REBOOT"]
    ((where, frame),) = serving(delivered(packet(raw, source), index))
    assert (where, mtu_in(frame)) == (port, mtu)
    assert frame[:6] == MAC


@pytest.mark.parametrize(("index", "source"), [(11, bytes(4)), (9, OTHER), (7, OWN), (9, bytes(4))])
def test_nobody_else_is_answered(serving: Callable[[bytes], list[tuple[str, bytes]]], index: int, source: bytes) -> None:
    assert serving(delivered(packet(STATES["INIT-REBOOT"], source), index)) == []


def test_who_cannot_take_unicast_is_answered_by_broadcast(serving: Callable[[bytes], list[tuple[str, bytes]]]) -> None:
    ((_, frame),) = serving(delivered(packet(message(Kind.DISCOVER, flags=0x8000))))
    assert (frame[:6], frame[30:34]) == (b"\xff" * 6, frames.ANYBODY)
