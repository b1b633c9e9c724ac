"""No blink: an instance sends without a pause from before its port exists until after the port is gone.

The instance lives in a namespace of its own, whose sender uses any device called eth0: a spoofed packet, an honest one, and
again. The honest packets show when the port was open.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from netorch.compiler.base import link_local
from netorch.drivers import netns
from tests.rig.crafted import advertise, framed
from tests.rig.packets import ETH_P_ARP, PacketListener, arp, ethernet, udp
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

MAC, OWN4, OWN6 = "06:00:00:00:44:05", "10.44.12.5", "fd00:44:0:100::5"
VICTIMS = {"acme/a": ("10.44.12.4", "fd00:44:0:100::4"), "acme/e": ("10.44.12.8", "fd00:44:0:100::8")}
CLOUD = """
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4'}
  - {name: e, host: hv2, address: 10.44.12.8, ipv6_address: 'fd00:44:0:100::8'}
"""
SQUATTER = """
  - name: squatter
    host: %s
    attachment: existing
    netns: squat
    address: 10.44.12.5
    ipv6_address: 'fd00:44:0:100::5'
    mac: '06:00:00:00:44:05'
"""


class Hammer:
    """Sends from one thread, without a pause, through any device with the name eth0 that the namespace has at the time."""

    def __init__(self, place: str) -> None:
        self._fd = netns.find(place)
        self._stopping = False
        self._frames = list(_frames())
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name="hammer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        netns._setns(self._fd)  # for the whole life of the thread
        for frame in itertools.cycle(self._frames):
            if self._stopping:
                return
            try:
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                    sender.sendto(frame, ("eth0", 0))
                    self.sent += 1
            except OSError:  # eth0 does not exist, or is down
                self._raise_device()
            time.sleep(0.0002)  # the agent shares this one processor

    def _raise_device(self) -> None:
        """Bring the device up before anything else does, as soon as it exists."""
        with suppress(OSError), IPRoute() as ipr:
            for index in ipr.link_lookup(ifname="eth0"):
                with suppress(Exception):
                    ipr.link("set", index=index, state="up", address=MAC)

    def stop(self) -> None:
        """Stop sending."""
        self._stopping = True
        self._thread.join()
        os.close(self._fd)


def _frames() -> Iterator[bytes]:
    for victim4, victim6 in VICTIMS.values():
        yield framed(MAC, udp(OWN4, victim4, b"honest-v4"))
        yield framed(MAC, udp("10.44.12.77", victim4, b"spoofed-v4"))
        yield framed("06:00:00:00:00:99", udp(OWN4, victim4, b"spoofed-mac"))
        yield framed(MAC, udp(OWN6, victim6, b"honest-v6"))
        yield framed(MAC, udp("fd00:44:0:100::77", victim6, b"spoofed-v6"))
        yield framed(MAC, advertise(link_local(MAC), "fd00:44:0:100::77", "06:00:00:00:00:99", "fe80::1"))
    yield ethernet("ff:ff:ff:ff:ff:ff", MAC, ETH_P_ARP, arp(1, MAC, "10.44.12.77", MAC, OWN4))


@pytest.fixture
def hammered(tmp_path: Path) -> Iterator[tuple[World, Hammer]]:
    """Two hosts with a victim each, and a namespace for an instance's port."""
    world = World(tmp_path, ("hv1", "hv2"))
    squat = netns.make("squat")
    hammer = Hammer("squat")
    try:
        world.start_agents()
        world.apply(CLOUD)
        yield world, hammer
    finally:
        hammer.stop()
        netns.remove("squat")
        os.close(squat)
        world.close()


class Ears:
    """Listen at all victims at once."""

    def __init__(self, world: World) -> None:
        self.listeners = [PacketListener(world.instance(name).id) for name in VICTIMS]

    def open(self) -> bool:
        """Return whether honest packets of both versions have reached all victims since `forget`."""
        heard = [listener.heard(b"honest-v4") and listener.heard(b"honest-v6") for listener in self.listeners]
        assert not any(listener.heard(b"spoofed") for listener in self.listeners)
        return all(heard)

    def forget(self) -> None:
        """Forget the packets so far; check that none is spoofed."""
        assert not [frame for listener in self.listeners for frame in listener.take() if b"spoofed" in frame]


def test_no_spoofed_packet_passes_whatever_happens_to_the_port(hammered: tuple[World, Hammer]) -> None:
    world, hammer = hammered
    listeners = Ears(world)
    try:
        for host in ("hv1", "hv2"):  # the second time the instance moves, while its sender keeps sending
            world.apply(CLOUD + SQUATTER % host)
            listeners.forget()
            wait_for(listeners.open, f"the port at {host} to be open")
        for _ in range(3):
            _delete_device("squat")
            listeners.forget()
            wait_for(listeners.open, "the port to come back after its instance has deleted it")
        _delete_port(world)
        listeners.forget()
        wait_for(listeners.open, "the port to come back after somebody has deleted it")
        before = sum(world.counters("hv2").values())
        world.stop_agent("hv2")
        listeners.forget()
        wait_for(listeners.open, "the port to be open without an agent")
        assert sum(world.counters("hv2").values()) > before
        world.start_agents("hv2")
        world.apply(CLOUD, wait=False)
        wait_for(lambda: not _has_device("squat"), "the port to be gone")
        listeners.forget()
        assert hammer.sent > 100
    finally:
        for listener in listeners.listeners:
            listener.close()


def _delete_device(place: str) -> None:
    fd = netns.find(place)
    with netns.inside(fd), IPRoute() as ipr:
        ipr.link("del", index=ipr.link_lookup(ifname="eth0")[0])
    os.close(fd)


def _delete_port(world: World) -> None:
    with world.hosts["hv2"].rtnl(overlay=True) as ipr:
        ipr.link("del", index=ipr.link_lookup(ifname=world.port("acme/squatter"))[0])


def _has_device(place: str) -> bool:
    fd = netns.find(place)
    try:
        with netns.inside(fd), IPRoute() as ipr:
            return bool(ipr.link_lookup(ifname="eth0"))
    finally:
        os.close(fd)
