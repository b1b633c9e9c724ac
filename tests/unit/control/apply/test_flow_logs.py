"""Planning and applying flow logs."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import enis, flow_logs, instances
from netorch.control.apply.changes import Change
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud
from netorch.model.cloud import Cloud, FlowLogDecl, HostDecl, InstanceDecl, LoggedTraffic, SubnetDecl, VpcDecl
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog, Traffic
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused

HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]
OF_VPC = FlowLogDecl(name="all")
OF_SUBNET = FlowLogDecl(name="refused", traffic=LoggedTraffic.REJECT, interval=60)
OF_INSTANCE = FlowLogDecl(name="one", format="version ${srcaddr}", tags={"team": "blue"})


def cloud(
    of_vpc: list[FlowLogDecl] | None = None,
    of_subnet: list[FlowLogDecl] | None = None,
    of_instance: list[FlowLogDecl] | None = None,
    cidr: str = "10.0.1.0/24",
) -> Cloud:
    vpc = VpcDecl(
        name="web",
        owner="acme",
        cidrs=["10.0.0.0/16"],
        flow_logs=of_vpc or [],
        subnets=[SubnetDecl(name="a", cidr=cidr, flow_logs=of_subnet or [])],
        instances=[InstanceDecl(name="w1", host="hv1", flow_logs=of_instance or [])],
    )
    return Cloud(hosts=HOSTS, vpcs=[vpc])


FULL = cloud([OF_VPC], [OF_SUBNET], [OF_INSTANCE])


def logs(store: Store) -> dict[str, FlowLog]:
    return {stored.record.name: stored.record for stored in records(store).of(FlowLog).values()}


def difference(change: Change) -> dict[str, tuple[str, str]]:
    return {found.field: (found.before, found.after) for found in change.differences}


def test_flow_logs_of_a_vpc_a_subnet_and_an_instance_are_made_with_them(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, FULL)
    assert summary(plan)[-3:] == [
        ("add", "flow-log", "acme/web/all"),
        ("add", "flow-log", "acme/web/refused"),
        ("add", "flow-log", "acme/web/one"),
    ]
    assert difference(plan.changes[-2]) == {"of": ("", "subnet a"), "traffic": ("", "reject"), "interval": ("", "60 s")}
    found, stored = logs(store), records(store)
    (instance,) = stored.of(Instance)
    assert [found[name].resource for name in ("all", "refused", "one")] == [
        stored.vpc.record.id,
        *stored.of(Subnet),
        primary_eni_id(instance),
    ]
    assert (found["refused"].traffic, found["refused"].interval_s) == (Traffic.REJECT, 60)
    assert (found["one"].format, found["one"].tags) == (("version", "srcaddr"), {"team": "blue"})


def test_what_is_exported_changes_nothing(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    exported = export_cloud(store)
    assert exported.vpcs[0].instances[0].flow_logs == [msgspec.structs.replace(OF_INSTANCE, format="${version} ${srcaddr}")]
    assert plan_cloud(store, operator, exported).changes == ()


def test_a_flow_log_that_is_not_declared_goes(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    flow_logs.create_flow_log(store, operator, records(store).vpc.record.id, name="by-hand", interval_s=60)
    plan = apply(store, operator, cloud([OF_VPC]))
    assert summary(plan) == [("delete", "flow-log", f"acme/web/{name}") for name in ("by-hand", "one", "refused")]
    assert [difference(change)["of"] for change in plan.changes] == [("the VPC", ""), ("instance w1", ""), ("subnet a", "")]
    assert list(logs(store)) == ["all"]


def test_a_flow_log_with_other_tags_keeps_its_id_and_any_other_is_recreated(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    before = logs(store)
    tagged = msgspec.structs.replace(OF_VPC, tags={"a": "b"})
    shorter = msgspec.structs.replace(OF_SUBNET, interval=30)
    plan = apply(store, operator, cloud([tagged, OF_INSTANCE], [shorter]))
    assert summary(plan) == [
        ("change", "flow-log", "acme/web/all"),
        ("replace", "flow-log", "acme/web/one"),
        ("replace", "flow-log", "acme/web/refused"),
    ]
    assert [difference(change) for change in plan.changes] == [
        {"tags": ("", "a=b")},
        {"of": ("instance w1", "the VPC")},
        {"interval": ("60 s", "30 s")},
    ]
    after = logs(store)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name].id == before[name].id] == ["all"]


def test_a_flow_log_follows_what_is_recreated(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    plan = apply(store, operator, cloud([OF_VPC], [OF_SUBNET], [OF_INSTANCE], cidr="10.0.2.0/24"))
    assert [path for action, kind, path in summary(plan) if (action, kind) == ("replace", "flow-log")] == [
        "acme/web/refused",
        "acme/web/one",
    ]
    found, stored = logs(store), records(store)
    assert found["refused"].resource in stored.of(Subnet)
    assert found["one"].resource in stored.of(NetworkInterface)


def test_a_flow_log_of_an_interface_that_no_file_names_is_left_alone(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    (subnet,) = records(store).of(Subnet)
    eni = enis.create_network_interface(store, operator, subnet)
    log = flow_logs.create_flow_log(store, operator, eni.id, name="side")
    assert plan_cloud(store, operator, FULL).changes == ()
    with refused("InvalidParameterValue", "flow log 'side'"):
        plan_cloud(store, operator, cloud([msgspec.structs.replace(OF_VPC, name="side")]))
    assert logs(store)["side"] == log


def test_more_flow_logs_than_the_quota_are_refused(store: Store, operator: Caller) -> None:
    many = [FlowLogDecl(name=f"log-{number}", interval=number) for number in range(10, 13)]
    with refused("FlowLogsLimitExceeded"):
        plan_cloud(store, operator, cloud(many))


def test_a_flow_log_made_meanwhile_is_noticed(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    plan = plan_cloud(store, operator, cloud([OF_VPC]))
    flow_logs.create_flow_log(store, operator, records(store).vpc.record.id, name="all")
    with pytest.raises(Exception, match="changed since it was planned"):
        apply_cloud(store, plan)


def test_default_vpc_instances_bring_and_take_their_own_flow_logs_only(store: Store, operator: Caller) -> None:
    def guest(name: str) -> Cloud:
        return Cloud(hosts=HOSTS, instances=[InstanceDecl(name=name, host="hv1", flow_logs=[FlowLogDecl(name=f"of-{name}")])])

    apply(store, operator, guest("one"), source="one.yaml")
    apply(store, operator, guest("two"), source="two.yaml")
    default = records(store, "default", "default")
    assert sorted(stored.record.name for stored in default.of(FlowLog).values()) == ["of-one", "of-two"]
    plan = apply(store, operator, Cloud(hosts=HOSTS), source="one.yaml")
    assert ("delete", "flow-log", "default/default/of-one") in summary(plan)
    default = records(store, "default", "default")
    assert [stored.record.name for stored in default.of(FlowLog).values()] == ["of-two"]
    with refused("InvalidParameterValue", "flow log 'of-two'"):
        clash = InstanceDecl(name="three", host="hv1", flow_logs=[FlowLogDecl(name="of-two")])
        plan_cloud(store, operator, Cloud(hosts=HOSTS, instances=[clash]), source="three.yaml")


def test_a_flow_log_goes_with_the_instance_that_a_file_ends(store: Store, operator: Caller) -> None:
    apply(store, operator, FULL)
    instances.terminate_instance(store, operator, next(iter(records(store).of(Instance))))
    plan = apply(store, operator, FULL)
    assert ("add", "flow-log", "acme/web/one") in summary(plan)
