"""Two concurrent callers, one of which makes a route: the second acts between the first one's reads and its transaction."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.control.actions import enis, prefix_lists, route_tables, subnets, vpcs
from netorch.control.actions.route_tables import create_route, delete_route, replace_route
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud
from netorch.errors import Conflict
from netorch.model.cloud import PrefixListDecl, RouteTableDecl
from netorch.model.vpc import RouteTable, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from tests.unit.control.conftest import refused
from tests.unit.control.test_races import Interrupted


@pytest.fixture
def store() -> Interrupted:
    return Interrupted()


@pytest.fixture
def vpc(store: Interrupted, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def table(store: Interrupted, acme: Caller, vpc: Vpc) -> RouteTable:
    return route_tables.create_route_table(store, acme, vpc.id, name="t")


def destinations(store: Interrupted, table: RouteTable) -> list[str]:
    found = read_inventory(store).vpcs[table.vni].of(RouteTable)[table.id].record
    return [route.destination for route in found.routes]


def black(store: Interrupted, caller: Caller, table: RouteTable, destination: str) -> Callable[[], object]:
    return lambda: create_route(store, caller, table.id, destination, "blackhole")


def test_two_routes_made_at_once_are_both_there(store: Interrupted, acme: Caller, table: RouteTable) -> None:
    store.meanwhile = black(store, acme, table, "192.0.2.0/24")
    black(store, acme, table, "198.51.100.0/24")()
    assert destinations(store, table) == ["192.0.2.0/24", "198.51.100.0/24"]


def test_of_two_routes_to_one_destination_made_at_once_the_later_is_refused(
    store: Interrupted, acme: Caller, table: RouteTable
) -> None:
    store.meanwhile = black(store, acme, table, "192.0.2.0/24")
    with refused("RouteAlreadyExists"):
        black(store, acme, table, "192.0.2.0/24")()


def test_the_last_routes_of_a_quota_are_not_given_twice(store: Interrupted, acme: Caller, table: RouteTable) -> None:
    for number in range(49):
        black(store, acme, table, f"192.0.2.{number}/32")()
    store.meanwhile = black(store, acme, table, "198.51.100.0/24")
    with refused("RouteLimitExceeded"):
        black(store, acme, table, "203.0.113.0/24")()


@pytest.mark.parametrize("route_first", [True, False])
def test_a_range_and_a_route_inside_it_do_not_meet(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable, route_first: bool
) -> None:
    route, range_ = black(store, acme, table, "10.5.1.0/24"), lambda: vpcs.associate_cidr(store, acme, vpc.id, "10.5.0.0/16")
    store.meanwhile, later = (route, range_) if route_first else (range_, route)
    with refused("InvalidVpc.Range" if route_first else "InvalidParameterValue"):
        later()


@pytest.mark.parametrize("route_first", [True, False])
def test_a_subnet_whose_range_is_routed_meanwhile_is_not_deleted_nor_the_reverse(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable, route_first: bool
) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")
    beside = subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.2.0/24")
    eni = enis.create_network_interface(store, acme, beside.id)

    def route() -> None:
        create_route(store, acme, table.id, "10.0.1.0/24", eni.id)

    def delete() -> None:
        subnets.delete_subnet(store, acme, subnet.id)

    store.meanwhile, later = (route, delete) if route_first else (delete, route)
    with refused("DependencyViolation" if route_first else "InvalidParameterValue"):
        later()


@pytest.mark.parametrize("route_first", [True, False])
def test_a_list_and_a_route_to_it_do_not_miss_each_other(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable, route_first: bool
) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc.id, name="p", cidrs=["192.0.2.0/24"])
    route, delete = black(store, acme, table, "pl-p"), lambda: prefix_lists.delete_prefix_list(store, acme, found.id)
    store.meanwhile, later = (route, delete) if route_first else (delete, route)
    with refused("DependencyViolation" if route_first else "InvalidPrefixListID.NotFound"):
        later()


@pytest.mark.parametrize("grows_first", [True, False])
def test_a_list_that_grows_and_a_route_that_is_made_stay_within_the_quota(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable, grows_first: bool
) -> None:
    found = prefix_lists.create_prefix_list(store, acme, vpc.id, name="p", cidrs=["192.0.2.0/24"], max_entries=49)
    black(store, acme, table, "pl-p")()

    def grow() -> None:
        prefix_lists.modify_prefix_list(store, acme, found.id, max_entries=50)

    add = black(store, acme, table, "0.0.0.0/0")
    store.meanwhile, later = (grow, add) if grows_first else (add, grow)
    with refused("RouteLimitExceeded"):
        later()


def test_a_table_that_gets_a_route_meanwhile_is_deleted_with_it(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable
) -> None:
    store.meanwhile = black(store, acme, table, "192.0.2.0/24")
    route_tables.delete_route_table(store, acme, table.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert store.list("alloc/use/").kvs == ()


def planned(store: Interrupted, acme: Caller, **changes: object) -> Callable[[], object]:
    """Plan changes in the stored cloud's VPC now; return a function that applies that plan."""
    cloud = export_cloud(store)
    cloud = msgspec.structs.replace(cloud, vpcs=[msgspec.structs.replace(cloud.vpcs[0], **changes)])
    plan = plan_cloud(store, acme, cloud)
    assert plan.steps
    return lambda: apply_cloud(store, plan)


def test_a_plan_that_was_made_before_a_route_does_not_write_over_it(store: Interrupted, acme: Caller, table: RouteTable) -> None:
    apply = planned(store, acme, route_tables=[RouteTableDecl(name="t", routes=["192.0.2.0/24 via blackhole"])])
    black(store, acme, table, "198.51.100.0/24")()
    with pytest.raises(Conflict):
        apply()


def test_a_plan_that_adds_a_range_notices_a_route_inside_it(store: Interrupted, acme: Caller, table: RouteTable) -> None:
    apply = planned(store, acme, cidrs=["10.0.0.0/16", "10.5.0.0/16"])
    black(store, acme, table, "10.5.1.0/24")()
    with pytest.raises(Conflict):
        apply()


def test_a_plan_that_deletes_a_subnet_notices_a_route_to_it(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable
) -> None:
    for name, cidr in (("a", "10.0.1.0/24"), ("b", "10.0.2.0/24")):
        subnets.create_subnet(store, acme, vpc.id, name=name, cidr=cidr)
    beside = next(info.subnet for info in subnets.describe_subnets(store, acme, vpc.id) if info.subnet.name == "b")
    eni = enis.create_network_interface(store, acme, beside.id)
    kept = [decl for decl in export_cloud(store).vpcs[0].subnets if decl.name == "b"]
    apply = planned(store, acme, subnets=kept)
    create_route(store, acme, table.id, "10.0.1.0/24", eni.id)
    with pytest.raises(Conflict):
        apply()


def test_a_plan_that_grows_or_deletes_a_list_notices_a_route_to_it(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable
) -> None:
    prefix_lists.create_prefix_list(store, acme, vpc.id, name="p", cidrs=["192.0.2.0/24"])
    grown = PrefixListDecl(name="p", cidrs=["192.0.2.0/24"], max_entries=50)
    for lists in ([grown], []):
        apply = planned(store, acme, prefix_lists=lists)
        black(store, acme, table, "pl-p")()
        with pytest.raises(Conflict):
            apply()
        delete_route(store, acme, table.id, "pl-p")


def test_a_range_and_a_route_that_replaces_its_local_one_do_not_part(
    store: Interrupted, acme: Caller, operator: Caller, vpc: Vpc, table: RouteTable
) -> None:
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")
    eni = enis.create_network_interface(store, acme, subnet.id)
    vpcs.associate_cidr(store, acme, vpc.id, "10.5.0.0/16")
    store.meanwhile = lambda: replace_route(store, acme, table.id, "10.5.0.0/16", eni.id)
    with refused("DependencyViolation"):
        vpcs.disassociate_cidr(store, acme, vpc.id, "10.5.0.0/16")
    replace_route(store, acme, table.id, "10.5.0.0/16", "local")
    store.meanwhile = lambda: vpcs.disassociate_cidr(store, acme, vpc.id, "10.5.0.0/16")
    with refused("InvalidRoute.NotFound"):
        replace_route(store, acme, table.id, "10.5.0.0/16", eni.id)


def test_of_two_tables_that_become_the_main_one_at_once_one_is(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable
) -> None:
    other = route_tables.create_route_table(store, acme, vpc.id, name="other")
    store.meanwhile = lambda: route_tables.set_main_route_table(store, acme, other.id)
    route_tables.set_main_route_table(store, acme, table.id)
    infos = route_tables.describe_route_tables(store, acme, vpc.id)
    assert [info.table.name for info in infos if info.table.main] == ["t"]
    assert len({info.table.number for info in infos}) == 3


def test_a_table_that_is_deleted_or_gets_a_route_meanwhile_becomes_the_main_one_as_it_is(
    store: Interrupted, acme: Caller, vpc: Vpc, table: RouteTable
) -> None:
    store.meanwhile = black(store, acme, table, "192.0.2.0/24")
    assert len(route_tables.set_main_route_table(store, acme, table.id).routes) == 1
    other = route_tables.create_route_table(store, acme, vpc.id, name="other")
    store.meanwhile = lambda: route_tables.delete_route_table(store, acme, other.id)
    with refused("InvalidRouteTableID.NotFound"):
        route_tables.set_main_route_table(store, acme, other.id)
