"""Packets through an internet gateway made of filters alone: translated, dropped, counted."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers.base import Count
from netorch.drivers.tc.driver import Tc
from netorch.state.op import Create, Delete, Replace
from netorch.state.tc import EGRESS, INGRESS, IPV6, Drop, Match, Nat, TcFilter
from tests.integration.drivers.gateway import (
    EDGE,
    INTERNET,
    INTERNET_6,
    NUMBERS,
    OUTSIDE,
    OVERLAY,
    PRIVATE,
    PRIVATE_6,
    PUBLIC,
    UNNAMED,
    VNIS,
    edge,
    elastic_ip,
    foreign_source,
    gateway,
    give_ipv6_to_a,
    ip,
    nobody_else,
    on_cable,
    verify,
)
from tests.rig.datagrams import UDP_PORT, udp_socket
from tests.rig.packets import PATIENCE_S
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

IP_MTU, IP_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO = 14, 10, 0, 2  # linux/in.h
ETHERNET = 14  # bytes of its header


@pytest.fixture
def tc() -> Iterator[Tc]:
    with edge() as found:
        yield found


def count(tc: Tc, counting: TcFilter) -> int:
    return tc.counts(counting.ifname)[counting.key].packets


def silent(listener: socket.socket) -> bool:
    """Return whether nothing has arrived."""
    listener.setblocking(False)
    try:
        listener.recv(1)
    except BlockingIOError:
        return True
    return False


def error_of(sender: socket.socket) -> int:
    """Return the error that an ICMP message sets on a connected socket."""
    return wait_for(lambda: sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "an ICMP error")


def test_two_equal_private_addresses_have_a_public_one_each(tc: Tc) -> None:
    with udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as a, udp_socket("b", PRIVATE) as b:
        for name, client in (("a", a), ("b", b)):
            client.sendto(name.encode(), (INTERNET, UDP_PORT))
            assert server.recvfrom(9) == (name.encode(), (PUBLIC[name], UDP_PORT)), "the same port, another address"
            server.sendto(b"answer", (PUBLIC[name], UDP_PORT))
            assert client.recvfrom(9) == (b"answer", (INTERNET, UDP_PORT))
        for name in VNIS:
            server.sendto(name.encode(), (PUBLIC[name], UDP_PORT))
        assert (a.recv(9), b.recv(9)) == (b"a", b"b")


def test_instances_reach_public_addresses_of_each_other_and_their_own(tc: Tc) -> None:
    with udp_socket("a", PRIVATE) as a, udp_socket("b", PRIVATE) as b:
        a.sendto(b"hello", (PUBLIC["b"], UDP_PORT))
        assert b.recvfrom(9) == (b"hello", (PUBLIC["a"], UDP_PORT))
        a.sendto(b"self", (PUBLIC["a"], UDP_PORT))
        assert a.recvfrom(9) == (b"self", (PUBLIC["a"], UDP_PORT))


@pytest.mark.parametrize(
    ("sender", "address", "target"),
    [("a", PRIVATE, INTERNET), ("internet", INTERNET, PUBLIC["a"]), ("b", PRIVATE, PUBLIC["a"])],
    ids=["out", "in", "between VPCs"],
)
def test_a_closed_port_is_known_at_once(tc: Tc, sender: str, address: str, target: str) -> None:
    with udp_socket(sender, address) as socket_:
        socket_.connect((target, 9))
        socket_.send(b"x")
        assert error_of(socket_) == errno.ECONNREFUSED, "the packet inside the error is the one that was sent"


def test_the_sender_learns_the_path_s_mtu(tc: Tc) -> None:
    ip(OUTSIDE, "link set out0 mtu 1400\n")
    with udp_socket("a", PRIVATE) as sender:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        sender.connect((INTERNET, UDP_PORT))
        sender.send(bytes(1450))
        assert error_of(sender) == errno.EMSGSIZE
        assert sender.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1400


def test_fragments_are_translated_like_whole_packets(tc: Tc) -> None:
    with udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as client:
        for each in (server, client):
            each.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        client.sendto(bytes(4000), (INTERNET, UDP_PORT))
        assert server.recvfrom(9000) == (bytes(4000), (PUBLIC["a"], UDP_PORT))
        server.sendto(bytes(5000), (PUBLIC["a"], UDP_PORT))
        assert client.recvfrom(9000) == (bytes(5000), (INTERNET, UDP_PORT))


def test_a_lower_step_decides_first(tc: Tc) -> None:
    """Step 5 drops a source inside the VPC, step 20 an address without a public one; all others are translated."""
    vni = VNIS["a"]
    inward, outward = elastic_ip(vni, PUBLIC["a"])
    with udp_socket("internet", "10.0.1.6") as liar, udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as a:
        liar.sendto(b"lie", (PUBLIC["a"], UDP_PORT))
        wait_for(lambda: count(tc, foreign_source(vni)) == 1, "the packet with a source inside the VPC")
        with udp_socket("a", UNNAMED) as unnamed:
            unnamed.sendto(b"x", (INTERNET, UDP_PORT))
            wait_for(lambda: count(tc, nobody_else(vni, EGRESS)) == 1, "the packet of an address without a public one")
        assert silent(a)
        assert silent(server)
    assert (count(tc, inward), count(tc, outward)) == (0, 0)
    assert tc.apply([Delete(foreign_source(vni))]) == []
    with udp_socket("internet", "10.0.1.6") as liar, udp_socket("a", PRIVATE) as a:
        liar.sendto(b"lie", (PUBLIC["a"], UDP_PORT))
        assert a.recv(9) == b"lie", "nothing but that step was in its way"


def test_filters_count_what_they_take(tc: Tc) -> None:
    inward, outward = elastic_ip(VNIS["a"], PUBLIC["a"])
    with udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as client:
        for _ in range(3):
            client.sendto(bytes(100), (INTERNET, UDP_PORT))
            server.recv(999)
        server.sendto(bytes(200), (PUBLIC["a"], UDP_PORT))
        client.recv(999)
    found = tc.counts(inward.ifname)
    headers = 20 + 8  # IP, UDP
    assert found[outward.key] == Count(packets=3, bytes=3 * (100 + headers + ETHERNET))
    assert found[inward.key] == Count(packets=1, bytes=200 + headers)
    assert found[nobody_else(VNIS["a"], INGRESS).key] == Count(packets=0, bytes=0)
    assert tc.counts("vx7000") == {}, "there is no such device"


def test_another_address_takes_the_public_one_over(tc: Tc) -> None:
    vni = VNIS["a"]
    ip(OVERLAY, f"route add {UNNAMED}/32 via 192.0.2.{NUMBERS['a']} dev vx{vni} onlink table {vni}\n")
    old, new = elastic_ip(vni, PUBLIC["a"]), elastic_ip(vni, PUBLIC["a"], UNNAMED)
    assert new[0].replaces(old[0])
    assert new[0].key == old[0].key
    assert tc.apply([Replace(old[0], new[0]), Create(new[1]), Delete(old[1])]) == []
    with udp_socket("internet", INTERNET) as server, udp_socket("a", UNNAMED) as now, udp_socket("a", PRIVATE) as before:
        server.sendto(b"in", (PUBLIC["a"], UDP_PORT))
        assert now.recv(9) == b"in"
        now.sendto(b"out", (INTERNET, UDP_PORT))
        assert server.recvfrom(9) == (b"out", (PUBLIC["a"], UDP_PORT))
        before.sendto(b"late", (INTERNET, UDP_PORT))
        wait_for(lambda: count(tc, nobody_else(vni, EGRESS)) == 1, "the packet of the address that has no public one any more")
        assert silent(server)


def test_two_addresses_exchange_their_public_ones_in_place(tc: Tc) -> None:
    """A filter whose match is changed to that of another filter would match nothing, so only the actions are changed."""
    vni, second = VNIS["a"], "198.51.100.7"
    ip(OUTSIDE, f"route add {second}/32 via 192.0.0.8 dev o{vni} onlink\n")
    ip(OVERLAY, f"route add {UNNAMED}/32 via 192.0.2.{NUMBERS['a']} dev vx{vni} onlink table {vni}\n")
    before = (*elastic_ip(vni, PUBLIC["a"]), *elastic_ip(vni, second, UNNAMED))
    after = {obj.key: obj for obj in (*elastic_ip(vni, PUBLIC["a"], UNNAMED), *elastic_ip(vni, second, PRIVATE))}
    assert tc.apply([Create(obj) for obj in before[2:]]) == []
    assert tc.apply([Replace(old, after[old.key]) for old in before]) == []
    with udp_socket("internet", INTERNET) as server:
        for private, public in ((UNNAMED, PUBLIC["a"]), (PRIVATE, second)):
            with udp_socket("a", private) as client:
                client.sendto(b"out", (INTERNET, UDP_PORT))
                assert server.recvfrom(9) == (b"out", (public, UDP_PORT))
                server.sendto(b"in", (public, UDP_PORT))
                assert client.recv(9) == b"in"


def test_ipv6_passes_by_prefix(tc: Tc) -> None:
    give_ipv6_to_a()
    vni = VNIS["a"]
    with udp_socket("internet", INTERNET_6) as server, udp_socket("a", PRIVATE_6) as client:
        client.sendto(b"out", (INTERNET_6, UDP_PORT))
        assert server.recvfrom(9)[:1] == (b"out",)
        server.sendto(b"in", (PRIVATE_6, UDP_PORT))
        assert client.recvfrom(9)[1][0] == INTERNET_6
        # The cable's far end reports its multicast groups (MLD) in its own time: from here on those packets meet another filter.
        assert tc.apply([Create(on_cable(vni, INGRESS, 10, Match(protocol=IPV6, dst="ff02::/16"), Drop()))]) == []
        before = count(tc, nobody_else(vni, INGRESS, IPV6))
        server.sendto(b"x", ("2001:db8:5:1::5", UDP_PORT))
        wait_for(lambda: count(tc, nobody_else(vni, INGRESS, IPV6)) == before + 1, "the packet to another prefix")
        with udp_socket("a", "2001:db8:6::5") as stranger:
            stranger.sendto(b"x", (INTERNET_6, UDP_PORT))
            wait_for(lambda: count(tc, gateway(vni)[3]) == 1, "the packet from another prefix")
        assert silent(server)
        assert silent(client)


def test_what_nobody_has_verified_does_not_leave(tc: Tc) -> None:
    """A redirect at ingress bypasses nftables, so the filters themselves check the priority."""
    unverified = gateway(VNIS["a"])[0]
    with udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as client:
        subprocess.run(["ip", "netns", "exec", EDGE, "nft", "flush ruleset"], check=True)
        client.sendto(b"x", (INTERNET, UDP_PORT))
        wait_for(lambda: count(tc, unverified) == 1, "the unverified packet")
        assert silent(server)
        verify()
        server.settimeout(PATIENCE_S)
        client.sendto(b"verified", (INTERNET, UDP_PORT))
        assert server.recv(9) == b"verified"


def test_a_changed_filter_is_read_back_and_begins_to_count_again(tc: Tc) -> None:
    old = elastic_ip(VNIS["a"], PUBLIC["a"])[1]
    with udp_socket("internet", INTERNET) as server, udp_socket("a", PRIVATE) as client:
        client.sendto(b"x", (INTERNET, UDP_PORT))
        server.recv(9)
    new = msgspec.structs.replace(old, actions=(Nat(EGRESS, f"{PRIVATE}/32", "198.51.100.9"),))
    assert tc.apply([Replace(old, new)]) == []
    assert tc.dump()[new.key] == new
    assert count(tc, new) == 0
