"""Internet gateways: one per VPC, on a pair of edges."""

from __future__ import annotations

import msgspec

from netorch.control.actions import enis, hosts, route_tables, subnets, vpcs
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.control.actions.outside import addresses, gateways, pools
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.base.routes import find_target, route_names
from netorch.control.base.writes import Writes
from netorch.control.views.mappings import list_mappings
from netorch.model.cloud import Cloud, PeeringDecl, VpcDecl
from netorch.model.eni import Host, NetworkInterface, Role
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside.gateway import InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.routing.next_hop import target_hop
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import get, read_all
from netorch.store.base import Store
from tests.unit.control.conftest import Clock, refused
from tests.unit.control.outside.conftest import MakeEdge, clean

UPLINK = "eth2,198.18.0.21/24,198.18.0.254"


def seats_of(store: Store, gateway: InternetGateway) -> tuple[Seat, ...]:
    found = get(store, keys.gateway_mapping(gateway.vni, gateway.id), GatewayMapping)
    assert found is not None
    return found.record.seats


def test_a_gateway_is_placed_on_both_edges_of_a_pair(
    store: Store, acme: Caller, vpc: Vpc, west: list[Host], gateway: InternetGateway
) -> None:
    assert {(seat.host, seat.vtep) for seat in seats_of(store, gateway)} == {(edge.name, edge.underlay) for edge in west}
    assert all(store.get(keys.placement(edge.name, gateway.id)) for edge in west)
    (info,) = gateways.describe_internet_gateways(store, acme, vpc.id)
    assert (info.gateway, info.pair, set(info.edges)) == (gateway, "west", {"e1", "e2"})
    assert list_mappings(store, acme, vpc.id) == []
    clean(store)


def test_a_vpc_has_one_gateway(store: Store, acme: Caller, globex: Caller, vpc: Vpc, gateway: InternetGateway) -> None:
    with refused("Resource.AlreadyAssociated", f"{gateway.id} attached"):
        gateways.create_internet_gateway(store, acme, vpc.id)
    with refused("InvalidVpcID.NotFound"):
        gateways.create_internet_gateway(store, globex, vpc.id)
    for act in (gateways.delete_internet_gateway, gateways.describe_internet_gateway):
        with refused("InvalidInternetGatewayID.NotFound"):
            act(store, globex, gateway.id)


def test_gateways_go_to_the_pair_that_has_fewest_and_seats_alternate(
    store: Store, operator: Caller, acme: Caller, make_edge: MakeEdge, west: list[Host]
) -> None:
    make_edge("e3", 23, pair="east")
    made = []
    for number in range(6):
        vpc = vpcs.create_vpc(store, acme, name=f"v{number}", cidrs=["10.0.0.0/16"])
        made.append(gateways.create_internet_gateway(store, acme, vpc.id))
    pairs = [gateways.describe_internet_gateway(store, acme, gateway.id).pair for gateway in made]
    assert pairs == ["east", "west"] * 3
    firsts = [seats_of(store, gateway)[0].host for gateway in made[1::2]]
    assert firsts == ["e1", "e2", "e1"]
    assert hosts.describe_host(store, operator, west[0].name).gateways == 3


def test_a_mapped_peering_in_a_file_goes_to_the_pair_that_has_fewest(
    store: Store, operator: Caller, acme: Caller, make_edge: MakeEdge, west: list[Host]
) -> None:
    make_edge("e3", 23, pair="east")
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    assert (
        gateways.describe_internet_gateway(store, acme, gateways.create_internet_gateway(store, acme, other.id).id).pair == "east"
    )
    asks = PeeringDecl(name="to-b", peer="b", map_own="10.0.0.0/16=100.65.0.0/16", map_peer="10.0.0.0/16=100.66.0.0/16")
    a, b = (VpcDecl(name=name, owner="acme", cidrs=["10.0.0.0/16"]) for name in "ab")
    takes = msgspec.structs.replace(b, peerings=[PeeringDecl(name="to-a", peer="a")])
    cloud = Cloud(name="all", vpcs=[msgspec.structs.replace(a, peerings=[asks]), takes])
    apply_cloud(store, plan_cloud(store, operator, cloud))
    halves = [half for records in read_inventory(store).vpcs.values() for half in records.of(PeeringConnection).values()]
    assert len(halves) == 2
    assert all({seat.host for seat in half.record.seats} == {edge.name for edge in west} for half in halves)


def test_a_pair_with_an_edge_that_is_being_deleted_gets_none(
    store: Store, operator: Caller, acme: Caller, vpc: Vpc, make_edge: MakeEdge, west: list[Host]
) -> None:
    assert hosts.describe_host(store, operator, west[0].name).gateways == 0
    drain = Writes()
    drain.put(keys.host_drain("e1"), "e1")
    assert drain.commit(store)
    with refused("InsufficientInstanceCapacity"):
        gateways.create_internet_gateway(store, acme, vpc.id)
    make_edge("e3", 23, pair="east")
    made = gateways.create_internet_gateway(store, acme, vpc.id)
    assert gateways.describe_internet_gateway(store, acme, made.id).pair == "east"


def test_a_deleted_gateway_leaves_nothing_but_black_holes(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, gateway: InternetGateway
) -> None:
    (main,) = read_all(store, RouteTable, vpc.vni)
    route_tables.create_route(store, acme, main, "0.0.0.0/0", "igw")
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert (info.routes[-1].target, info.routes[-1].state.value, info.names[gateway.id]) == (gateway.id, "active", "igw")
    with refused("DependencyViolation", r"1 internet gateway\(s\)"):
        subnets.delete_subnet(store, acme, subnet.id)
        vpcs.delete_vpc(store, acme, vpc.id)
    gateways.delete_internet_gateway(store, acme, gateway.id)
    assert [kv.key for kv in store.list("").kvs if gateway.id in kv.key] == []
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert info.routes[-1].state.value == "blackhole"
    with refused("InvalidInternetGatewayID.NotFound", "the VPC has none"):
        route_tables.create_route(store, acme, main, "198.51.100.0/24", "igw")
    with refused("InvalidInternetGatewayID.NotFound"):
        route_tables.create_route(store, acme, main, "198.51.100.0/24", gateway.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    clean(store)


def test_a_route_names_the_vpcs_own_gateway(
    store: Store, acme: Caller, vpc: Vpc, gateway: InternetGateway, make_edge: MakeEdge
) -> None:
    kind = TargetKind.INTERNET_GATEWAY
    assert find_target(store, acme, vpc, kind, "") == find_target(store, acme, vpc, kind, gateway.id) == gateway.id
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    with refused("InvalidParameterValue", "belongs to another VPC"):
        find_target(store, acme, other, kind, gateway.id)
    assert route_names([], {}, [], [gateway], []) == {gateway.id: "igw"}


def test_no_other_target_of_the_vpc_has_the_gateways_next_hop(store: Store, clock: Clock, vpc: Vpc, subnet: Subnet) -> None:
    numbers = iter([0x123456789, 1, 0x923456789, 0x923456781, 0x123456781, 5, 7])
    caller = Caller(owner="acme", now=clock, entropy=lambda: next(numbers))
    eni = enis.create_network_interface(store, caller, subnet.id)
    operator = Caller(operator=True, now=clock)
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="w", uplink=UPLINK)
    gateway = gateways.create_internet_gateway(store, caller, vpc.id)
    assert gateway.id == make_id("igw", vpc.vni, 0x923456781)  # the first number gives the interface's next hop
    later = enis.create_network_interface(store, caller, subnet.id)
    assert later.id == make_id("eni", vpc.vni, 5)  # the first number gives the gateway's next hop
    assert len({target_hop(found, 4) for found in (eni.id, gateway.id, later.id)}) == 3


def test_a_destroyed_vpc_gives_up_its_gateway(
    store: Store, operator: Caller, acme: Caller, vpc: Vpc, subnet: Subnet, gateway: InternetGateway, pool: AddressPool
) -> None:
    first = run_instance(store, acme, RunRequest(subnet=subnet.id, public_address=True))
    run_instance(store, acme, RunRequest(subnet=subnet.id, public_address=True))
    elastic = addresses.allocate_address(store, acme)
    addresses.associate_address(store, acme, elastic.id, instance=first.instance.id)
    apply_cloud(store, plan_destruction(store, operator, [vpc.id]), allow_mass_delete=True)
    clean(store)
    assert read_inventory(store).vpcs == {}
    assert [kv.key for kv in store.list("host/").kvs if "/placement/" in kv.key] == []
    assert addresses.describe_address(store, acme, elastic.id).elastic.vni == 0
    assert pools.describe_pool(store, operator, pool.name).ipv4.held == 1
    assert store.get(keys.public_mark(vpc.vni)) is None
    assert read_all(store, NetworkInterface, vpc.vni) == {}
