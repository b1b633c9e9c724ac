"""Existing namespaces: only the operator names them, and only one instance has each, whatever its owner and the spelling."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import instances, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud
from netorch.errors import Conflict
from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment, Instance
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.store.base import Delete, Store
from tests.unit.control.conftest import refused

HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]
BOX = RunRequest(host="hv1", attachment=Attachment.EXISTING, netns="box")


def decl(name: str, netns: str = "box", host: str = "hv1") -> InstanceDecl:
    return InstanceDecl(name=name, host=host, attachment=Attachment.EXISTING, netns=netns)


def vpc(owner: str, *decls: InstanceDecl) -> VpcDecl:
    subnet = SubnetDecl(name="a", cidr="10.0.0.0/24")
    return VpcDecl(name="web", owner=owner, cidrs=["10.0.0.0/16"], subnets=[subnet], instances=list(decls))


def apply(store: Store, caller: Caller, *decls: VpcDecl, source: str = "") -> None:
    cloud = Cloud(hosts=HOSTS, vpcs=list(decls))
    assert check_cloud(cloud) == []
    apply_cloud(store, plan_cloud(store, caller, cloud, source=source))
    assert plan_cloud(store, caller, cloud, source=source).changes == ()


def holders(store: Store) -> dict[str, str]:
    """Return the holder of each namespace: the claim's key -> the instance's owner and name."""
    names = {
        stored.record.id: f"{records.vpc.record.owner}/{stored.record.name}"
        for records in read_inventory(store).vpcs.values()
        for stored in records.of(Instance).values()
    }
    return {kv.key: names[msgspec.json.decode(kv.value, type=str)] for kv in store.list("alloc/netns/").kvs}


def run(store: Store, caller: Caller, request: RunRequest, vpc_name: str) -> Instance:
    found = next(r for r in read_inventory(store).vpcs.values() if r.vpc.record.name == vpc_name)
    return instances.run_instance(store, caller, msgspec.structs.replace(request, vpc=found.vpc.record.id)).instance


@pytest.fixture
def two_vpcs(store: Store, acme: Caller, globex: Caller, two_hosts: None) -> None:
    for caller, name in ((acme, "red"), (globex, "blue")):
        made = vpcs.create_vpc(store, caller, name=name, cidrs=["10.0.0.0/16"])
        subnets.create_subnet(store, caller, made.id, name="a", cidr="10.0.0.0/24")


@pytest.mark.usefixtures("two_vpcs")
def test_a_customer_names_no_namespace_of_a_host(store: Store, acme: Caller) -> None:
    before = store.revision()
    with refused("UnauthorizedOperation", "only the operator may name"):
        run(store, acme, BOX, "red")
    assert store.revision() == before


def test_a_customers_file_names_no_namespace_of_a_host(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, vpc("acme"))
    with refused("UnauthorizedOperation", "instance 'i' in VPC web"):
        plan_cloud(store, acme, Cloud(vpcs=[vpc("acme", decl("i"))]))


def test_what_the_operator_put_into_a_namespace_stays_the_customers_to_keep_and_to_end(
    store: Store, operator: Caller, acme: Caller
) -> None:
    apply(store, operator, vpc("acme", decl("i")))
    tagged = msgspec.structs.replace(decl("i"), tags={"role": "web"})
    apply(store, acme, vpc("acme", tagged))
    with refused("UnauthorizedOperation"):
        plan_cloud(store, acme, Cloud(vpcs=[vpc("acme", decl("i", "other"))]))
    apply(store, acme, vpc("acme"))
    assert holders(store) == {}


@pytest.mark.usefixtures("two_vpcs")
@pytest.mark.parametrize("spelling", ["box", "/run/netns/box", "/var/run/netns/box"])
def test_a_namespace_that_an_instance_has_is_given_to_no_other(store: Store, operator: Caller, spelling: str) -> None:
    first = run(store, operator, BOX, "red")
    before = store.revision()
    for name in ("red", "blue"):
        with refused("InvalidParameterValue", f"belongs to instance {first.id}"):
            run(store, operator, msgspec.structs.replace(BOX, netns=spelling), name)
    assert store.revision() == before
    other = run(store, operator, msgspec.structs.replace(BOX, netns=spelling, host="hv2"), "blue")
    assert other.netns == "box"
    instances.terminate_instance(store, operator, first.id)
    run(store, operator, msgspec.structs.replace(BOX, netns=spelling), "blue")


@pytest.mark.usefixtures("two_vpcs")
def test_several_instances_are_not_run_in_one_namespace(store: Store, operator: Caller) -> None:
    with refused("InvalidParameterCombination"):
        instances.run_instances(store, operator, msgspec.structs.replace(BOX, subnet="x"), 2)


def test_files_and_commands_respect_each_others_claims(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme", decl("i")), source="/srv/a.yaml")
    with refused("InvalidParameterValue", "namespace box of host hv1"):
        plan_cloud(store, operator, Cloud(vpcs=[vpc("globex", decl("i"))]), source="/srv/b.yaml")
    apply(store, operator, vpc("globex"))
    globex = next(r for r in read_inventory(store).vpcs.values() if r.vpc.record.owner == "globex").vpc.record
    with refused("InvalidParameterValue"):
        instances.run_instance(store, operator, msgspec.structs.replace(BOX, vpc=globex.id))
    assert holders(store) == {"alloc/netns/hv1/box": "acme/i"}


def test_two_new_instances_do_not_meet_in_a_namespace_of_a_chosen_host(store: Store, operator: Caller) -> None:
    cloud = Cloud(hosts=HOSTS[:1], vpcs=[vpc("acme", decl("i", host="")), vpc("globex", decl("i"))])
    plan = plan_cloud(store, operator, cloud)
    (stuck,) = plan.stuck
    assert stuck.path == "globex/web"
    assert "namespace box of host hv1 belongs to instance i" in str(stuck.error)
    apply_cloud(store, plan)
    assert holders(store) == {"alloc/netns/hv1/box": "acme/i"}


def test_a_vpc_that_is_stuck_gives_no_namespace_away(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme", decl("i")), vpc("globex"))
    moved = vpc("acme", decl("j", "other"), InstanceDecl(name="k", host="nosuch"))
    plan = plan_cloud(store, operator, Cloud(vpcs=[moved, vpc("globex", decl("i")), vpc("initech")]))
    assert {stuck.path for stuck in plan.stuck} == {"acme/web", "globex/web"}
    apply_cloud(store, plan)
    assert holders(store) == {"alloc/netns/hv1/box": "acme/i"}


@pytest.mark.parametrize("owners", [("acme", "globex"), ("globex", "acme")])
def test_a_namespace_changes_hands_in_one_plan(store: Store, operator: Caller, owners: tuple[str, str]) -> None:
    for holder, taker in (owners, owners[::-1]):
        apply(store, operator, *(vpc(owner, *([decl("i")] if owner == holder else [])) for owner in owners))
        assert holders(store) == {"alloc/netns/hv1/box": f"{holder}/i"}
        apply(store, operator, *(vpc(owner, *([decl("j")] if owner == taker else [])) for owner in owners))
        assert holders(store) == {"alloc/netns/hv1/box": f"{taker}/j"}


def test_instances_swap_their_namespaces_in_one_plan(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme", decl("i", "one"), decl("j", "two")))
    apply(store, operator, vpc("acme", decl("i", "two"), decl("j", "one")))
    assert holders(store) == {"alloc/netns/hv1/one": "acme/j", "alloc/netns/hv1/two": "acme/i"}
    apply(store, operator, vpc("acme", decl("i", "two", "hv2"), decl("j", "one")))
    assert holders(store) == {"alloc/netns/hv1/one": "acme/j", "alloc/netns/hv2/two": "acme/i"}


def test_two_plans_for_one_namespace_cannot_both_be_carried_out(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme"), vpc("globex"))
    first, second = (
        plan_cloud(store, operator, Cloud(vpcs=[vpc("acme", decl("i"))])),
        plan_cloud(store, operator, Cloud(vpcs=[vpc("globex", decl("i"))])),
    )
    apply_cloud(store, first)
    with pytest.raises(Conflict):
        apply_cloud(store, second)
    assert holders(store) == {"alloc/netns/hv1/box": "acme/i"}


def test_an_instance_without_a_claim_keeps_its_namespace(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme", decl("i")))
    store.txn([], [Delete("alloc/netns/hv1/box")])  # like a store of an older version
    with refused("InvalidParameterValue", "namespace box of host hv1"):
        plan_cloud(store, operator, Cloud(vpcs=[vpc("globex", decl("i"))]))
    apply(store, operator, vpc("acme"), vpc("globex", decl("i")))
    assert holders(store) == {"alloc/netns/hv1/box": "globex/i"}


def test_a_path_of_a_namespace_is_exported_as_it_is_claimed(store: Store, operator: Caller) -> None:
    apply(store, operator, vpc("acme", decl("i", "/run/netns/box"), decl("j", "/proc/4711/ns/net")))
    exported = export_cloud(store)
    assert [found.netns for found in exported.vpcs[0].instances] == ["box", "/proc/4711/ns/net"]
    assert plan_cloud(store, operator, exported).changes == ()
