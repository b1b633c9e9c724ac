"""The changes of a plan, and the results of an apply."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import enis, instances, moves, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.apply.changes import Action
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import describe_vpcs
from netorch.control.views.export import export_cloud
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import (
    Cloud,
    HostDecl,
    InstanceDecl,
    SubnetDecl,
)
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Store
from tests.unit.control.apply.clouds import (
    ACME,
    CLOUD,
    HOSTS,
    INSTANCES,
    SOURCE,
    SUBNETS,
    acme,
    apply,
    records,
    small,
    summary,
)
from tests.unit.control.conftest import refused


def test_a_first_apply_makes_what_the_file_says(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    for owner in ("acme", "globex"):
        found = records(store, owner)
        assert found.vpc.record.cidrs == ("10.44.0.0/16",)
        assert found.mappings["10.44.12.4"].record.host == "hv1"
        assert {eni.record.ipv6_address for eni in found.of(NetworkInterface).values()} == {"fd00::4", ""}
    assert records(store, "acme").vni != records(store, "globex").vni


def test_applying_again_writes_nothing(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    before = store.revision()
    assert apply_cloud(store, plan_cloud(store, operator, CLOUD, source=SOURCE)) == 0
    assert store.revision() == before


def test_an_exported_cloud_applies_as_unchanged(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    exported = export_cloud(store)
    assert check_cloud(exported) == []
    assert plan_cloud(store, operator, exported).changes == ()


def test_what_is_planned_is_what_is_done(store: Store, operator: Caller) -> None:
    plan = plan_cloud(store, operator, CLOUD)
    assert store.list("vpc/").kvs == ()
    apply_cloud(store, plan)
    planned = {d.after for c in plan.changes if c.name == "w2" for d in c.differences if d.field == "address"}
    assert {eni.record.address for eni in records(store).of(NetworkInterface).values()} == {"10.44.12.4", *planned}
    assert plan.hosts == ("hv1", "hv2")


def test_an_instance_left_out_is_terminated(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    plan = apply(store, operator, acme(instances=INSTANCES[:1]))
    assert summary(plan)[-1:] == [("delete", "instance", "acme/web/w2")]
    assert [stored.record.name for stored in records(store).of(Instance).values()] == ["w1"]


def test_another_host_is_a_move(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    moved = [msgspec.structs.replace(INSTANCES[0], host="hv2"), INSTANCES[1]]
    plan = plan_cloud(store, operator, acme(instances=moved))
    assert summary(plan) == [("move", "instance", "acme/web/w1")]
    assert plan.hosts == ("hv1", "hv2")
    apply_cloud(store, plan)
    mapping = records(store).mappings["10.44.12.4"].record
    assert mapping.move is not None
    assert (mapping.host, mapping.move.host) == ("hv1", "hv2")
    assert plan_cloud(store, operator, acme(instances=moved)).changes == ()
    with refused("IncorrectInstanceState", "is moving to hv2"):
        plan_cloud(store, operator, acme())
    moves.complete_arrival(store, "hv2", mapping.eni)
    assert plan_cloud(store, operator, acme(instances=moved)).changes == ()


def test_another_address_replaces_the_instance_only(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    plan = apply(store, operator, acme(instances=[msgspec.structs.replace(INSTANCES[0], address="10.44.12.9"), INSTANCES[1]]))
    assert summary(plan) == [("replace", "instance", "acme/web/w1")]
    assert plan.changes[0].breaks
    assert set(records(store).mappings) == {"10.44.12.9", "10.44.13.4", "fd00::5"}


def test_two_instances_may_swap_their_addresses(store: Store, operator: Caller) -> None:
    pair = [InstanceDecl(name=n, subnet="a", address=f"10.44.12.{n[1]}") for n in ("w4", "w5")]
    apply(store, operator, acme(instances=pair))
    apply(
        store,
        operator,
        acme(instances=[msgspec.structs.replace(one, address=f"10.44.12.{9 - int(one.name[1])}") for one in pair]),
    )
    enis_by_address = {eni.record.address: eni.record.instance for eni in records(store).of(NetworkInterface).values()}
    assert records(store).of(Instance)[enis_by_address["10.44.12.4"]].record.name == "w5"


def test_another_range_replaces_subnet_and_instances(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    shifted = [SUBNETS[0], msgspec.structs.replace(SUBNETS[1], cidr="10.44.13.0/25")]
    plan = apply(store, operator, acme(subnets=shifted))
    assert sorted(summary(plan)) == [("replace", "instance", "acme/web/w2"), ("replace", "subnet", "acme/web/b")]


def test_a_subnet_gets_ipv6_without_being_replaced(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    plan = apply(store, operator, acme(subnets=[SUBNETS[0], msgspec.structs.replace(SUBNETS[1], ipv6_cidr="fd00:0:0:1::/64")]))
    assert summary(plan) == [("change", "subnet", "acme/web/b")]


def test_ranges_tables_and_tags_change_in_place(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    before = records(store).vpc.record.id
    changed = acme(
        cidrs=["10.44.0.0/16", "10.45.0.0/16"],
        tags={"team": "blue"},
        route_tables=[],
        subnets=[SUBNETS[0], msgspec.structs.replace(SUBNETS[1], route_table=""), SubnetDecl(name="c", cidr="10.45.0.0/24")],
    )
    plan = apply(store, operator, changed)
    assert sorted(summary(plan)) == [
        ("add", "subnet", "acme/web/c"),
        ("change", "subnet", "acme/web/b"),
        ("change", "vpc", "acme/web"),
        ("delete", "route-table", "acme/web/inner"),
    ]
    assert records(store).vpc.record.id == before


def test_another_vni_replaces_the_vpc_with_all_in_it(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    old = records(store).vni
    apply(store, operator, acme(vni=7777))
    assert records(store).vni == 7777
    assert store.list(f"vpc/{old:06x}/").kvs == store.list(f"map/{old:06x}/").kvs == ()


def test_instances_of_the_top_level_live_beside_others_in_the_default_vpc(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, instances=[InstanceDecl(name="a"), InstanceDecl(name="b")]))
    instances.run_instance(store, operator, RunRequest(name="by-hand"))
    plan = apply(store, operator, Cloud(hosts=HOSTS, instances=[InstanceDecl(name="b")]))
    assert summary(plan) == [("delete", "instance", "default/default/a")]
    plan = apply(store, operator, Cloud(hosts=HOSTS))
    assert summary(plan) == [("delete", "instance", "default/default/b")]
    assert [stored.record.name for stored in records(store, "default", "default").of(Instance).values()] == ["by-hand"]


def test_a_large_vpc_takes_several_transactions_and_tells_its_progress(store: Store, operator: Caller) -> None:
    many = [SubnetDecl(name=f"s{n}", cidr=f"10.44.{n}.0/24") for n in range(200)]
    cloud = acme(subnets=many, route_tables=[], instances=[InstanceDecl(name=f"w{n}", subnet=f"s{n}") for n in range(40)])
    told: list[tuple[int, int]] = []
    plan = plan_cloud(store, operator, cloud)
    assert apply_cloud(store, plan, lambda done, total: told.append((done, total))) == len(told) > 3
    assert told[-1] == (len(plan.steps), len(plan.steps))
    assert len(records(store).of(Subnet)) == 200
    assert plan_cloud(store, operator, cloud).changes == ()


def test_a_subnet_with_an_interface_that_no_file_can_name_is_not_deleted(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    subnet = next(stored.record for stored in records(store).of(Subnet).values() if stored.record.name == "b")
    enis.create_network_interface(store, operator, subnet.id)
    with refused("DependencyViolation", "subnet b"):
        plan_cloud(store, operator, acme(instances=INSTANCES[:1], subnets=SUBNETS[:1]))
    assert plan_cloud(store, operator, acme()).changes == ()


@pytest.mark.parametrize(
    ("cloud", "code"),
    [
        (Cloud(hosts=[HostDecl(name="hv1", underlay="192.0.2.99")]), "InvalidParameterValue"),
        (Cloud(hosts=[HostDecl(name="hv3", underlay="192.0.2.12")]), "InvalidParameterValue"),
        (acme(cidrs=[f"10.{n}.0.0/16" for n in range(44, 50)]), "CidrLimitExceeded"),
        (acme(instances=[InstanceDecl(name="new", subnet="b", address="10.44.13.4"), INSTANCES[1]]), "InvalidIPAddress.InUse"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(store: Store, operator: Caller, cloud: Cloud, code: str) -> None:
    apply(store, operator, CLOUD)
    with refused(code):
        plan_cloud(store, operator, cloud)


def test_deleting_everything_leaves_only_the_hold_down(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(vpcs=[msgspec.structs.replace(ACME, instances=[])]))
    apply(store, operator, Cloud())
    left = {kv.key.rpartition("/")[0] or kv.key for kv in store.list("").kvs}
    left = {root for root in left if not root.startswith("alloc/source/")}  # which owners the file once named stays a hint
    assert left == {"alloc", "alloc/vni"}


def test_counts_add_up(store: Store, operator: Caller) -> None:
    counts = plan_cloud(store, operator, CLOUD).counts()
    assert counts[Action.ADD] == 2 + 2 * (1 + 1 + 2 + 2)
    assert sum(counts.values()) == counts[Action.ADD]


def test_an_owner_applies_to_his_own_vpcs_only(store: Store, operator: Caller, globex: Caller) -> None:
    apply(store, operator, CLOUD)
    with refused("UnauthorizedOperation", "acme/web"):
        plan_cloud(store, globex, CLOUD)
    own = Cloud(hosts=HOSTS, vpcs=CLOUD.vpcs[1:])
    assert plan_cloud(store, globex, own, source=SOURCE).changes == ()


def test_a_default_vpc_without_its_subnet_is_no_place_to_land(store: Store, operator: Caller) -> None:
    vpc = vpcs.create_default_vpc(store, operator)
    (info,) = subnets.describe_subnets(store, operator, vpc.id)
    subnets.delete_subnet(store, operator, info.subnet.id)
    cloud = Cloud(hosts=HOSTS, instances=[InstanceDecl(name="a")])
    with refused("MissingParameter", "'a' in VPC default"):
        plan_cloud(store, operator, cloud)
    for name in ("x", "y"):
        subnets.create_subnet(store, operator, vpc.id, name=name, cidr="172.31.0.0/24" if name == "x" else "172.31.1.0/24")
    with refused("InvalidSubnetID.NotFound", "'default'"):
        plan_cloud(store, operator, cloud)


def test_a_deleted_vpc_is_put_back_with_its_vni_and_the_rest_of_the_file_goes_on(store: Store, operator: Caller) -> None:
    one, two = small("one", vni=5000), small("two", vni=5001)
    apply(store, operator, Cloud(vpcs=[one, two]))
    apply(store, operator, Cloud(vpcs=[one]))
    apply(store, operator, Cloud(vpcs=[msgspec.structs.replace(one, tags={"urgent": "fix"}), two]))
    assert records(store, "default", "two").vni == 5001


def test_a_plan_may_use_the_vni_that_it_frees_for_the_same_owner(store: Store, operator: Caller) -> None:
    lone = [SubnetDecl(name="s", cidr="10.0.0.0/24")]
    fill = {"subnets": lone, "instances": [InstanceDecl(name="i", address="10.0.0.4", mac="02:00:00:00:00:01")]}
    x, y = small("x", vni=7000, **fill), small("y", vni=7001, **fill)
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[x, y]))
    swapped = [msgspec.structs.replace(x, vni=7001), msgspec.structs.replace(y, vni=7000)]
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=swapped))
    assert (records(store, "default", "x").vni, records(store, "default", "y").vni) == (7001, 7000)
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(x, name="X"), msgspec.structs.replace(y, name="Y")]))
    assert {vpc.name for vpc in describe_vpcs(read_inventory(store), operator)} == {"X", "Y"}
    moved = [msgspec.structs.replace(decl, owner="acme", name=decl.name) for decl in swapped]
    with refused("InvalidParameterValue", "which this plan deletes, and then stays unused for an hour"):
        plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=moved), source=SOURCE)


def test_a_vpc_that_cannot_be_made_stops_no_other_of_its_file(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[small("a"), small("received", vni=5000)]))
    lost = small("lost", subnets=[SubnetDecl(name="s", cidr="10.0.0.0/24")], instances=[InstanceDecl(name="i", host="hv9")])
    clash = [small("a", tags={"x": "y"}), small("b", vni=5000, owner="acme"), lost, small("c")]
    plan = plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=clash), source="/srv/other.yaml")
    assert [stuck.path for stuck in plan.stuck] == ["acme/b", "default/lost"]
    assert [str(stuck.error).partition(":")[0] for stuck in plan.stuck] == ["InvalidParameterValue", "InvalidHostID.NotFound"]
    apply_cloud(store, plan)
    assert {vpc.name for vpc in describe_vpcs(read_inventory(store), operator)} == {"a", "received", "c"}
    assert read_inventory(store).unreadable == []


def test_a_vpc_stays_while_the_one_that_may_take_its_place_is_stuck(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[small("old"), small("a")]))
    bad = small("new", subnets=[SubnetDecl(name="s", cidr="10.0.0.0/24")], instances=[InstanceDecl(name="i", host="hv9")])
    plan = plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=[bad, small("a", tags={"x": "y"})]), source=SOURCE)
    assert summary(plan) == [("change", "vpc", "default/a")]
    plan = plan_cloud(store, operator, Cloud(hosts=HOSTS, vpcs=[small("new"), small("a")]), source=SOURCE)
    assert summary(plan) == [("delete", "vpc", "default/old"), ("add", "vpc", "default/new")]


def test_instances_may_take_each_others_names_addresses_and_macs(store: Store, operator: Caller) -> None:
    def cloud(*pairs: tuple[str, str]) -> Cloud:
        runs = [InstanceDecl(name=n, address=f"10.0.0.{d}", mac=f"02:00:00:00:00:0{d}", host="hv1") for n, d in pairs]
        return Cloud(hosts=HOSTS, vpcs=[small("web", subnets=[SubnetDecl(name="s", cidr="10.0.0.0/24")], instances=runs)])

    apply(store, operator, cloud(("a", "4"), ("b", "5")))
    apply(store, operator, cloud(("b", "4"), ("a", "5")))
    apply(store, operator, cloud(("c", "4"), ("a", "6")))
    assert {stored.record.name for stored in records(store, "default").of(Instance).values()} == {"a", "c"}
    assert set(records(store, "default").mappings) == {"10.0.0.4", "10.0.0.6"}


def test_a_replaced_instance_shows_all_that_changes_with_it(store: Store, operator: Caller) -> None:
    fill = {"subnets": [SubnetDecl(name="s", cidr="10.0.0.0/24")], "instances": [InstanceDecl(name="i", host="hv1")]}
    apply(store, operator, Cloud(hosts=HOSTS, vpcs=[small("web", **fill)]))
    eni = next(stored.record for stored in records(store, "default").of(NetworkInterface).values())
    second = enis.create_network_interface(store, operator, eni.subnet, name="second")
    enis.attach_network_interface(store, operator, second.id, eni.instance)
    fill["instances"] = [InstanceDecl(name="i", host="hv2", mac="02:00:00:00:00:09")]
    plan = apply(store, operator, Cloud(hosts=HOSTS, vpcs=[small("web", **fill)]))
    (change,) = plan.changes
    told = {item.field: (item.before, item.after) for item in change.differences}
    assert told["mac"] == (eni.mac, "02:00:00:00:00:09")
    assert told["host"] == ("hv1", "hv2")
    assert told["address"][0] == eni.address != told["address"][1]
    assert change.breaks == f"its connections end; interface second {second.address} is detached; it gets a new id"
