"""After a route, a gateway or an address is withdrawn, its users reach nothing, and others reach what they reached before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import msgspec
import pytest

from netorch.model.ids import make_id
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Delete, Put
from tests.integration.edges.isolation.customers import ADDRESSES, INSTANCES, NAT_PUBLIC, RULES, WIRES, Instance, Rules, played
from tests.integration.edges.isolation.ends import Ends, Shot
from tests.rig.outskirts import EDGES, SERVER, Outskirts
from tests.rig.seats import gateway_of, nat_of

pytestmark = pytest.mark.root

Write = Put | Delete
EVERYWHERE = "0.0.0.0/0"
NARROW = "203.0.113.0/24"  # contains SERVER
SHUT = "203.0.113."
PUBLIC = "198.51.100.5"


@contextmanager
def written(outskirts: Outskirts, writes: list[Write]) -> Iterator[None]:
    """Replace records during the block."""
    store, world = outskirts.world.store, outskirts.world
    before = {write.key: store.get(write.key) for write in writes}
    store.txn((), writes)
    try:
        world.settle()
        yield
    finally:
        store.txn((), [Put(key, known.value) if known else Delete(key) for key, known in before.items()])
        world.settle()


def routes(outskirts: Outskirts, vpc: str, table: str, *added: VpcRoute, without: str = "") -> list[Write]:
    """Return a function that replaces the routes of a VPC's route table, by default the main one."""
    tables = outskirts.world.vpc(vpc).each(RouteTable)
    found = next(each for each in tables if (each.name == table if table else each.main))
    kept = tuple(route for route in found.routes if route.destination != without)
    return [Put(keys.resource(found.id), encode(msgspec.structs.replace(found, routes=(*kept, *added))))]


def no_route(outskirts: Outskirts) -> list[Write]:
    return routes(outskirts, "a", "", without=EVERYWHERE)


def a_black_hole(outskirts: Outskirts) -> list[Write]:
    return routes(outskirts, "a", "", VpcRoute(destination=NARROW, target="blackhole"))


def no_route_of_a_nat_gateway(outskirts: Outskirts) -> list[Write]:
    return routes(outskirts, "b", "public", without=EVERYWHERE)


def a_black_hole_of_a_nat_gateway(outskirts: Outskirts) -> list[Write]:
    gone = make_id("nat", outskirts.world.vpc("b").vni, 0xDEAD)
    return routes(outskirts, "b", "public", VpcRoute(destination=NARROW, target=gone))


def no_internet_gateway(outskirts: Outskirts) -> list[Write]:
    vni = outskirts.world.vpc("a").vni
    gateway = gateway_of(vni)
    placements = [Delete(keys.placement(edge, gateway)) for edge in EDGES]
    return [Delete(keys.resource(gateway)), Delete(keys.gateway_mapping(vni, gateway)), *placements]


def no_nat_gateway(outskirts: Outskirts) -> list[Write]:
    vni = outskirts.world.vpc("b").vni
    nat = nat_of(vni)
    own = (keys.resource(nat), keys.resource(make_id("eni", vni, 0xB0C0D0E0F)), keys.public_mapping(vni, NAT_PUBLIC))
    return [Delete(key) for key in (*own, keys.gateway_mapping(vni, nat), *(keys.placement(edge, nat) for edge in EDGES))]


def no_address(outskirts: Outskirts) -> list[Write]:
    return [Delete(keys.public_mapping(outskirts.world.vpc("a").vni, PUBLIC))]


def another_customers_address(outskirts: Outskirts) -> list[Write]:
    public = outskirts.public_mapping("b/two", PUBLIC)
    return [*no_address(outskirts), Put(keys.public_mapping(public.vni, PUBLIC), encode(public))]


# The records to write, and the instances that differ afterwards.
CASES: Mapping[Callable[[Outskirts], list[Write]], Mapping[str, Mapping[str, str]]] = {
    no_route: {name: {"leads_to": ""} for name in ("a/one", "a/two", "a/mute")},
    a_black_hole: {name: {"shut": SHUT} for name in ("a/one", "a/two", "a/mute")},
    no_route_of_a_nat_gateway: {name: {"leads_to": ""} for name in ("b/one", "b/two", "b/web")},
    a_black_hole_of_a_nat_gateway: {name: {"shut": SHUT} for name in ("b/one", "b/two", "b/web")},
    no_internet_gateway: {name: {"leads_to": "", "public": ""} for name in INSTANCES if name.startswith("a/")},
    no_nat_gateway: {name: {"leads_to": ""} for name in ("b/one", "b/two")},
    no_address: {"a/one": {"public": ""}},
    another_customers_address: {"a/one": {"public": ""}, "b/two": {"public": PUBLIC}},
}


def changed(changes: Mapping[str, Mapping[str, str]]) -> dict[str, Instance]:
    return {name: msgspec.structs.replace(instance, **changes.get(name, {})) for name, instance in INSTANCES.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_is_withdrawn_leads_nowhere(outskirts: Outskirts, ends: Ends, case: Callable[[Outskirts], list[Write]]) -> None:
    rules = Rules(changed(CASES[case]))
    shots = [Shot(*each) for each in product((*INSTANCES, *WIRES), ADDRESSES, ("udp", "ping"))]
    with written(outskirts, case(outskirts)):
        assert rules.broken_by(played(ends, rules, shots)) == {}
    last = [Shot(name, SERVER, "udp") for name in INSTANCES]
    assert RULES.broken_by(played(ends, RULES, last)) == {}
