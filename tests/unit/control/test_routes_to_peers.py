"""Routes to peering connections, by commands and by files, while these are pending, active and deleted."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import peerings, route_tables, vpcs
from netorch.control.actions.route_tables import RouteState, create_route
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.writes import Writes
from netorch.control.views.export import export_cloud, export_inventory
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud, PeeringDecl, PrefixListDecl, RouteTableDecl, VpcDecl
from netorch.model.vpc import RouteTable, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import Clock, refused

WEB = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.0.0.0/16"],
    peerings=[PeeringDecl(name="b", peer="data")],
    route_tables=[RouteTableDecl(name="main", routes=["10.1.0.0/16 via pcx-b"])],
)
DATA = VpcDecl(name="data", owner="acme", cidrs=["10.1.0.0/16"])
BOTH = Cloud(vpcs=[WEB, DATA])


def main(store: Store, caller: Caller, vpc_id: str) -> RouteTable:
    return route_tables.describe_route_tables(store, caller, vpc_id)[0].table


def shown(store: Store, caller: Caller, vpc_id: str) -> list[tuple[str, str, RouteState]]:
    info = route_tables.describe_route_tables(store, caller, vpc_id)[0]
    return [
        (route.destination, info.names.get(route.target, route.target), route.state)
        for route in info.routes
        if route.target != "local"
    ]


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def peer(store: Store, globex: Caller) -> Vpc:
    return vpcs.create_vpc(store, globex, name="data", cidrs=["10.1.0.0/16"])


def test_a_route_waits_for_its_connection_and_outlives_it_as_a_black_hole(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc
) -> None:
    pcx = peerings.request_peering(store, acme, vpc.id, peer.id, name="b").id
    table = main(store, acme, vpc.id)
    create_route(store, acme, table.id, "10.1.0.0/16", "pcx-b")
    assert shown(store, acme, vpc.id) == [("10.1.0.0/16", "pcx-b", RouteState.BLACKHOLE)]
    peerings.accept_peering(store, globex, pcx)
    assert shown(store, acme, vpc.id) == [("10.1.0.0/16", "pcx-b", RouteState.ACTIVE)]
    back = main(store, globex, peer.id)
    with refused("InvalidVpcPeeringConnectionID.NotFound", "'b'"):  # names belong to the requester
        create_route(store, globex, back.id, "10.0.0.0/16", "pcx-b")
    create_route(store, globex, back.id, "10.0.0.0/16", pcx)
    assert shown(store, globex, peer.id) == [("10.0.0.0/16", pcx, RouteState.ACTIVE)]
    peerings.delete_peering(store, acme, pcx)
    assert shown(store, acme, vpc.id) == [("10.1.0.0/16", pcx, RouteState.BLACKHOLE)]
    assert shown(store, globex, peer.id) == [("10.0.0.0/16", pcx, RouteState.BLACKHOLE)]
    for target in (pcx, "pcx-b"):
        with refused("InvalidVpcPeeringConnectionID.NotFound"):
            create_route(store, acme, table.id, "10.1.1.0/24", target)


def test_a_connection_of_others_is_no_target(store: Store, acme: Caller, globex: Caller, vpc: Vpc, peer: Vpc) -> None:
    third = vpcs.create_vpc(store, acme, name="third", cidrs=["10.2.0.0/16"])
    pcx = peerings.request_peering(store, acme, vpc.id, peer.id, name="b").id
    with refused("InvalidParameterValue", "belongs to another VPC"):
        create_route(store, acme, main(store, acme, third.id).id, "10.1.0.0/16", pcx)
    with refused("InvalidVpcPeeringConnectionID.NotFound"):
        create_route(store, acme, main(store, acme, third.id).id, "10.1.0.0/16", "pcx-b")


def test_a_file_makes_a_connection_and_the_routes_to_it(store: Store, operator: Caller) -> None:
    assert check_cloud(BOTH) == []
    assert [kind for _, kind, _ in summary(apply(store, operator, BOTH))].count("route-table") == 1
    web = records(store).vpc.record
    assert shown(store, operator, web.id) == [("10.1.0.0/16", "pcx-b", RouteState.ACTIVE)]
    exported = export_cloud(store)
    assert exported.vpcs[1].route_tables == WEB.route_tables
    assert plan_cloud(store, operator, exported).changes == ()


def test_a_file_that_gives_a_connection_up_takes_its_routes_along(store: Store, operator: Caller) -> None:
    apply(store, operator, BOTH)
    alone = msgspec.structs.replace(WEB, peerings=[], route_tables=[])
    plan = apply(store, operator, Cloud(vpcs=[alone, DATA]))
    assert {kind for _, kind, _ in summary(plan)} == {"route-table", "peering"}
    assert shown(store, operator, records(store).vpc.record.id) == []


def test_a_route_follows_its_connections_name_to_another_peer(store: Store, operator: Caller) -> None:
    apply(store, operator, BOTH)
    other = VpcDecl(name="other", owner="acme", cidrs=["10.1.0.0/16"])
    turned = msgspec.structs.replace(WEB, peerings=[PeeringDecl(name="b", peer="other")])
    apply(store, operator, Cloud(vpcs=[turned, DATA, other]))
    assert shown(store, operator, records(store).vpc.record.id) == [("10.1.0.0/16", "pcx-b", RouteState.ACTIVE)]


def test_routes_to_peers_do_not_hold_a_prefix_list_that_goes(
    store: Store, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_done: int, _steps: int) -> None:
        assert read_inventory(store).unreadable == []

    monkeypatch.setattr(Writes, "takes", lambda _writes, _later: False)
    table = RouteTableDecl(name="main", routes=["10.1.0.0/16 via pcx-b", "pl-s3 via pcx-b"])
    listed = msgspec.structs.replace(WEB, prefix_lists=[PrefixListDecl(name="s3", cidrs=["192.0.2.0/24"])], route_tables=[table])
    for wanted in (listed, WEB):
        apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[wanted, DATA])), check)
        assert plan_cloud(store, operator, Cloud(vpcs=[wanted, DATA])).changes == ()


def test_a_customer_exports_the_routes_of_an_ended_connection_by_its_id(
    store: Store, acme: Caller, globex: Caller, clock: Clock, vpc: Vpc, peer: Vpc
) -> None:
    pcx = peerings.request_peering(store, acme, vpc.id, peer.id, name="b").id
    create_route(store, acme, main(store, acme, vpc.id).id, "10.1.0.0/16", "pcx-b")
    peerings.reject_peering(store, globex, pcx)
    exported = export_inventory(read_inventory(store), acme)
    assert exported.vpcs[0].route_tables[0].routes == [f"10.1.0.0/16 via {pcx}"]
    assert check_cloud(exported) == []
    assert plan_cloud(store, acme, exported).changes == ()
