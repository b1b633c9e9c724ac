"""The customers' cloud, with all senders and receivers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from netorch.compiler.base import PORT_MAC
from netorch.state.base import OUTSIDE
from netorch.state.owner import netns_name
from tests.integration.edges.isolation import customers6
from tests.integration.edges.isolation.customers import (
    CLOUD,
    HOSTS,
    INSTANCES,
    NAT,
    NAT_PUBLIC,
    UPLINK,
    WIRES,
)
from tests.integration.edges.isolation.customers6 import GATEWAYS6, LEADS_TO, UPLINK6
from tests.integration.edges.isolation.ends import Ends
from tests.rig.outskirts import BORDER, EDGES, INTERNET, SERVER, SERVER6, UPLINKS, Outskirts
from tests.rig.seats import egress_only_of, nat_of


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


@pytest.fixture(scope="module")
def outskirts6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outskirts]:
    """The four VPCs with IPv6 and their gateways."""
    found = Outskirts(tmp_path_factory.mktemp("isolation6"))
    world = found.world
    try:
        world.start_agents()
        world.apply(customers6.CLOUD)
        for name in ("a", "c"):
            found.seat(name)
        found.seat("d", "other")
        for name in ("b", "d"):
            found.seat_egress_only(name)
        found.settle()
        yield found
    finally:
        found.close()


@pytest.fixture
def ends6(outskirts6: Outskirts) -> Iterator[Ends]:
    """All senders and receivers of IPv6."""
    found, world = Ends(), outskirts6.world
    try:
        for name in LEADS_TO:
            place, eni = outskirts6.place(name), world.eni(name)
            found.let_send_frames(name, eni.ipv6_address, place, "eth0", eni.mac, PORT_MAC)
            found.let_hear_wire(name, place, "eth0")
        for name in HOSTS:
            found.let_hear_ipv6(name, name)
            found.let_hear_ipv6(f"{name} overlay", world.hosts[name].overlay)
        for edge, name in product(EDGES, "bd"):
            found.let_hear_ipv6(f"{edge} {name} eigw", netns_name(edge, egress_only_of(world.vpc(name).vni)))
        for wire, (what, edge) in WIRES.items():
            found.let_send_frames(wire, SERVER6 if what == INTERNET else GATEWAYS6[edge], *outskirts6.wire_to(edge))
        for edge in EDGES:
            found.let_send(f"{edge} outside", UPLINK6[edge], netns_name(edge, OUTSIDE))
            found.let_hear_ipv6(f"{edge} outside", netns_name(edge, OUTSIDE))
            found.let_hear_wire(f"{edge} uplink", BORDER, f"to-{edge}")
        found.let_hear_ipv6(BORDER, BORDER)
        found.let_hear_wire(INTERNET, INTERNET, "eth0")
        yield found
    finally:
        found.close()


@pytest.fixture
def ends(outskirts: Outskirts) -> Iterator[Ends]:
    """All senders and receivers."""
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
