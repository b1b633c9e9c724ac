"""Mapped peering connections: valid requests, their edges, and their deletion with VPCs and edges."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import peerings, vpcs
from netorch.control.actions.hosts import create_host
from netorch.control.actions.outside.drains import undrain_host
from netorch.control.actions.prefix_lists import create_prefix_list
from netorch.control.actions.route_tables import create_route
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud
from netorch.errors import SpecError
from netorch.model.cloud import Cloud, PeeringDecl, VpcDecl
from netorch.model.eni import Role
from netorch.model.routing.peering import PeeringConnection, PeeringStatus
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.read import get
from netorch.spec import load_cloud
from netorch.store.base import Store
from tests.unit.control.conftest import refused

RANGES = (("10.0.0.0/16", "100.66.0.0/16"), ("10.0.0.0/16", "100.65.0.0/16"))
OPERATOR = Caller(operator=True)


def edge(store: Store, name: str, number: int) -> None:
    uplink = f"out0,198.18.0.{number}/24,198.18.0.254"
    create_host(store, OPERATOR, name=name, underlay=f"192.0.2.{number}", role=Role.EDGE, pair="west", uplink=uplink)


@pytest.fixture
def twin(store: Store, globex: Caller) -> Vpc:
    """Another owner's VPC with the same range as `vpc`."""
    return vpcs.create_vpc(store, globex, name="twin", cidrs=["10.0.0.0/16"])


def asked(store: Store, acme: Caller, vpc: Vpc, twin: Vpc) -> PeeringConnection:
    return peerings.request_peering(store, acme, vpc.id, twin.id, name="to-twin", ranges=RANGES)


def halves(store: Store, connection: PeeringConnection) -> list[PeeringConnection]:
    found = [get(store, keys.member(vni, connection.id), PeeringConnection) for vni in (connection.vni, connection.peer_vni)]
    return [half.record for half in found if half is not None]


def placed(store: Store) -> dict[str, list[str]]:
    return {name: [kv.key.rpartition("/")[2] for kv in store.list(keys.placement(name, "")).kvs] for name in ("e1", "e2")}


def test_vpcs_with_the_same_range_are_peers_on_a_pair_of_edges(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, twin: Vpc
) -> None:
    found = asked(store, acme, vpc, twin)
    with refused("InsufficientInstanceCapacity", "no pair of edges"):
        peerings.accept_peering(store, globex, found.id)
    edge(store, "e1", 21)
    peerings.accept_peering(store, globex, found.id, name="to-web")
    assert [half.status for half in halves(store, found)] == [PeeringStatus.ACTIVE] * 2
    assert {tuple(seat.host for seat in half.seats) for half in halves(store, found)} == {("e1",)}
    assert placed(store) == {"e1": [found.id], "e2": []}
    assert peerings.describe_peering(store, acme, found.id).peer_ranges == ("100.65.0.0/16",)
    assert peerings.describe_peering(store, globex, found.id).peer_ranges == ("100.66.0.0/16",)
    edge(store, "e2", 22)
    undrain_host(store, OPERATOR, "e2")
    assert {tuple(seat.host for seat in half.seats) for half in halves(store, found)} == {("e1", "e2")}
    assert placed(store) == {"e1": [found.id], "e2": [found.id]}
    peerings.delete_peering(store, globex, found.id)
    assert placed(store) == {"e1": [], "e2": []}
    assert [half.seats for half in halves(store, found)] == [(), ()]
    assert read_inventory(store).unreadable == []


def test_what_a_vpc_takes_along_is_on_no_edge_any_more(store: Store, acme: Caller, globex: Caller, vpc: Vpc, twin: Vpc) -> None:
    edge(store, "e1", 21)
    found = asked(store, acme, vpc, twin)
    peerings.accept_peering(store, globex, found.id)
    vpcs.delete_vpc(store, globex, twin.id)
    assert halves(store, found) == []
    assert placed(store) == {"e1": [], "e2": []}


@pytest.mark.parametrize(
    ("own", "far", "problem"),
    [
        (("10.9.0.0/16", "100.66.0.0/16"), RANGES[1], "10.9.0.0/16 is not inside a range of vpc-"),
        (RANGES[0], ("10.9.0.0/16", "100.65.0.0/16"), "10.9.0.0/16 is not inside a range of vpc-"),
        (("10.0.0.0/16", "10.0.0.0/16"), RANGES[1], "10.0.0.0/16 overlaps a range of vpc-"),
        (RANGES[0], ("10.0.0.0/16", "10.0.0.0/16"), "10.0.0.0/16 overlaps a range of vpc-"),
    ],
)
def test_ranges_that_cannot_be_mapped_are_refused(
    store: Store, acme: Caller, vpc: Vpc, twin: Vpc, own: tuple[str, str], far: tuple[str, str], problem: str
) -> None:
    with refused("InvalidParameterValue", problem):
        peerings.request_peering(store, acme, vpc.id, twin.id, name="to-twin", ranges=(own, far))


def test_an_alias_is_of_one_vpc_only(store: Store, acme: Caller, globex: Caller, vpc: Vpc, twin: Vpc) -> None:
    asked(store, acme, vpc, twin)
    third = vpcs.create_vpc(store, globex, name="third", cidrs=["10.0.0.0/16"])
    with refused("InvalidParameterValue", "100.65.0.0/16 overlaps 100.65.0.0/16, an alias of pcx-"):
        peerings.request_peering(store, acme, vpc.id, third.id, name="to-third", ranges=RANGES)


def test_a_vpc_gets_no_range_that_is_an_alias_to_it(store: Store, acme: Caller, globex: Caller, vpc: Vpc, twin: Vpc) -> None:
    edge(store, "e1", 21)
    found = asked(store, acme, vpc, twin)
    peerings.accept_peering(store, globex, found.id)
    with refused("InvalidVpc.Range", "100.65.0.0/16, the alias of a mapped peering connection"):
        vpcs.associate_cidr(store, acme, vpc.id, "100.65.0.0/16")
    vpcs.associate_cidr(store, acme, vpc.id, "100.66.0.0/16")


def test_a_file_makes_it_and_is_exported_again(store: Store) -> None:
    edge(store, "e1", 21)
    texts = ("10.0.0.0/16=100.66.0.0/16", "10.0.0.0/16=100.65.0.0/16")
    cloud = Cloud(
        vpcs=[
            VpcDecl(
                name="a",
                owner="acme",
                cidrs=["10.0.0.0/16"],
                peerings=[PeeringDecl(name="to-b", peer="globex/b", map_own=texts[0], map_peer=texts[1])],
            ),
            VpcDecl(name="b", owner="globex", cidrs=["10.0.0.0/16"], peerings=[PeeringDecl(name="to-a", peer="acme/a")]),
        ]
    )
    apply_cloud(store, plan_cloud(store, OPERATOR, cloud))
    (records,) = (found for found in read_inventory(store).vpcs.values() if found.vpc.record.name == "a")
    (half,) = records.each(PeeringConnection)
    assert (half.status, half.own.alias, half.peer.alias) == (PeeringStatus.ACTIVE, "100.66.0.0/16", "100.65.0.0/16")
    assert placed(store)["e1"] == [half.id]
    exported = export_cloud(store)
    assert plan_cloud(store, OPERATOR, exported).changes in ((), [])
    assert {decl.map_own for vpc in exported.vpcs for decl in vpc.peerings} == set(texts)


def route_cloud(destination: str) -> str:
    return f"""
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  peerings: [{{name: to-b, peer: b, map_own: 10.0.0.0/16=100.66.0.0/16, map_peer: 10.0.0.0/16=100.65.0.0/16}}]
  route_tables:
  - name: main
    routes: [{destination} via pcx-to-b]
- name: b
  cidrs: [10.0.0.0/16]
  peerings: [{{name: to-a, peer: a}}]
"""


@pytest.mark.parametrize("destination", ["10.9.0.0/16", "100.64.0.0/10", "0.0.0.0/0", "100.66.1.0/24"])
def test_a_route_that_leads_beyond_the_alias_is_refused(store: Store, destination: str) -> None:
    edge(store, "e1", 21)
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.yaml", route_cloud(destination))
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (8, "$.vpcs[0].route_tables[0].routes[0]")
    assert problem.what.startswith(f"{destination} is not inside 100.65.0.0/16")
    assert problem.fix == "write 100.65.0.0/16, or a part of it"
    apply_cloud(store, plan_cloud(store, OPERATOR, load_cloud("vpc.yaml", route_cloud("100.65.1.0/24"))))
    (records,) = (found for found in read_inventory(store).vpcs.values() if found.vpc.record.name == "a")
    (table,) = records.each(RouteTable)
    with refused("InvalidParameterValue", "is not inside 100.65.0.0/16"):
        create_route(store, OPERATOR, table.id, destination, "pcx-to-b")
    offices = create_prefix_list(store, OPERATOR, records.vpc.record.id, name="far", cidrs=["100.65.2.0/24", destination])
    with refused("InvalidParameterValue", f"{destination} is not inside 100.65.0.0/16"):
        create_route(store, OPERATOR, table.id, offices.id, "pcx-to-b")
    assert plan_cloud(store, OPERATOR, export_cloud(store)).changes == ()


def test_a_route_of_the_accepter_that_leads_beyond_the_alias_is_refused_by_the_plan(store: Store) -> None:
    edge(store, "e1", 21)
    text = route_cloud("100.65.0.0/16") + "  route_tables: [{name: main, routes: [10.9.0.0/16 via pcx-to-a]}]\n"
    with refused("InvalidParameterValue", "10.9.0.0/16 is not inside 100.66.0.0/16"):
        plan_cloud(store, OPERATOR, load_cloud("vpc.yaml", text))


def test_a_range_that_a_mapped_connection_translates_stays(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, twin: Vpc
) -> None:
    edge(store, "e1", 21)
    vpcs.associate_cidr(store, acme, vpc.id, "10.7.0.0/16")
    ranges = (("10.7.1.0/24", "100.66.0.0/24"), ("10.0.0.0/16", "100.65.0.0/16"))
    found = peerings.request_peering(store, acme, vpc.id, twin.id, name="to-twin", ranges=ranges)
    fix = "peering connection to-twin, in which 10.7.1.0/24 has the alias 100.66.0.0/24; delete that connection first"
    with refused("DependencyViolation", fix):
        vpcs.disassociate_cidr(store, acme, vpc.id, "10.7.0.0/16")
    peerings.accept_peering(store, globex, found.id)
    with refused("DependencyViolation", fix):
        vpcs.disassociate_cidr(store, acme, vpc.id, "10.7.0.0/16")
    less = export_cloud(store)
    (decl,) = [found for found in less.vpcs if found.name == vpc.name]
    without = msgspec.structs.replace(decl, cidrs=decl.cidrs[:1])
    with refused("InvalidParameterValue", "peering connection 'to-twin': 10.7.1.0/24 is not inside a range of"):
        plan_cloud(store, OPERATOR, msgspec.structs.replace(less, vpcs=[without]))
    peerings.delete_peering(store, acme, found.id)
    vpcs.disassociate_cidr(store, acme, vpc.id, "10.7.0.0/16")
