"""NAT gateways in a file: planned, applied, exported, changed, recreated, deleted."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions.outside import addresses, nat_addresses, nats
from netorch.control.apply.changes import CloudPlan
from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
from netorch.control.base.quotas import set_quotas
from netorch.control.views.export import export_cloud
from netorch.control.views.unsaid import unsaid
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud, ElasticIpDecl, InstanceDecl, NatGatewayDecl, RouteTableDecl, SubnetDecl
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import NatGateway
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from netorch.store.memory import MemoryStore
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import clean, held
from tests.unit.control.outside.files.declared import OUTSIDE, SHOP, WEB, cloud, instances

SHARED = ElasticIpDecl(name="shared", owner="acme")
OUT = NatGatewayDecl(name="out", subnet="front", elastic_ips=["shared"], tags={"a": "b"})
TABLES = [*SHOP.route_tables, RouteTableDecl(name="private", routes=["0.0.0.0/0 via nat-out"])]
SUBNETS = [SHOP.subnets[0], msgspec.structs.replace(SHOP.subnets[1], route_table="private")]


def file(elastic: list[ElasticIpDecl] | None = None, **changes: object) -> Cloud:
    """Return the cloud with a NAT gateway, a private subnet whose table leads to it, and changes in the VPC."""
    fields = {"nat_gateways": [OUT], "route_tables": TABLES, "subnets": SUBNETS} | changes
    return cloud([WEB, SHARED] if elastic is None else elastic, **fields)


def gateways(store: Store) -> dict[str, NatGateway]:
    return {nat.name: nat for nat in records(store, name="shop").each(NatGateway)}


def address(store: Store, nat: NatGateway) -> str:
    return records(store, name="shop").of(NetworkInterface)[nat.eni].record.address


def elastic_of(store: Store, nat: NatGateway) -> list[str]:
    """Return the names of the elastic IPs of a gateway."""
    names = read_inventory(store).elastic_ips
    return [names[m.allocation].record.name for m in records(store, name="shop").each(PublicMapping) if m.eni == nat.eni]


def changed(plan: CloudPlan, kind: str = "nat-gateway") -> dict[str, tuple[str, list[tuple[str, str, str]], str]]:
    """Return the plan's changes of gateways: action, differences, effects on traffic."""
    return {
        change.name: (change.action.value, [(d.field, d.before, d.after) for d in change.differences], change.breaks)
        for change in plan.changes
        if change.kind == kind
    }


def test_a_file_makes_them_and_routes_to_them(store: Store, operator: Caller, acme: Caller) -> None:
    plan = apply(store, operator, file())
    nat = gateways(store)["out"]
    found = address(store, nat)
    assert changed(plan) == {"out": ("add", [("subnet", "", "front"), ("address", "", found), ("elastic_ips", "", "shared")], "")}
    (change,) = [change for change in plan.changes if change.kind == "nat-gateway"]
    assert {"e1", "e2"} <= set(change.hosts)
    assert (elastic_of(store, nat), nat.tags) == (["shared"], {"a": "b"})
    vpc = records(store, name="shop")
    (private,) = [table for table in vpc.each(RouteTable) if table.name == "private"]
    assert [(route.destination, route.target) for route in private.routes] == [("0.0.0.0/0", nat.id)]
    (info,) = nats.describe_nat_gateways(store, acme, vpc.vpc.record.id)
    assert (info.subnet, info.pair, len(info.edges)) == ("front", "west", 2)
    clean(store)


def test_what_is_exported_is_found_unchanged_and_made_again_elsewhere(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    exported = export_cloud(store)
    assert check_cloud(exported) == []
    (shop,) = [vpc for vpc in exported.vpcs if vpc.name == "shop"]
    assert shop.nat_gateways == [msgspec.structs.replace(OUT, address=address(store, gateways(store)["out"]))]
    assert plan_cloud(store, operator, exported).changes == ()
    assert list(unsaid(read_inventory(store), operator)) == []
    other = MemoryStore()
    apply(other, operator, exported)
    assert export_cloud(other) == exported
    clean(other)


def test_one_that_is_not_declared_ends_and_the_internet_gateway_with_it(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    plan = apply(store, operator, file(nat_gateways=[], route_tables=SHOP.route_tables, subnets=SHOP.subnets))
    assert changed(plan) == {"out": ("delete", [], "connections through it end; routes to it become black holes")}
    assert (gateways(store), len(held(store))) == ({}, 4)  # the elastic IP is kept
    clean(store)
    apply(store, operator, file())
    bare = cloud([], internet_gateway=msgspec.UNSET, route_tables=[], subnets=[], instances=[])
    assert ("delete", "nat-gateway", "acme/shop/out") in summary(apply(store, operator, bare))
    assert held(store) == set()
    clean(store)


def test_one_that_a_command_made_in_a_files_vpc_ends(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, OUTSIDE)
    subnet = next(subnet for subnet in records(store, name="shop").each(Subnet) if subnet.name == "front")
    elastic = addresses.allocate_address(store, acme, pool="west")
    nats.create_nat_gateway(store, acme, subnet.id, elastic.id, name="theirs")
    assert summary(apply(store, operator, OUTSIDE)) == [("delete", "nat-gateway", "acme/shop/theirs")]
    assert elastic.address in held(store)
    clean(store)


@pytest.mark.parametrize(
    ("wanted", "fields", "seen"),
    [
        ({"subnet": "back"}, {}, ("subnet", "front", "back")),
        ({"address": "10.0.1.77"}, {}, ("address", "10.0.1.8", "10.0.1.77")),
        ({"elastic_ips": ["spare"]}, {}, ("elastic_ips", "shared", "spare")),
        ({}, {"front": "10.0.7.0/24"}, ("subnet", "front 10.0.1.0/24", "front")),
    ],
)
def test_what_never_changes_makes_another_gateway(
    store: Store, operator: Caller, wanted: dict[str, object], fields: dict[str, str], seen: tuple[str, str, str]
) -> None:
    spare = ElasticIpDecl(name="spare", owner="acme")
    first = msgspec.structs.replace(OUT, address="10.0.1.8")
    apply(store, operator, file([WEB, SHARED, spare], nat_gateways=[first]))
    before = gateways(store)["out"]
    again = msgspec.structs.replace(OUT, **wanted)
    subnets = [msgspec.structs.replace(decl, cidr=fields.get(decl.name, decl.cidr)) for decl in SUBNETS]
    plan = apply(store, operator, file([WEB, SHARED, spare], nat_gateways=[again], subnets=subnets))
    action, differences, breaks = changed(plan)["out"]
    assert (action, breaks) == ("replace", "connections through it end; it gets a new id")
    assert seen in differences
    after = gateways(store)["out"]
    assert (after.id != before.id, elastic_of(store, after)) == (True, again.elastic_ips)
    (private,) = [table for table in records(store, name="shop").each(RouteTable) if table.name == "private"]
    assert [route.target for route in private.routes] == [after.id]
    clean(store)


def test_tags_change_in_place(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    before = gateways(store)["out"]
    plan = apply(store, operator, file(nat_gateways=[msgspec.structs.replace(OUT, tags={"c": "d"})]))
    assert changed(plan) == {"out": ("change", [("tags", "a=b", "c=d")], "")}
    assert gateways(store)["out"] == msgspec.structs.replace(before, tags={"c": "d"})


def test_elastic_ips_pass_between_gateways_and_instances(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    swapped = file(
        nat_gateways=[msgspec.structs.replace(OUT, elastic_ips=["web"])], instances=instances(web_1={"elastic_ip": "shared"})
    )
    apply(store, operator, swapped)
    assert elastic_of(store, gateways(store)["out"]) == ["web"]
    clean(store)
    apply(store, operator, file())
    assert elastic_of(store, gateways(store)["out"]) == ["shared"]
    clean(store)


def test_an_elastic_ip_is_taken_from_an_instance_that_no_file_declares(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, cloud([WEB, SHARED]))
    vpc = records(store, name="shop")
    shared = next(found.record for found in read_inventory(store).elastic_ips.values() if found.record.name == "shared")
    db = next(eni for eni in vpc.each(NetworkInterface) if eni.address == "10.0.2.4")
    addresses.associate_address(store, acme, shared.id, interface=db.id)
    plan = apply(store, operator, file(instances=[i for i in SHOP.instances if i.name != "db"]))
    assert elastic_of(store, gateways(store)["out"]) == ["shared"]
    assert ("add", "nat-gateway", "acme/shop/out") in summary(plan)
    clean(store)


def test_the_address_that_it_asks_for_is_chosen_for_nothing_else(operator: Caller) -> None:
    """The first free address of the subnet would go to an instance, which is planned first."""
    store = MemoryStore()
    declared = file(
        nat_gateways=[msgspec.structs.replace(OUT, address="10.0.1.4")], instances=[InstanceDecl(name="a", subnet="front")]
    )
    apply(store, operator, msgspec.structs.replace(declared, elastic_ips=[SHARED]))
    assert address(store, gateways(store)["out"]) == "10.0.1.4"
    clean(store)


def test_an_address_that_an_instance_has_is_refused(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    taken = file(nat_gateways=[msgspec.structs.replace(OUT, address="10.0.1.4")])
    (stuck,) = plan_cloud(store, operator, taken).stuck
    assert "InvalidIPAddress.InUse" in str(stuck.error)


def test_an_elastic_ip_without_a_name_stays_and_a_new_gateway_needs_one_with(
    store: Store, operator: Caller, acme: Caller
) -> None:
    apply(store, operator, OUTSIDE)
    subnet = next(subnet for subnet in records(store, name="shop").each(Subnet) if subnet.name == "front")
    unnamed = addresses.allocate_address(store, acme, pool="west")
    made = nats.create_nat_gateway(store, acme, subnet.id, unnamed.id, name="out")
    exported = export_cloud(store)
    (shop,) = exported.vpcs
    assert shop.nat_gateways == [NatGatewayDecl(name="out", subnet="front", address=address(store, made))]
    assert plan_cloud(store, operator, exported).changes == ()
    assert list(unsaid(read_inventory(store), operator)) == [
        f"elastic IP addresses without a name are left out: {unnamed.address}"
    ]
    (stuck,) = plan_cloud(MemoryStore(), operator, exported).stuck
    assert str(stuck.error) == (
        "MissingParameter: NAT gateway 'out': names no elastic IP, and a new NAT gateway needs one; write elastic_ips: [NAME]"
    )


def test_a_quota_holds_for_a_file_too(store: Store, operator: Caller) -> None:
    apply(store, operator, OUTSIDE)
    set_quotas(store, "acme", {"nat_gateways_per_vpc": 1, "elastic_ips": 9})
    second = NatGatewayDecl(name="second", subnet="front", elastic_ips=["spare"])
    both = file([WEB, SHARED, ElasticIpDecl(name="spare", owner="acme")], nat_gateways=[OUT, second])
    (stuck,) = plan_cloud(store, operator, both).stuck
    assert "NatGatewayLimitExceeded" in str(stuck.error)


def test_a_vpc_ends_with_its_gateways(store: Store, operator: Caller) -> None:
    apply(store, operator, file())
    vpc = records(store, name="shop").vpc.record
    apply_cloud(store, plan_destruction(store, operator, [vpc.id]), allow_mass_delete=True)
    assert [kv.key for kv in store.list("vpc/").kvs] == []
    assert all(state.placements == 0 for state in read_inventory(store).hosts.values())
    clean(store)


def test_a_subnet_of_a_gateway_that_goes_may_go_with_it(store: Store, operator: Caller) -> None:
    extra = SubnetDecl(name="edge", cidr="10.0.9.0/24", route_table="public")
    at_the_edge = msgspec.structs.replace(OUT, subnet="edge")
    apply(store, operator, file(subnets=[*SUBNETS, extra], nat_gateways=[at_the_edge]))
    plan = apply(store, operator, file(nat_gateways=[], route_tables=SHOP.route_tables, subnets=SHOP.subnets))
    assert {("delete", "nat-gateway", "acme/shop/out"), ("delete", "subnet", "acme/shop/edge")} <= set(summary(plan))
    clean(store)


BOTH = msgspec.structs.replace(OUT, elastic_ips=["shared", "spare"])
SPARE = ElasticIpDecl(name="spare", owner="acme", address="203.0.113.9")
ALL = [WEB, SHARED, SPARE]


def translations(store: Store) -> dict[str, str]:
    """Return the names of the gateway's elastic IPs by private address, and check that its interface has these addresses."""
    found, nat = records(store, name="shop"), gateways(store)["out"]
    names = read_inventory(store).elastic_ips
    of = {m.private_address: names[m.allocation].record.name for m in found.each(PublicMapping) if m.eni == nat.eni}
    assert of.keys() <= {*found.of(NetworkInterface)[nat.eni].record.addresses}
    return of


def test_several_elastic_ips_stand_for_an_address_each(store: Store, operator: Caller) -> None:
    apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    found = translations(store)
    assert sorted(found.values()) == ["shared", "spare"]
    assert found[address(store, gateways(store)["out"])] == "shared"
    exported = export_cloud(store)
    assert exported.vpcs[0].nat_gateways[0].elastic_ips == ["shared", "spare"]
    assert plan_cloud(store, operator, exported).changes == ()
    turned = msgspec.structs.replace(BOTH, elastic_ips=["spare", "shared"])
    assert plan_cloud(store, operator, file(ALL, nat_gateways=[turned])).changes == ()  # both keep their addresses
    clean(store)


def test_a_secondary_elastic_ip_comes_and_goes_without_another_gateway(store: Store, operator: Caller) -> None:
    apply(store, operator, file(ALL))
    before = gateways(store)["out"]
    plan = apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    assert changed(plan) == {"out": ("change", [("elastic_ips", "", "spare")], "")}
    assert sorted(translations(store).values()) == ["shared", "spare"]
    clean(store)
    plan = apply(store, operator, file(ALL))
    assert changed(plan) == {"out": ("change", [("elastic_ips", "spare", "")], "connections through 203.0.113.9 end")}
    assert (list(translations(store).values()), gateways(store)["out"]) == (["shared"], before)
    assert "203.0.113.9" in held(store)
    assert [kv for kv in store.list("alloc/ip/").kvs if before.eni.encode() in kv.value] != []
    clean(store)


def test_a_secondary_elastic_ip_may_be_released_or_pass_to_an_instance(store: Store, operator: Caller) -> None:
    apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    apply(store, operator, file(ALL, instances=instances(web_2={"elastic_ip": "spare"})))
    assert list(translations(store).values()) == ["shared"]
    clean(store)
    apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    apply(store, operator, file([WEB, SHARED]))
    assert "203.0.113.9" not in held(store)
    clean(store)


def test_what_drains_ends_by_itself_unless_the_file_wants_it(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    nat = gateways(store)["out"]
    spare = next(found.record for found in read_inventory(store).elastic_ips.values() if found.record.name == "spare")
    nat_addresses.disassociate_nat_gateway_address(store, acme, nat.id, [spare.id])
    assert export_cloud(store).vpcs[0].nat_gateways[0].elastic_ips == ["shared"]
    assert plan_cloud(store, operator, file(ALL)).changes == ()
    plan = apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    assert changed(plan) == {"out": ("change", [("elastic_ips", "", "spare")], "")}
    assert gateways(store)["out"].draining == {}
    clean(store)


def test_a_gateway_has_eight_elastic_ips_at_most(store: Store, operator: Caller) -> None:
    set_quotas(store, "acme", {"elastic_ips": 20})
    many = [ElasticIpDecl(name=f"ip-{n}", owner="acme", pool="west") for n in range(8)]
    names = [decl.name for decl in many]
    whole = msgspec.structs.replace(OUT, elastic_ips=names)
    apply(store, operator, file([WEB, *many], nat_gateways=[whole], instances=[]))
    assert sorted(translations(store).values()) == names
    assert check_cloud(file([WEB, *many], nat_gateways=[msgspec.structs.replace(OUT, elastic_ips=[*names, "web"])])) != []
    clean(store)


def test_what_takes_the_elastic_ip_of_another_files_gateway_is_told_of_the_gateway(store: Store, operator: Caller) -> None:
    apply(store, operator, file(ALL, nat_gateways=[BOTH]))
    nat = gateways(store)["out"]
    private = {name: address for address, name in translations(store).items()}
    public = {m.private_address: m.address for m in records(store, name="shop").each(PublicMapping) if m.eni == nat.eni}
    for decl, why in (
        (SPARE, f"is a secondary address of NAT gateway {nat.id}; first: netorch nat disassociate-address {nat.id}"),
        (SHARED, f"is the primary address of NAT gateway {nat.id}; first: netorch nat delete"),
    ):
        web = InstanceDecl(name="web", subnet="front", elastic_ip=decl.name)
        cafe = msgspec.structs.replace(SHOP, name="cafe", instances=[web])
        with refused("OperationNotPermitted", f"elastic IP address {public[private[decl.name]]}: {why}"):
            plan_cloud(store, operator, Cloud(name="others", vpcs=[cafe], elastic_ips=[decl]))
