"""The cost of a change of one route table, association or mapping: a fixed number of operations on a host of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import msgspec
import pytest

from netorch.control.actions import route_tables, subnets
from netorch.model.ids import make_id, port_name
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.base import KernelObject, OnDevice, link_key
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.l3 import BLACKHOLE, LOCAL, Route
from netorch.state.link import VethPort
from netorch.state.names import vrf_name, vrf_table
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain
from netorch.state.op import Create, Delete, Op, Replace
from tests.rig.tables import use_table
from tests.unit.agent.conftest import a_world
from tests.unit.agent.world import World

FLEETS = [1, pytest.param(1000, marks=pytest.mark.slow)]  # numbers of VPCs that hv1 carries
ANY, RANGE, RESERVED = "0.0.0.0/0", "10.0.0.0/16", "169.254.168.0/22"


class Tables:
    """A VPC with three route tables in use on hv1, and a subnet in each."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.vpc, main = world.vpc(name)
        self.tables = [
            route_tables.create_route_table(world.store, world.operator, self.vpc.id, name=f"t{number}") for number in (1, 2)
        ]
        self.subnets = [main] + [self._subnet(number, table.id) for number, table in enumerate(self.tables, 1)]
        self.local = [world.run(subnet, "hv1") for subnet in self.subnets]
        self.remote = world.run(main, "hv2")

    def _subnet(self, number: int, table: str) -> Subnet:
        name, cidr = f"s{number}", f"10.0.{number}.0/24"
        world = self.world
        return subnets.create_subnet(world.store, world.operator, self.vpc.id, name=name, cidr=cidr, route_table=table)

    def route(self, table: RouteTable, *routes: tuple[str, str]) -> None:
        """Set a table's routes: destination and target."""
        changed = msgspec.structs.replace(table, routes=tuple(VpcRoute(destination=d, target=t) for d, t in routes))
        self.world.put(keys.resource(table.id), encode(changed))

    def associate(self, subnet: Subnet, table: str) -> None:
        use_table(self.world.store, self.world.operator, subnet.id, table)


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], list[Tables]]]:
    """Return a function that makes a fleet's VPCs, all alike; a large fleet is made once for all tests."""
    with ExitStack() as stack:

        def make(fleet: int) -> list[Tables]:
            world = stack.enter_context(a_world(tmp_path_factory.mktemp("fleet")))
            found = [Tables(world, f"v{number}") for number in range(fleet)]
            world.settle(3, audits=False)
            return found

        many = cache(make)
        yield lambda fleet: make(1) if fleet == 1 else many(fleet)


@pytest.fixture
def tables(fleets: Callable[[int], list[Tables]], fleet: int) -> Tables:
    """Return an unused VPC of a fleet, from the middle of the remaining ones."""
    left = fleets(fleet)
    found = left.pop(len(left) // 2)
    found.world.new_ops("hv1")
    return found


@pytest.fixture
def world(tables: Tables) -> World:
    """Return the VPC's world."""
    return tables.world


def ops_of(world: World, flows: Counter[str] | None = None) -> list[Op]:
    """Return hv1's next operations, and check that it then matches its records.

    Those on flowtables and policy, of which `flows` has the expected number, and those on services are left out.
    """
    world.turn("hv1", audits=False)
    found = world.new_ops("hv1")
    world.turn("hv1", audits=False)
    assert world.new_ops("hv1") == []
    world.assert_host_settled("hv1")
    assert Counter(f"{type(op).__name__.lower()} {what}" for op in found if (what := _of_flows(op.obj))) == (flows or Counter())
    return [op for op in found if not _serves(op.obj) and not _of_flows(op.obj)]


def another_flowtable(before: int, after: int, *borders: str) -> Counter[str]:
    """Return the operations by which a VPC gets another flowtable, with its number of ports, and those on border chains.

    Which ports may have offloaded connections depends on their VRFs. Four chains add connections.
    """
    devices = {"delete device": before + 1, "create device": after + 1}  # one more: the VXLAN device
    return Counter({"create flowtable": 1, "delete flowtable": 1, "replace flow": 4} | devices) + Counter(borders)


def _serves(obj: KernelObject) -> bool:
    """Return whether an object belongs to the services for instances, which each VRF and each port has besides."""
    return isinstance(obj, ServiceObject) or (isinstance(obj, Route) and obj.type == LOCAL)


def _of_flows(obj: KernelObject) -> str:
    """Return what an object is to offloaded connections; "" for others."""
    match obj:
        case Flowtable():
            return "flowtable"
        case FlowtableDevice():
            return "device"
        case NftChain():
            kind, *_, end = obj.name.split("-")
            return kind if kind == "flow" else f"{kind} {end}"
    return ""


@pytest.mark.parametrize("fleet", FLEETS)
def test_one_route_is_one_operation(world: World, tables: Tables) -> None:
    vni, table = tables.vpc.vni, tables.tables[0]
    route = Route(vni=vni, table=vrf_table(vni, 1), dst="192.0.2.0/24", type=BLACKHOLE)
    tables.route(table, ("192.0.2.0/24", "blackhole"))
    assert ops_of(world) == [Create(route)]
    tables.route(table, ("192.0.2.0/24", make_id("eni", vni, 7)))
    assert ops_of(world) == [], "a target that is not there is a black hole, too"
    tables.route(table)
    assert ops_of(world) == [Delete(route)]
    tables.route(table, (ANY, "blackhole"))
    assert {(type(op), op.obj.dst) for op in ops_of(world) if isinstance(op.obj, Route)} == {
        (Create, dst) for dst in (ANY, RANGE, RESERVED)
    }
    main = next(each for each in _tables(tables) if each.main)
    tables.route(main, ("192.0.2.0/24", "blackhole"))
    assert ops_of(world) == [Create(msgspec.structs.replace(route, table=vni))]


@pytest.mark.parametrize("fleet", FLEETS)
def test_another_table_is_one_change_of_the_port_and_what_it_loses(world: World, tables: Tables) -> None:
    vni, port = tables.vpc.vni, port_name(tables.local[1].eni.id)
    beside = subnets.create_subnet(
        world.store, world.operator, tables.vpc.id, name="beside", cidr="10.0.9.0/24", route_table=tables.tables[0].id
    )
    world.run(beside, "hv1")
    ops_of(world, another_flowtable(3, 4, "create border egress", "create border ingress"))
    tables.associate(tables.subnets[1], tables.tables[1].id)
    move, *others = ops_of(world, another_flowtable(4, 4))
    assert isinstance(move, Replace)
    assert isinstance(move.obj, VethPort)
    assert (move.obj.ifname, move.obj.vrf) == (port, vrf_name(vni, 2))
    assert [(type(op), op.obj.kind) for op in others] == [(Create, "neigh"), *[(Create, "route")] * 3]
    assert {op.obj.ifname for op in others if isinstance(op.obj, OnDevice | Route)} == {port}


@pytest.mark.parametrize("fleet", FLEETS)
def test_a_table_that_nobody_uses_any_more_goes_after_its_last_port(world: World, tables: Tables) -> None:
    tables.associate(tables.subnets[1], "")
    found = ops_of(world, another_flowtable(3, 3, "replace border ingress"))
    made = [op for op in found if not isinstance(op, Delete)]
    assert [op.obj.kind for op in made] == ["link", "neigh", "route", "route"]
    assert found[: len(made)] == made
    gone = Counter(op.obj.kind for op in found if isinstance(op, Delete))
    # The conntrack zone of the VRF and of its VXLAN device; the table's routes to each of four addresses, and its last route.
    assert gone == {"link": 1, "nft-element": 2, "route": 5}


@pytest.mark.parametrize("fleet", FLEETS)
def test_the_first_port_of_a_table_comes_when_all_routes_are_there(world: World, tables: Tables) -> None:
    tables.associate(tables.subnets[1], "")
    ops_of(world, another_flowtable(3, 3, "replace border ingress"))
    tables.associate(tables.subnets[1], tables.tables[0].id)
    made = [op for op in ops_of(world, another_flowtable(3, 3, "replace border ingress")) if not isinstance(op, Delete)]
    place = next(number for number, op in enumerate(made) if isinstance(op.obj, VethPort))
    vrf = vrf_table(tables.vpc.vni, 1)
    before = [op.obj.dst for op in made[:place] if isinstance(op.obj, Route) and op.obj.table == vrf]
    others = [tables.local[0], tables.local[2], tables.remote]
    assert sorted(before) == ["0.0.0.0/0", *sorted(f"{other.eni.address}/32" for other in others)]


@pytest.mark.parametrize("fleet", FLEETS)
def test_one_mapping_is_one_route_in_each_table_in_use(world: World, tables: Tables) -> None:
    vni = tables.vpc.vni
    placed = world.run(tables.subnets[0], "hv2")
    found = ops_of(world)
    routes = [op.obj for op in found if isinstance(op.obj, Route)]
    assert {(route.table, route.dst) for route in routes} == {
        (vrf_table(vni, number), f"{placed.eni.address}/32") for number in range(3)
    }
    assert len(routes) == 3
    assert Counter(op.obj.kind for op in found) == {"route": 3, "nft-element": 2}


def _tables(tables: Tables) -> list[RouteTable]:
    infos = route_tables.describe_route_tables(tables.world.store, tables.world.operator, tables.vpc.id)
    return [info.table for info in infos]


@pytest.mark.parametrize("fleet", [1])
def test_a_table_of_schema_1_is_as_good_as_the_main_one_until_there_are_routes(world: World, tables: Tables) -> None:
    old = msgspec.structs.replace(tables.tables[0], number=0)
    world.put(keys.resource(old.id), encode(old).replace(b'"schema":2,', b""))
    ops_of(world, another_flowtable(3, 3, "replace border ingress"))
    port = world.kernels["hv1"].objects[link_key(port_name(tables.local[1].eni.id))]
    assert isinstance(port, VethPort)
    assert port.vrf == vrf_name(tables.vpc.vni)
    before = dict(world.kernels["hv1"].objects)
    main = next(each for each in _tables(tables) if each.main)
    tables.route(main, ("192.0.2.0/24", "blackhole"))
    world.turn("hv1", audits=False)
    assert world.kernels["hv1"].objects == before
    assert "has no number; associate its subnets with a new table" in str(world.agents["hv1"].reconciler.problems)
    tables.route(main)
    ops_of(world)


@pytest.mark.parametrize("fleet", [1])
def test_two_tables_with_one_number_change_nothing(world: World, tables: Tables) -> None:
    before = dict(world.kernels["hv1"].objects)
    twin = msgspec.structs.replace(tables.tables[1], number=1)
    tables.route(twin, ("192.0.2.0/24", "blackhole"))
    world.turn("hv1", audits=False)
    assert world.kernels["hv1"].objects == before
    assert "have the same number" in str(world.agents["hv1"].reconciler.problems)
