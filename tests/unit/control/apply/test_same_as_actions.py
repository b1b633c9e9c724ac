"""A file and equivalent commands: they store and delete the same records, and refuse the same."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import acls, flow_logs, groups, hosts, instances, prefix_lists, route_tables, subnets, vpcs
from netorch.control.actions.permissions import Permission, authorize
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.errors import ApiError
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    FlowLogDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Role
from netorch.model.security import Direction
from netorch.records.caller import Caller
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import contents

SSH = AclEntryDecl(rule=10, action=AclAction.ALLOW, protocol="tcp", cidr="0.0.0.0/0", ports=22)
VPC = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.0.0.0/16"],
    ipv6_cidrs=["fd00::/56"],
    vni=5000,
    tags={"env": "prod"},
    route_tables=[
        RouteTableDecl(name="main", routes=["10.0.1.0/24 via eni one"]),
        RouteTableDecl(name="inner", routes=["pl-offices via blackhole", "0.0.0.0/0 via eni one", "10.0.0.0/16 via eni two"]),
    ],
    network_acls=[
        NetworkAclDecl(
            name="strict", ingress=[AclEntryDecl(rule=10, action=AclAction.ALLOW, protocol="tcp", cidr="0.0.0.0/0", ports=22)]
        )
    ],
    prefix_lists=[PrefixListDecl(name="offices", cidrs=["192.0.2.0/24"], max_entries=4)],
    security_groups=[SecurityGroupDecl(name="ssh", ingress=[IngressDecl(protocol="tcp", ports=22, source="pl-offices")])],
    subnets=[SubnetDecl(name="a", cidr="10.0.1.0/24", ipv6_cidr="fd00::/64", route_table="inner", network_acl="strict")],
    instances=[
        InstanceDecl(
            name="one", host="hv2", address="10.0.1.4", mac="06:00:00:00:00:01", security_groups=["ssh"], source_dest_check=False
        ),
        InstanceDecl(name="two", tags={"role": "db"}),
    ],
    flow_logs=[FlowLogDecl(name="all")],
)


def by_commands(store: Store, caller: Caller) -> str:
    """Make the VPC by commands and return its id."""
    vpc = vpcs.create_vpc(
        store, caller, name="web", cidrs=["10.0.0.0/16"], ipv6_cidrs=["fd00::/56"], vni=5000, tags={"env": "prod"}
    )
    table = route_tables.create_route_table(store, caller, vpc.id, name="inner")
    acl = acls.create_network_acl(store, caller, vpc.id, name="strict")
    entry = acls.EntryRequest(number=10, allow=True, protocol="tcp", cidr="0.0.0.0/0", ports=22)
    acls.create_network_acl_entry(store, caller, acl.id, Direction.INGRESS, entry)
    prefix_lists.create_prefix_list(store, caller, vpc.id, name="offices", cidrs=["192.0.2.0/24"], max_entries=4)
    group = groups.create_security_group(store, caller, vpc.id, name="ssh")
    authorize(store, caller, group.id, Direction.INGRESS, [Permission(protocol="tcp", ports=22, peer="pl-offices")])
    subnet = subnets.create_subnet(
        store, caller, vpc.id, name="a", cidr="10.0.1.0/24", ipv6_cidr="fd00::/64", route_table=table.id, network_acl=acl.id
    )
    for request in (
        instances.RunRequest(
            name="one", host="hv2", address="10.0.1.4", mac="06:00:00:00:00:01", groups=(group.id,), source_dest_check=False
        ),
        instances.RunRequest(name="two", tags={"role": "db"}),
    ):
        instances.run_instance(store, caller, msgspec.structs.replace(request, subnet=subnet.id))
    main = next(info.table for info in route_tables.describe_route_tables(store, caller, vpc.id) if info.table.main)
    route_tables.create_route(store, caller, main.id, "10.0.1.0/24", "eni one")
    route_tables.create_route(store, caller, table.id, "0.0.0.0/0", "eni one")
    route_tables.create_route(store, caller, table.id, "pl-offices", "blackhole")
    route_tables.replace_route(store, caller, table.id, "10.0.0.0/16", "eni two")
    flow_logs.create_flow_log(store, caller, vpc.id, name="all")
    return vpc.id


def by_file(store: Store, caller: Caller, vpc: VpcDecl = VPC) -> None:
    plan = plan_cloud(store, caller, Cloud(vpcs=[vpc]))
    if plan.stuck:
        raise plan.stuck[0].error
    apply_cloud(store, plan)


@pytest.fixture
def stores(operator: Caller) -> tuple[Store, Store]:
    """Return two stores with the same hosts."""
    found = MemoryStore(), MemoryStore()
    for store in found:
        for name, underlay, role in (
            ("hv1", "192.0.2.11", Role.HYPERVISOR),
            ("hv2", "192.0.2.12", Role.HYPERVISOR),
            ("edge1", "192.0.2.13", Role.EDGE),
        ):
            hosts.create_host(store, operator, name=name, underlay=underlay, role=role)
    return found


def test_a_file_and_commands_store_the_same(stores: tuple[Store, Store], acme: Caller) -> None:
    by_commands(stores[0], acme)
    by_file(stores[1], acme)
    assert contents(stores[0]) == contents(stores[1])


def test_a_plan_and_commands_delete_the_same(stores: tuple[Store, Store], acme: Caller) -> None:
    vpc_id = by_commands(stores[0], acme)
    for instance in ("one", "two"):
        instances.terminate_instance(stores[0], acme, _id(stores[0], "i", instance))
    route_tables.delete_route(stores[0], acme, _id(stores[0], "rtb", "main"), "10.0.1.0/24")
    subnets.delete_subnet(stores[0], acme, _id(stores[0], "subnet", "a"))
    route_tables.delete_route_table(stores[0], acme, _id(stores[0], "rtb", "inner"))
    acls.delete_network_acl(stores[0], acme, _id(stores[0], "acl", "strict"))
    groups.delete_security_group(stores[0], acme, _id(stores[0], "sg", "ssh"))
    prefix_lists.delete_prefix_list(stores[0], acme, _id(stores[0], "pl", "offices"))
    vpcs.delete_vpc(stores[0], acme, vpc_id)
    other = by_commands(stores[1], acme)
    apply_cloud(stores[1], plan_destruction(stores[1], acme, [other]), allow_mass_delete=True)
    assert contents(stores[0]) == contents(stores[1])


def _id(store: Store, kind: str, name: str) -> str:
    found = [kv for kv in store.list("vpc/").kvs if kv.key.split("/")[2] == kind]
    return next(kv.key.split("/")[3] for kv in found if msgspec.json.decode(kv.value)["name"] == name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "edge1"),
        ("host", "nowhere"),
        ("address", "10.0.1.4"),
        ("address", "10.0.2.4"),
        ("mac", "06:00:00:00:00:01"),
    ],
)
def test_a_plan_refuses_the_instances_that_a_command_refuses(
    stores: tuple[Store, Store], acme: Caller, field: str, value: str
) -> None:
    by_commands(stores[0], acme)
    request = instances.RunRequest(name="three", subnet=_id(stores[0], "subnet", "a"))
    with pytest.raises(ApiError) as command:
        instances.run_instance(stores[0], acme, msgspec.structs.replace(request, **{field: value}))
    by_file(stores[1], acme)
    third = msgspec.structs.replace(InstanceDecl(name="three"), **{field: value})
    with pytest.raises(ApiError) as plan:
        by_file(stores[1], acme, msgspec.structs.replace(VPC, instances=[*VPC.instances, third]))
    assert plan.value.code == command.value.code


@pytest.mark.parametrize(
    "route",
    [
        "10.0.1.0/25 via eni one",
        "10.0.0.0/16 via blackhole",
        "192.0.2.0/24 via eni-00138800000000001",
        "pl-00138800000000001 via blackhole",
        "169.254.168.0/24 via blackhole",
    ],
)
def test_a_plan_refuses_the_routes_that_a_command_refuses(stores: tuple[Store, Store], acme: Caller, route: str) -> None:
    by_commands(stores[0], acme)
    destination, _, target = route.partition(" via ")
    with pytest.raises(ApiError) as command:
        route_tables.create_route(stores[0], acme, _id(stores[0], "rtb", "main"), destination, target)
    by_file(stores[1], acme)
    tables = [RouteTableDecl(name="main", routes=[route]), *VPC.route_tables[1:]]
    with pytest.raises(ApiError) as plan:
        by_file(stores[1], acme, msgspec.structs.replace(VPC, route_tables=tables))
    assert plan.value.code == command.value.code


def test_nothing_moves_to_a_host_that_is_no_hypervisor(stores: tuple[Store, Store], acme: Caller) -> None:
    by_file(stores[1], acme)
    moved = [msgspec.structs.replace(VPC.instances[0], host="edge1"), VPC.instances[1]]
    with pytest.raises(ApiError, match="edge1: its role is edge; choose a hypervisor"):
        by_file(stores[1], acme, msgspec.structs.replace(VPC, instances=moved))
