"""DHCP at ports: a real client in a container, a virtual machine's frames, and clients that no other instance hears."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netorch.drivers import netns
from netorch.services.dhcp.message import COOKIE, FIXED, Code, Kind
from tests.rig.packets import ethernet, ip_packet, mac_bytes, send_frame
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

SCRIPT = """#!/bin/sh
echo "$1 $ip/$mask $router $dns $domain $ntpsrv $mtu $hostname $serverid $lease $staticroutes" >> %s
"""
ROUTER = "10.44.12.1"


def message(mac: str, kind: Kind, client: str = "0.0.0.0", **options: str) -> bytes:
    """Return a client's message."""
    fixed = FIXED.pack(
        1, 1, 6, 0, 77, 0, 0, socket.inet_aton(client), bytes(4), bytes(4), bytes(4), mac_bytes(mac), b"", b"", COOKIE
    )
    found = {int(Code.KIND): bytes([kind]), **{int(Code[name]): socket.inet_aton(text) for name, text in options.items()}}
    return fixed + b"".join(bytes([code, len(value)]) + value for code, value in found.items()) + b"\xff"


def discover(mac: str, source: str = "0.0.0.0", dport: int = 67) -> bytes:
    """Return a frame with a DHCPDISCOVER."""
    payload = message(mac, Kind.DISCOVER)
    udp = struct.pack(">HHHH", 68, dport, 8 + len(payload), 0) + payload
    return ethernet("ff:ff:ff:ff:ff:ff", mac, 0x0800, ip_packet(source, "255.255.255.255", 17, udp))


def told(frame: bytes) -> tuple[int, str]:
    """Return the type of the message in a frame, and the offered address."""
    raw = frame[42:]
    at = raw.index(COOKIE) + 4
    assert raw[at] == Code.KIND
    return raw[at + 2], socket.inet_ntoa(raw[16:20])


@contextmanager
def tapped(world: World, name: str) -> Iterator[int]:
    """Open a virtual machine's end of its tap."""
    fd = netns.find(world.hosts["hv1"].overlay)
    with netns.inside(fd):
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", world.port(name).encode(), 0x1002))
    os.close(fd)
    try:
        yield tap
    finally:
        os.close(tap)


def frames_from(tap: int, within_s: float = 5.0) -> Iterator[bytes]:
    """Yield the UDP frames that a virtual machine receives, until none comes for a while."""
    while select.select([tap], [], [], within_s)[0]:
        frame = os.read(tap, 2048)
        if frame[12:14] == b"\x08\0" and frame[23] == 17:
            yield frame


def test_a_real_client_gets_what_its_interface_has(served: World, tmp_path: Path) -> None:
    said, script = tmp_path / "said", tmp_path / "script"
    script.write_text(SCRIPT % said)
    script.chmod(0o755)
    client = ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", str(script)]
    wanted = ("mtu", "ntpsrv", "staticroutes", "hostname", "domain", "dns", "router", "subnet")
    client += [word for option in wanted for word in ("-O", option)]
    subprocess.run(["ip", "netns", "exec", "container", *client], check=True, timeout=30)
    *_, bound = said.read_text().splitlines()
    assert bound == (
        "bound 10.44.12.4/24 10.44.12.1 10.44.0.9 corp.example 10.44.0.8 1500 ip-10-44-12-4 10.44.12.1 3600 "
        "169.254.169.253/32 10.44.12.1 169.254.169.254/32 10.44.12.1 0.0.0.0/0 10.44.12.1"
    )


@pytest.mark.parametrize(
    ("name", "to", "client", "options", "answer"),
    [
        ("acme/box", ROUTER, "10.44.12.4", {}, Kind.ACK),  # renewing
        ("acme/box", "255.255.255.255", "10.44.12.4", {}, Kind.ACK),  # rebinding
        ("other/twin", ROUTER, "10.44.12.4", {}, Kind.ACK),
        ("acme/box", ROUTER, "10.44.12.6", {}, Kind.NAK),
        ("acme/box", "255.255.255.255", "0.0.0.0", {"ADDRESS": "10.44.12.5"}, Kind.NAK),
    ],
)
def test_a_lease_is_renewed(served: World, name: str, to: str, client: str, options: dict[str, str], answer: Kind) -> None:
    instance, mac = served.instance(name), served.eni(name).mac
    fd = netns.find(instance.netns or instance.id)
    with netns.inside(fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.bind(("", 68))
        sock.settimeout(10)
        sock.sendto(message(mac, Kind.REQUEST, client, **options), (to, 67))
        raw, (server, port) = sock.recvfrom(2048)
    os.close(fd)
    assert (server, port, raw[raw.index(COOKIE) + 6]) == (ROUTER, 67, answer)


def test_a_virtual_machine_is_answered_at_its_tap(served: World) -> None:
    with tapped(served, "acme/vm") as tap:
        os.write(tap, discover(served.eni("acme/vm").mac))
        assert told(next(frames_from(tap))) == (Kind.OFFER, "10.44.12.5")


def test_nobody_hears_of_anothers_questions_or_is_answered_in_anothers_name(served: World) -> None:
    """A rogue server would have to receive a request, and its answer would have to arrive."""
    rogue, vm, before = served.eni("acme/rogue"), served.eni("acme/vm"), served.counters("hv1")["spoofed"]
    inside = served.instance("acme/rogue").id
    with tapped(served, "acme/vm") as tap:
        list(frames_from(tap, 0.1))
        offer = discover(rogue.mac, source=rogue.address, dport=68)
        send_frame(inside, "eth0", offer)
        send_frame(inside, "eth0", offer.replace(mac_bytes("ff:ff:ff:ff:ff:ff"), mac_bytes(vm.mac), 1))
        send_frame(inside, "eth0", discover(vm.mac))  # with the other's MAC
        wait_for(lambda: served.counters("hv1")["spoofed"] > before, "the forgery to be counted")
        assert list(frames_from(tap, 0.3)) == []


def test_a_flood_of_questions_is_answered_at_a_bounded_rate_and_others_are_answered(served: World) -> None:
    with tapped(served, "acme/vm") as tap:
        list(frames_from(tap, 0.1))
        began = time.monotonic()
        for _ in range(2000):
            os.write(tap, discover(served.eni("acme/vm").mac))
        flooded = time.monotonic() - began
        answers = len(list(frames_from(tap, 1.0)))
        assert 1 <= answers <= 8 + 8 * (flooded + 1)
    test_a_lease_is_renewed(served, "acme/box", ROUTER, "10.44.12.4", {}, Kind.ACK)


def test_the_daemon_killed_is_there_again(served: World) -> None:
    found = subprocess.run(["pgrep", "-f", "netorch.services underlay"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["kill", "-9", *found.split()], check=True)

    def renewed() -> bool:
        try:
            test_a_lease_is_renewed(served, "acme/box", ROUTER, "10.44.12.4", {}, Kind.ACK)
        except TimeoutError:
            return False
        return True

    wait_for(renewed, "an answer", 60)
