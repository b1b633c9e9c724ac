"""IPv6 through internet gateways: ranges of the pair's pools pass untranslated, other ranges do not pass."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from netorch.compiler.base import router_mac
from netorch.control.actions.outside.ranges import Provided
from netorch.control.actions.vpcs import create_vpc
from netorch.model.routing.next_hop import gateway_mac
from tests.integration.edges.test_internet_gateway import dropped
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER6, Outskirts, source_seen, udp_socket
from tests.rig.packets import ETH_P_IPV6, PacketListener, ethernet, send_vxlan, udp, vxlan
from tests.rig.seats import gateway_of
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("arrival")]

OWN = "2001:db8:f000::/56"  # in no pool
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO, IPV6_MTU = 23, 2, 24  # linux/in6.h
PUBLIC = ("a/one", "a/two", "b/one")


def _vpc(name: str, cidr: str, instances: str) -> str:
    """Return the declaration of a VPC whose first subnet has the first /64 of its IPv6 range."""
    return f"""
- name: {name}
  cidrs: [10.0.0.0/16]
  ipv6_cidrs: ['{cidr}']
  subnets: [{{name: app, cidr: 10.0.1.0/24, ipv6_cidr: '{cidr.replace("/56", "/64")}'}}]
  security_groups: [{{name: open, ingress: [{{protocol: all, source: '::/0'}}]}}]
  instances: [{instances}]"""


def _instance(name: str, host: str, last: int) -> str:
    return f"{{name: {name}, host: {host}, address: 10.0.1.{last}, security_groups: [open]}}"


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with ranges of the pool, and one with a range in no pool."""
    found = Outskirts(tmp_path_factory.mktemp("outskirts6"))
    world = found.world
    try:
        world.start_agents()
        a, b = (
            create_vpc(world.store, world.caller, name=name, cidrs=["10.0.0.0/16"], provided=Provided()).ipv6_cidrs[0]
            for name in ("a", "b")
        )
        two = f"{_instance('one', 'hv1', 5)}, {_instance('two', 'hv2', 6)}"
        world.apply(f"vpcs:{_vpc('a', a, two)}{_vpc('b', b, _instance('one', 'hv1', 5))}{_vpc('own', OWN, two)}")
        for name in ("a", "b", "own"):
            found.seat(name)
        world.settle()
        yield found
    finally:
        found.close()


def address(outskirts: Outskirts, name: str) -> str:
    return outskirts.world.eni(name).ipv6_address


def test_instances_reach_the_internet_and_are_reached_by_their_own_addresses(outskirts: Outskirts) -> None:
    for name in PUBLIC:
        own = address(outskirts, name)
        assert outskirts.ping(name, SERVER6).ok
        assert outskirts.ping(INTERNET, own).ok
        assert source_seen(INTERNET, outskirts.place(name), SERVER6) == own
        assert source_seen(outskirts.place(name), INTERNET, own) == SERVER6


@pytest.mark.parametrize(("source", "target"), [("a/one", "b/one"), ("b/one", "a/two"), ("a/one", "a/two")])
def test_vpcs_reach_each_other_as_the_internet_does(outskirts: Outskirts, source: str, target: str) -> None:
    assert outskirts.ping(source, address(outskirts, target)).ok
    assert source_seen(outskirts.place(target), outskirts.place(source), address(outskirts, target)) == address(outskirts, source)


def test_errors_come_back_to_who_caused_them(outskirts: Outskirts) -> None:
    ways = [("a/one", SERVER6), (INTERNET, address(outskirts, "a/one")), ("a/one", address(outskirts, "b/one"))]
    for source, destination in ways:
        with udp_socket(outskirts.place(source), ("::", 0)) as sock:
            sock.connect((destination, 9999))
            sock.send(b"nobody waits for this")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(16)


def learnt_mtu(place: str, destination: str, size: int) -> int:
    """Send unfragmentable datagrams; return the path MTU that the sender learns."""
    with udp_socket(place, ("::", 0)) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        sock.connect((destination, 9999))

        def learnt() -> bool:
            with suppress(OSError):
                sock.send(bytes(size - 48))
            return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU) < size

        wait_for(learnt, f"an error about a packet to {destination}")
        return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


def test_an_instance_learns_of_a_narrow_path_in_the_internet(outskirts: Outskirts, arrival: str) -> None:
    with outskirts.rtnl(BORDER) as border:
        index = border.link_lookup(ifname="to-inet")[0]
        mtu = 1300 + EDGES.index(arrival)  # an instance remembers the MTU of the other edge's turn
        border.link("set", index=index, mtu=mtu)
        try:
            assert learnt_mtu(outskirts.place("a/two"), SERVER6, 1380) in (1300, mtu)
        finally:
            border.link("set", index=index, mtu=1500)


def test_the_internet_learns_of_the_vpcs_mtu(outskirts: Outskirts) -> None:
    assert learnt_mtu(INTERNET, address(outskirts, "b/one"), 1500) == 1400


def test_fragments_pass(outskirts: Outskirts) -> None:
    for source, destination in (("a/one", SERVER6), (INTERNET, address(outskirts, "a/one"))):
        assert outskirts.ping(source, destination, payload_bytes=3000).ok


def test_a_range_of_the_customers_own_neither_leaves_nor_is_reached(outskirts: Outskirts, arrival: str) -> None:
    assert outskirts.ping("own/one", address(outskirts, "own/two")).ok
    marker, end = b"own " + os.urandom(8), b"end " + os.urandom(8)
    with PacketListener(BORDER, "to-e1") as one, PacketListener(BORDER, "to-e2") as two:
        with udp_socket(outskirts.place("own/one"), ("::", 0)) as sock, udp_socket(outskirts.place("b/one"), ("::", 0)) as other:
            for destination in (SERVER6, address(outskirts, "a/one")):
                sock.sendto(marker, (destination, 9999))
            other.sendto(end, (SERVER6, 9999))
        wait_for(lambda: one.heard(end) or two.heard(end), "the packet sent last")
        assert not one.heard(marker)
        assert not two.heard(marker)
    with outskirts.rtnl(BORDER) as border:  # even if the internet sends the packet here
        border.route("add", dst=OWN, gateway=f"2001:db8:{EDGES.index(arrival) + 1}::1")
        try:
            assert not outskirts.ping(INTERNET, address(outskirts, "own/one"), tries=1).ok
        finally:
            border.route("delete", dst=OWN)


@pytest.mark.parametrize("speaker", ["a/two", "b/one", ""])
def test_nobody_outside_speaks_as_somebody_inside(outskirts: Outskirts, speaker: str) -> None:
    source = address(outskirts, speaker) if speaker else "fd00::7"
    target, marker = address(outskirts, "a/one"), b"forged " + os.urandom(8)
    before = dropped(outskirts, "outside_source")
    with outskirts.rtnl(INTERNET) as internet:
        index = internet.link_lookup(ifname="lo")[0]
        internet.link("set", index=index, state="up")
        internet.addr("add", index=index, address=source, prefixlen=128)
        try:
            with PacketListener(outskirts.place("a/one")) as listener, udp_socket(INTERNET, (source, 0)) as sock:
                sock.sendto(marker, (target, 9999))
                wait_for(lambda: dropped(outskirts, "outside_source") > before, "the packet to be counted")
                assert not listener.heard(marker)
        finally:
            internet.addr("delete", index=index, address=source, prefixlen=128)
    assert dropped(outskirts, "outside_source") == before + 1


def test_a_gateway_takes_from_a_host_what_that_may_send_only(outskirts: Outskirts, arrival: str) -> None:
    world, marker = outskirts.world, os.urandom(8)
    vni = world.eni("a/one").vni
    forged = {"hv2": "a/one", "e1": "a/one", "e2": "a/one", "hv1": "b/one"}  # the last one forges another VPC's address
    with PacketListener(BORDER, f"to-{arrival}") as listener:

        def send(sender: str, source: str, text: bytes) -> None:
            packet = udp(source, SERVER6, marker + text)
            frame = ethernet(gateway_mac(gateway_of(vni)), router_mac(world.hosts[sender].vtep), ETH_P_IPV6, packet)
            send_vxlan(sender, world.hosts[sender].vtep, world.hosts[arrival].vtep, vxlan(vni, frame))

        for sender, name in forged.items():
            if sender != arrival:
                send(sender, address(outskirts, name), b"forged")
        send("hv1", address(outskirts, "a/one"), b"true")
        wait_for(lambda: listener.heard(marker + b"true"), "the packet of the instance's own host")
        assert not listener.heard(marker + b"forged")


def test_an_edge_does_not_speak_to_a_hypervisor_as_somebody_inside(outskirts: Outskirts, arrival: str) -> None:
    world, marker = outskirts.world, os.urandom(8)
    one, vni = address(outskirts, "a/one"), world.eni("a/one").vni
    with PacketListener(outskirts.place("a/one")) as listener:
        for source, text in ((address(outskirts, "a/two"), b"forged"), (SERVER6, b"true")):
            frame = ethernet(
                router_mac(world.hosts["hv1"].vtep),
                router_mac(world.hosts[arrival].vtep),
                ETH_P_IPV6,
                udp(source, one, marker + text),
            )
            send_vxlan(arrival, world.hosts[arrival].vtep, world.hosts["hv1"].vtep, vxlan(vni, frame))
        wait_for(lambda: listener.heard(marker + b"true"), "what the internet sent")
        assert not listener.heard(marker + b"forged")


def test_an_edge_answers_pings_and_an_address_that_is_nobodys_is_unreachable(outskirts: Outskirts) -> None:
    for number in range(len(EDGES)):
        for source in ("a/one", INTERNET):
            assert outskirts.ping(source, f"2001:db8:{number + 1}::1").ok
    answer = outskirts.ping(INTERNET, "2001:db8:1ff::1")
    assert not answer.ok
    assert answer.error.startswith("unreachable, says 2001:db8:")
