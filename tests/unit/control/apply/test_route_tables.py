"""Planning and applying route tables, routes and the source/dest check, and exporting them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netorch.control.actions import enis, hosts, instances, route_tables
from netorch.control.apply.changes import CloudPlan, Difference, differences
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.base.quotas import set_quotas
from netorch.control.base.writes import Writes
from netorch.control.views.export import export_cloud
from netorch.errors import ApiError
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, PrefixListDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.eni import NetworkInterface
from netorch.model.normal import normal_tables
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import Clock, make_caller

HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]
INNER = RouteTableDecl(name="inner", routes=["0.0.0.0/0 via eni fw", "pl-s3 via blackhole", "10.44.13.0/24 via eni fw"])
VPC = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.44.0.0/16"],
    prefix_lists=[PrefixListDecl(name="s3", cidrs=["192.0.2.0/24"])],
    route_tables=[RouteTableDecl(name="main", routes=["198.51.100.0/24 via blackhole"]), INNER],
    subnets=[
        SubnetDecl(name="a", cidr="10.44.12.0/24", route_table="inner"),
        SubnetDecl(name="b", cidr="10.44.13.0/24", route_table="main"),
    ],
    instances=[
        InstanceDecl(name="fw", subnet="b", host="hv1", address="10.44.13.4", source_dest_check=False),
        InstanceDecl(name="app", subnet="a", host="hv2"),
    ],
)
SUBNETS_OF_MAIN = [msgspec.structs.replace(subnet, route_table="") for subnet in VPC.subnets]


def cloud(**changes: object) -> Cloud:
    return Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(VPC, **changes)])


def tables(**routes: list[str]) -> Cloud:
    return cloud(route_tables=[RouteTableDecl(name=name, routes=found) for name, found in routes.items()])


def shown(store: Store, caller: Caller) -> dict[str, list[str]]:
    """Return the routes of every table with their states, without the local routes that have their default target."""
    vpc = records(store).vpc.record
    infos = route_tables.describe_route_tables(store, caller, vpc.id)
    return {
        info.table.name: [
            " ".join((*(info.names.get(text, text) for text in (route.destination, route.target)), route.state.value))
            for route in info.routes
            if route.target != "local"
        ]
        for info in infos
    }


def routes_of(plan: CloudPlan, table: str) -> tuple[Difference, ...]:
    (change,) = [change for change in plan.changes if (change.kind, change.name) == ("route-table", table)]
    return tuple(difference for difference in change.differences if difference.field == "routes")


def new(*texts: str) -> tuple[Difference, ...]:
    return tuple(Difference("routes", "", text, member=True) for text in texts)


def gone(*texts: str) -> tuple[Difference, ...]:
    return tuple(Difference("routes", text, "", member=True) for text in texts)


def test_a_first_apply_makes_tables_with_routes_to_new_instances(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, cloud())
    assert shown(store, operator) == {
        "main": ["198.51.100.0/24 blackhole blackhole"],
        "inner": ["0.0.0.0/0 eni fw active", "10.44.13.0/24 eni fw active", "pl-s3 blackhole blackhole"],
    }
    assert routes_of(plan, "inner") == new("0.0.0.0/0 via eni fw", "10.44.13.0/24 via eni fw", "pl-s3 via blackhole")
    assert routes_of(plan, "main") == new("198.51.100.0/24 via blackhole")
    by_name = {subnet.name: subnet.route_table for subnet in records(store).each(Subnet)}
    inner = next(table.id for table in records(store).each(RouteTable) if table.name == "inner")
    assert by_name == {"a": inner, "b": ""}
    (vpc,) = export_cloud(store).vpcs
    assert vpc.route_tables == normal_tables(VPC.route_tables)
    assert [instance.source_dest_check for instance in vpc.instances] == [True, False]


def test_routes_change_one_by_one(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    plan = apply(store, operator, tables(inner=["0.0.0.0/0 via blackhole", "10.44.13.0/24 via eni fw", "::/0 via eni fw"]))
    assert summary(plan) == [("change", "route-table", "acme/web/main"), ("change", "route-table", "acme/web/inner")]
    assert routes_of(plan, "main") == gone("198.51.100.0/24 via blackhole")
    old, late = ("0.0.0.0/0 via eni fw", "pl-s3 via blackhole"), ("0.0.0.0/0 via blackhole", "::/0 via eni fw")
    assert routes_of(plan, "inner") == gone(*old) + new(*late)
    assert plan.hosts == ("hv1", "hv2")
    assert apply(store, operator, tables(inner=[*late, "10.44.13.0/24 via eni fw"])).changes == ()


def test_the_local_route_is_replaced_and_put_back(store: Store, operator: Caller) -> None:
    apply(store, operator, tables(inner=["10.44.0.0/16 via eni fw"]))
    assert shown(store, operator)["inner"] == ["10.44.0.0/16 eni fw active"]
    plan = apply(store, operator, tables(inner=["10.44.0.0/16 via local"]))
    assert routes_of(plan, "inner") == gone("10.44.0.0/16 via eni fw")
    assert shown(store, operator)["inner"] == []


def test_a_route_follows_an_instance_that_is_made_again(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    fw = msgspec.structs.replace(VPC.instances[0], address="10.44.13.9")
    before = {table.name: table for table in records(store).each(RouteTable)}["inner"].routes[0].target
    plan = apply(store, operator, cloud(instances=[fw, VPC.instances[1]]))
    assert shown(store, operator)["inner"][0] == "0.0.0.0/0 eni fw active"
    assert routes_of(plan, "inner")[:1] == gone(f"0.0.0.0/0 via {before}")


def test_a_route_by_id_stays_when_its_interface_ends(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    eni = next(eni for eni in records(store).each(NetworkInterface) if eni.address == "10.44.13.4")
    by_id = tables(inner=[f"0.0.0.0/0 via {eni.id}"])
    apply(store, operator, by_id)
    assert shown(store, operator)["inner"] == ["0.0.0.0/0 eni fw active"]
    instances.terminate_instance(store, operator, eni.instance)
    without = msgspec.structs.replace(by_id.vpcs[0], instances=VPC.instances[1:])
    assert apply(store, operator, Cloud(vpcs=[without])).changes == ()
    assert shown(store, operator)["inner"] == [f"0.0.0.0/0 {eni.id} blackhole"]
    exported = export_cloud(store)
    assert check_cloud(exported) == []
    assert plan_cloud(store, operator, exported).changes == ()


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ("0.0.0.0/0 via eni-00138800000000001", "InvalidNetworkInterfaceID.NotFound"),
        ("pl-00138800000000001 via blackhole", "InvalidPrefixListID.NotFound"),
    ],
)
def test_a_route_to_what_is_not_there_leaves_its_vpc_as_it_is(store: Store, operator: Caller, route: str, code: str) -> None:
    apply(store, operator, cloud())
    with pytest.raises(ApiError) as refusal:
        plan_cloud(store, operator, tables(inner=[route]))
    assert refusal.value.code == code


def test_a_list_that_the_file_no_longer_declares_takes_no_route(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    (listed,) = records(store).of(PrefixList)
    by_id = RouteTableDecl(name="inner", routes=[f"{listed} via blackhole"])
    with pytest.raises(ApiError, match=f"prefix list '{listed}': does not exist"):
        plan_cloud(store, operator, cloud(prefix_lists=[], route_tables=[by_id]))
    apply(store, operator, cloud(prefix_lists=[], route_tables=[RouteTableDecl(name="inner")]))


def test_a_table_has_no_more_routes_than_its_quota(store: Store, operator: Caller) -> None:
    set_quotas(store, "acme", {"routes_per_table": 2})
    with pytest.raises(ApiError) as refusal:
        apply(store, operator, cloud())
    assert refusal.value.code == "RouteLimitExceeded"


def test_the_main_table_counts_once_whether_a_file_declares_it_or_not(store: Store, operator: Caller) -> None:
    set_quotas(store, "acme", {"route_tables_per_vpc": 2})
    apply(store, operator, tables(inner=[], main=["192.0.2.0/24 via blackhole"]))
    apply(store, operator, tables(inner=[]))
    with pytest.raises(ApiError) as refusal:
        plan_cloud(store, operator, tables(inner=[], other=[]))
    assert refusal.value.code == "RouteTableLimitExceeded"


def test_what_a_route_named_goes_in_the_same_plan(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    small = cloud(prefix_lists=[], route_tables=[], subnets=[VPC.subnets[1]], instances=[])
    apply(store, operator, small)
    assert shown(store, operator) == {"main": []}


def test_no_step_of_a_plan_leaves_a_route_to_a_list_that_is_not_there(
    store: Store, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(_done: int, _steps: int) -> None:
        assert read_inventory(store).unreadable == []

    monkeypatch.setattr(Writes, "takes", lambda _writes, _later: False)
    both = tables(main=["pl-s3 via blackhole"], inner=INNER.routes)
    for wanted in (both, cloud(prefix_lists=[], route_tables=[], subnets=SUBNETS_OF_MAIN), both):
        assert apply_cloud(store, plan_cloud(store, operator, wanted), check) > 1
    apply_cloud(store, plan_destruction(store, operator, [records(store).vpc.record.id]), check)
    assert store.list("alloc/use/").kvs == ()


def test_the_check_is_switched(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    on = msgspec.structs.replace(VPC.instances[0], source_dest_check=True)
    plan = apply(store, operator, cloud(instances=[on, VPC.instances[1]]))
    (change,) = plan.changes
    assert (change.name, change.differences) == ("fw", (Difference("source_dest_check", "false", "true"),))
    plan = apply(store, operator, cloud(instances=[msgspec.structs.replace(on, source_dest_check=False), VPC.instances[1]]))
    assert plan.changes[0].differences == (Difference("source_dest_check", "true", "false"),)


def test_the_check_groups_and_host_of_an_instance_change_at_once(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    moved = msgspec.structs.replace(VPC.instances[0], source_dest_check=True, host="hv2")
    plan = plan_cloud(store, operator, cloud(instances=[moved, VPC.instances[1]]))
    apply_cloud(store, plan)
    eni = next(eni for eni in records(store).each(NetworkInterface) if eni.address == "10.44.13.4")
    assert eni.source_dest_check
    assert records(store).mappings[eni.address].record.move is not None


def test_instances_of_the_top_level_leave_the_routes_of_the_default_vpc_alone(store: Store, operator: Caller) -> None:
    for host in HOSTS:
        hosts.create_host(store, operator, name=host.name, underlay=host.underlay)
    default_index = Cloud(instances=[InstanceDecl(name="fw")])
    apply(store, operator, default_index)
    default = records(store, "default", "default")
    (main,) = default.each(RouteTable)
    route_tables.create_route(store, operator, main.id, "0.0.0.0/0", "eni fw")
    assert apply(store, operator, default_index).changes == ()
    apply(store, operator, Cloud())
    (main,) = records(store, "default", "default").each(RouteTable)
    assert [route.destination for route in main.routes] == ["0.0.0.0/0"]


def test_an_export_of_what_commands_made_is_what_is_there(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    spare = enis.create_network_interface(store, operator, next(records(store).each(Subnet)).id, name="spare")
    inner = next(table for table in records(store).each(RouteTable) if table.name == "inner")
    route_tables.create_route(store, operator, inner.id, "203.0.113.0/24", "eni spare")
    exported = export_cloud(store)
    assert f"203.0.113.0/24 via {spare.id}" in exported.vpcs[0].route_tables[0].routes
    assert check_cloud(exported) == []
    assert plan_cloud(store, operator, exported).changes == ()


ROUTES = [
    "0.0.0.0/0 via blackhole",
    "0.0.0.0/0 via eni fw",
    "::/0 via eni app",
    "192.0.2.0/24 via eni app",
    "pl-s3 via eni fw",
    "10.44.0.0/16 via eni fw",
    "10.44.13.0/24 via eni app",
    "10.44.12.0/24 via eni fw",
]


def destination(text: str) -> str:
    return text.partition(" ")[0]


some_routes = st.lists(st.sampled_from(ROUTES), max_size=5, unique_by=destination)
some_tables = st.dictionaries(st.sampled_from(["main", "inner", "other"]), some_routes, min_size=1).map(
    lambda found: tables(**{"inner": [], **found})
)


@given(st.lists(some_tables, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_whatever_was_applied_before_the_file_is_what_is_stored(clouds: list[Cloud]) -> None:
    store, operator = MemoryStore(), make_caller(Clock(), "default", operator=True)
    for wanted in clouds:
        apply(store, operator, wanted)
        exported = export_cloud(store)
        assert exported.vpcs[0].route_tables == normal_tables(wanted.vpcs[0].route_tables)
        assert check_cloud(exported) == []
        assert plan_cloud(store, operator, exported).changes == ()
    again = MemoryStore()
    apply(again, operator, exported)
    assert export_cloud(again).vpcs[0].route_tables == exported.vpcs[0].route_tables


def test_a_file_without_a_range_takes_the_route_in_place_of_its_local_one_along(store: Store, operator: Caller) -> None:
    inner = RouteTableDecl(name="inner", routes=["10.45.0.0/16 via eni fw"])
    apply(store, operator, cloud(cidrs=[*VPC.cidrs, "10.45.0.0/16"], route_tables=[inner]))
    apply(store, operator, cloud(route_tables=[RouteTableDecl(name="inner")]))
    assert shown(store, operator) == {"main": [], "inner": []}


def associations(store: Store) -> dict[str, str]:
    """Return each subnet's explicit route table by name; empty if it has none."""
    names = {table.id: table.name for table in records(store).each(RouteTable)} | {"": ""}
    return {subnet.name: names[subnet.route_table] for subnet in records(store).each(Subnet)}


def main_of(store: Store) -> list[str]:
    return [table.name for table in records(store).each(RouteTable) if table.main]


def test_a_file_says_which_table_is_the_main_one(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    flipped = cloud(route_tables=[VPC.route_tables[0], msgspec.structs.replace(INNER, main=True)])
    plan = apply(store, operator, flipped)
    assert main_of(store) == ["inner"]
    assert associations(store) == {"a": "inner", "b": "main"}, "b named the table main, which it keeps"
    changed = {change.name: change.differences for change in plan.changes if change.kind == "route-table"}
    assert changed["inner"] == differences(main=(False, True))
    assert changed["main"] == differences(main=(True, False))
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    apply(store, operator, cloud())
    assert main_of(store) == ["main"]


def test_a_vpc_may_do_without_a_table_named_main(store: Store, operator: Caller) -> None:
    only = cloud(route_tables=[msgspec.structs.replace(INNER, main=True)], subnets=SUBNETS_OF_MAIN)
    apply(store, operator, only)
    assert [table.name for table in records(store).each(RouteTable)] == ["inner"]
    assert associations(store) == {"a": "", "b": ""}
    (vpc,) = export_cloud(store).vpcs
    assert [(table.name, table.main) for table in vpc.route_tables] == [("inner", True)]
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    plan = apply(store, operator, cloud(subnets=SUBNETS_OF_MAIN))
    assert main_of(store) == ["main"]
    assert ("add", "route-table", "acme/web/main") in summary(plan)
    assert read_inventory(store).unreadable == []


def test_a_table_that_a_command_made_the_main_one_is_exported_so(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    inner = next(table.id for table in records(store).each(RouteTable) if table.name == "inner")
    route_tables.set_main_route_table(store, operator, inner)
    assert associations(store) == {"a": "inner", "b": ""}
    exported = export_cloud(store)
    assert plan_cloud(store, operator, exported).changes == ()
    plan = plan_cloud(store, operator, cloud())
    assert ("change", "route-table", "acme/web/inner") in summary(plan), "the file says that the table named main is"
