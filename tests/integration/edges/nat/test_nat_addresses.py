"""Several addresses of one NAT gateway: connections use all, each address has all ports, and removing one affects no other."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

import pytest

import edges.nat
from edges.tracking import SEED
from netorch.agent.tasks.rounds import ROUND_S
from netorch.control.actions.outside.addresses import allocate_address
from netorch.control.actions.outside.nat_addresses import associate_nat_gateway_address, disassociate_nat_gateway_address
from netorch.control.actions.outside.nats import describe_nat_gateway
from netorch.control.base.public import use_of
from netorch.model.status import PublicUse
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.public import wrong_addresses
from netorch.state.netns import Namespace
from netorch.trace.hooks.jhash import jhash
from netorch.trace.hooks.skb import number_of
from tests.integration.edges.nat.natted import natted
from tests.rig.outskirts import INTERNET, Outskirts, connected, listening, udp_socket
from tests.rig.seats import nat_of
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

PORTS: Final = 4
PUBLIC: Final = ("198.51.100.11", "198.51.100.12", "198.51.100.13")
SERVERS: Final = [f"203.0.113.{n}" for n in range(20, 44)]
CLIENTS: Final = {"a/one": "10.0.1.5", "a/two": "10.0.1.6"}
OPERATOR: Final = Caller(operator=True)


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """A VPC whose NAT gateway has three elastic IPs and few ports, and many servers."""
    few = partial(edges.nat.gateway_table, ports=f"50000-{50000 + PORTS - 1}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(edges.nat, "gateway_table", few)
        with natted(tmp_path_factory.mktemp("addresses"), {"a": PUBLIC[0]}, ["e1"]) as found:
            with found.rtnl(INTERNET) as internet:
                for server in SERVERS:
                    internet.addr("add", index=internet.link_lookup(ifname="eth0")[0], address=server, prefixlen=24)
            more = [hold(found, public) for public in PUBLIC[1:]]
            associate_nat_gateway_address(found.world.store, OPERATOR, gateway(found), more)
            found.world.settle()
            yield found


def gateway(outskirts: Outskirts) -> str:
    return nat_of(outskirts.world.vpc("a").vni)


def hold(outskirts: Outskirts, public: str) -> str:
    """Allocate an elastic IP for the VPC's owner; return its id."""
    owner = next(outskirts.world.vpc("a").each(Vpc)).owner
    return allocate_address(outskirts.world.store, Caller(owner=owner), address=public).id


def test_connections_leave_by_all_addresses_and_those_of_two_ends_by_one(outskirts: Outskirts) -> None:
    seen: dict[tuple[str, str], set[str]] = {}
    with udp_socket(INTERNET, ("0.0.0.0", 7200)) as server:
        for place in CLIENTS:
            for address in SERVERS:
                for _ in range(2):
                    with udp_socket(outskirts.place(place)) as client:
                        client.sendto(b"who am I", (address, 7200))
                        _, (public, port) = server.recvfrom(16)
                    assert 50000 <= port < 50000 + PORTS
                    seen.setdefault((place, address), set()).add(public)
    expected = {
        (place, address): {PUBLIC[jhash([number_of(CLIENTS[place]), number_of(address)], len(PUBLIC), SEED)]}
        for place, address in seen
    }
    assert seen == expected  # so a trace predicts the address
    assert Counter(public for found in seen.values() for public in found).keys() == set(PUBLIC)


def test_each_address_has_all_ports_for_one_destination(outskirts: Outskirts) -> None:
    """EC2: each address has its own connections to each destination, on which a client's address does not depend."""
    server_address = next(
        address
        for address in SERVERS
        if len({jhash([number_of(client), number_of(address)], 3, SEED) for client in CLIENTS.values()}) == 2
    )
    reader = outskirts.world.reader("e1")
    reader.dump(frozenset({Namespace.kind}))
    before = reader.gateway_counters(gateway(outskirts))["no_port"].packets
    with ExitStack() as stack:
        server = stack.enter_context(udp_socket(INTERNET, (server_address, 7300)))
        peers = set()
        for place in CLIENTS:
            for _ in range(PORTS):
                client = stack.enter_context(udp_socket(outskirts.place(place)))
                client.sendto(b"first", (server_address, 7300))
                peers.add(server.recvfrom(16)[1])
        assert len(peers) == 2 * PORTS
        assert len({address for address, _ in peers}) == 2
        refused = stack.enter_context(udp_socket(outskirts.place("a/one")))
        refused.sendto(b"too many", (server_address, 7300))
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.recvfrom(16)
    assert reader.gateway_counters(gateway(outskirts))["no_port"].packets == before + 1


def all_published(outskirts: Outskirts) -> PublicUse:
    """Return the second address's use once a whole round of reading has added nothing: then earlier packets are included."""
    store, vni = outskirts.world.store, outskirts.world.vpc("a").vni
    last, since = use_of(store, vni, PUBLIC[1]), time.monotonic()

    def rests() -> bool:
        nonlocal last, since
        if (now := use_of(store, vni, PUBLIC[1])) != last:
            last, since = now, time.monotonic()
        return time.monotonic() > since + ROUND_S + 3

    wait_for(rests, "no more news of the address", timeout_s=60)
    return last


def test_packets_and_bytes_of_each_elastic_ip_are_counted(outskirts: Outskirts) -> None:
    store, vni, headers = outskirts.world.store, outskirts.world.vpc("a").vni, 28
    address = next(each for each in SERVERS if jhash([number_of("10.0.1.5"), number_of(each)], 3, SEED) == 1)
    before = all_published(outskirts)
    with udp_socket(INTERNET, (address, 7400)) as server, udp_socket(outskirts.place("a/one")) as client:
        for _ in range(3):
            client.sendto(bytes(100), (address, 7400))
            _, peer = server.recvfrom(2000)
            server.sendto(bytes(200), peer)
            assert len(client.recv(2000)) == 200
    more = PublicUse(packets_in=3, bytes_in=3 * (200 + headers), packets_out=3, bytes_out=3 * (100 + headers))
    wait_for(lambda: use_of(store, vni, PUBLIC[1]) == before + more, f"{more} more than {before}", timeout_s=60)


Ends = tuple[socket.socket, socket.socket]


def _connections(outskirts: Outskirts, stack: ExitStack, port: int) -> dict[str, list[Ends]]:
    """Return connections through the gateway's addresses, both ends of each, by public address."""
    server = stack.enter_context(listening(INTERNET, port))
    found: dict[str, list[Ends]] = {}
    for address in SERVERS:
        client = stack.enter_context(connected(outskirts.place("a/one"), (address, port)))
        taken, (public, _) = server.accept()
        found.setdefault(public, []).append((client, stack.enter_context(taken)))
    return found


def _pass(connections: dict[str, list[Ends]]) -> None:
    """Check that data passes on all connections, in both directions."""
    for client, server in (ends for found in connections.values() for ends in found):
        server.settimeout(10.0)
        for sender, receiver in ((client, server), (server, client)):
            sender.sendall(b"hello")
            assert receiver.recv(16) == b"hello"


def test_an_address_that_is_disassociated_drains_and_the_others_keep_their_connections(outskirts: Outskirts) -> None:
    nat, store = gateway(outskirts), outskirts.world.store
    with ExitStack() as stack:
        found = _connections(outskirts, stack, 92)
        assert found.keys() == set(PUBLIC)
        leaving = PUBLIC[2]
        disassociate_nat_gateway_address(store, OPERATOR, nat, [describe_nat_gateway(store, OPERATOR, nat).public[2].allocation])
        outskirts.world.settle()
        _pass(found)  # also through the draining address
        assert leaving not in _connections(outskirts, stack, 93)
        assert len(describe_nat_gateway(store, OPERATOR, nat).public) == len(PUBLIC)
        reader = outskirts.world.reader("e1")
        reader.dump(frozenset({Namespace.kind}))
        tracker = reader.trackers[nat]
        for end in (end for ends in found.pop(leaving) for end in ends):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # makes close send a reset
            end.close()
        drained = describe_nat_gateway(store, OPERATOR, nat).public[2].private_address

        def ended() -> bool:
            return drained not in tracker.answered_at([drained])

        wait_for(ended, "its connections to end", timeout_s=60)
        wait_for(lambda: len(describe_nat_gateway(store, OPERATOR, nat).public) == 2, "the address to be free", timeout_s=60)
        outskirts.world.settle()
        _pass(found)
    wrong = [str(error) for error in wrong_addresses(outskirts.world.inventory()) if leaving in str(error)]
    assert wrong == []
    for edge in ("e1", "e2"):
        assert outskirts.world.agent(edge).reconciler.problems == {}
