"""Egress-only internet gateways: one per VPC, on the pair of its other gateways, for IPv6 routes."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import prefix_lists, route_tables, vpcs
from netorch.control.actions.outside import egress_only, gateways
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud
from netorch.model.cloud import Cloud, EgressOnlyInternetGatewayDecl, RouteTableDecl
from netorch.model.eni import Host
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import RouteTable, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import read_all
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import MakeEdge, clean
from tests.unit.control.outside.files.declared import cloud, instances


@pytest.fixture
def away(store: Store, acme: Caller, vpc: Vpc, west: list[Host]) -> EgressOnlyInternetGateway:
    del west
    return egress_only.create_egress_only_gateway(store, acme, vpc.id, name="away", tags={"a": "b"})


@pytest.fixture
def main(store: Store, vpc: Vpc) -> str:
    (found,) = read_all(store, RouteTable, vpc.vni)
    return found


def test_a_vpc_has_one_on_both_edges_of_a_pair(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, away: EgressOnlyInternetGateway
) -> None:
    (info,) = egress_only.describe_egress_only_gateways(store, acme, vpc.id)
    assert (info.gateway, info.pair, set(info.edges)) == (away, "west", {"e1", "e2"})
    assert egress_only.describe_egress_only_gateway(store, acme, away.id) == info
    with refused("EgressOnlyInternetGatewayLimitExceeded", f"already has the egress-only internet gateway {away.id}"):
        egress_only.create_egress_only_gateway(store, acme, vpc.id)
    with refused("InvalidVpcID.NotFound"):
        egress_only.create_egress_only_gateway(store, globex, vpc.id)
    for act in (egress_only.delete_egress_only_gateway, egress_only.describe_egress_only_gateway):
        with refused("InvalidEgressOnlyInternetGatewayId.NotFound"):
            act(store, globex, away.id)
    clean(store)


@pytest.mark.parametrize("first", ["igw", "eigw"])
def test_all_gateways_of_a_vpc_are_on_one_pair(
    store: Store, acme: Caller, vpc: Vpc, west: list[Host], make_edge: MakeEdge, first: str
) -> None:
    del west
    makers = {"igw": gateways.create_internet_gateway, "eigw": egress_only.create_egress_only_gateway}
    second = next(kind for kind in makers if kind != first)
    makers[first](store, acme, vpc.id)
    make_edge("e3", 23, pair="east")
    makers[second](store, acme, vpc.id)
    (igw,) = gateways.describe_internet_gateways(store, acme, vpc.id)
    (eigw,) = egress_only.describe_egress_only_gateways(store, acme, vpc.id)
    assert igw.pair == eigw.pair == "west"


def test_ipv6_routes_lead_there_and_no_others(
    store: Store, acme: Caller, vpc: Vpc, main: str, away: EgressOnlyInternetGateway
) -> None:
    route_tables.create_route(store, acme, main, "::/0", "eigw")
    route_tables.create_route(store, acme, main, "2001:db8::/32", away.id)
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    found = {route.destination: (route.target, route.state.value) for route in info.routes[1:]}
    assert found == dict.fromkeys(("::/0", "2001:db8::/32"), (away.id, "active"))
    assert info.names[away.id] == "eigw"
    with refused("InvalidParameterValue", "0.0.0.0/0 is IPv4, and egress-only internet gateways take IPv6 only"):
        route_tables.create_route(store, acme, main, "0.0.0.0/0", "eigw")
    prefix_lists.create_prefix_list(store, acme, vpc.id, name="four", cidrs=["192.0.2.0/24"])
    prefix_lists.create_prefix_list(store, acme, vpc.id, name="six", cidrs=["2001:db8:1::/48"])
    with refused("InvalidParameterValue", "pl-four is IPv4, and egress-only internet gateways take IPv6 only"):
        route_tables.create_route(store, acme, main, "pl-four", "eigw")
    route_tables.create_route(store, acme, main, "pl-six", "eigw")


def test_a_deleted_one_leaves_nothing_but_black_holes(
    store: Store, acme: Caller, vpc: Vpc, main: str, away: EgressOnlyInternetGateway
) -> None:
    route_tables.create_route(store, acme, main, "::/0", "eigw")
    with refused("DependencyViolation", r"1 egress-only internet gateway\(s\)"):
        vpcs.delete_vpc(store, acme, vpc.id)
    egress_only.delete_egress_only_gateway(store, acme, away.id)
    assert [kv.key for kv in store.list("").kvs if away.id in kv.key] == []
    (info,) = route_tables.describe_route_tables(store, acme, vpc.id)
    assert info.routes[-1].state.value == "blackhole"
    with refused("InvalidEgressOnlyInternetGatewayId.NotFound", "the VPC has none; first: netorch eigw create NAME --vpc VPC"):
        route_tables.create_route(store, acme, main, "2001:db8::/32", "eigw")
    again = egress_only.create_egress_only_gateway(store, acme, vpc.id)
    assert again.id != away.id
    clean(store)


def test_a_destroyed_vpc_gives_up_both_gateways(
    store: Store, operator: Caller, vpc: Vpc, gateway: InternetGateway, away: EgressOnlyInternetGateway, pool: AddressPool
) -> None:
    assert gateway.vni == away.vni == vpc.vni
    assert pool.pair == "west"
    apply_cloud(store, plan_destruction(store, operator, [vpc.id]), allow_mass_delete=True)
    clean(store)
    assert read_inventory(store).vpcs == {}
    assert [kv.key for kv in store.list("host/").kvs if "/placement/" in kv.key] == []


TAGS = {"a": "b"}


def declared(name: str = "away", tags: dict[str, str] = TAGS) -> Cloud:
    """Return a file with a VPC, its egress-only gateway and a table that leads to it."""
    away = EgressOnlyInternetGatewayDecl(name=name, tags=tags)
    tables = [RouteTableDecl(name="public", routes=["0.0.0.0/0 via igw", "::/0 via eigw"])]
    return cloud(egress_only_internet_gateway=away, route_tables=tables)


def test_a_file_makes_one_and_finds_it_unchanged(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, declared())
    assert ("add", "egress-only-internet-gateway", "acme/shop/away") in summary(plan)
    (vpc,) = export_cloud(store).vpcs
    assert vpc.egress_only_internet_gateway == EgressOnlyInternetGatewayDecl(name="away", tags={"a": "b"})
    assert next(table.routes for table in vpc.route_tables if table.name == "public") == ["0.0.0.0/0 via igw", "::/0 via eigw"]
    assert plan_cloud(store, operator, declared()).changes == plan_cloud(store, operator, export_cloud(store)).changes == ()
    one, other = records(store, name="shop").each(GatewayMapping)
    assert set(one.seats) == set(other.seats)
    clean(store)


def test_its_tags_change_and_its_name_does_not(store: Store, operator: Caller) -> None:
    apply(store, operator, declared())
    plan = apply(store, operator, declared(tags={}))
    assert summary(plan) == [("change", "egress-only-internet-gateway", "acme/shop/away")]
    with refused("InvalidParameterValue", "egress-only internet gateway other: has the name away, which cannot be changed"):
        plan_cloud(store, operator, declared(name="other"))


def test_a_file_without_it_ends_it_alone(store: Store, operator: Caller) -> None:
    apply(store, operator, declared())
    plan = apply(store, operator, cloud())
    changes = {change.kind: change for change in plan.changes}
    assert changes.keys() == {"egress-only-internet-gateway", "route-table"}
    assert changes["egress-only-internet-gateway"].breaks == "instances no longer reach the internet through it"
    assert [gateway.name for gateway in records(store, name="shop").each(InternetGateway)] == ["gw"]
    apply(store, operator, declared())
    clean(store)


def test_a_file_may_have_it_alone(store: Store, operator: Caller) -> None:
    tables = [RouteTableDecl(name="public", routes=["::/0 via eigw"])]
    quiet = instances(web_1={"elastic_ip": ""})
    alone = msgspec.structs.replace(
        cloud(internet_gateway=msgspec.UNSET, route_tables=tables, instances=quiet).vpcs[0],
        egress_only_internet_gateway=EgressOnlyInternetGatewayDecl(),
    )
    plan = apply(store, operator, msgspec.structs.replace(cloud(), vpcs=[alone]))
    assert ("add", "egress-only-internet-gateway", "acme/shop/eigw") in summary(plan)
    clean(store)
