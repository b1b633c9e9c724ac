"""NAT gateways move between the edges of a pair while 200 connections, datagrams and pings use them, and lose none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.agent.tasks import handover
from netorch.records import keys
from netorch.store.base import Delete
from tests.integration.edges.moves.talks import Datagrams, Repeater, Talks
from tests.integration.edges.nat.natted import PUBLIC, natted
from tests.rig.outskirts import EDGES, INTERNET, SERVER, Outskirts, source_seen
from tests.rig.world import Traffic, wait_for

pytestmark = pytest.mark.root

COUNT, PORT = 200, 90
PATIENCE_S = 60.0
HYPERVISORS = ("hv1", "hv2")


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """Two VPCs with the same addresses and NAT gateways. A returning edge soon asks for its gateways."""
    with pytest.MonkeyPatch.context() as patch, natted(tmp_path_factory.mktemp("handover")) as found:
        patch.setattr(handover, "RETURN_S", 2.0)
        yield found


@pytest.fixture
def repeater() -> Iterator[Repeater]:
    found = Repeater(INTERNET, SERVER, PORT)
    yield found
    found.close()


def standby(outskirts: Outskirts) -> set[str]:
    """Return the edges that some hypervisor does not use for NAT gateways."""
    vteps = {outskirts.world.hosts[edge].vtep: edge for edge in EDGES}
    known = (outskirts.world.agent(host).records.seats for host in HYPERVISORS)
    return {vteps[vtep] for seats in known for vtep in seats.silent | seats.standby}


def drain(outskirts: Outskirts, edge: str) -> None:
    outskirts.put(keys.host_drained(edge), edge.encode())


def undrain(outskirts: Outskirts, edge: str) -> None:
    outskirts.world.store.txn((), [Delete(keys.host_drained(edge))])


def all_left(outskirts: Outskirts, edge: str) -> bool:
    """Return whether each hypervisor knows that an edge is no longer ready."""
    vtep = outskirts.world.hosts[edge].vtep
    return all(vtep in outskirts.world.agent(host).records.seats.silent for host in HYPERVISORS)


@pytest.mark.usefixtures("arrival", "repeater")
def test_a_drain_and_its_end_lose_no_connection_no_datagram_and_no_ping(outskirts: Outskirts) -> None:
    talks = Talks(outskirts.place("a/one"), (SERVER, PORT), COUNT)
    datagrams = Datagrams(outskirts.place("a/two"), (SERVER, PORT))
    pings = [Traffic(outskirts.place(place), SERVER, 0.02) for place in ("a/two", "b/one")]
    try:
        wait_for(talks.all_go_on(), "all connections to speak", PATIENCE_S)
        drain(outskirts, "e1")
        wait_for(lambda: all_left(outskirts, "e1"), "all to leave the first edge", PATIENCE_S)
        wait_for(talks.all_go_on(), "all connections to go on by the second edge", PATIENCE_S)
        assert source_seen(INTERNET, outskirts.place("b/two"), SERVER) == PUBLIC["b"]
        undrain(outskirts, "e1")
        wait_for(lambda: not standby(outskirts), "the gateways to return", PATIENCE_S)
        wait_for(talks.all_go_on(), "all connections to go on by the first edge", PATIENCE_S)
        assert talks.ended == {}
        assert [each.stop() for each in pings] == [0, 0]
        assert datagrams.lost == 0
    finally:
        for each in (talks, datagrams):
            each.close()


@pytest.mark.long
@pytest.mark.usefixtures("repeater")
@pytest.mark.parametrize("edge", EDGES)
def test_an_agent_that_is_killed_in_the_middle_loses_no_connection_either(outskirts: Outskirts, edge: str) -> None:
    """Whether the killed agent gives or takes: it is restarted before the other one gives up, and begins again."""
    world = outskirts.world
    world.stop_agent(edge)
    process = world.start_process(edge)
    wait_for(lambda: world.inventory().agents[edge].pid == process.pid, "the agent to report", PATIENCE_S)
    talks = Talks(outskirts.place("a/one"), (SERVER, PORT), COUNT)
    try:
        wait_for(talks.all_go_on(), "all connections to speak", PATIENCE_S)
        assert not standby(outskirts)
        if edge == "e2":  # the taker does not know of the handover
            process.kill()
        drain(outskirts, "e1")
        wait_for(lambda: world.store.get(keys.handover_word("e1")), "the first edge to give", PATIENCE_S)
        if edge == "e1":
            process.kill()
        world.start_agents(edge)
        wait_for(lambda: all_left(outskirts, "e1"), "all to leave the first edge", PATIENCE_S)
        wait_for(talks.all_go_on(), "all connections to go on by the second edge", PATIENCE_S)
        assert talks.ended == {}
    finally:
        talks.close()
        undrain(outskirts, "e1")
        wait_for(lambda: not standby(outskirts), "the gateways to return", PATIENCE_S)
