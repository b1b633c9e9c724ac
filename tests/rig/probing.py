"""Probes: packets of known verdicts, sent without a pause while something changes; none of the verdicts may ever be wrong."""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netorch.drivers import netns
from tests.rig.crafted import framed
from tests.rig.packets import udp
from tests.rig.world import World, wait_for

_ETH_P_ALL = 0x0003  # linux/if_ether.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_SIGN_BYTES = 8
_COUNT = struct.Struct("!IIHH")  # a number, and complements of it and of the source port: one checksum serves all packets
_ALL_ONES = 0xFFFFFFFF
_TAIL = slice(-_SIGN_BYTES - _COUNT.size, -_COUNT.size)
_MOST_CONNECTIONS = Path("/proc/sys/net/netfilter/nf_conntrack_max")  # probes begin more than a VPC's part of it
_ROOM = 1 << 20  # connections
_sports = itertools.cycle(range(1024, 65536))  # of all probes: none takes up where an earlier one has left a connection


@cache
def _make_room() -> None:
    """Enlarge connection tables until the tests end: what probes began lives on for a while, and counts against the next test."""
    atexit.register(_MOST_CONNECTIONS.write_text, _MOST_CONNECTIONS.read_text())
    _MOST_CONNECTIONS.write_text(str(_ROOM))


class End(msgspec.Struct, frozen=True):
    """An instance as a probe knows it: it may have no port yet, or none any more."""

    netns: str
    mac: str
    addresses: dict[int, str]  # by IP version


def end_of(world: World, name: str) -> End:
    """Return an instance by `vpc/name` as a probe knows it."""
    eni = world.eni(name)
    return End(world.instance(name).id, eni.mac, {4: eni.address, 6: eni.ipv6_address})


class Probe(msgspec.Struct):
    """A stream of UDP packets, each of which begins a connection. `permitted` says whether all of them are to pass, or none."""

    source: End
    target: End
    port: int
    permitted: bool
    version: int = 4
    sent: int = 0
    arrived: set[int] = msgspec.field(default_factory=set)
    sign: bytes = msgspec.field(default_factory=lambda: os.urandom(_SIGN_BYTES))
    size: int = 0  # of a frame, in bytes
    _parts: tuple[bytes, bytes] = (b"", b"")  # a frame before its source port, and from there to its count

    def __post_init__(self) -> None:
        addresses = self.source.addresses[self.version], self.target.addresses[self.version]
        packet = udp(*addresses, self.sign + _COUNT.pack(0, _ALL_ONES, _ALL_ONES >> 16, 0), sport=0, dport=self.port)
        frame = framed(self.source.mac, packet)
        self.size = len(frame)
        at = 14 + (20 if self.version == 4 else 40)
        self._parts = frame[:at], frame[at + 2 : -_COUNT.size]

    def __str__(self) -> str:
        return f"{self.source.addresses[self.version]} to {self.target.addresses[self.version]} port {self.port}"

    def frame(self) -> bytes:
        """Return the next packet as its sender puts it on the wire."""
        sport = next(_sports)
        counts = _COUNT.pack(self.sent, self.sent ^ _ALL_ONES, sport ^ _ALL_ONES >> 16, 0)
        return self._parts[0] + sport.to_bytes(2, "big") + self._parts[1] + counts

    @property
    def wrong(self) -> int:
        """Return how many packets met another verdict than they should."""
        return self.sent - len(self.arrived) if self.permitted else len(self.arrived)


class Prober:
    """Sends one packet of each probe in turn, in a thread, until told to stop; hears every device of the targets' namespaces."""

    def __init__(self, probes: Sequence[Probe], interval_s: float, on_failure: Callable[[End], None] = lambda end: None) -> None:
        self.probes = probes
        self._on_failure = on_failure
        self._by_sign = {probe.sign: probe for probe in probes}
        self._interval_s = interval_s
        self._stopping = False
        places = {end.netns for probe in probes for end in (probe.source, probe.target)}
        self._sockets = {place: _packet_socket(place) for place in places}
        _make_room()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            due = time.monotonic() + self._interval_s
            for probe in self.probes:
                try:
                    self._sockets[probe.source.netns].sendto(probe.frame(), ("eth0", 0))
                except OSError:  # there is no port, or it is down
                    self._on_failure(probe.source)
                else:
                    probe.sent += 1
            self._hear()
            time.sleep(max(0.0, due - time.monotonic()))

    def _hear(self) -> None:
        for place, listener in self._sockets.items():
            with suppress(OSError):  # EAGAIN: that was all; ENETDOWN: a device is gone
                while True:
                    frame, (_, _, kind, *_) = listener.recvfrom(65535)
                    if kind != socket.PACKET_OUTGOING:
                        self._count(place, frame)

    def _count(self, place: str, frame: bytes) -> None:
        probe = self._by_sign.get(frame[_TAIL])
        if probe is not None and len(frame) == probe.size:  # what is longer quotes it: an instance has no such port
            assert probe.target.netns == place
            probe.arrived.add(_COUNT.unpack(frame[-_COUNT.size :])[0])

    def passes(self) -> bool:
        """Return whether, of each permitted probe, a packet has arrived that was sent after this call."""
        before = {probe.sign: probe.sent for probe in self.probes}
        permitted = [probe for probe in self.probes if probe.permitted]

        def newer() -> bool:
            return all(max(probe.arrived, default=-1) >= before[probe.sign] for probe in permitted)

        return wait_for(newer, "a packet of each permitted probe")

    def goes_round(self) -> None:
        """Wait until a packet of each probe has been sent that was not begun before this call."""
        before = [probe.sent for probe in self.probes]
        wait_for(lambda: all(probe.sent > sent + 1 for probe, sent in zip(self.probes, before, strict=True)), "the probes")

    def stop(self) -> None:
        """Stop sending, and count what is still under way."""
        self._stopping = True
        self._thread.join()
        self._hear()
        for opened in self._sockets.values():
            opened.close()

    def wrong(self) -> dict[str, int]:
        """Return the wrong verdicts by probe."""
        return {str(probe): probe.wrong for probe in self.probes if probe.wrong}

    def leaked(self) -> dict[str, int]:
        """Return how much of what is refused has arrived, by probe."""
        return {str(probe): probe.wrong for probe in self.probes if probe.wrong and not probe.permitted}


@contextmanager
def probing(probes: Sequence[Probe], interval_s: float) -> Iterator[Prober]:
    """Send probes during the block, from before it begins until something has passed after its end."""
    prober = Prober(probes, interval_s)
    try:
        prober.passes()
        yield prober
        prober.passes()
    finally:
        prober.stop()


def raise_device(end: End) -> None:
    """Bring an instance's device up before anybody else does, with its MAC, if it is there."""
    fd = netns.find(end.netns)
    try:
        with netns.inside(fd), IPRoute() as ipr:
            for index in ipr.link_lookup(ifname="eth0"):
                with suppress(NetlinkError):
                    ipr.link("set", index=index, state="up", address=end.mac)
    finally:
        os.close(fd)


def _packet_socket(place: str) -> socket.socket:
    """Return a socket that sends through, and hears, whatever devices the namespace has at the time."""
    fd = netns.find(place)
    try:
        with netns.inside(fd):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    finally:
        os.close(fd)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 23)
    return opened
