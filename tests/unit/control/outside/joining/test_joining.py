"""An edge that joins a pair later gets seats of the other edge's gateways before any host sends to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest

from netorch.control.actions import hosts, vpcs
from netorch.control.actions.outside import drains, gateways, pools
from netorch.control.actions.outside.drains import undrain_host
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.writes import Writes
from netorch.model.cloud import Cloud
from netorch.model.eni import Role
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.uplink import uplink_text
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import clean
from tests.unit.control.outside.files.declared import EDGES, POOLS, SHOP
from tests.unit.control.outside.joining.stores import Counted, Killed, Troubled

GATEWAYS = 5
Join = Callable[[Store, Caller], object]


def create(store: Store, operator: Caller, number: int = 1) -> None:
    decl = EDGES[number]
    assert decl.uplink is not None
    hosts.create_host(
        store,
        operator,
        name=decl.name,
        underlay=decl.underlay,
        role=Role.EDGE,
        pair=decl.pair,
        uplink=uplink_text(decl.uplink),
        asn=decl.uplink.asn,
        gateway_asn=decl.uplink.gateway_asn,
    )


def declare(store: Store, operator: Caller) -> None:
    cloud = Cloud(hosts=EDGES[:2])
    apply_cloud(store, plan_cloud(store, operator, cloud), again=lambda: plan_cloud(store, operator, cloud))


JOINS = pytest.mark.parametrize("join", [create, declare])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few gateways need several transactions."""
    monkeypatch.setattr(drains, "SEATS", 2)


def gateway_in(store: Store, caller: Caller, name: str) -> InternetGateway:
    vpc = vpcs.create_vpc(store, caller, name=name, cidrs=["10.0.0.0/16"])
    return gateways.create_internet_gateway(store, caller, vpc.id)


def begin(store: Store, operator: Caller) -> list[InternetGateway]:
    """Make one edge with gateways of several owners."""
    create(store, operator, 0)
    return [gateway_in(store, Caller(owner=f"o{number}", now=operator.now), "v") for number in range(GATEWAYS)]


def seats(store: Store) -> dict[str, tuple[str, ...]]:
    """Return the edges of each gateway, and check that placements are exactly these."""
    inventory = read_inventory(store)
    found = [mapping for records in inventory.vpcs.values() for mapping in records.each(GatewayMapping)]
    edges = {mapping.gateway: tuple(seat.host for seat in mapping.seats) for mapping in found}
    placed = {kv.key for kv in store.list("host/").kvs if "/placement/" in kv.key}
    assert placed == {keys.placement(edge, gateway) for gateway, of in edges.items() for edge in of}
    clean(store)
    return edges


def drained(store: Store) -> bool:
    return store.get(keys.host_drained("e2")) is not None


def check(store: Store) -> None:
    """Check that an admitted edge carries every gateway of its pair."""
    admitted = store.get(keys.host_spec("e2")) is not None and not drained(store)
    for edges in seats(store).values():
        assert set(edges) == {"e1", "e2"} if admitted else "e1" in edges


@JOINS
def test_an_edge_that_joins_carries_what_its_partner_carries_and_none_of_it_moves(
    operator: Caller, few: None, join: Join
) -> None:
    store = Troubled()
    made = begin(store, operator)
    store.after = lambda: check(store)
    join(store, operator)
    assert seats(store) == {gateway.id: ("e1", "e2") for gateway in made}
    assert not drained(store)
    assert hosts.describe_host(store, operator, "e2").gateways == GATEWAYS
    assert gateways.describe_internet_gateway(store, operator, made[0].id).edges == ("e1", "e2")
    for gateway in made:
        gateways.delete_internet_gateway(store, operator, gateway.id)
    assert seats(store) == {}


@JOINS
@pytest.mark.parametrize("moment", ["before", "after"])
def test_whatever_dies_while_an_edge_joins_leaves_it_drained_and_undraining_completes_it(
    operator: Caller, few: None, join: Join, moment: str
) -> None:
    ends = []
    for last in range(20):
        store = Troubled()
        made = begin(store, operator)
        left = [last]

        def count(store: Troubled = store, left: list[int] = left) -> None:
            check(store)
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        setattr(store, moment, count)
        with suppress(Killed):
            join(store, operator)
        store.before = store.after = lambda: None
        check(store)
        if left[0] >= 0:
            break
        ends.append(drained(store))
        if store.get(keys.host_spec("e2")) is None:
            join(store, operator)
        declare(store, operator)  # a file does not undrain an edge, as another caller may have drained it
        assert drained(store) == (ends[-1] and last >= (moment == "before"))
        undrain_host(store, operator, "e2")
        undrain_host(store, operator, "e2")
        assert seats(store) == {gateway.id: ("e1", "e2") for gateway in made}
        assert not drained(store)
    assert len(ends) == 5  # the edge's record, three with seats, and the end of draining
    assert any(ends)


@JOINS
@pytest.mark.parametrize("late", range(5))
def test_gateways_that_come_and_go_while_an_edge_joins(operator: Caller, few: None, join: Join, late: int) -> None:
    """Another writer makes a gateway and deletes one between the joining writer's reads and one of its transactions."""
    store = Troubled()
    made = begin(store, operator)
    left = [late]

    def meanwhile() -> None:
        left[0] -= 1
        if left[0] == -1:
            gateway_in(store, Caller(owner="late", now=operator.now), "v")
            for gone in (made[0], made[-1]):
                gateways.delete_internet_gateway(store, operator, gone.id)

    store.before, store.after = meanwhile, lambda: check(store)
    join(store, operator)
    assert not drained(store)
    assert len(seats(store)) == GATEWAYS - 1
    assert set(seats(store)) >= {gateway.id for gateway in made[1:-1]}


def test_a_gateway_that_was_decided_on_before_an_edge_joined_gets_both_seats(operator: Caller, acme: Caller) -> None:
    store = Troubled()
    begin(store, operator)
    vpc = vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])

    def join_first() -> None:
        store.before = lambda: None
        create(store, operator)

    store.before, store.after = join_first, lambda: check(store)
    made = gateways.create_internet_gateway(store, acme, vpc.id)
    assert sorted(seats(store)[made.id]) == ["e1", "e2"]


def test_a_plan_with_a_gateway_that_an_edge_overtakes_is_made_again(operator: Caller) -> None:
    store = Troubled()
    begin(store, operator)
    shop = msgspec.structs.replace(SHOP, instances=[])
    file = Cloud(name="f", vpcs=[shop])
    plan = plan_cloud(store, operator, file)
    create(store, operator)
    store.after = lambda: check(store)
    apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, file))
    assert len(seats(store)) == GATEWAYS + 1


def test_an_edge_of_an_overtaken_plan_is_admitted(operator: Caller, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's first transaction makes the edge; a later one detects a pool made by another writer, so a new plan is made."""
    monkeypatch.setattr(Writes, "takes", lambda one, other: False)
    store = Troubled()
    begin(store, operator)
    file = Cloud(name="f", hosts=EDGES[:2], address_pools=POOLS[:1])
    plans = [plan_cloud(store, operator, file)]

    def again() -> CloudPlan:
        plans.append(plan_cloud(store, operator, file))
        return plans[-1]

    def meanwhile() -> None:
        if store.get(keys.host_spec("e2")) is not None:
            store.before = lambda: None
            pools.create_pool(store, operator, name="other", pair="west", cidrs=["192.0.3.0/28"])

    store.before, store.after = meanwhile, lambda: check(store)
    apply_cloud(store, plans[0], again=again)
    assert [plan.joined for plan in plans] == [("e2",), ()]
    assert not drained(store)


def test_an_edge_that_is_being_deleted_gets_no_seats(operator: Caller, few: None) -> None:
    store = Troubled()
    begin(store, operator)

    def dies() -> None:
        store.after = lambda: None
        raise Killed

    store.after = dies
    with suppress(Killed):
        create(store, operator)
    store.after = dies
    with suppress(Killed):
        hosts.delete_host(store, operator, "e2")
    with refused("IncorrectState", "host e2: is being deleted or changed"):
        undrain_host(store, operator, "e2")
    assert drained(store)
    hosts.delete_host(store, operator, "e2")
    check(store)


def test_joining_costs_what_the_partner_carries_whatever_else_there_is(operator: Caller) -> None:
    costs = []
    for others in (0, 30):
        store = Counted()
        begin(store, operator)
        create(store, operator, 2)  # of another pair, and with fewer gateways: it gets the next ones
        for number in range(others):
            vpcs.create_vpc(store, Caller(owner=f"x{number}", now=operator.now), name="v", cidrs=["10.0.0.0/16"])
        for number in range(others and GATEWAYS):
            gateway_in(store, Caller(owner=f"x{number}", now=operator.now), "w")
        store.keys = 0
        create(store, operator)
        costs.append(store.keys)
    assert costs[0] == costs[1] < 10 * GATEWAYS
