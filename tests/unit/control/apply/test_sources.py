"""The file that a VPC belongs to: only that file deletes the VPC."""

from __future__ import annotations

from netorch.control.actions import vpcs
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import describe_vpcs
from netorch.model.cloud import (
    Cloud,
    InstanceDecl,
)
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.records.valid.needs import SOURCE_TAG
from netorch.store.base import Store
from tests.unit.control.apply.clouds import (
    CLOUD,
    HOSTS,
    apply,
    records,
    small,
    summary,
)
from tests.unit.control.conftest import refused


def test_a_vpc_is_deleted_only_by_the_file_that_made_it(store: Store, operator: Caller) -> None:
    apply(store, operator, CLOUD)
    vpcs.create_vpc(store, operator, name="by-hand", cidrs=["10.0.0.0/16"])
    rest = Cloud(hosts=HOSTS, vpcs=CLOUD.vpcs[:1])
    assert plan_cloud(store, operator, rest, source="/srv/other.yaml").changes == ()
    assert plan_cloud(store, operator, rest).changes == ()
    plan = apply(store, operator, rest)
    assert summary(plan) == [("delete", "vpc", "globex/web")]
    assert plan.changes[0].breaks == "2 instance(s) are terminated"
    assert [vpc.name for vpc in describe_vpcs(read_inventory(store), operator)] == ["web", "by-hand"]


def source_of(store: Store, name: str) -> str:
    return records(store, "default", name).vpc.record.tags.get(SOURCE_TAG, "")


def test_what_a_lost_file_made_passes_to_the_file_that_has_it_now(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(vpcs=[small("p"), small("q")]), source="/srv/old.yaml")
    plan = plan_cloud(store, operator, Cloud(vpcs=[small("p")]), source="/srv/new.yaml", is_there=lambda path: False)
    (change,) = plan.changes
    assert [(d.field, d.before, d.after) for d in change.differences] == [("source", "/srv/old.yaml", "/srv/new.yaml")]
    assert [(left.path, left.source, left.lost) for left in plan.left] == [("default/q", "/srv/old.yaml", True)]
    apply_cloud(store, plan)
    assert summary(apply(store, operator, Cloud(), source="/srv/new.yaml")) == [("delete", "vpc", "default/p")]
    assert source_of(store, "q") == "/srv/old.yaml"


def test_a_file_that_changes_anothers_vpc_owns_it_from_then_on(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(vpcs=[small("s")]), source="/srv/f.yaml")
    same = plan_cloud(store, operator, Cloud(vpcs=[small("s")]), source="/srv/g.yaml")
    assert same.changes == ()
    assert [(left.path, left.source, left.declared) for left in same.left] == [("default/s", "/srv/f.yaml", True)]
    plan = apply(store, operator, Cloud(vpcs=[small("s", tags={"x": "y"})]), source="/srv/g.yaml")
    assert [d.field for d in plan.changes[0].differences] == ["tags", "source"]
    assert plan_cloud(store, operator, Cloud(), source="/srv/f.yaml").changes == ()
    assert summary(apply(store, operator, Cloud(), source="/srv/g.yaml")) == [("delete", "vpc", "default/s")]


def test_instances_of_the_top_level_belong_to_the_file_that_changed_them_last(store: Store, operator: Caller) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, instances=[InstanceDecl(name="i")]), source="/srv/f.yaml")
    plan = apply(store, operator, Cloud(instances=[InstanceDecl(name="i", tags={"x": "y"})]), source="/srv/g.yaml")
    assert [d.field for change in plan.changes for d in change.differences] == ["tags", "source"]
    assert plan_cloud(store, operator, Cloud(), source="/srv/f.yaml").changes == ()
    assert summary(apply(store, operator, Cloud(), source="/srv/g.yaml")) == [("delete", "instance", "default/default/i")]


def test_a_file_with_a_name_may_be_moved(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, Cloud(vpcs=[small("p"), small("q")]), source="/srv/a.yaml")
    plan = apply(store, operator, Cloud(name="prod", vpcs=[small("p")]), source="/srv/a.yaml")  # the file's name is new
    assert summary(plan) == [("delete", "vpc", "default/q"), ("change", "vpc", "default/p")]
    assert source_of(store, "p") == "prod"
    own = Cloud(name="prod", vpcs=[small("theirs", owner="acme")])
    apply(store, acme, own, source="/home/acme/vpc.yaml")
    assert plan_cloud(store, operator, Cloud(name="prod", vpcs=[small("p")]), source="/mnt/b.yaml").changes == ()
    assert summary(apply(store, operator, Cloud(name="prod"), source="/mnt/b.yaml")) == [("delete", "vpc", "default/p")]
    assert plan_cloud(store, acme, own, source="/tmp/vpc.yaml").changes == ()


def test_a_customer_has_no_instances_in_anothers_default_vpc(store: Store, operator: Caller, acme: Caller) -> None:
    apply(store, operator, Cloud(hosts=HOSTS, instances=[InstanceDecl(name="i")]), source="/srv/f.yaml")
    with refused("UnauthorizedOperation", "not yours"):
        plan_cloud(store, acme, Cloud(instances=[InstanceDecl(name="j")]), source="/srv/f.yaml")
    assert plan_cloud(store, acme, Cloud(), source="/srv/f.yaml").changes == ()
