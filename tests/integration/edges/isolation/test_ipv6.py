"""The same for IPv6: every end sends packets of every kind to every address, and errors about others' packets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from netorch.model.packet import Packet
from tests.integration.edges.isolation.customers import WIRES, Rules, is_on_the_way, played
from tests.integration.edges.isolation.customers6 import STRANGE6, UPLINK6, addresses_of, rules_of
from tests.integration.edges.isolation.ends import KINDS, Arrival, Ends, Shot, craft_error
from tests.integration.edges.isolation.flows import flowing
from tests.rig.outskirts import EDGES, INTERNET, SERVER6, Outskirts

pytestmark = pytest.mark.root

SENDERS = ("a/one", "a/two", "b/one", "b/two", "d/two", "d/other")


@pytest.fixture
def rules(outskirts6: Outskirts) -> Rules:
    return rules_of(outskirts6)


def hears(rules: Rules, name: str, at: Arrival) -> bool:
    """Return whether an answer arrives at the sender of the answered packet."""
    if name in WIRES:
        what, edge = WIRES[name]
        return (at.at, at.destination) == (what, rules.site.server if what == INTERNET else rules.site.gateways[edge])
    own = rules.instances[name].private if name in rules.instances else rules.site.uplinks[name.removesuffix(" outside")]
    return (at.at, at.destination) == (name, own)


@pytest.mark.parametrize("arrival", EDGES)
def test_every_end_reaches_what_it_may_and_nothing_else(outskirts6: Outskirts, ends6: Ends, rules: Rules, arrival: str) -> None:
    outskirts6.arrive_at(arrival)
    addresses = addresses_of(rules)
    shots = [Shot(*each) for each in product((*rules.instances, *WIRES), addresses, KINDS)]
    for edge in EDGES:  # the edge's own kernel drops packets with strange addresses, and keeps those for itself
        shots += [Shot(f"{edge} outside", *each) for each in product(sorted({*addresses} - {*STRANGE6, UPLINK6[edge]}), KINDS)]
    found = played(ends6, rules, shots)
    assert rules.broken_by(found) == {}
    answered = {(shot, at) for shot, got in ends6.answers.items() for at in got if not is_on_the_way(at)}
    about_answers = {(shot, at.at) for shot, got in found.items() for at in got}
    assert {
        (shot, at) for shot, at in answered if not hears(rules, shot.sender, at) and (shot, at.at) not in about_answers
    } == set()
    assert {shot.sender for shot, got in found.items() if got} >= {*rules.instances, *WIRES}


@pytest.fixture
def flows(outskirts6: Outskirts, rules: Rules) -> Iterator[dict[str, Packet]]:
    """Datagrams from instances to a server, untranslated."""
    with flowing(outskirts6, rules, SENDERS) as found:
        assert all(flow.inside == flow.outside for flow in found.values())
        yield {name: flow.inside for name, flow in found.items()}


def test_an_error_reaches_who_sent_what_it_is_about_and_nobody_else(
    outskirts6: Outskirts, ends6: Ends, rules: Rules, flows: dict[str, Packet]
) -> None:
    kinds = {name: f"error about {name}" for name in flows}
    ends6.kinds |= {kind: craft_error(flows[name]) for name, kind in kinds.items()}
    addresses = sorted({instance.private for instance in rules.instances.values()})
    others = [(sender, kind) for sender, (name, kind) in product(rules.instances, kinds.items()) if sender[0] != name[0]]
    wires = [Shot(*each) for each in product(WIRES, addresses, kinds.values())]
    last = Shot("a/one", SERVER6, "udp")  # a packet that always arrives, sent last
    found = ends6.play([*wires, *(Shot(name, to, kind) for (name, kind), to in product(others, addresses)), last])
    expected = {
        Shot(wire, flows[name].source, kind): {Arrival(name, ends6.source_of(wire), flows[name].source)}
        for wire, (name, kind) in product(WIRES, kinds.items())
    }
    rest = {shot: {each for each in got if not is_on_the_way(each)} for shot, got in found.items() if shot != last}
    assert {shot: got for shot, got in rest.items() if got} == expected
