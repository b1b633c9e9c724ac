"""Probes: packets of known verdicts, sent without a pause while something changes. No verdict may ever be wrong."""

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
_COUNT = struct.Struct("!IIHH")  # a number, and complements of it and of the source port: all packets share one checksum
_ALL_ONES = 0xFFFFFFFF
_TAIL = slice(-_SIGN_BYTES - _COUNT.size, -_COUNT.size)
_MOST_CONNECTIONS = Path("/proc/sys/net/netfilter/nf_conntrack_max")  # probes open more connections than a VPC's share
_ROOM = 1 << 20  # connections
_sports = itertools.cycle(range(1024, 65536))  # shared by all probes, so that none continues an earlier one's connection


@cache
def _make_room() -> None:
    """Enlarge connection tables until the tests end: probes' connections outlive their test, and count against the next one."""
    atexit.register(_MOST_CONNECTIONS.write_text, _MOST_CONNECTIONS.read_text())
    _MOST_CONNECTIONS.write_text(str(_ROOM))


class End(msgspec.Struct, frozen=True):
    """An instance as a probe sees it; its port may not exist yet, or may be gone."""

    netns: str
    mac: str
    addresses: dict[int, str]  # by IP version


def end_of(world: World, name: str) -> End:
    """Return the end for an instance, named `vpc/name`."""
    eni = world.eni(name)
    return End(world.instance(name).id, eni.mac, {4: eni.address, 6: eni.ipv6_address})


class Probe(msgspec.Struct):
    """A stream of UDP packets, each of which opens a connection. `permitted`: all of them must pass, otherwise none."""

    source: End
    target: End
    port: int
    permitted: bool
    version: int = 4
    sent: int = 0
    arrived: set[int] = msgspec.field(default_factory=set)
    sign: bytes = msgspec.field(default_factory=lambda: os.urandom(_SIGN_BYTES))
    size: int = 0  # of a frame, in bytes
    _parts: tuple[bytes, bytes] = (b"", b"")  # the frame before its source port, and from after it to its count

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
        """Return the frame of the next packet."""
        sport = next(_sports)
        counts = _COUNT.pack(self.sent, self.sent ^ _ALL_ONES, sport ^ _ALL_ONES >> 16, 0)
        return self._parts[0] + sport.to_bytes(2, "big") + self._parts[1] + counts

    @property
    def wrong(self) -> int:
        """Return how many packets met the wrong verdict."""
        return self.sent - len(self.arrived) if self.permitted else len(self.arrived)


class Prober:
    """A thread that sends one packet of each probe in turn until stopped, and listens on all devices of both ends."""

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
                except OSError:  # the port does not exist, or is down
                    self._on_failure(probe.source)
                else:
                    probe.sent += 1
            self._hear()
            time.sleep(max(0.0, due - time.monotonic()))

    def _hear(self) -> None:
        for place, listener in self._sockets.items():
            with suppress(OSError):  # EAGAIN: nothing more to read; ENETDOWN: a device is gone
                while True:
                    frame, (_, _, kind, *_) = listener.recvfrom(65535)
                    if kind != socket.PACKET_OUTGOING:
                        self._count(place, frame)

    def _count(self, place: str, frame: bytes) -> None:
        probe = self._by_sign.get(frame[_TAIL])
        if probe is not None and len(frame) == probe.size:  # a longer frame quotes the probe: the instance has no such port
            assert probe.target.netns == place
            probe.arrived.add(_COUNT.unpack(frame[-_COUNT.size :])[0])

    def passes(self) -> bool:
        """Wait until a packet of each permitted probe that was sent after this call has arrived."""
        before = {probe.sign: probe.sent for probe in self.probes}
        permitted = [probe for probe in self.probes if probe.permitted]

        def newer() -> bool:
            return all(max(probe.arrived, default=-1) >= before[probe.sign] for probe in permitted)

        return wait_for(newer, "a packet of each permitted probe")

    def goes_round(self) -> None:
        """Wait until each probe has sent a packet that it began after this call."""
        before = [probe.sent for probe in self.probes]
        wait_for(lambda: all(probe.sent > sent + 1 for probe, sent in zip(self.probes, before, strict=True)), "the probes")

    def stop(self) -> None:
        """Stop sending, and count the packets still under way."""
        self._stopping = True
        self._thread.join()
        self._hear()
        for opened in self._sockets.values():
            opened.close()

    def wrong(self) -> dict[str, int]:
        """Return the number of wrong verdicts by probe."""
        return {str(probe): probe.wrong for probe in self.probes if probe.wrong}

    def leaked(self) -> dict[str, int]:
        """Return how many forbidden packets have arrived, by probe."""
        return {str(probe): probe.wrong for probe in self.probes if probe.wrong and not probe.permitted}


@contextmanager
def probing(probes: Sequence[Probe], interval_s: float) -> Iterator[Prober]:
    """Send probes during the block: start before it, and stop once packets sent after its end have passed."""
    prober = Prober(probes, interval_s)
    try:
        prober.passes()
        yield prober
        prober.passes()
    finally:
        prober.stop()


def raise_device(end: End) -> None:
    """Bring an instance's device up with its MAC, if it exists, before anything else does."""
    fd = netns.find(end.netns)
    try:
        with netns.inside(fd), IPRoute() as ipr:
            for index in ipr.link_lookup(ifname="eth0"):
                with suppress(NetlinkError):
                    ipr.link("set", index=index, state="up", address=end.mac)
    finally:
        os.close(fd)


def _packet_socket(place: str) -> socket.socket:
    """Return a packet socket that sends through, and receives from, all present and future devices of the namespace."""
    fd = netns.find(place)
    try:
        with netns.inside(fd):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    finally:
        os.close(fd)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 23)
    return opened
