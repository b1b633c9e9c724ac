"""Running egress-only internet gateways: two VPCs, one also with an internet gateway, a border router, the internet."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD

from netorch.agent.indexes.seats import Seats
from netorch.agent.tasks import handover
from netorch.compiler.base import router_mac
from netorch.control.actions.outside.ranges import Provided
from netorch.control.actions.vpcs import create_vpc
from netorch.model.addr import format_ip, parse_prefix
from netorch.model.routing.next_hop import gateway_mac
from netorch.records import keys
from netorch.store.base import Delete
from tests.integration.edges.test_ipv6 import learnt_mtu
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER6, Outskirts, connected, listening, source_seen, udp_socket
from tests.rig.packets import ETH_P_IPV6, PacketListener, ethernet, send_vxlan, udp, vxlan
from tests.rig.seats import egress_only_of, gateway_of
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root

FRIEND = "2001:db8:99::20"  # another internet address, to which the table `mixed` has a route through the internet gateway
PRIVATE = ("a/one", "a/two", "b/one", "a/mixed")
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO, IPV6_MTU = 23, 2, 24  # linux/in6.h


def _vpc(name: str, cidr: str) -> str:
    """Return the declaration of a VPC with three subnets: with the main table, and with the tables `public` and `mixed`."""
    block = parse_prefix(cidr).network
    ranges = [f"{format_ip(6, block + (n << 64))}/64" for n in range(3)]
    subnets = [
        f"{{name: {subnet}, cidr: 10.0.{n}.0/24, ipv6_cidr: '{ranges[n]}'{f', route_table: {subnet}' if n else ''}}}"
        for n, subnet in enumerate(("app", "public", "mixed"))
    ]
    places = (("one", "hv1", "app", 5), ("two", "hv2", "app", 6), ("public", "hv1", "public", 5), ("mixed", "hv2", "mixed", 5))
    instances = [
        f"{{name: {name}, host: {host}, subnet: {subnet}, address: 10.0.{n}.{last}, security_groups: [open]}}"
        for name, host, subnet, last in places
        for n in [("app", "public", "mixed").index(subnet)]
    ]
    return f"""
- name: {name}
  cidrs: [10.0.0.0/16]
  ipv6_cidrs: ['{cidr}']
  route_tables: [{{name: public}}, {{name: mixed}}]
  subnets: [{", ".join(subnets)}]
  security_groups: [{{name: open, ingress: [{{protocol: all, source: '::/0'}}]}}]
  instances: [{", ".join(instances)}]"""


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with egress-only gateways; a has an internet gateway, too."""
    patch = pytest.MonkeyPatch()
    patch.setattr(handover, "RETURN_S", 2.0)  # so that the tests begin with both edges active, whichever was ready first
    found = Outskirts(tmp_path_factory.mktemp("egress"))
    world = found.world
    try:
        with found.rtnl(INTERNET) as internet:
            index = internet.link_lookup(ifname="eth0")[0]
            lifetimes = {"preferred_lft": 0, "valid_lft": 0xFFFFFFFF}  # used only by sockets that bind it
            internet.addr("add", index=index, address=FRIEND, prefixlen=64, flags=IFA_F_NODAD, **lifetimes)
        world.start_agents()
        made = {
            name: create_vpc(world.store, world.caller, name=name, cidrs=["10.0.0.0/16"], provided=Provided()).ipv6_cidrs[0]
            for name in ("a", "b")
        }
        world.apply("vpcs:" + "".join(_vpc(name, cidr) for name, cidr in made.items()))
        found.seat("a", "public")
        for name in made:
            found.seat_egress_only(name)
        vni = world.vpc("a").vni
        found.lead("a", egress_only_of(vni), "mixed", "::/0")
        found.lead("a", gateway_of(vni), "mixed", f"{FRIEND}/128")
        found.settle()
        patch.setattr(handover, "RETURN_S", 3600.0)  # a returning edge stays on standby
        yield found
    finally:
        found.close()
        patch.undo()


def address(outskirts: Outskirts, name: str) -> str:
    return outskirts.world.eni(name).ipv6_address


def udp6(place: str, own: str = "::", port: int = 0) -> socket.socket:
    return udp_socket(place, (own, port))


@pytest.mark.usefixtures("arrival")
def test_instances_reach_the_internet_with_their_own_addresses(outskirts: Outskirts) -> None:
    for name in PRIVATE:
        own = address(outskirts, name)
        assert outskirts.ping(name, SERVER6).ok
        assert source_seen(INTERNET, outskirts.place(name), SERVER6) == own
        with udp6(INTERNET, SERVER6, 7000) as server, udp6(outskirts.place(name)) as client:
            client.sendto(b"who am I", (SERVER6, 7000))
            data, peer = server.recvfrom(64)
            assert (data, peer[0]) == (b"who am I", own)
            server.sendto(b"you", peer)
            assert client.recv(16) == b"you"


@pytest.mark.usefixtures("arrival")
def test_nothing_comes_in_that_nobody_has_asked_for(outskirts: Outskirts) -> None:
    marker = b"unasked " + os.urandom(8)
    for name in PRIVATE:
        own, place = address(outskirts, name), outskirts.place(name)
        with PacketListener(place) as listener, udp6(INTERNET, SERVER6) as sock, listening(place, 22, 6):
            sock.sendto(marker, (own, 5000))
            assert not outskirts.ping(INTERNET, own, tries=1).ok
            with pytest.raises(TimeoutError):
                connected(INTERNET, (own, 22), timeout_s=1.5)
            assert outskirts.ping(name, SERVER6).ok
            assert not listener.heard(marker)


@pytest.mark.usefixtures("arrival")
def test_an_internet_gateway_beside_it_is_for_its_own_subnets(outskirts: Outskirts) -> None:
    public = address(outskirts, "a/public")
    assert outskirts.ping(INTERNET, public).ok
    assert outskirts.ping("a/public", SERVER6).ok
    assert source_seen(outskirts.place("a/public"), INTERNET, public) == SERVER6
    assert not outskirts.ping(INTERNET, address(outskirts, "b/public"), tries=1).ok
    assert not outskirts.ping("b/public", SERVER6, tries=1).ok


@pytest.mark.usefixtures("arrival")
def test_a_subnet_of_both_gateways_is_open_to_whom_its_routes_lead_by_the_internet_gateway(outskirts: Outskirts) -> None:
    mixed, place = address(outskirts, "a/mixed"), outskirts.place("a/mixed")
    with udp6(place, mixed, 7001) as inside, udp6(INTERNET, FRIEND, 7001) as friend, udp6(INTERNET, SERVER6, 7001) as server:
        server.sendto(b"stranger", (mixed, 7001))
        friend.sendto(b"friend", (mixed, 7001))
        data, peer = inside.recvfrom(64)
        assert (data, peer[0]) == (b"friend", FRIEND)
        inside.sendto(b"hello", (FRIEND, 7001))
        assert friend.recv(16) == b"hello"
    with listening(INTERNET, 80, 6) as waiting, connected(place, (FRIEND, 80)) as client:
        taken, _ = waiting.accept()
        with taken:
            taken.sendall(b"welcome")
            assert client.recv(16) == b"welcome"
    assert source_seen(INTERNET, place, SERVER6) == mixed


def test_errors_come_back_to_who_caused_them(outskirts: Outskirts) -> None:
    for name in ("a/one", "b/one"):
        with udp6(outskirts.place(name)) as sock:
            sock.connect((SERVER6, 9999))
            sock.send(b"nobody waits for this")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(16)


def test_an_instance_learns_of_a_narrow_path(outskirts: Outskirts, arrival: str) -> None:
    with outskirts.rtnl(BORDER) as border:
        index = border.link_lookup(ifname="to-inet")[0]
        mtu = 1300 + EDGES.index(arrival)  # an instance remembers the MTU of the other edge's turn
        border.link("set", index=index, mtu=mtu)
        try:
            assert learnt_mtu(outskirts.place("a/two"), SERVER6, 1380) in (1300, mtu)
        finally:
            border.link("set", index=index, mtu=1500)


@pytest.mark.usefixtures("arrival")
def test_the_internet_learns_of_the_vpcs_mtu_and_errors_of_instances_get_out(outskirts: Outskirts) -> None:
    own = address(outskirts, "b/one")
    with udp6(INTERNET, SERVER6, 7002) as server, udp6(outskirts.place("b/one"), own, 7002) as client:
        client.sendto(b"I begin", (SERVER6, 7002))
        server.recv(16)
        server.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO)
        server.connect((own, 7002))

        def learnt() -> bool:
            with suppress(OSError):
                server.send(bytes(1452))
            return server.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU) == 1400

        wait_for(learnt, "an error about a long packet")
        client.close()

        def refused() -> bool:
            try:
                server.send(b"are you there")
                server.recv(16)
            except ConnectionRefusedError:
                return True
            except OSError:  # left over from the errors about long packets
                return False
            return False

        wait_for(refused, "an error of the instance")


def test_fragments_pass(outskirts: Outskirts) -> None:
    assert outskirts.ping("a/one", SERVER6, payload_bytes=3000).ok


def test_what_is_sent_to_it_must_be_verified(outskirts: Outskirts) -> None:
    world, marker = outskirts.world, os.urandom(8)
    vni = world.eni("a/one").vni
    with PacketListener(BORDER, "to-e1") as listener:

        def send(sender: str, source: str, text: bytes) -> None:
            packet = udp(source, SERVER6, marker + text)
            frame = ethernet(gateway_mac(egress_only_of(vni)), router_mac(world.hosts[sender].vtep), ETH_P_IPV6, packet)
            send_vxlan(sender, world.hosts[sender].vtep, world.hosts["e1"].vtep, vxlan(vni, frame))

        for sender, source in (("hv2", "a/one"), ("e2", "a/one"), ("hv1", "b/one")):
            send(sender, address(outskirts, source), b"forged")
        send("e2", "2001:db8:abcd::1", b"forged")  # from outside: no route leads out again
        send("hv1", address(outskirts, "a/one"), b"true")
        wait_for(lambda: listener.heard(marker + b"true"), "the packet of the instance's own host")
        assert not listener.heard(marker + b"forged")


def test_a_vpc_that_holds_too_many_connections_begins_no_more(outskirts: Outskirts) -> None:
    reader = outskirts.world.reader("e1")
    reader.dump()
    tracker = reader.trackers[egress_only_of(outskirts.world.eni("a/one").vni)]
    with listening(INTERNET, 83, 6) as server, connected(outskirts.place("a/one"), (SERVER6, 83)) as client:
        taken, _ = server.accept()
        with taken:
            tracker.refuse({0})
            assert not outskirts.ping("a/one", SERVER6, tries=1).ok
            for sender, receiver in ((client, taken), (taken, client)):
                sender.sendall(b"still here")
                assert receiver.recv(16) == b"still here"
            assert outskirts.ping("b/one", SERVER6).ok
            tracker.refuse(frozenset())
            tracker.hand_over({0})
            assert not outskirts.ping("a/one", SERVER6, tries=1).ok
            client.sendall(b"and here")
            assert taken.recv(16) == b"and here"
            tracker.refuse({0})
            tracker.refuse(frozenset())
            assert not outskirts.ping("a/one", SERVER6, tries=1).ok
            tracker.hand_over(frozenset())
    wait_for(lambda: outskirts.ping("a/one", SERVER6, tries=1).ok, "room again")


@pytest.mark.usefixtures("arrival")
def test_a_killed_agent_loses_no_packet_and_the_next_one_writes_nothing(outskirts: Outskirts) -> None:
    for edge in EDGES:
        traffic = [Traffic(outskirts.place(place), SERVER6) for place in ("a/one", "b/one")]
        outskirts.kill_agent(edge)
        assert [each.stop() for each in traffic] == [0, 0]


@contextmanager
def cut_off(outskirts: Outskirts, edge: str) -> Iterator[None]:
    """Cut an edge off, so that nothing hears it."""
    with outskirts.rtnl("spine") as spine:
        way = f"{outskirts.world.hosts[edge].vtep}/32"
        spine.route("replace", dst=way, type="blackhole")
        try:
            yield
        finally:
            spine.route("replace", dst=way, oif=spine.link_lookup(ifname=f"to-{edge}")[0], scope=253)


def _hears_on_standby(seats: Seats, vtep: str) -> bool:
    return not seats.silent and vtep in seats.standby


def test_the_second_edge_takes_over_resets_what_it_does_not_know_and_stays_in_use(outskirts: Outskirts) -> None:
    seats = {host: outskirts.world.agent(host).records.seats for host in ("hv1", "hv2", *EDGES)}
    e1 = outskirts.world.hosts["e1"].vtep
    outskirts.arrive_at("e2")
    with listening(INTERNET, 82, 6) as server, connected(outskirts.place("a/one"), (SERVER6, 82)) as client:
        taken, _ = server.accept()
        with taken, cut_off(outskirts, "e1"):
            wait_for(lambda: outskirts.ping("a/one", SERVER6, tries=1).ok, "the other edge to be used")
            client.sendall(b"are you there")
            with pytest.raises(ConnectionResetError):
                client.recv(16)
            assert source_seen(INTERNET, outskirts.place("b/one"), SERVER6) == address(outskirts, "b/one")
            assert not outskirts.ping(INTERNET, address(outskirts, "a/one"), tries=1).ok
            wait_for(lambda: e1 in seats["e1"].standby, "the first edge to know that nobody reaches it")
    with listening(INTERNET, 84, 6) as server, connected(outskirts.place("a/one"), (SERVER6, 84)) as client:
        taken, _ = server.accept()
        with taken:
            for host, known in seats.items():
                wait_for(partial(_hears_on_standby, known, e1), f"{host} to hear the first edge")
            for edge in EDGES:  # answers through either edge reach the second one
                outskirts.arrive_at(edge)
                for sender, receiver in ((client, taken), (taken, client)):
                    sender.sendall(b"still here")
                    assert receiver.recv(16) == b"still here"
    outskirts.arrive_at("e1")


def test_a_drained_edge_hands_its_connections_over(outskirts: Outskirts) -> None:
    """The second edge is in use, since the first one has failed."""
    world = outskirts.world
    seats = {host: world.agent(host).records.seats for host in ("hv1", "hv2", "e1")}
    e2 = world.hosts["e2"].vtep
    with listening(INTERNET, 85, 6) as server, connected(outskirts.place("a/one"), (SERVER6, 85)) as client:
        taken, _ = server.accept()
        with taken:
            taken.settimeout(30.0)
            client.settimeout(30.0)
            outskirts.put(keys.host_drained("e2"), b"e2")
            try:
                wait_for(lambda: all(e2 in known.silent for known in seats.values()), "all to leave the second edge")
                for sender, receiver in ((client, taken), (taken, client)):
                    sender.sendall(b"still here")
                    assert receiver.recv(16) == b"still here"
                assert source_seen(INTERNET, outskirts.place("b/one"), SERVER6) == address(outskirts, "b/one")
                assert not outskirts.ping(INTERNET, address(outskirts, "a/one"), tries=1).ok
            finally:
                world.store.txn((), [Delete(keys.host_drained("e2"))])
