"""Packets to and from the internet, over the objects that the agents of a pair of edges compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.model.ids import port_name
from netorch.model.packet import Packet, echo
from netorch.records import keys
from netorch.state.nft import NftElement
from netorch.trace.codes import Code
from netorch.trace.walk import walk
from netorch.trace.way import Arrival, Place
from tests.unit.edges.internet import SERVER, Internet
from tests.unit.edges.pair import EDGES, UPLINK


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    made = Internet(tmp_path)
    yield made
    made.pair.close()


def test_a_packet_leaves_by_its_public_address_and_the_answer_comes_by_either_edge(internet: Internet) -> None:
    for number, public in enumerate(internet.publics):
        trip = internet.sent(number, SERVER)
        assert trip.there.left
        assert (trip.there.packet.source, trip.there.packet.destination) == (public, SERVER)
        there = [Place.VERIFY, Place.INLET, Place.GATEWAY, Place.OUTSIDE, Place.UPLINK]
        assert [hop.place for hop in trip.there.hops if hop.host in EDGES] == there
        assert [back.hops[0].host for back in trip.backs] == sorted(EDGES)
        for back in trip.backs:
            assert back.arrived_at == port_name(internet.eni(number).id)
            assert (back.packet.source, back.packet.destination) == (SERVER, internet.eni(number).address)


def test_a_packet_from_the_internet_arrives_by_either_edge_and_its_answer_leaves(internet: Internet) -> None:
    for number, public in enumerate(internet.publics):
        for edge in EDGES:
            trip = internet.comes(edge, echo(SERVER, public))
            assert trip.there.arrived_at == port_name(internet.eni(number).id)
            assert trip.succeeded
            assert [(back.left, back.packet.source) for back in trip.backs] == [(True, public)]


@pytest.mark.parametrize(("source", "target"), [(0, 0), (0, 1), (1, 0)])
def test_a_public_address_of_the_pair_is_reached_through_the_outside(internet: Internet, source: int, target: int) -> None:
    trip = internet.sent(source, internet.publics[target])
    assert trip.succeeded
    assert trip.there.arrived_at == port_name(internet.eni(target).id)
    assert trip.there.packet.source == internet.publics[source]
    assert [back.arrived_at for back in trip.backs] == [port_name(internet.eni(source).id)]


def test_what_has_no_public_address_does_not_leave(internet: Internet) -> None:
    internet.pair.world.delete(keys.public_mapping(internet.eni(0).vni, internet.publics[0]))
    internet.pair.world.settle(5)
    found = internet.sent(0, SERVER).there
    assert (found.code, found.hops[-1].place) == (Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, Place.GATEWAY)
    found = internet.comes("e2", echo(SERVER, internet.publics[0])).there
    assert (found.code, found.hops[-1].place) == (Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, Place.OUTSIDE)


@pytest.mark.parametrize(
    ("source", "destination", "code", "counter"),
    [
        ("10.0.0.4", "198.51.100.5", Code.IGW_REJECTS_SPOOFED_TRAFFIC, "outside_source"),
        ("198.51.100.6", "198.51.100.5", Code.IGW_REJECTS_SPOOFED_TRAFFIC, "outside_source"),
        (SERVER, "8.8.8.8", Code.NO_TRANSIT, "outside_transit"),
        (SERVER, "10.0.0.4", Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS, ""),
        (SERVER, "198.51.100.77", Code.IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS, ""),
    ],
)
def test_what_the_outside_drops_has_a_code(internet: Internet, source: str, destination: str, code: Code, counter: str) -> None:
    found = internet.comes("e1", echo(source, destination)).there
    assert (found.code, found.counter, found.hops[-1].place) == (code, counter, Place.OUTSIDE)


def test_private_destinations_are_not_on_the_internet(internet: Internet) -> None:
    for destination, code in (
        ("192.168.7.7", Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS),
        ("100.64.0.1", Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS),
    ):
        assert internet.sent(0, destination).there.code is code


def test_the_uplinks_own_network_is_not_the_internet(internet: Internet) -> None:
    for destination in (UPLINK.gateway, "198.18.0.77"):
        found = internet.sent(0, destination).there
        assert (found.code, found.counter) == (Code.NO_WAY_TO_UPLINK, "uplink_network")


def test_the_edge_itself_answers_pings_only(internet: Internet) -> None:
    edge = UPLINK.address.partition("/")[0]
    assert internet.comes("e1", echo(SERVER, edge)).there.arrived
    found = internet.comes(
        "e1", Packet(source=SERVER, destination=edge, protocol=6, source_port=1025, destination_port=179)
    ).there
    assert (found.code, found.counter) == (Code.ROUTER_ANSWERS_PINGS_ONLY, "to_edge")


def test_what_is_missing_on_one_edge_is_found_on_the_way_by_that_edge(internet: Internet) -> None:
    assert internet.sent(0, SERVER).succeeded
    internet.remove("e2", NftElement, set="passes")
    trip = internet.sent(0, SERVER)
    assert trip.there.arrived
    assert trip.back is not None
    assert (trip.back.host, trip.back.code, trip.back.counter) == ("e2", Code.NO_GATEWAY_TAKES_IT, "no_gateway")
    assert [back.arrived for back in trip.backs] == [True, False]


def test_an_address_of_the_vpc_does_not_come_from_outside(internet: Internet) -> None:
    """The namespace `outside` drops such a source; without its table, the gateway's filter does."""
    for host in EDGES:
        objects = internet.pair.world.kernels[host].objects
        del objects["nft-table", "outside", "inet"]
    start = Arrival(host="e1", ifname=UPLINK.device)
    found = walk(internet.models, start, echo("10.0.0.9", internet.publics[0]))
    assert (found.code, found.hops[-1].place) == (Code.IGW_REJECTS_SPOOFED_TRAFFIC, Place.GATEWAY)
