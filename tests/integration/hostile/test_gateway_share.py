"""One customer's gateways flood an edge's connection tables; another customer's gateways and known connections go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import pytest

from netorch.control.views.health import read_health
from netorch.drivers.base import ConnectionTracker
from netorch.drivers.nft.counters import CounterReader
from netorch.lab.wiring import in_node
from netorch.state.owner import netns_name
from tests.integration.edges.nat.natted import natted
from tests.integration.hostile.test_allowance import MOST, small_tables
from tests.rig.outskirts import EDGES, INTERNET, SERVER, Outskirts, connected, listening, source_seen, udp_socket
from tests.rig.seats import nat_of
from tests.rig.world import wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow]

PUBLIC = {"greedy": "198.51.100.11", "modest": "198.51.100.12"}
HEARD, FILL = 7000, 7100  # ports


@pytest.fixture
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with NAT gateways; agents only on the edges, so that hypervisors refuse nothing."""
    with natted(tmp_path_factory.mktemp("share"), PUBLIC) as found:
        for host in ("hv1", "hv2"):
            found.world.stop_agent(host)
        yield found


def tracker(outskirts: Outskirts, name: str) -> ConnectionTracker:
    """Return connection tracking of a VPC's gateway, read besides the agent."""
    reader = outskirts.world.reader("e1")
    reader.dump()
    return reader.trackers[nat_of(outskirts.world.vpc(name).vni)]


def refused_new(outskirts: Outskirts, name: str) -> int:
    """Return the number of packets that a gateway has dropped because they would have opened a connection."""
    with in_node(netns_name("e1", nat_of(outskirts.world.vpc(name).vni))), closing(CounterReader()) as reader:
        return sum(own["allowance"].packets for own in reader.read().values() if "allowance" in own)


def problems(outskirts: Outskirts) -> str:
    return "\n".join(read_health(outskirts.world.store, time.time()).problems)


def test_one_customers_flood_leaves_room_and_others_gateways_work(outskirts: Outskirts) -> None:
    place = outskirts.place("greedy/one")
    with small_tables(), listening(INTERNET, 81) as server, connected(place, (SERVER, 81)) as client:
        taken, _ = server.accept()
        with taken, udp_socket(INTERNET, (SERVER, HEARD)) as hearing:
            hearing.settimeout(1.0)

            def turned_away() -> bool:
                """Open another connection, and return whether its packet does not arrive."""
                with udp_socket(place) as sock:
                    sock.sendto(b"new", (SERVER, HEARD))
                with suppress(TimeoutError):
                    return not hearing.recv(16)
                return True

            wait_for(turned_away, "the first refusal")
            assert MOST // 2 <= tracker(outskirts, "greedy").use().held < MOST
            assert refused_new(outskirts, "greedy") > 0
            assert refused_new(outskirts, "modest") == 0
            for text in (b"still here", b"so am I"):
                for sender, receiver in ((client, taken), (taken, client)):
                    sender.sendall(text)
                    assert receiver.recv(16) == text
            for _ in range(5):
                assert source_seen(INTERNET, outskirts.place("modest/one"), SERVER) == PUBLIC["modest"]
            wait_for(lambda: "host e1: VPC greedy holds more connections" in problems(outskirts), "status")
            found = tracker(outskirts, "greedy")
            found.forget(found.flows(0))
            wait_for(lambda: not turned_away(), "room again")


def test_a_flood_that_nobody_looks_at_stays_in_its_own_table(outskirts: Outskirts) -> None:
    for edge in EDGES:
        outskirts.world.stop_agent(edge)
    with small_tables(), udp_socket(outskirts.place("greedy/one")) as sock:
        for number in range(3 * MOST):
            sock.sendto(b"fill", (SERVER, FILL + number))
        wait_for(partial(_is_full, outskirts), "a full table")
        for _ in range(5):
            assert source_seen(INTERNET, outskirts.place("modest/one"), SERVER) == PUBLIC["modest"]


def _is_full(outskirts: Outskirts) -> bool:
    return tracker(outskirts, "greedy").use().held >= MOST * 3 // 4
