"""The customers' cloud, and all its ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netorch.compiler.base import PORT_MAC
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name
from tests.integration.edges.isolation.customers import (
    CLOUD,
    HOSTS,
    INSTANCES,
    NAT,
    NAT_PUBLIC,
    UPLINK,
    WIRES,
)
from tests.integration.edges.isolation.ends import Ends
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, UPLINKS, Outskirts
from tests.rig.seats import nat_of


@pytest.fixture(scope="module")
def outskirts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """The four VPCs with their gateways."""
    found = Outskirts(tmp_path_factory.mktemp("isolation"))
    try:
        found.world.start_agents()
        found.world.apply(CLOUD)
        found.seat("a")
        found.seat("b", "public")
        found.seat_nat("b", "pub", NAT, NAT_PUBLIC)
        found.lead_to_peer("a", "d")
        for name, instance in INSTANCES.items():
            if instance.public:
                found.associate(name, instance.public)
        found.settle()
        yield found
    finally:
        found.close()


@pytest.fixture
def ends(outskirts: Outskirts) -> Iterator[Ends]:
    """All ends, which send and hear."""
    found = Ends()
    try:
        _inside(outskirts, found)
        _outside(outskirts, found)
        yield found
    finally:
        found.close()


def _inside(outskirts: Outskirts, ends: Ends) -> None:
    world = outskirts.world
    for name, instance in INSTANCES.items():
        place = outskirts.place(name)
        ends.let_send_frames(name, instance.private, place, "eth0", world.eni(name).mac, PORT_MAC)
        ends.let_hear_wire(name, place, "eth0")
    for name, vtep in HOSTS.items():
        ends.let_send(name, vtep, name)
        ends.let_hear(name, name)
        ends.let_hear(f"{name} overlay", world.hosts[name].overlay)
    for edge in EDGES:
        ends.let_hear(f"{edge} nat", netns_name(edge, nat_of(world.vpc("b").vni)))
    ends.let_hear("spine", "spine")


def _outside(outskirts: Outskirts, ends: Ends) -> None:
    for wire, (what, edge) in WIRES.items():
        source = SERVER if what == INTERNET else UPLINKS[edge].gateway
        ends.let_send_frames(wire, source, *outskirts.wire_to(edge))
    for edge in EDGES:
        ends.let_send(f"{edge} outside", UPLINK[edge], netns_name(edge, OUTSIDE))
        ends.let_hear(f"{edge} outside", netns_name(edge, OUTSIDE))
        ends.let_hear_wire(f"{edge} uplink", BORDER, f"to-{edge}")
    ends.let_hear(BORDER, BORDER)
    ends.let_hear_wire(INTERNET, INTERNET, "eth0")
