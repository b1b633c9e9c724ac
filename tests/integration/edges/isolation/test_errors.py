"""ICMP errors about sent packets: they reach only the sender, and only at the sender's own public address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest

from netorch.model.packet import Packet
from tests.integration.edges.isolation.customers import INSTANCES, NAT, PUBLIC, RULES, WIRES, is_on_the_way
from tests.integration.edges.isolation.ends import Arrival, Ends, Shot, craft_error
from tests.integration.edges.isolation.flows import Flow, flowing
from tests.rig.outskirts import Outskirts

pytestmark = pytest.mark.root

SENDERS = ("a/one", "a/two", "b/one", "b/two", "b/web")
PRIVATE = sorted({instance.private for instance in INSTANCES.values()})


@pytest.fixture
def flows(outskirts: Outskirts) -> Iterator[dict[str, Flow]]:
    with flowing(outskirts, RULES, SENDERS) as found:
        yield found


def teach(ends: Ends, flows: dict[str, Flow], view: Callable[[Flow], Packet]) -> dict[str, str]:
    """Let ends send errors about the flows as seen at one place. Return the kinds of packets by flow."""
    kinds = {name: f"error about {name}" for name in flows}
    ends.kinds |= {kind: craft_error(view(flows[name])) for name, kind in kinds.items()}
    return kinds


def reached(ends: Ends, shots: list[Shot]) -> dict[Shot, set[Arrival]]:
    found = ends.play([*shots, LAST])
    rest = {shot: {each for each in got if not is_on_the_way(each)} for shot, got in found.items() if shot != LAST}
    return {shot: got for shot, got in rest.items() if got}


LAST = Shot("a/one", "198.51.100.6", "udp")  # a packet that always arrives, sent last


def test_an_error_reaches_who_sent_what_it_is_about(ends: Ends, flows: dict[str, Flow]) -> None:
    kinds = teach(ends, flows, lambda flow: flow.outside)
    shots = [Shot(wire, address, kind) for wire, address, kind in product(WIRES, (*PUBLIC, *PRIVATE, NAT), kinds.values())]
    expected = {
        Shot(wire, RULES.source_outside(name), kind): {Arrival(name, ends.source_of(wire), INSTANCES[name].private)}
        for wire, (name, kind) in product(WIRES, kinds.items())
    }
    assert reached(ends, shots) == expected


def test_an_error_that_tells_of_private_addresses_reaches_nobody_else(ends: Ends, flows: dict[str, Flow]) -> None:
    """A host that has guessed the addresses may send an error to the packets' sender, as it could without them."""
    kinds = teach(ends, flows, lambda flow: flow.inside)
    shots = [Shot(wire, address, kind) for wire, address, kind in product(WIRES, PUBLIC, kinds.values())]
    own = {(kind, RULES.source_outside(name)) for name, kind in kinds.items()}
    assert {(shot.kind, shot.destination) for shot in reached(ends, shots)} <= own


@pytest.mark.parametrize("view", ["inside", "outside"])
def test_no_customer_tells_another_one_of_errors(ends: Ends, flows: dict[str, Flow], view: str) -> None:
    kinds = teach(ends, flows, lambda flow: flow.inside if view == "inside" else flow.outside)
    pairs = [(sender, kind) for sender, (name, kind) in product(INSTANCES, kinds.items()) if sender[0] != name[0]]
    shots = [Shot(sender, address, kind) for (sender, kind), address in product(pairs, (*PUBLIC, *PRIVATE, NAT))]
    assert reached(ends, shots) == {}
