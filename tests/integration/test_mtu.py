"""Hosts whose underlays have different or changed MTUs: senders are told, and connections survive."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from netorch.control.actions.enis import attach_network_interface, create_network_interface
from netorch.control.actions.moves import move_instance
from netorch.diagnose.layers import probe_layers
from netorch.diagnose.trace import trace
from netorch.drivers import netns
from netorch.drivers.probe.echo import Probe, ask, mtu_of
from netorch.model.vpc import Subnet
from netorch.store import open_store
from netorch.trace.way import Place
from tests.rig.packets import PATIENCE_S
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

CLOUD = """
vpcs:
- name: acme
  cidrs: [10.81.0.0/16]
  ipv6_cidrs: ['fd00:81:0:100::/56']
  security_groups:
  - name: open
    ingress: [{protocol: all, source: 0.0.0.0/0}, {protocol: all, source: '::/0'}]
  - name: no-icmp  # what the sender's own router says is not asked of the groups
    ingress: [{protocol: tcp, source: 0.0.0.0/0}, {protocol: udp, source: 0.0.0.0/0},
              {protocol: tcp, source: '::/0'}, {protocol: udp, source: '::/0'}]
  subnets: [{name: a, cidr: 10.81.1.0/24, ipv6_cidr: 'fd00:81:0:100::/64'}, {name: b, cidr: 10.81.2.0/24}]
  instances:
  - {name: large, subnet: a, host: hv1, address: 10.81.1.11, ipv6_address: 'fd00:81:0:100::11', security_groups: [no-icmp]}
  - {name: small, subnet: a, host: hv2, address: 10.81.1.12, ipv6_address: 'fd00:81:0:100::12', security_groups: [open]}
  - {name: mover, subnet: a, host: hv3, address: 10.81.1.13, ipv6_address: 'fd00:81:0:100::13', security_groups: [open]}
  - {name: other, subnet: b, host: hv2, address: 10.81.2.12, security_groups: [open]}
  - {name: box, subnet: a, host: hv2, address: 10.81.1.14, attachment: existing, netns: mtu-box, security_groups: [open]}
"""
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
DISCOVER, PATH_MTU = {4: 10, 6: 23}, {4: 14, 6: 24}  # IP_MTU_DISCOVER and IP_MTU, by IP version; linux/in.h, linux/in6.h
DONT, WANT, DO = 0, 1, 2  # IP_PMTUDISC_*
LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
CHUNK = 200_000


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[World]:
    """hv1 and hv3 with an MTU of 9,000 bytes for instances, hv2 with 1,500."""
    box = netns.make("mtu-box")
    world = World(tmp_path, mtu=9050)
    try:
        set_underlay("hv2", 1550)
        world.start_agents()
        world.apply(CLOUD)
        world.settle()
        yield world
    finally:
        world.close()
        netns.remove("mtu-box")
        os.close(box)


def set_mtu(name: str, ifname: str, mtu: int) -> None:
    """Set the MTU of a device in a namespace."""
    fd = netns.find(name)
    with netns.inside(fd), IPRoute() as ipr:
        ipr.link("set", index=ipr.link_lookup(ifname=ifname)[0], mtu=mtu)
    os.close(fd)


def set_underlay(host: str, mtu: int) -> None:
    """Set the MTU of both ends of a host's cable."""
    set_mtu("spine", f"to-{host}", mtu)
    set_mtu(host, "eth0", mtu)


def home(world: World, name: str) -> str:
    """Return an instance's namespace."""
    instance = world.instance(f"acme/{name}")
    return instance.netns or instance.id


def address(world: World, name: str, version: int) -> str:
    """Return an instance's address."""
    eni = world.eni(f"acme/{name}")
    return eni.address if version == 4 else eni.ipv6_address


def opened(world: World, name: str, version: int, kind: socket.SocketKind, *, bind: bool = True) -> socket.socket:
    """Return a socket in an instance, bound to its address or to none."""
    fd = netns.find(home(world, name))
    with netns.inside(fd):
        found = socket.socket(FAMILIES[version], kind)
    os.close(fd)
    found.settimeout(PATIENCE_S)
    if bind:
        found.bind((address(world, name, version), 0))
    return found


def divided(sender: socket.socket, receiver: socket.socket) -> str:
    """Return the source of a large datagram if one arrives, in fragments."""
    sender.sendto(bytes(4000), receiver.getsockname()[:2])
    try:
        return str(receiver.recvfrom(9000)[1][0])
    except TimeoutError:
        return ""


def ends(world: World, name: str) -> tuple[int, int]:
    """Return the MTU of an instance's device and of its port."""
    host = world.mapping(f"acme/{name}").host
    return mtu_of(home(world, name), "eth0"), mtu_of(world.hosts[host].overlay, world.port(f"acme/{name}"))


class Stream:
    """A TCP connection between two instances, whose receiver counts bytes in a thread."""

    def __init__(self, world: World, source: str, target: str, version: int) -> None:
        listener = opened(world, target, version, socket.SOCK_STREAM)
        listener.listen()
        self._sender = opened(world, source, version, socket.SOCK_STREAM)
        self._sender.connect(listener.getsockname()[:2])
        self._receiver, _ = listener.accept()
        listener.close()
        self.sent = self.received = 0
        self._thread = threading.Thread(target=self._receive, name="receiver", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while data := self._receiver.recv(1 << 20):
            self.received += len(data)

    def carries(self, what: str) -> None:
        """Send a chunk and wait until all of it has arrived."""
        self._sender.sendall(bytes(CHUNK))
        self.sent += CHUNK
        wait_for(lambda: self.received == self.sent, f"TCP {what}", 4 * PATIENCE_S)

    def close(self) -> None:
        """Close both ends."""
        self._sender.close()
        with suppress(OSError):  # the stream may have ended already
            self._receiver.shutdown(socket.SHUT_RDWR)  # wakes the thread; a closed descriptor does not
        self._thread.join(PATIENCE_S)
        self._receiver.close()


def learns(sender: socket.socket, version: int, mtu: int) -> bool:
    """Return whether a sender of large unfragmentable datagrams has learned this MTU."""
    with suppress(OSError):
        sender.send(bytes(4000))
    return sender.getsockopt(LEVEL[version], PATH_MTU[version]) == mtu


@pytest.mark.parametrize("version", [4, 6])
def test_a_sender_is_told_of_the_smaller_host_and_what_may_be_divided_arrives(mixed: World, version: int) -> None:
    with (
        opened(mixed, "small", version, socket.SOCK_DGRAM) as receiver,
        opened(mixed, "large", version, socket.SOCK_DGRAM) as sender,
    ):
        sender.connect(receiver.getsockname()[:2])
        if version == 4:  # without DF the router itself fragments them
            sender.setsockopt(LEVEL[version], DISCOVER[version], DONT)
            sender.send(b"r" * 4000)
            assert receiver.recv(9000) == b"r" * 4000
        sender.setsockopt(LEVEL[version], DISCOVER[version], DO)
        wait_for(lambda: learns(sender, version, 1500), "the sender to be told 1500")
        with pytest.raises(OSError, match="Message too long"):
            sender.send(bytes(4000))
        sender.setsockopt(LEVEL[version], DISCOVER[version], WANT)  # the sender fragments packets that are too large
        sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # clears the last error
        sender.send(b"s" * 4000)
        assert receiver.recv(9000) == b"s" * 4000
        receiver.sendto(b"b" * 4000, sender.getsockname()[:2])
        assert sender.recv(9000) == b"b" * 4000
    whole = Probe(
        netns=home(mixed, "large"), destination=address(mixed, "mover", version), payload_bytes=8900, dont_fragment=True
    )
    assert ask([whole], 1.0, 5)[0].ok, "between the large hosts nothing changes"
    assert {count for host in mixed.hosts for count in mixed.counters(host).values()} == {0}


def test_who_binds_no_address_learns_too_by_whichever_interface_it_sends(mixed: World) -> None:
    records = mixed.vpc("acme")
    subnet = next(found.record.id for found in records.of(Subnet).values() if found.record.name == "b")
    ways = [("small", version, address(mixed, "large", version)) for version in (4, 6)]  # through its only interface so far
    second = create_network_interface(mixed.store, mixed.caller, subnet)
    attach_network_interface(mixed.store, mixed.caller, second.id, mixed.instance("acme/large").id)
    mixed.wait_attached()
    for target, version, own in [*ways, ("other", 4, second.address)]:
        with (
            opened(mixed, target, version, socket.SOCK_DGRAM) as receiver,
            opened(mixed, "large", version, socket.SOCK_DGRAM, bind=False) as sender,
        ):
            receiver.settimeout(0.05)
            source = wait_for(lambda: divided(sender, receiver), f"{target} to get what is divided (IPv{version})")
            assert source == own


def test_ping_and_trace_name_what_fits_between_two_hosts(mixed: World) -> None:
    inventory = mixed.inventory()
    for source, target, mtu in (("large", "small", 1500), ("small", "mover", 1500), ("large", "mover", 9000)):
        names = f"acme/{source}", f"acme/{target}"
        layers = probe_layers(inventory, mixed.caller, *names, version=4, count=1, timeout_s=PATIENCE_S)
        assert [layer.ok for layer in layers] == [True] * 4
        assert f"an MTU of {mtu} inside" in layers[1].text
        with closing(open_store(str(mixed.store_path))) as store:
            found = trace(store, inventory, mixed.caller, *names, "icmp", timeout_s=PATIENCE_S)
        for walked in (found.model, found.kernel):
            assert walked is not None
            said = next(hop.said for hop in walked.there.hops if hop.place is Place.ROUTE)
            assert said.endswith("mtu lock 1500") == ((source, mtu) == ("large", 1500))


def test_connections_survive_a_move_to_a_smaller_host_and_back(mixed: World) -> None:
    streams = [Stream(mixed, *ways, version) for ways in (("large", "mover"), ("mover", "large")) for version in (4, 6)]
    try:
        for stream in streams:
            stream.carries("before the move")
        assert ends(mixed, "mover") == (9000, 9000)
        for host, mtu in (("hv2", 1500), ("hv3", 9000)):
            move_instance(mixed.store, mixed.caller, mixed.instance("acme/mover").id, host)
            for stream in streams:
                stream.carries(f"while it moves to {host}")
            mixed.wait_attached()
            assert ends(mixed, "mover") == (mtu, mtu)
            for stream in streams:
                stream.carries(f"on {host}")
    finally:
        for stream in streams:
            stream.close()


def test_both_ends_of_every_port_follow_the_underlay_down_and_up(mixed: World) -> None:
    streams = [Stream(mixed, "small", "large", 4), Stream(mixed, "large", "box", 4)]
    try:
        for down in (1450, 1400):
            set_underlay("hv2", down)
            for name in ("small", "box"):
                wait_for(lambda: ends(mixed, name) == (down - 50, down - 50), f"{name} at {down - 50}")  # noqa: B023
            for stream in streams:
                stream.carries(f"at {down}")
        sender = opened(mixed, "large", 6, socket.SOCK_DGRAM)
        sender.connect((address(mixed, "small", 6), 9))
        sender.setsockopt(LEVEL[6], DISCOVER[6], DO)
        wait_for(lambda: learns(sender, 6, 1350), "the sender to be told 1350")
        sender.close()
        set_mtu(home(mixed, "small"), "eth0", 1300)  # set by the instance itself
        set_underlay("hv2", 9050)
        wait_for(lambda: ends(mixed, "box") == (9000, 9000), "the box at 9000")
        wait_for(lambda: ends(mixed, "small") == (1300, 9000), "the other's choice to stand")
        for stream in streams:
            stream.carries("with more")
    finally:
        for stream in streams:
            stream.close()
