"""Running mapped peering: two VPCs with the same addresses that reach each other by aliases, through a pair of edges."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from netorch.compiler.base import router_mac
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection
from tests.integration.edges.test_internet_gateway import learnt_mtu
from tests.integration.test_mtu import set_underlay
from tests.rig.outskirts import EDGES, Outskirts, connected, listening, source_seen, udp_socket
from tests.rig.packets import ETH_P_IP, PacketListener, ethernet, send_vxlan, udp, vxlan
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

_RECVERR = 11  # Source: linux/in.h; returns a struct sock_extended_err, followed by the sender of the error

VPC = """
- name: {name}
  cidrs: [10.0.0.0/16]
  subnets: [{{name: app, cidr: 10.0.1.0/24}}]
  security_groups:
  - {{name: open, ingress: [{{protocol: all, source: 0.0.0.0/0}}]}}
  - {{name: far, ingress: [{{protocol: all, source: 100.66.1.5/32}}]}}
  route_tables: [{{name: main, main: true, routes: [{routes}]}}]
  peerings: [{peerings}]
  instances:
  - {{name: one, host: hv1, address: 10.0.1.5, security_groups: [open]}}
  - {{name: two, host: hv2, address: 10.0.1.6, security_groups: [{group}]}}
"""
TO_B = "{name: to-b, peer: b, map_own: 10.0.0.0/16=100.66.0.0/16, map_peer: 10.0.0.0/16=100.65.0.0/16}"
TO_C = "{name: to-c, peer: c, map_own: 10.0.0.0/16=100.68.0.0/16, map_peer: 10.0.0.0/16=100.67.0.0/16}"
CLOUD = "vpcs:" + "".join(
    (
        VPC.format(name="a", routes="100.65.0.0/16 via pcx-to-b", peerings=TO_B, group="open"),
        VPC.format(
            name="b",
            routes="100.66.0.0/16 via pcx-of-a, 100.67.0.0/16 via pcx-to-c",
            peerings=f"{TO_C}, {{name: of-a, peer: a}}",
            group="far",
        ),
        VPC.format(name="c", routes="100.68.0.0/16 via pcx-of-b", peerings="{name: of-b, peer: b}", group="open"),
    )
)
ALIASES = {"a/one": "100.66.1.5", "a/two": "100.66.1.6", "b/one": "100.65.1.5", "b/two": "100.65.1.6"}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Three VPCs with the same addresses: a and b are peers, b and c are, and a also has a route to c's alias."""
    found = Outskirts(tmp_path_factory.mktemp("mapped"))
    try:
        found.world.start_agents()
        found.pair_up()
        found.world.apply(CLOUD)
        found.lead("a", connection(found, "a", "b").id, "", "100.67.0.0/16")  # actions and files reject such a route
        found.settle()
        yield found
    finally:
        found.close()


def connection(mapped: Outskirts, name: str, peer: str) -> PeeringConnection:
    far = mapped.world.vpc(peer).vpc.record.id
    return next(half for half in mapped.world.vpc(name).each(PeeringConnection) if half.peer.id == far)


@pytest.mark.parametrize(("source", "target"), [("a/one", "b/one"), ("b/one", "a/one"), ("a/two", "b/one"), ("b/two", "a/two")])
def test_each_sees_the_other_by_its_alias(mapped: Outskirts, source: str, target: str) -> None:
    assert mapped.ping(source, ALIASES[target]).ok
    assert mapped.ping(source, ALIASES[target], payload_bytes=3000).ok
    assert source_seen(mapped.place(target), mapped.place(source), ALIASES[target]) == ALIASES[source]
    with udp_socket(mapped.place(target), ("0.0.0.0", 7000)) as server, udp_socket(mapped.place(source)) as client:
        client.sendto(b"hello", (ALIASES[target], 7000))
        payload, peer = server.recvfrom(16)
        assert (payload, peer[0]) == (b"hello", ALIASES[source])
        server.sendto(b"answer", peer)
        assert client.recvfrom(16) == (b"answer", (ALIASES[target], 7000))


def test_rules_mean_the_alias(mapped: Outskirts) -> None:
    assert mapped.ping("a/one", ALIASES["b/two"]).ok
    assert not mapped.ping("a/two", ALIASES["b/two"], tries=1).ok


def test_errors_come_back_to_who_caused_them(mapped: Outskirts) -> None:
    for source, target in (("a/one", "b/one"), ("b/one", "a/two")):
        with udp_socket(mapped.place(source)) as sock:
            sock.connect((ALIASES[target], 9999))
            sock.send(b"nobody waits for this")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(16)
        assert expired(mapped, source, ALIASES[target]) == "192.0.0.8"
    answer = mapped.ping("a/one", "100.65.9.9")
    assert not answer.ok
    assert "unreachable, says 192.0.0.8" in answer.error


def expired(mapped: Outskirts, source: str, address: str) -> str:
    """Return the sender of the time-exceeded error on a socket: the TTL ends on the edge, after the instance's own host."""
    with udp_socket(mapped.place(source)) as sock:
        sock.setsockopt(socket.IPPROTO_IP, _RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
        sock.connect((address, 9999))  # the kernel gives the error to the socket whose packet it quotes
        sock.send(b"not so far")
        with pytest.raises(OSError, match="No route to host"):
            sock.recv(16)
        _, ((_, _, error),), _, peer = sock.recvmsg(64, 256, socket.MSG_ERRQUEUE)
        assert (error[4:7], peer) == (bytes((2, 11, 0)), (address, 9999))
        return socket.inet_ntoa(error[20:24])


def test_a_narrow_path_behind_the_edge_is_learnt(mapped: Outskirts) -> None:
    set_underlay("hv2", 1350)
    try:
        wait_for(lambda: mapped.world.inventory().mtus.get("hv2") == 1350, "hv2 to say its MTU")
        mapped.settle()
        assert learnt_mtu(mapped.place("b/one"), ALIASES["a/two"], 1390) == 1300
    finally:
        set_underlay("hv2", 1450)
        mapped.settle()


def test_nobody_gets_further_than_to_the_peer(mapped: Outskirts) -> None:
    assert mapped.ping("b/one", "100.67.1.5").ok
    marker = os.urandom(8)
    with PacketListener(mapped.place("c/one")) as listener, udp_socket(mapped.place("a/one")) as sock:
        sock.sendto(marker, ("100.67.1.5", 9999))
        assert mapped.ping("b/one", "100.67.1.5").ok
        assert not listener.heard(marker)


def test_only_the_edges_speak_for_the_alias(mapped: Outskirts) -> None:
    world, marker = mapped.world, os.urandom(8)
    vni, hv1 = world.eni("b/one").vni, world.hosts["hv1"].vtep
    with PacketListener(mapped.place("b/one")) as listener:
        cases = (
            ("hv2", ALIASES["a/one"]),
            ("e1", "10.0.1.6"),
            ("e1", "203.0.113.10"),
            ("e1", "100.67.1.5"),
            ("e2", ALIASES["a/one"]),
        )
        for number, (sender, source) in enumerate(cases):
            packet = udp(source, "10.0.1.5", marker + str(number).encode())
            frame = ethernet(router_mac(hv1), router_mac(world.hosts[sender].vtep), ETH_P_IP, packet)
            send_vxlan(sender, world.hosts[sender].vtep, hv1, vxlan(vni, frame))
        wait_for(lambda: listener.heard(marker + b"4"), "the packet of an edge")
        heard = [number for number in range(len(cases)) if listener.heard(marker + str(number).encode())]
    assert heard == [3, 4]  # the edge also carries b's connection with c


def test_an_edge_takes_what_is_of_the_range_only(mapped: Outskirts) -> None:
    world, marker = mapped.world, os.urandom(8)
    half = connection(mapped, "a", "b")
    hv1, edge = world.hosts["hv1"].vtep, world.hosts["e1"].vtep
    with PacketListener(mapped.place("b/one")) as listener:
        for number, (source, destination) in enumerate(
            (("10.0.1.6", "100.65.1.5"), ("10.0.1.5", "10.0.1.5"), ("10.0.1.5", "100.66.1.5"), ("10.0.1.5", "100.65.1.5"))
        ):
            packet = udp(source, destination, marker + str(number).encode())
            frame = ethernet(gateway_mac(half.id), router_mac(hv1), ETH_P_IP, packet)
            send_vxlan("hv1", hv1, edge, vxlan(half.vni, frame))
        wait_for(lambda: listener.heard(marker + b"3"), "the packet of the instance's own host")
        assert not [number for number in range(3) if listener.heard(marker + str(number).encode())]


def reachable(mapped: Outskirts, edge: str, is_reachable: bool) -> None:
    """Block or unblock all packets to an edge."""
    with mapped.rtnl("spine") as spine:
        oif = spine.link_lookup(ifname=f"to-{edge}")[0]
        destination = f"{mapped.world.hosts[edge].vtep}/32"
        if is_reachable:
            spine.route("replace", dst=destination, oif=oif, scope=253)
        else:
            spine.route("replace", dst=destination, type="blackhole", scope=0)


def test_a_connection_lives_on_when_an_edge_fails(mapped: Outskirts) -> None:
    with listening(mapped.place("b/one"), 80) as server, connected(mapped.place("a/one"), (ALIASES["b/one"], 80)) as client:
        taken, _ = server.accept()
        with taken:
            taken.settimeout(20.0)
            for edge in EDGES:
                reachable(mapped, edge, False)
                try:
                    client.sendall(b"still here")
                    assert taken.recv(16) == b"still here"
                    taken.sendall(b"and here")
                    assert client.recv(16) == b"and here"
                finally:
                    reachable(mapped, edge, True)
                mapped.settle()
