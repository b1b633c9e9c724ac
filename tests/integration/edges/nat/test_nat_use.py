"""Counts of NAT gateways: EC2's metrics, exhausted ports, connections that end by idle time-out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

import edges.nat
from netorch.control.actions.outside.nats import describe_nat_gateway
from netorch.control.views.health import read_health
from netorch.lab.wiring import in_node
from netorch.model.security import AclEntry, NetworkAcl
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.state.netns import Namespace
from netorch.state.owner import netns_name
from tests.integration.edges.nat.natted import natted
from tests.rig.outskirts import INTERNET, SERVER, Outskirts, connected, listening, udp_socket
from tests.rig.seats import nat_of
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

PORTS = 8
PUBLIC = "198.51.100.11"


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """A VPC whose NAT gateway has few ports."""
    few = partial(edges.nat.gateway_table, ports=f"50000-{50000 + PORTS - 1}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(edges.nat, "gateway_table", few)
        with natted(tmp_path_factory.mktemp("use"), {"a": PUBLIC}, ["e1"]) as found:
            yield found


def gateway(outskirts: Outskirts) -> str:
    return nat_of(outskirts.world.vpc("a").vni)


def metrics(outskirts: Outskirts) -> dict[str, int]:
    """Return the gateway's metrics as its edges have published them."""
    return describe_nat_gateway(outskirts.world.store, Caller(operator=True), gateway(outskirts)).metrics


def shows(outskirts: Outskirts, before: dict[str, int], **added: int) -> None:
    """Wait until metrics have grown by these amounts."""

    def grown() -> bool:
        now = metrics(outskirts)
        return all(now[name] - before[name] == number for name, number in added.items())

    wait_for(grown, f"{added} more than {before}", timeout_s=60)


def says_all(outskirts: Outskirts) -> bool:
    """Return whether the metrics have all bytes that the kernel has counted."""
    reader = outskirts.world.reader("e1")
    reader.dump(frozenset({Namespace.kind}))
    counts, said = reader.gateway_counters(gateway(outskirts)), metrics(outskirts)
    counted = counts["in_from_source"].bytes, counts["out_to_source"].bytes
    return counted == (said["BytesInFromSource"], said["BytesOutToSource"])


def forget(outskirts: Outskirts) -> None:
    """Delete the gateway's connections, which does not count as idle time-outs."""
    reader = outskirts.world.reader("e1")
    reader.dump(frozenset({Namespace.kind}))
    tracker = reader.trackers[gateway(outskirts)]
    tracker.forget(tracker.flows(0))


def test_connections_packets_and_bytes_are_counted_in_both_directions(outskirts: Outskirts) -> None:
    before = metrics(outskirts)
    with listening(INTERNET, 90) as server, connected(outskirts.place("a/one"), (SERVER, 90)) as client:
        taken, _ = server.accept()
        with taken:
            client.sendall(bytes(50_000))
            received = 0
            while received < 50_000:
                received += len(taken.recv(65536))
    shows(outskirts, before, ConnectionAttemptCount=1, ConnectionEstablishedCount=1, ErrorPortAllocation=0, IdleTimeoutCount=0)
    wait_for(lambda: says_all(outskirts), "metrics that say what the kernel counts")  # they are read each second, also meanwhile
    after = metrics(outskirts)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["ActiveConnectionCount"] >= 1
    assert 50_000 <= grown["BytesInFromSource"] < 70_000
    assert grown["BytesOutToDestination"] == grown["BytesInFromSource"]
    assert grown["BytesOutToSource"] == grown["BytesInFromDestination"] > 0
    assert grown["PacketsOutToDestination"] == grown["PacketsInFromSource"] >= 5
    assert grown["PacketsOutToSource"] == grown["PacketsInFromDestination"] >= 3
    assert grown["PacketsDropCount"] == 0


def test_what_gets_no_port_is_counted_exactly_and_other_destinations_have_ports(outskirts: Outskirts) -> None:
    forget(outskirts)
    before = metrics(outskirts)
    places = [outskirts.place("a/one"), outskirts.place("a/two")]
    with ExitStack() as stack:
        server = stack.enter_context(udp_socket(INTERNET, (SERVER, 7100)))
        other = stack.enter_context(udp_socket(INTERNET, (SERVER, 7101)))
        seen = set()
        for number in range(PORTS):
            client = stack.enter_context(udp_socket(places[number % 2]))
            client.sendto(b"first", (SERVER, 7100))
            _, peer = server.recvfrom(16)
            seen.add(peer)
            server.sendto(b"answer", peer)
            assert client.recv(16) == b"answer"
        assert {address for address, _ in seen} == {PUBLIC}
        assert {port for _, port in seen} == set(range(50000, 50000 + PORTS))
        for number in range(3):
            refused = stack.enter_context(udp_socket(places[number % 2]))
            refused.sendto(b"too many", (SERVER, 7100))
            refused.sendto(b"elsewhere", (SERVER, 7101))
            assert other.recv(16) == b"elsewhere"
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.recvfrom(16)
        shows(outskirts, before, ErrorPortAllocation=3, PacketsDropCount=3, ConnectionAttemptCount=0)
    edge = next(host.edge for host in read_health(outskirts.world.store, 0.0).hosts if host.name == "e1")
    assert edge is not None
    assert edge.no_port == before["ErrorPortAllocation"] + 3


def test_a_connection_that_was_idle_too_long_is_counted_and_then_reset(outskirts: Outskirts) -> None:
    forget(outskirts)
    before = metrics(outskirts)
    netns = netns_name("e1", gateway(outskirts))
    timeout = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
    reader = outskirts.world.reader("e1")
    reader.dump(frozenset({Namespace.kind}))
    tracker = reader.trackers[gateway(outskirts)]
    with in_node(netns):
        pinned = timeout.read_text()
        timeout.write_text("1")
    try:
        with listening(INTERNET, 91) as server, connected(outskirts.place("a/one"), (SERVER, 91)) as client:
            taken, _ = server.accept()
            with taken:
                wait_for(lambda: not tracker.flows(0), "the idle connection to end", timeout_s=60)
                shows(outskirts, before, ConnectionEstablishedCount=1, IdleTimeoutCount=1)
                client.sendall(b"still there?")
                with pytest.raises(ConnectionResetError):
                    client.recv(16)
        shows(outskirts, before, IdleTimeoutCount=1, PacketsDropCount=1)
    finally:
        with in_node(netns):
            timeout.write_text(pinned)


def test_a_changed_acl_keeps_what_was_counted(outskirts: Outskirts) -> None:
    world = outskirts.world
    acl = next(each for each in world.vpc("a").each(NetworkAcl) if each.name == "border")
    denied = AclEntry(number=1, allow=False, protocol=17, cidr="203.0.113.0/24", from_port=9, to_port=9)
    rest = AclEntry(number=2, allow=True, protocol=-1, cidr="0.0.0.0/0")
    reader = world.reader("e1")
    reader.dump(frozenset({Namespace.kind}))
    before = reader.gateway_counters(gateway(outskirts))["in_from_source"]
    outskirts.put(keys.resource(acl.id), encode(NetworkAcl(id=acl.id, vni=acl.vni, name="border", egress=(denied, rest))))
    world.settle()
    after = reader.gateway_counters(gateway(outskirts))["in_from_source"]
    assert after.packets >= before.packets > 0
    assert after.bytes >= before.bytes > 0
