"""Running internet gateways: two VPCs with the same addresses, a pair of edges, a border router and an internet host."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import partial

import pytest

from netorch.compiler.base import router_mac
from netorch.drivers.linux import LinuxKernel
from netorch.lab.wiring import in_node
from netorch.model.routing.next_hop import gateway_mac
from tests.integration.edges.conftest import PUBLIC
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, Outskirts, connected, listening, source_seen, udp_socket
from tests.rig.packets import ETH_P_IP, PacketListener, ethernet, send_vxlan, udp, vxlan
from tests.rig.seats import gateway_of
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("arrival")]

ONE, TWO, OTHER = PUBLIC["a/one"], PUBLIC["a/two"], PUBLIC["b/one"]
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h


def dropped(outskirts: Outskirts, reason: str) -> int:
    """Return the number of packets that both edges have dropped for a reason."""
    return sum(counters(outskirts, edge).get(reason, 0) for edge in EDGES)


def counters(outskirts: Outskirts, edge: str) -> dict[str, int]:
    with in_node(edge):
        kernel = LinuxKernel(edge)
    try:
        kernel.dump()
        return kernel.counters()
    finally:
        kernel.close()


def test_an_instance_reaches_the_internet_and_is_seen_by_its_public_address(outskirts: Outskirts) -> None:
    for name, public in PUBLIC.items():
        assert outskirts.ping(name, SERVER).ok
        assert source_seen(INTERNET, outskirts.place(name), SERVER) == public


def test_the_internet_reaches_an_instance_which_never_sees_its_public_address(outskirts: Outskirts) -> None:
    for name, public in PUBLIC.items():
        assert outskirts.ping(INTERNET, public).ok
        assert source_seen(outskirts.place(name), INTERNET, public) == SERVER  # the socket has only the private address


def test_two_vpcs_use_one_private_address_and_port_at_once(outskirts: Outskirts) -> None:
    one, other = outskirts.place("a/one"), outskirts.place("b/one")
    with (
        listening(INTERNET, 80) as server,
        connected(one, (SERVER, 80), 40000) as first,
        connected(other, (SERVER, 80), 40000) as second,
    ):
        assert first.getsockname() == second.getsockname() == ("10.0.1.5", 40000)
        taken = [server.accept() for _ in (first, second)]
        assert {peer for _, peer in taken} == {(ONE, 40000), (OTHER, 40000)}
        for connection, peer in taken:
            with connection:
                connection.sendall(peer[0].encode())
        assert (first.recv(64), second.recv(64)) == (ONE.encode(), OTHER.encode())


@pytest.mark.parametrize(("source", "target"), [("a/one", "b/one"), ("b/one", "a/one"), ("a/one", "a/two"), ("a/one", "a/one")])
def test_an_instance_reaches_public_addresses_of_instances(outskirts: Outskirts, source: str, target: str) -> None:
    assert outskirts.ping(source, PUBLIC[target]).ok
    assert source_seen(outskirts.place(target), outskirts.place(source), PUBLIC[target]) == PUBLIC[source]


@pytest.mark.parametrize(("source", "destination"), [("a/one", SERVER), (INTERNET, ONE), ("a/one", OTHER)])
def test_errors_come_back_to_who_caused_them(outskirts: Outskirts, source: str, destination: str) -> None:
    with udp_socket(outskirts.place(source)) as sock:
        sock.connect((destination, 9999))
        sock.send(b"nobody waits for this")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(16)


def learnt_mtu(place: str, destination: str, size: int) -> int:
    """Send unfragmentable datagrams; return the path MTU that the sender learns."""
    with udp_socket(place) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.connect((destination, 9999))

        def learnt() -> bool:
            with suppress(OSError):
                sock.send(bytes(size - 28))
            return sock.getsockopt(socket.IPPROTO_IP, IP_MTU) < size

        wait_for(learnt, f"an error about a packet to {destination}")
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)


def test_an_instance_learns_of_a_narrow_path_in_the_internet(outskirts: Outskirts) -> None:
    with outskirts.rtnl(BORDER) as border:
        index = border.link_lookup(ifname="to-inet")[0]
        border.link("set", index=index, mtu=1300)
        try:
            assert learnt_mtu(outskirts.place("a/two"), SERVER, 1400) == 1300
        finally:
            border.link("set", index=index, mtu=1500)


def test_the_internet_learns_of_the_vpcs_mtu(outskirts: Outskirts) -> None:
    assert learnt_mtu(INTERNET, OTHER, 1500) == 1400


@pytest.mark.parametrize(("source", "destination"), [("a/one", SERVER), (INTERNET, ONE), ("a/one", OTHER)])
def test_fragments_pass(outskirts: Outskirts, source: str, destination: str) -> None:
    assert outskirts.ping(source, destination, payload_bytes=3000).ok


def test_without_a_public_address_nothing_leaves(outskirts: Outskirts) -> None:
    marker = b"mute " + os.urandom(8)
    with PacketListener(BORDER, "to-e1") as one, PacketListener(BORDER, "to-e2") as two:
        with udp_socket(outskirts.place("a/mute")) as sock, udp_socket(outskirts.place("a/one")) as other:
            for address in (SERVER, OTHER):
                sock.sendto(marker, (address, 9999))
            other.sendto(b"behind " + marker, (SERVER, 9999))
        wait_for(lambda: one.heard(b"behind " + marker) or two.heard(b"behind " + marker), "the packet sent last")
        assert not [frame for each in (one, two) for frame in each.take() if marker in frame and b"behind " not in frame]
    assert not outskirts.ping("a/mute", SERVER, tries=1).ok


def test_a_gateway_takes_from_a_host_what_that_may_send_only(outskirts: Outskirts, arrival: str) -> None:
    world, marker = outskirts.world, os.urandom(8)
    vni = world.eni("a/one").vni
    with PacketListener(BORDER, f"to-{arrival}") as listener:
        for sender in ("hv2", "e1", "e2", "hv1"):
            if sender != arrival:
                packet = udp("10.0.1.5", SERVER, marker + sender.encode())
                frame = ethernet(gateway_mac(gateway_of(vni)), router_mac(world.hosts[sender].vtep), ETH_P_IP, packet)
                send_vxlan(sender, world.hosts[sender].vtep, world.hosts[arrival].vtep, vxlan(vni, frame))
        wait_for(lambda: listener.heard(marker + b"hv1"), "the packet of the instance's own host")
        assert not [sender for sender in (b"hv2", b"e1", b"e2") if listener.heard(marker + sender)]


@pytest.mark.parametrize("source", ["10.0.1.6", "10.9.9.9", "198.51.100.7"])
def test_nobody_outside_speaks_as_somebody_inside(outskirts: Outskirts, source: str) -> None:
    marker = b"forged " + os.urandom(8)
    before = dropped(outskirts, "outside_source")
    with outskirts.rtnl(INTERNET) as internet:
        internet.addr("add", index=internet.link_lookup(ifname="lo")[0], address=source, prefixlen=32)
        try:
            with PacketListener(outskirts.place("a/one")) as listener, udp_socket(INTERNET, (source, 0)) as sock:
                sock.sendto(marker, (ONE, 9999))
                assert outskirts.ping(INTERNET, ONE).ok
                assert not listener.heard(marker)
        finally:
            internet.addr("delete", index=internet.link_lookup(ifname="lo")[0], address=source, prefixlen=32)
    assert dropped(outskirts, "outside_source") == before + 1


def test_an_edge_is_no_way_from_the_internet_to_the_internet(outskirts: Outskirts, arrival: str) -> None:
    before = dropped(outskirts, "outside_transit")
    with outskirts.rtnl(BORDER) as border:
        border.route("add", dst="192.0.77.0/24", gateway=f"198.19.{EDGES.index(arrival)}.1")
        try:
            assert not outskirts.ping(INTERNET, "192.0.77.1", tries=1).ok
        finally:
            border.route("delete", dst="192.0.77.0/24")
    assert dropped(outskirts, "outside_transit") == before + 1


def _is_more(outskirts: Outskirts, reason: str, before: int) -> bool:
    return dropped(outskirts, reason) > before


def test_an_edge_answers_pings_and_nothing_else(outskirts: Outskirts) -> None:
    for number in range(len(EDGES)):
        address = f"198.19.{number}.1"
        for source in ("a/one", INTERNET):
            assert outskirts.ping(source, address).ok
            before = dropped(outskirts, "to_edge")
            with udp_socket(outskirts.place(source)) as sock:
                sock.sendto(b"to the edge", (address, 4789))
            wait_for(partial(_is_more, outskirts, "to_edge", before), "the packet to be counted")


def test_an_address_that_stands_for_nothing_is_unreachable(outskirts: Outskirts) -> None:
    answer = outskirts.ping(INTERNET, "198.51.100.99")
    assert not answer.ok
    assert answer.error.startswith("unreachable, says 198.19.")


def test_ways_inside_the_vpc_are_what_they_were(outskirts: Outskirts) -> None:
    for source, target in (("a/one", "a/two"), ("a/mute", "a/two"), ("a/two", "a/mute")):
        assert outskirts.world.reaches(source, target)
