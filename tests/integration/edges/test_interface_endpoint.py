"""Running interface endpoints: a service of one VPC in two others, all three with the same addresses, through a pair of edges."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

import pytest

from netorch.compiler.base import router_mac
from netorch.control.actions.endpoints.interface_changes import modify_interface_endpoint
from netorch.control.actions.memberships import modify_instance_groups
from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.endpoints.endpoint_service import connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.security import SecurityGroup
from netorch.records import keys
from netorch.services import proxy_protocol
from netorch.state.owner import netns_name
from netorch.store.base import Delete
from tests.integration.edges.closed import nothing_else_passes
from tests.integration.edges.linked import CONSUMERS, Linked
from tests.rig.outskirts import EDGES, Outskirts, connected, listening, udp_socket
from tests.rig.packets import ETH_P_IP, PacketListener, ethernet, send_vxlan, udp, vxlan
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    outskirts = Outskirts(tmp_path_factory.mktemp("endpoints"))
    try:
        found = Linked(outskirts)
        assert found.cannot("a/one", (found.front("a"), 443))  # not accepted yet
        for name in CONSUMERS:
            assert found.accept(name).state is EndpointState.AVAILABLE
        yield found
    finally:
        outskirts.close()


def test_consumers_with_the_providers_addresses_reach_the_service_at_once(linked: Linked) -> None:
    assert {linked.front(name) for name in CONSUMERS} & {linked.back(name) for name in CONSUMERS}
    with ExitStack() as stack:
        servers = [stack.enter_context(_impatient(linked.place(f"p/{name}"))) for name in ("one", "two")]
        seen = set()
        for port in (40000, 40001, 40002, 40003):
            places = [(linked.place(f"{name}/one"), (linked.front(name), 443)) for name in CONSUMERS]
            clients = [stack.enter_context(connected(*place, port)) for place in places]
            for client in clients:
                client.sendall(b"?")
            taken = [stack.enter_context(found) for found in _taken(servers, len(clients))]
            peers = {connection.getpeername()[0] for connection in taken}
            assert peers == {linked.back(name) for name in CONSUMERS}
            seen |= {connection.getsockname()[0] for connection in taken}
            for connection in taken:
                connection.sendall(connection.getpeername()[0].encode())
            for client, name in zip(clients, CONSUMERS, strict=True):
                assert client.recv(64).decode() == linked.back(name)
        assert seen == {"10.0.1.5", "10.0.1.6"}  # both targets have had connections


def _impatient(place: str) -> socket.socket:
    """Return a target's server, with a short time-out."""
    server = listening(place, 8443)
    server.settimeout(0.05)
    return server


def _speaks(connection: socket.socket) -> bool:
    connection.settimeout(10)
    with suppress(ConnectionResetError):
        return bool(connection.recv(1, socket.MSG_PEEK))
    return False


def _taken(servers: Sequence[socket.socket], count: int) -> list[socket.socket]:
    """Return the connections of some clients that send first: the relay's health checks send nothing."""
    found: list[socket.socket] = []

    def all_there() -> bool:
        for server in servers:
            with suppress(TimeoutError):
                connection, _ = server.accept()
                (found.append if _speaks(connection) else socket.socket.close)(connection)
        return len(found) == count

    wait_for(all_there, f"{count} connections")
    return found


def test_groups_ports_and_directions(linked: Linked) -> None:
    front, back = linked.front("a"), linked.back("a")
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(listening(linked.place(f"p/{name}"), 8443))
        assert linked.cannot("a/two", (front, 443))  # no group of the endpoint permits a/two
        assert linked.cannot("a/one", (front, 8443))  # not a port of the service
        assert not linked.outskirts.ping("a/one", front, tries=1).ok
        connected(linked.place("a/three"), (front, 443)).close()
        for source in ("p/one", "p/three"):  # the provider's instances cannot open connections
            assert linked.cannot(source, (back, 443))
            assert linked.cannot(source, (back, 40000))
    for name in CONSUMERS:
        with pytest.raises(ConnectionRefusedError):  # no target listens on that port
            connected(linked.place(f"{name}/one"), (linked.front(name), 444))


def test_datagrams_and_errors_about_them(linked: Linked) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(udp_socket(linked.place(f"p/{name}"), ("0.0.0.0", 53))) for name in ("one", "two")]
        for name in CONSUMERS:
            with udp_socket(linked.place(f"{name}/one")) as client:
                client.connect((linked.front(name), 5353))
                client.send(name.encode())
                data, peer = _either(servers)
                assert (data.decode(), peer[0][0]) == (name, linked.back(name))
                peer[1].sendto(b"answer", peer[0])
                assert client.recv(16) == b"answer"
    with udp_socket(linked.place("a/one")) as client:
        client.connect((linked.front("a"), 5353))
        client.send(b"nobody listens")
        with pytest.raises(ConnectionRefusedError):
            client.recv(16)


def _either(servers: list[socket.socket]) -> tuple[bytes, tuple[tuple[str, int], socket.socket]]:
    for server in servers:
        server.settimeout(0.05)

    def heard() -> tuple[bytes, tuple[tuple[str, int], socket.socket]] | None:
        for server in servers:
            try:
                data, peer = server.recvfrom(64)
            except TimeoutError:
                continue
            return data, (peer, server)
        return None

    found = wait_for(heard, "a datagram")
    assert found is not None
    return found


def test_what_is_forged_in_its_name_is_dropped(linked: Linked) -> None:
    """Only edges may send as the endpoint or as the connection; this is another host."""
    world, needle = linked.world, b"forged " + os.urandom(8)
    hv1, hv2 = (world.hosts[name].vtep for name in ("hv1", "hv2"))
    cases = (("a", linked.front("a")), ("p", linked.back("a")))
    for name, source in cases:
        frame = ethernet(router_mac(hv1), router_mac(hv2), ETH_P_IP, udp(source, "10.0.1.5", needle))
        with PacketListener(linked.place(f"{name}/one")) as listener:
            send_vxlan("hv2", hv2, hv1, vxlan(world.vpc(name).vni, frame))
            assert not listener.hears(needle)


def test_nothing_but_the_service_is_open_either_way(linked: Linked) -> None:
    """The endpoint's groups permit everything, so only the service's ports limit the packets between the VPCs."""
    world, endpoint = linked.world, linked.endpoints["a"].id
    opened, front = (linked.of("a", SecurityGroup, name) for name in ("open", "front"))
    modify_interface_endpoint(world.store, world.caller, endpoint, add_groups=[opened])
    for relays in (False, True):
        linked.modify(proxy_protocol=relays)
        nothing_else_passes(linked)
    linked.modify(proxy_protocol=False)
    modify_interface_endpoint(world.store, world.caller, endpoint, remove_groups=[opened])
    linked.outskirts.settle()
    assert front in {group for eni in world.vpc("a").each(NetworkInterface) if eni.gateway == endpoint for group in eni.groups}
    assert linked.cannot("a/two", (linked.front("a"), 443))


def test_an_address_in_each_subnet_behind_its_acl(linked: Linked) -> None:
    """10.0.1.7 may neither send to the endpoint's second subnet nor receive from it."""
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(listening(linked.place(f"p/{name}"), 8443))
        for place in (0, 1):
            connected(linked.place("a/one"), (linked.front("a", place), 443)).close()
        connected(linked.place("a/three"), (linked.front("a"), 443)).close()
        assert linked.cannot("a/three", (linked.front("a", 1), 443))


def test_the_providers_groups_see_the_connections_address_and_who_refuses_it_gets_none_of_its(linked: Linked) -> None:
    """One of the targets accepts connections only from b's address."""
    assert linked.back("b") == "10.0.9.5"
    _let(linked, "of-b")
    with ExitStack() as stack:
        servers = [stack.enter_context(_impatient(linked.place(f"p/{name}"))) for name in ("one", "two")]
        wait_for(lambda: "10.0.1.6:8443" in linked.ailing("a") and "10.0.1.5:8443" not in linked.ailing("a"), "a to know it", 120)
        wait_for(lambda: "10.0.1.6:8443" not in linked.ailing("b"), "b to know it, too", 60)
        linked.outskirts.settle()
        seen: dict[str, set[str]] = {}
        for name in CONSUMERS:
            for port in range(42000, 42024):  # the edge draws a target for each connection; of 24 one gets all once in 2^23 runs
                client = stack.enter_context(connected(linked.place(f"{name}/one"), (linked.front(name), 443), port))
                client.sendall(b"?")
                (taken,) = _taken(servers, 1)
                seen.setdefault(name, set()).add(stack.enter_context(taken).getsockname()[0])
        assert seen == {"a": {"10.0.1.5"}, "b": {"10.0.1.5", "10.0.1.6"}}
        _let(linked, "open")
        wait_for(lambda: "10.0.1.6:8443" not in linked.ailing("a"), "a to know it again", 120)


def _let(linked: Linked, group: str) -> None:
    """Put one of the targets into only this security group."""
    world = linked.world
    modify_instance_groups(world.store, world.caller, world.instance("p/two").id, [linked.of("p", SecurityGroup, group)])
    linked.outskirts.settle()


def test_targets_are_told_who_connects_and_by_which_endpoint(linked: Linked) -> None:
    """Both consumers have the same address, and use the same port."""
    linked.modify(proxy_protocol=True)
    with ExitStack() as stack:
        servers = [stack.enter_context(_impatient(linked.place(f"p/{name}"))) for name in ("one", "two")]
        clients = {
            name: stack.enter_context(connected(linked.place(f"{name}/one"), (linked.front(name), 443), 41000))
            for name in CONSUMERS
        }
        taken = [stack.enter_context(found) for found in _taken(servers, len(clients))]
        by_name = {}
        for connection in taken:
            peer = connection.getpeername()[0]
            name = next(each for each in CONSUMERS if linked.back(each) == peer)
            header = proxy_protocol.header(("10.0.1.5", 41000), (linked.front(name), 443), linked.endpoints[name].id)
            assert _exactly(connection, len(header)) == header
            by_name[name] = connection
        assert by_name.keys() == set(CONSUMERS)
        for name, client in clients.items():
            _whole(client, by_name[name], name.encode() * 3_000_000)
            client.shutdown(socket.SHUT_WR)
            assert by_name[name].recv(1) == b""
            _whole(by_name[name], client, name.encode() * 1_000_000)  # the other direction goes on
    assert linked.cannot("a/two", (linked.front("a"), 443))  # the endpoint's groups apply as before
    with ExitStack() as stack:  # datagrams are translated as before
        behind = [stack.enter_context(udp_socket(linked.place(f"p/{name}"), ("0.0.0.0", 53))) for name in ("one", "two")]
        client = stack.enter_context(udp_socket(linked.place("a/one")))
        client.connect((linked.front("a"), 5353))
        client.send(b"hello")
        assert _either(behind)[0] == b"hello"


def _whole(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    """Send more than all buffers hold: the other end reads only now."""
    thread = threading.Thread(target=sender.sendall, args=(data,), daemon=True)
    thread.start()
    assert _exactly(receiver, len(data)) == data
    thread.join(10)


def _exactly(receiver: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count and (data := receiver.recv(count - len(found))):
        found += data
    return bytes(found)


def test_a_killed_relay_resets_its_connections_and_comes_back(linked: Linked) -> None:
    front = linked.front("a")
    with ExitStack() as stack:
        servers = [stack.enter_context(_impatient(linked.place(f"p/{name}"))) for name in ("one", "two")]
        client = stack.enter_context(connected(linked.place("a/one"), (front, 443)))
        stack.enter_context(*_taken(servers, 1))  # the relay has connected, and sent its header
        os.kill(linked.daemon("e1"), signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            client.recv(16)
        wait_for(lambda: not linked.cannot("a/one", (front, 443)), "the next relay", 60)
    linked.modify(proxy_protocol=False)
    with pytest.raises(ConnectionRefusedError):  # the relay is gone, so the target itself refuses
        connected(linked.place("a/one"), (front, 443))


def test_the_other_edge_takes_over_and_gives_connections_back(linked: Linked) -> None:
    """The first edge fails, so the second one knows none of its connections; later it is drained, and hands over its own."""
    world, front = linked.world, linked.front("a")
    first, second = (world.hosts[edge].vtep for edge in EDGES)
    seats = [world.agent(host).records.seats for host in world.hosts]
    with ExitStack() as stack:
        servers = [stack.enter_context(_impatient(linked.place(f"p/{name}"))) for name in ("one", "two")]
        client = stack.enter_context(connected(linked.place("a/one"), (front, 443)))
        spine = stack.enter_context(linked.outskirts.rtnl("spine"))
        spine.route("replace", dst=f"{first}/32", type="blackhole")
        try:
            wait_for(lambda: not linked.cannot("a/three", (front, 443)), "the other edge to be used")
            client.sendall(b"are you there")
            with pytest.raises(ConnectionResetError):
                client.recv(16)
            wait_for(lambda: first in world.agent("e1").records.seats.standby, "the first edge to know that nobody reaches it")
        finally:
            spine.route("replace", dst=f"{first}/32", oif=spine.link_lookup(ifname="to-e1")[0], scope=253)
        wait_for(lambda: not any(known.silent for known in seats), "all to hear the first edge")
        for server in servers:
            _emptied(server)
        other = stack.enter_context(connected(linked.place("a/one"), (front, 443)))
        other.sendall(b"?")
        (taken,) = _taken(servers, 1)
        assert taken.recv(1) == b"?"
        stack.enter_context(taken)
        linked.outskirts.put(keys.host_drained("e2"), b"e2")
        wait_for(lambda: all(second in known.silent for known in seats[:2]), "all to leave the second edge", 60)
        for sender, receiver in ((other, taken), (taken, other)):
            sender.sendall(b"still here")
            assert receiver.recv(16) == b"still here"
        world.store.txn((), [Delete(keys.host_drained("e2"))])


def _emptied(server: socket.socket) -> None:
    with suppress(TimeoutError):
        while True:
            server.accept()[0].close()


def test_a_killed_agent_writes_nothing_and_a_rejected_connection_reaches_nothing(linked: Linked) -> None:
    linked.outskirts.kill_agent("e1")
    with ExitStack() as stack:
        for name in ("one", "two"):
            stack.enter_context(listening(linked.place(f"p/{name}"), 8443))
        client = stack.enter_context(connected(linked.place("b/one"), (linked.front("b"), 443)))
        linked.reject("b")
        assert linked.cannot("b/one", (linked.front("b"), 443))
        client.close()
        connected(linked.place("a/one"), (linked.front("a"), 443)).close()
        for edge in EDGES:
            assert not os.path.exists(f"/run/netns/{netns_name(edge, connection_of(linked.endpoints['b'].id))}")
        linked.accept("b")
        connected(linked.place("b/one"), (linked.front("b"), 443)).close()
