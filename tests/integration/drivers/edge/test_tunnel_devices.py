"""Tunnels of two VPCs with the same addresses to two sites with the same addresses, with SAs that the test itself installs.

No packet leaves the uplink in plain text, whatever happens to SAs, policies and devices, under pings in all directions.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.model.addr import packed
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import MAIN_TABLE, UNREACHABLE, UNREACHABLE_METRIC, Address, Neighbour, Route
from netorch.state.link import LOOPBACK, AdminUp, IncompleteLink, Inside, Settings, Uplink, VethPort, vrf_of
from netorch.state.names import tunnel_name
from netorch.state.netns import Namespace
from netorch.state.owner import netns_name, overlay_netns
from netorch.state.rooted import Xfrm
from netorch.state.sysctls import PORT_V4, device_sysctls, namespace_sysctls
from tests.contract.kernel.stands import by_key
from tests.rig.hosts import foreigner, host, host_objects
from tests.rig.namespaces import namespace
from tests.rig.packets import PATIENCE_S
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

NAME, INTERNET = "edge", "internet"
OVERLAY_NAME, OUTSIDE_NAME = overlay_netns(NAME), netns_name(NAME, OUTSIDE)
EDGE, INSTANCE_IP, FAR = "198.18.0.21", "10.0.1.5", "192.168.1.10"
ROUTER_MAC, MAC = "02:4e:54:ff:ff:01", "06:00:00:00:00:01"
TUNNEL_MTU = 1400
MARK = b"in plain text"
ETH_P_ALL, PACKET_OUTGOING, SO_RCVBUFFORCE = 0x0003, 4, 33


class Customer(msgspec.Struct, frozen=True):
    """One VPC with one instance on this host, and the VPC's site."""

    number: int

    @property
    def vni(self) -> int:
        return 4000 + 1000 * self.number

    @property
    def instance(self) -> str:
        return f"i-{self.vni:06x}00000000001"

    @property
    def port(self) -> str:
        return f"v-{self.vni:06x}0000001"

    @property
    def tunnel(self) -> Xfrm:
        ifname = tunnel_name(self.vni, f"vpn-{self.vni:06x}abcdef00001", 0)
        return Xfrm(vni=self.vni, ifname=ifname, if_id=self.number, mtu=TUNNEL_MTU, vrf=vrf_of(self.vni).ifname)

    @property
    def site(self) -> str:
        return f"site{self.number}"

    @property
    def address(self) -> str:
        """Return the public address of the site's device."""
        return f"100.64.{self.number}.2"

    def objects(self) -> Iterator[KernelObject]:
        vni, vrf, tunnel, port = self.vni, vrf_of(self.vni), self.tunnel, self.port
        inside = Inside(ifname="eth0", lladdr=MAC, addresses=(f"{INSTANCE_IP}/24",), gateways=("10.0.1.1",))
        yield vrf
        yield AdminUp(vni=vni, ifname=vrf.ifname)
        yield Address(vni=vni, ifname=vrf.ifname, address="10.0.1.1/32")
        yield Route(vni=vni, table=vrf.table, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
        yield VethPort(
            vni=vni,
            ifname=port,
            lladdr=ROUTER_MAC,
            mtu=1500,
            vrf=vrf.ifname,
            instance_netns=self.instance,
            make_netns=True,
            inside=inside,
        )
        yield from device_sysctls(PORT_V4, port, vni)
        yield Neighbour(vni=vni, ifname=port, dst=INSTANCE_IP, lladdr=MAC)
        yield Route(vni=vni, table=vrf.table, dst=f"{INSTANCE_IP}/32", ifname=port)
        yield tunnel
        yield Route(vni=vni, table=vrf.table, dst="192.168.0.0/16", ifname=tunnel.ifname)
        yield from (AdminUp(vni=vni, ifname=ifname) for ifname in (port, tunnel.ifname))


CUSTOMERS = (Customer(1), Customer(2))
ALL = by_key(
    *host_objects(),
    Namespace(label=OUTSIDE),
    *namespace_sysctls(OUTSIDE),
    AdminUp(netns=OUTSIDE, ifname=LOOPBACK),
    Uplink(ifname="up0"),
    Address(netns=OUTSIDE, ifname="up0", address=f"{EDGE}/24"),
    AdminUp(netns=OUTSIDE, ifname="up0"),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="0.0.0.0/0", ifname="up0", via="198.18.0.254"),
    *(obj for customer in CUSTOMERS for obj in customer.objects()),
)


class Wire:
    """Captures every frame of a device, and its direction."""

    def __init__(self, name: str, ifname: str) -> None:
        descriptor = netns.find(name)
        with netns.inside(descriptor):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        os.close(descriptor)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((ifname, ETH_P_ALL))
        self._socket.setblocking(False)
        self._frames: list[tuple[bool, bytes]] = []

    def frames(self) -> list[tuple[bool, bytes]]:
        try:
            while True:
                frame, address = self._socket.recvfrom(65535)
                self._frames.append((address[2] == PACKET_OUTGOING, frame))
        except BlockingIOError:
            return self._frames

    def plain(self) -> list[bytes]:
        """Return the frames that contain an address or payload of a VPC or site, whatever kind of frame they are.

        Four bytes of an address are also in some ciphertext, by chance; the payload, which is in every packet, is not.
        """
        addresses = (packed(INSTANCE_IP), packed(FAR))

        def tells(frame: bytes) -> bool:
            is_esp = (frame[12:14], frame[23:24]) == (b"\x08\x00", bytes((socket.IPPROTO_ESP,)))
            return MARK in frame or (not is_esp and any(address in frame for address in addresses))

        return [frame for _, frame in self.frames() if tells(frame)]

    def lost(self) -> int:
        """Return how many frames the socket lost. Source: packet(7), PACKET_STATISTICS."""
        return int(struct.unpack("II", self._socket.getsockopt(263, 6, 8))[1])

    def close(self) -> None:
        self._socket.close()


class Rig:
    """The edge, the internet and both sites at work."""

    def __init__(self, kernel: LinuxKernel, wire: Wire, uplink: Wire) -> None:
        self.kernel = kernel
        self.wire = wire  # the far end of the uplink: its frames have left the edge, or are about to arrive there
        self.uplink = uplink

    def restore(self) -> None:
        """Let an agent restore the wanted objects, and the test its SAs."""
        found = {key: obj for key, obj in self.kernel.dump().items() if key in ALL or isinstance(obj, IncompleteLink)}
        ops = diff(ALL, {key: obj for key, obj in found.items() if not isinstance(obj, Settings)})
        assert [str(failure.error) for failure in self.kernel.apply(ops)] == []
        for customer in CUSTOMERS:
            negotiate(customer)
        for customer in CUSTOMERS:
            wait_for(partial(answered, customer.instance, FAR, "-W", "1"), f"an answer from {customer.site}")

    def under_pings(self, what: Callable[[], None]) -> None:
        """Do something during pings in all directions, and wait for their end."""
        before = len(self.wire.frames())
        ways = [(customer.instance, FAR) for customer in CUSTOMERS]
        ways += [(customer.site, INSTANCE_IP) for customer in CUSTOMERS]
        pings = [subprocess.Popen(ping(*way, "-c", "60", "-i", "0.01", "-q"), stdout=subprocess.DEVNULL) for way in ways]
        try:
            wait_for(lambda: len(self.wire.frames()) >= before + 60, "pings on their way")
            what()
        finally:
            for process in pings:
                process.wait(timeout=120)


def ping(name: str, destination: str, *words: str) -> list[str]:
    source = ("-I", FAR) if destination == INSTANCE_IP else ()
    return ["ip", "netns", "exec", name, "ping", "-W", "1", "-p", MARK.hex(), *source, *words, destination]


def answered(name: str, destination: str, *words: str) -> bool:
    """Return whether an echo is answered; with `-W`, within that many seconds."""
    command = ping(name, destination, "-c", "1", "-W", f"{PATIENCE_S:g}", *words)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def negotiate(customer: Customer) -> None:
    """Install the SAs and policies that IKE would install at both ends of a tunnel."""
    ends = ((OUTSIDE_NAME, customer.tunnel.if_id, EDGE, customer.address), (customer.site, 7, customer.address, EDGE))
    for name, if_id, local, remote in ends:
        for source, destination in ((local, remote), (remote, local)):
            spi = 0x1000 * customer.number + (1 if source == EDGE else 2)
            key = f"0x{spi:040x}"
            same = f"src {source} dst {destination} proto esp spi {spi:#x}"
            foreigner(name, f"xfrm state deleteall src {source} dst {destination}")
            foreigner(name, f"xfrm state add {same} reqid 1 mode tunnel if_id {if_id} aead rfc4106(gcm(aes)) {key} 128")
        for direction, source, destination in (("out", local, remote), ("in", remote, local), ("fwd", remote, local)):
            template = f"tmpl src {source} dst {destination} proto esp reqid 1 mode tunnel"
            foreigner(name, f"xfrm policy update dir {direction} if_id {if_id} {template}")


def connect(customer: Customer) -> None:
    """Connect a site to the internet."""
    number, site = customer.number, customer.site
    foreigner(INTERNET, f"link add c{number} type veth peer name eth0 netns {site}")
    foreigner(INTERNET, f"address add 100.64.{number}.1/24 dev c{number}")
    foreigner(INTERNET, f"link set c{number} up")
    for command in (
        "link set lo up",
        "link set eth0 up",
        f"address add {customer.address}/24 dev eth0",
        f"route add default via 100.64.{number}.1",
        f"address add {FAR}/32 dev lo",
        "link add x0 type xfrm if_id 7",
        f"link set x0 mtu {TUNNEL_MTU} up",
        "route add 10.0.0.0/16 dev x0",
    ):
        foreigner(site, command)


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        for name in (INTERNET, *(customer.site for customer in CUSTOMERS)):
            stack.enter_context(namespace(name))
        kernel = stack.enter_context(host(NAME))
        for customer in CUSTOMERS:
            stack.callback(netns.remove, customer.instance)
            connect(customer)
        foreigner(f"u-{NAME}", f"link add up0 type veth peer name wire0 netns {INTERNET}")
        for command in ("link set lo up", "link set wire0 up", "address add 198.18.0.254/24 dev wire0"):
            foreigner(INTERNET, command)
        subprocess.run(["ip", "netns", "exec", INTERNET, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        assert [str(failure.error) for failure in kernel.apply(diff(ALL, {}))] == []
        wire, uplink = Wire(INTERNET, "wire0"), Wire(OUTSIDE_NAME, "up0")
        stack.callback(wire.close)
        stack.callback(uplink.close)
        found = Rig(kernel, wire, uplink)
        found.restore()
        yield found


def overlay(command: str) -> Callable[[], None]:
    """Return a function that runs a command for each tunnel's device, {dev}, of the VPC {vni}."""

    def do() -> None:
        for customer in CUSTOMERS:
            foreigner(OVERLAY_NAME, command.format(dev=customer.tunnel.ifname, vni=customer.vni))

    return do


def outside(*commands: str) -> Callable[[], None]:
    """Return a function that runs a command in the outside namespace."""

    def do() -> None:
        for command in commands:
            foreigner(OUTSIDE_NAME, command)

    return do


DISTURBANCES: dict[str, Callable[[], None]] = {
    "SAs flushed": outside("xfrm state flush"),
    "policies flushed": outside("xfrm policy flush"),
    "SAs and policies flushed": outside("xfrm state flush", "xfrm policy flush"),
    "policies and SAs flushed": outside("xfrm policy flush", "xfrm state flush"),
    "SAs out of the edge gone": outside(f"xfrm state deleteall src {EDGE}"),
    "SAs into the edge gone": outside(f"xfrm state deleteall dst {EDGE}"),
    "device down": overlay("link set {dev} down"),
    "device in no VRF": overlay("link set {dev} nomaster"),
    "device deleted": overlay("link del {dev}"),
    "device in another namespace": overlay(f"link set {{dev}} netns {INTERNET}"),
}


def test_each_vpc_passes_through_its_own_tunnel(rig: Rig) -> None:
    for customer in CUSTOMERS:
        (other,) = (each for each in CUSTOMERS if each != customer)
        assert answered(customer.instance, FAR)
        assert answered(customer.site, INSTANCE_IP)
        foreigner(other.site, f"address del {FAR}/32 dev lo")
        assert answered(customer.instance, FAR)
        assert not answered(other.instance, FAR, "-W", "1")
        foreigner(other.site, f"address add {FAR}/32 dev lo")
    assert rig.wire.plain() == []


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_nothing_leaves_in_plain_text(rig: Rig, disturbance: str) -> None:
    rig.under_pings(DISTURBANCES[disturbance])
    rig.restore()
    assert rig.wire.plain() == []
    assert [frame for leaves, frame in rig.uplink.frames() if leaves and frame in rig.uplink.plain()] == []
    assert (rig.wire.lost(), rig.uplink.lost()) == (0, 0)


def test_a_packet_larger_than_the_tunnel_is_told_of(rig: Rig) -> None:
    (customer, _) = CUSTOMERS
    assert answered(customer.instance, FAR, "-M", "do", "-s", str(TUNNEL_MTU - 28))
    assert told_mtu(customer) == TUNNEL_MTU
    assert rig.wire.plain() == []


def test_a_packet_larger_than_the_way_of_esp_is_told_of_too(rig: Rig) -> None:
    """The tunnel's device may have an MTU for which ESP has no room on the uplink."""
    (_, customer) = CUSTOMERS  # a customer for which no smaller MTU has been learned
    foreigner(OVERLAY_NAME, f"link set {customer.tunnel.ifname} mtu 1500")
    assert TUNNEL_MTU < told_mtu(customer) < 1500 - 50
    rig.restore()
    assert rig.wire.plain() == []


def told_mtu(customer: Customer) -> int:
    """Return the MTU that an instance is told when it sends an unfragmentable packet of 1,500 bytes."""
    words = ping(customer.instance, FAR, "-c", "1", "-M", "do", "-s", "1472")
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    found = re.search(r"mtu = (\d+)", said)
    assert found is not None, said
    return int(found[1])
