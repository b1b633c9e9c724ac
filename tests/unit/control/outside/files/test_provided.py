"""Declared IPv6 ranges out of address pools; their prefixes are unknown when the file is written."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import instances, route_tables, subnets, vpcs
from netorch.control.actions.outside import egress_only, pools
from netorch.control.actions.outside.ranges import Provided
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.views.export import export_cloud
from netorch.control.views.unsaid import unsaid
from netorch.errors import ApiError
from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.cloud import (
    Cloud,
    EgressOnlyInternetGatewayDecl,
    ElasticIpDecl,
    InstanceDecl,
    InternetGatewayDecl,
    RouteTableDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import NetworkInterface
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.vpc import VpcRecords
from netorch.spec.export import to_yaml
from netorch.spec.load import load_cloud
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import CHOSEN_MAC, HOSTS, contents
from tests.unit.control.outside.conftest import clean, held
from tests.unit.control.outside.files.declared import EDGES, POOLS
from tests.unit.control.outside.files.test_same_as_actions import make_hosts

CHOSEN = rf"{CHOSEN_MAC}|2001:db8:100:[0-9a-f:]+"  # MACs, and addresses of the IPv6 pools
FAR = msgspec.structs.replace(POOLS[1], cidrs=[*POOLS[1].cidrs, "2001:db8:100:8000::/49"])
NEAR = msgspec.structs.replace(POOLS[0], cidrs=[*POOLS[0].cidrs, "2001:db8:100::/49"])
SIX = VpcDecl(
    name="six",
    owner="acme",
    cidrs=["10.0.0.0/16"],
    ipv6_cidrs=["provided"],
    vni=5000,
    egress_only_internet_gateway=EgressOnlyInternetGatewayDecl(name="away"),
    route_tables=[RouteTableDecl(name="out", routes=["::/0 via eigw"])],
    subnets=[
        SubnetDecl(name="a", cidr="10.0.1.0/24", ipv6_cidr="provided-3", route_table="out"),
        SubnetDecl(name="b", cidr="10.0.2.0/24", ipv6_cidr="provided-255"),
    ],
    instances=[
        InstanceDecl(name="one", subnet="a", ipv6_address="::a:9", host="hv1"),
        InstanceDecl(name="two", subnet="b", ipv6_address="::a:9", host="hv1"),
    ],
)


def file(vpc: VpcDecl = SIX, **fields: object) -> Cloud:
    return msgspec.structs.replace(Cloud(name="f", hosts=[*HOSTS, *EDGES], address_pools=[NEAR, FAR], vpcs=[vpc]), **fields)


def apply(store: Store, caller: Caller, cloud: Cloud) -> None:
    plan = plan_cloud(store, caller, cloud)
    if plan.stuck:
        raise plan.stuck[0].error
    apply_cloud(store, plan, allow_mass_delete=True)
    clean(store)


def records(store: Store) -> VpcRecords:
    return next(iter(read_inventory(store).vpcs.values()))


def six(store: Store) -> Vpc:
    return records(store).vpc.record


def ranges(store: Store) -> dict[str, str]:
    return {subnet.name: subnet.ipv6_cidr for subnet in records(store).each(Subnet)}


def test_one_file_makes_a_vpc_with_a_provided_range_and_all_that_uses_it(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    (cidr,) = six(store).ipv6_cidrs
    whole = parse_prefix(cidr)
    assert list(six(store).ipv6_pools) == [cidr]
    assert held(store) == {cidr.removesuffix("/56")}
    found = {name: parse_prefix(text) for name, text in ranges(store).items()}
    assert {name: (prefix.network - whole.network) >> 64 for name, prefix in found.items()} == {"a": 3, "b": 255}
    addresses = {parse_ip(eni.ipv6_address)[1] for eni in records(store).each(NetworkInterface)}
    assert addresses == {found["a"].network + 0xA0009, found["b"].network + 0xA0009}
    assert plan_cloud(store, operator, file()).changes == ()


def test_a_plan_names_no_prefix_that_another_plan_may_not_choose(store: Store, operator: Caller) -> None:
    changes = plan_cloud(store, operator, file()).changes
    shown = {(change.kind, change.name): change.differences for change in changes}
    text = str([shown["vpc", "six"], shown["subnet", "a"]])
    assert "provided-3" in text
    assert "2001:db8" not in text


def test_a_file_and_commands_store_the_same(operator: Caller, acme: Caller) -> None:
    by_command, by_file = MemoryStore(), MemoryStore()
    make_hosts(by_command, operator, [*HOSTS, *EDGES], NEAR)
    vpc = vpcs.create_vpc(by_command, acme, name="six", cidrs=["10.0.0.0/16"], provided=Provided(), vni=5000)
    egress_only.create_egress_only_gateway(by_command, acme, vpc.id, name="away")
    table = route_tables.create_route_table(by_command, acme, vpc.id, name="out")
    network = parse_prefix(vpc.ipv6_cidrs[0]).network
    for decl, number, route_table in zip(SIX.subnets, (3, 255), (table.id, ""), strict=True):
        six_cidr = str(msgspec.structs.replace(parse_prefix("::/64"), network=network + (number << 64)))
        subnet = subnets.create_subnet(
            by_command, acme, vpc.id, name=decl.name, cidr=decl.cidr, ipv6_cidr=six_cidr, route_table=route_table
        )
        name = {"a": "one", "b": "two"}[decl.name]
        address = six_cidr.replace("::/64", "::a:9")
        instances.run_instance(
            by_command, acme, instances.RunRequest(name=name, subnet=subnet.id, ipv6_address=address, host="hv1")
        )
    route_tables.create_route(by_command, acme, table.id, "::/0", "eigw")
    apply_cloud(by_file, plan_cloud(by_file, operator, msgspec.structs.replace(file(), name="", address_pools=[NEAR])))
    clean(by_command)
    assert contents(by_command, CHOSEN) == contents(by_file, CHOSEN)
    assert plan_cloud(by_command, operator, file(address_pools=[NEAR])).changes == ()


def test_an_export_asks_for_ranges_as_the_file_did_and_makes_the_same_elsewhere(store: Store, operator: Caller) -> None:
    twice = msgspec.structs.replace(
        SIX,
        ipv6_cidrs=["provided", "fd00::/56", "provided"],
        subnets=[*SIX.subnets, SubnetDecl(name="c", cidr="10.0.3.0/24", ipv6_cidr="provided-257")],
    )
    apply(store, operator, file(twice))
    exported = export_cloud(store)
    (vpc,) = exported.vpcs
    assert vpc.ipv6_cidrs == twice.ipv6_cidrs
    assert [subnet.ipv6_cidr for subnet in vpc.subnets] == ["provided-3", "provided-255", "provided-257"]
    assert [instance.ipv6_address for instance in vpc.instances] == ["::a:9", "::a:9"]
    assert list(unsaid(read_inventory(store), operator)) == []
    again = load_cloud("vpc.yaml", to_yaml(exported))
    assert plan_cloud(store, operator, again).changes == ()
    other = MemoryStore()
    apply(other, operator, again)
    assert export_cloud(other) == exported


def test_an_export_says_that_rules_name_a_provided_range(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, file())
    table = next(info.table for info in route_tables.describe_route_tables(store, acme, six(store).id) if not info.table.main)
    route_tables.create_route(store, acme, table.id, ranges(store)["b"], "eni one")
    assert list(unsaid(read_inventory(store), operator)) == [
        "VPC acme/six: its routes and rules name prefixes of provided IPv6 ranges, and a file may bring back other ranges: "
        + ranges(store)["b"]
    ]


def test_a_vpc_gets_a_range_later_keeps_it_and_gives_it_back(store: Store, operator: Caller) -> None:
    plain = VpcDecl(name="six", owner="acme", cidrs=["10.0.0.0/16"], subnets=[SubnetDecl(name="a", cidr="10.0.1.0/24")])
    apply(store, operator, file(plain))
    assert held(store) == set()
    later = msgspec.structs.replace(
        plain, ipv6_cidrs=["provided"], subnets=[SubnetDecl(name="a", cidr="10.0.1.0/24", ipv6_cidr="provided-0")]
    )
    before = records(store)
    apply(store, operator, file(later))
    (first,) = six(store).ipv6_cidrs
    assert records(store).of(Subnet).keys() == before.of(Subnet).keys()
    apply(store, operator, file(msgspec.structs.replace(later, ipv6_cidrs=["provided", "provided"])))
    assert six(store).ipv6_cidrs[0] == first
    assert len(held(store)) == 2
    named = msgspec.structs.replace(plain, ipv6_cidrs=[six(store).ipv6_cidrs[1], "provided"])
    second = six(store).ipv6_cidrs[1]
    apply(store, operator, file(named))
    assert six(store).ipv6_cidrs == (second, first)
    apply(store, operator, file(plain))
    assert held(store) == set()
    assert six(store).ipv6_pools == {}


def test_a_destroyed_vpc_gives_its_range_back(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    apply_cloud(store, plan_destruction(store, operator, [six(store).id]), allow_mass_delete=True)
    assert held(store) == set()
    clean(store)
    apply(store, operator, file(vpcs=[]))


@pytest.mark.parametrize("pool", ["west", "east"])
def test_a_range_arrives_where_the_vpcs_declared_addresses_do(store: Store, operator: Caller, pool: str) -> None:
    vpc = msgspec.structs.replace(
        SIX,
        ipv6_cidrs=["provided", "provided"],
        internet_gateway=InternetGatewayDecl(),
        instances=[msgspec.structs.replace(SIX.instances[0], elastic_ip="web")],
    )
    apply(store, operator, file(vpc, elastic_ips=[ElasticIpDecl(name="web", owner="acme", pool=pool)]))
    assert set(six(store).ipv6_pools.values()) == {pool}


def test_what_has_no_range_is_stuck_and_the_rest_goes_on(store: Store, operator: Caller, acme: Caller) -> None:
    other = VpcDecl(name="other", owner="acme", cidrs=["10.0.0.0/16"])
    cloud = file(vpcs=[SIX, other], address_pools=POOLS)
    plan = plan_cloud(store, operator, cloud)
    assert [(stuck.path, str(stuck.error)) for stuck in plan.stuck] == [
        (
            "acme/six",
            "InsufficientAddressCapacity: VPC 'six': there is no address pool with IPv6 ranges that is suitable; "
            "ask the operator to create one: netorch address pool create NAME --pair PAIR --cidr CIDR",
        )
    ]
    apply_cloud(store, plan)
    assert six(store).name == "other"
    with pytest.raises(ApiError) as command:
        vpcs.create_vpc(store, acme, name="six", cidrs=["10.0.0.0/16"], provided=Provided())
    assert str(command.value) == str(plan.stuck[0].error)


def test_a_route_that_is_wrong_for_the_range_that_is_chosen_is_refused(store: Store, operator: Caller) -> None:
    only = msgspec.structs.replace(NEAR, cidrs=["2001:db8:100::/56"])
    tables = [RouteTableDecl(name="out", routes=["2001:db8:100::/56 via blackhole"])]
    with pytest.raises(
        ApiError, match=r"VPC acme/six: \$.route_tables\[0\].routes\[0\]: 2001:db8:100::/56 is a range of the VPC"
    ):
        apply(store, operator, file(msgspec.structs.replace(SIX, route_tables=tables), address_pools=[only]))


def test_a_plan_whose_range_somebody_else_took_meanwhile_takes_another_one(store: Store, operator: Caller, acme: Caller) -> None:
    one, plain = msgspec.structs.replace(NEAR, cidrs=["2001:db8:100::/56"]), VpcDecl(name="six", owner="acme", cidrs=SIX.cidrs)
    apply(store, operator, file(plain, address_pools=[one]))
    cloud = file(msgspec.structs.replace(SIX, vni=None), address_pools=[])
    plan = plan_cloud(store, operator, cloud)
    rival = vpcs.create_vpc(store, acme, name="rival", cidrs=["10.0.0.0/16"], provided=Provided())
    assert rival.ipv6_cidrs == tuple(one.cidrs)
    pools.add_ranges(store, operator, "west", ["2001:db8:100:100::/56"])
    apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, cloud))
    clean(store)
    assert held(store) == {"2001:db8:100::", "2001:db8:100:100::"}
    assert plan_cloud(store, operator, cloud).changes == ()
