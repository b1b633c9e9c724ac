"""Changes while an edge runs: addresses come and go, instances stop, agents are killed."""

from __future__ import annotations

import pytest

from netorch.records import keys
from netorch.store.base import Delete
from tests.integration.edges.conftest import PUBLIC
from tests.rig.outskirts import EDGES, INTERNET, SERVER, Outskirts
from tests.rig.world import Traffic

pytestmark = pytest.mark.root

ONE, SPARE = PUBLIC["a/one"], "198.51.100.8"


def test_an_address_that_stands_for_nothing_any_more_passes_no_packet(outskirts: Outskirts) -> None:
    outskirts.associate("a/mute", SPARE)
    outskirts.world.settle()
    assert outskirts.ping("a/mute", SERVER).ok
    assert outskirts.ping(INTERNET, SPARE).ok
    outskirts.dissociate("a/mute", SPARE)
    outskirts.world.settle()
    assert not outskirts.ping("a/mute", SERVER, tries=1).ok
    assert not outskirts.ping(INTERNET, SPARE, tries=1).ok


def test_an_address_goes_from_one_instance_to_another_under_traffic_of_others(outskirts: Outskirts) -> None:
    traffic = [Traffic(outskirts.place("a/one"), SERVER), Traffic(INTERNET, PUBLIC["b/one"])]
    for name in ("a/mute", "a/two", "a/mute"):
        if name == "a/two":
            outskirts.dissociate("a/two", PUBLIC["a/two"])
        outskirts.associate(name, SPARE)
        outskirts.world.settle()
        assert outskirts.ping(name, SERVER).ok
        outskirts.dissociate(name, SPARE)
        outskirts.world.settle()
    outskirts.associate("a/two", PUBLIC["a/two"])
    outskirts.world.settle()
    assert [each.stop() for each in traffic] == [0, 0]


@pytest.mark.parametrize("edge", EDGES)
def test_a_killed_agent_loses_no_packet_and_the_next_one_writes_nothing(outskirts: Outskirts, edge: str) -> None:
    outskirts.arrive_at(edge)
    traffic = [Traffic(outskirts.place("a/one"), SERVER), Traffic(INTERNET, PUBLIC["a/two"])]
    outskirts.kill_agent(edge)
    assert [each.stop() for each in traffic] == [0, 0]
    outskirts.arrive_at("e1")


def test_what_comes_for_an_instance_that_is_nowhere_dies_at_the_edge(outskirts: Outskirts) -> None:
    world = outskirts.world
    eni = world.eni("b/one")
    world.store.txn((), [Delete(keys.mapping(eni.vni, eni.address))])
    world.settle()
    answer = outskirts.ping(INTERNET, PUBLIC["b/one"], tries=1)
    assert not answer.ok
    assert answer.error == "no reply"
    assert outskirts.ping(INTERNET, ONE).ok
