"""Running NAT gateways: two VPCs with the same addresses, a pair of edges, a border router and an internet host."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import msgspec
import pytest

from netorch.agent.indexes.seats import Seats
from netorch.agent.tasks import handover
from netorch.model.security import AclEntry, NetworkAcl
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.owner import netns_name
from tests.integration.edges.nat.natted import PUBLIC, natted
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, Outskirts, connected, listening, source_seen, udp_socket
from tests.rig.packets import PacketListener
from tests.rig.seats import nat_of
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root

PLACES = ("a/one", "a/two", "b/one", "b/two")
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with the same addresses; no instance has a public address."""
    with natted(tmp_path_factory.mktemp("nat")) as found:
        yield found


def gateway(outskirts: Outskirts, name: str, edge: str = "e1") -> str:
    """Return the namespace of a VPC's NAT gateway on an edge."""
    return netns_name(edge, nat_of(outskirts.world.vpc(name).vni))


@pytest.mark.usefixtures("arrival")
def test_instances_reach_the_internet_in_the_name_of_their_gateway(outskirts: Outskirts) -> None:
    for place in PLACES:
        assert outskirts.ping(place, SERVER).ok
        assert source_seen(INTERNET, outskirts.place(place), SERVER) == PUBLIC[place[0]]


def test_two_vpcs_and_two_instances_use_one_port_at_once(outskirts: Outskirts) -> None:
    with listening(INTERNET, 80) as server, ExitStack() as stack:
        clients = [stack.enter_context(connected(outskirts.place(place), (SERVER, 80), 40000)) for place in PLACES]
        taken = [server.accept() for _ in clients]
        peers = {peer for _, peer in taken}
        assert len(peers) == len(PLACES)
        assert {address for address, _ in peers} == set(PUBLIC.values())
        for connection, peer in taken:
            with connection:
                connection.sendall(repr(peer).encode())
        assert {client.recv(64).decode() for client in clients} == set(map(repr, peers))


def test_nobody_gets_a_port_of_the_tunnels(outskirts: Outskirts) -> None:
    with udp_socket(INTERNET, (SERVER, 7000)) as server:
        for port in (500, 4500, 4789):
            with udp_socket(outskirts.place("a/one"), ("0.0.0.0", port)) as client:
                client.sendto(b"who am I", (SERVER, 7000))
                _, peer = server.recvfrom(64)
                assert peer[0] == PUBLIC["a"]
                assert peer[1] >= 4790
                server.sendto(b"you", peer)
                assert client.recv(16) == b"you"


@pytest.mark.usefixtures("arrival")
def test_nothing_comes_in_that_nobody_has_asked_for(outskirts: Outskirts) -> None:
    marker = b"unasked " + os.urandom(8)
    with PacketListener(outskirts.place("a/one")) as listener, udp_socket(INTERNET) as sock:
        for port in (22, 5000, 40000):
            sock.sendto(marker, (PUBLIC["a"], port))
        assert not outskirts.ping(INTERNET, PUBLIC["a"], tries=1).ok
        assert outskirts.ping("a/one", SERVER).ok
        assert not listener.heard(marker)


def test_errors_come_back_to_who_caused_them(outskirts: Outskirts) -> None:
    for place in ("a/one", "b/one"):
        with udp_socket(outskirts.place(place)) as sock:
            sock.connect((SERVER, 9999))
            sock.send(b"nobody waits for this")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(16)


def test_an_instance_learns_of_a_narrow_path(outskirts: Outskirts) -> None:
    with outskirts.rtnl(BORDER) as border, udp_socket(outskirts.place("a/two")) as sock:
        index = border.link_lookup(ifname="to-inet")[0]
        border.link("set", index=index, mtu=1300)
        try:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
            sock.connect((SERVER, 9999))

            def learnt() -> bool:
                with suppress(OSError):
                    sock.send(bytes(1372))
                return sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1300

            wait_for(learnt, "an error about a long packet")
        finally:
            border.link("set", index=index, mtu=1500)


def test_of_fragments_only_those_of_udp_pass(outskirts: Outskirts) -> None:
    assert not outskirts.ping("a/one", SERVER, payload_bytes=3000, tries=1).ok
    with udp_socket(INTERNET, (SERVER, 7001)) as server, udp_socket(outskirts.place("a/one")) as client:
        client.sendto(bytes(3000), (SERVER, 7001))
        data, peer = server.recvfrom(4000)
        assert len(data) == 3000
        server.sendto(bytes(3000), peer)
        assert len(client.recv(4000)) == 3000


def test_the_acl_of_its_subnet_applies(outskirts: Outskirts) -> None:
    world = outskirts.world
    acl = next(each for each in world.vpc("a").each(NetworkAcl) if each.name == "border")
    deny = AclEntry(number=1, allow=False, protocol=17, cidr="203.0.113.0/24", from_port=7002, to_port=7002)
    rest = AclEntry(number=2, allow=True, protocol=-1, cidr="0.0.0.0/0")
    with udp_socket(INTERNET, (SERVER, 7002)) as denied, udp_socket(INTERNET, (SERVER, 7003)) as other:
        outskirts.put(keys.resource(acl.id), encode(msgspec.structs.replace(acl, egress=(deny, rest))))
        world.settle()
        try:
            with udp_socket(outskirts.place("a/one")) as client, udp_socket(outskirts.place("b/one")) as neighbour:
                client.sendto(b"denied", (SERVER, 7002))
                client.sendto(b"allowed", (SERVER, 7003))
                assert other.recv(16) == b"allowed"
                neighbour.sendto(b"another VPC's", (SERVER, 7002))
                assert denied.recv(16) == b"another VPC's"
        finally:
            outskirts.put(keys.resource(acl.id), encode(acl))
            world.settle()


@pytest.mark.usefixtures("arrival")
def test_a_killed_agent_loses_no_packet_and_the_next_one_writes_nothing(outskirts: Outskirts) -> None:
    for edge in EDGES:
        traffic = [Traffic(outskirts.place(place), SERVER) for place in ("a/one", "b/two")]
        outskirts.kill_agent(edge)
        assert [each.stop() for each in traffic] == [0, 0]


def _hears_on_standby(seats: Seats, vtep: str) -> bool:
    return not seats.silent and vtep in seats.standby


def test_the_second_edge_takes_over_resets_what_it_does_not_know_and_stays_in_use(
    outskirts: Outskirts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "RETURN_S", 3600.0)  # a returning edge stays on standby, however long the test takes
    outskirts.arrive_at("e2")
    seats = {host: outskirts.world.agent(host).records.seats for host in ("hv1", "hv2", "e1", "e2")}
    e1 = outskirts.world.hosts["e1"].vtep
    with listening(INTERNET, 81) as server, connected(outskirts.place("a/one"), (SERVER, 81)) as client:
        taken, _ = server.accept()
        with taken, outskirts.rtnl("spine") as spine:
            way = f"{e1}/32"
            spine.route("replace", dst=way, type="blackhole")
            try:
                wait_for(lambda: outskirts.ping("a/one", SERVER, tries=1).ok, "the other edge to be used")
                began = time.monotonic()
                client.sendall(b"are you there")
                with pytest.raises(ConnectionResetError):
                    client.recv(16)
                assert time.monotonic() - began < 5
                assert source_seen(INTERNET, outskirts.place("b/one"), SERVER) == PUBLIC["b"]
                wait_for(lambda: e1 in seats["e1"].standby, "the first edge to know that nobody reaches it")
            finally:
                spine.route("replace", dst=way, oif=spine.link_lookup(ifname="to-e1")[0], scope=253)
    with listening(INTERNET, 82) as server, connected(outskirts.place("a/one"), (SERVER, 82)) as client:
        taken, _ = server.accept()
        with taken:
            for host, known in seats.items():
                wait_for(partial(_hears_on_standby, known, e1), f"{host} to hear the first edge")
            for sender, receiver in ((client, taken), (taken, client)):
                sender.sendall(b"still here")
                assert receiver.recv(16) == b"still here"
    outskirts.arrive_at("e1")
