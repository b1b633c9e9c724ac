"""Planning and applying prefix lists, security groups and network ACLs."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import acls, enis, groups, instances, memberships, permissions, prefix_lists
from netorch.control.actions.acls import EntryRequest
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.permissions import Permission
from netorch.control.apply.changes import Change
from netorch.control.apply.cloud import Progress, apply_cloud, plan_cloud
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import Writes
from netorch.control.views.export import export_cloud
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    EgressDecl,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    PrefixListDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.security import DEFAULT_NAME, Direction, NetworkAcl, PrefixList, SecurityGroup, default_group_id
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused

HOSTS = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]
LISTS = [PrefixListDecl(name="offices", cidrs=["192.0.2.0/24", "198.51.100.0/24"], max_entries=10)]
LB = SecurityGroupDecl(
    name="lb",
    ingress=[IngressDecl(protocol="tcp", ports=443, source="0.0.0.0/0", description="the world")],
    egress=[EgressDecl(protocol="tcp", ports="8000-8080", destination="sg-web")],
)
WEB = SecurityGroupDecl(
    name="web",
    description="what serves",
    ingress=[
        IngressDecl(protocol="tcp", ports="8000-8080", source="sg-lb"),
        IngressDecl(protocol=1, ports="8/0", source="pl-offices"),
        IngressDecl(protocol=47, source="10.0.0.0/8"),
    ],
    tags={"team": "blue"},
)
EDGE = NetworkAclDecl(
    name="edge",
    ingress=[
        AclEntryDecl(rule=200, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0"),
        AclEntryDecl(rule=100, action=AclAction.DENY, protocol="tcp", ports=22, cidr="10.0.0.0/8"),
    ],
    egress=[AclEntryDecl(rule=100, action=AclAction.ALLOW, protocol="all", cidr="0.0.0.0/0")],
)
VPC = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.44.0.0/16"],
    prefix_lists=LISTS,
    security_groups=[LB, WEB],
    network_acls=[EDGE],
    subnets=[SubnetDecl(name="a", cidr="10.44.12.0/24", network_acl="edge"), SubnetDecl(name="b", cidr="10.44.13.0/24")],
    instances=[
        InstanceDecl(name="w1", subnet="a", host="hv1", security_groups=["web", "lb"]),
        InstanceDecl(name="w2", subnet="b", host="hv1"),
    ],
)


def cloud(**changes: object) -> Cloud:
    return Cloud(hosts=HOSTS, vpcs=[msgspec.structs.replace(VPC, **changes)])


def shown(change: Change) -> list[str]:
    return [
        f"{item.field} {'+' if item.after else '-'} {item.after or item.before}" for item in change.differences if item.member
    ]


def group_names(store: Store, instance: str) -> set[str]:
    vpc = records(store)
    (eni,) = [
        eni.record for eni in vpc.of(NetworkInterface).values() if vpc.of(Instance)[eni.record.instance].record.name == instance
    ]
    assert all(vpc.mappings[address].record.groups == eni.groups for address in eni.addresses)
    assert eni.groups == tuple(sorted(eni.groups))
    return {vpc.of(SecurityGroup)[group_id].record.name for group_id in eni.groups}


def rule_ids(store: Store) -> dict[str, str]:
    return {
        rule.id: rule.peer
        for group in records(store).of(SecurityGroup).values()
        for rule in group.record.ingress + group.record.egress
    }


def test_a_first_apply_makes_groups_that_refer_to_each_other(store: Store, operator: Caller) -> None:
    plan = apply(store, operator, cloud())
    told = {(change.name, item.field): item.after for change in plan.changes for item in change.differences}
    assert (told["a", "network_acl"], told["w1", "security_groups"]) == ("edge", "lb web")
    vpc = records(store)
    by_name = {stored.record.name: stored.record for stored in vpc.of(SecurityGroup).values()}
    assert set(by_name) == {"default", "lb", "web"}
    assert by_name["web"].ingress[0].group == by_name["lb"].id
    assert by_name["lb"].egress[0].group == by_name["web"].id
    assert [(rule.protocol, rule.from_port, rule.to_port) for rule in by_name["web"].ingress] == [
        (6, 8000, 8080),
        (1, 8, 0),
        (47, -1, -1),
    ]
    assert [rule.cidr for rule in by_name["web"].egress] == ["0.0.0.0/0", "::/0"]
    assert (group_names(store, "w1"), group_names(store, "w2")) == ({"web", "lb"}, {"default"})
    edge = next(stored.record for stored in vpc.of(NetworkAcl).values() if stored.record.name == "edge")
    assert [entry.number for entry in edge.ingress] == [100, 200]
    assert {stored.record.name: stored.record.acl for stored in vpc.of(Subnet).values()} == {"a": edge.id, "b": ""}


def test_an_exported_cloud_with_filters_applies_as_unchanged(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    exported = export_cloud(store)
    assert plan_cloud(store, operator, exported).changes == ()
    assert {group.name for group in exported.vpcs[0].security_groups} == {"lb", "web"}
    assert [acl.name for acl in exported.vpcs[0].network_acls] == ["edge"]


def test_a_change_says_which_rules_come_and_go_and_the_others_keep_their_ids(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    before = rule_ids(store)
    changed = msgspec.structs.replace(
        WEB, ingress=[IngressDecl(protocol="tcp", ports=22, source="10.0.0.0/8"), *WEB.ingress[::2]], egress=[]
    )
    plan = apply(store, operator, cloud(security_groups=[LB, changed]))
    assert summary(plan) == [("change", "security-group", "acme/web/web")]
    assert shown(plan.changes[0]) == [
        "ingress - icmp 8/0 from pl-offices",
        "ingress + tcp 22 from 10.0.0.0/8",
        "egress - all to 0.0.0.0/0",
        "egress - all to ::/0",
    ]
    after = rule_ids(store)
    assert set(after) - set(before) == {
        rule_id for rule_id, peer in after.items() if peer == "10.0.0.0/8" and rule_id not in before
    }
    assert len(set(before) - set(after)) == 3


def test_another_description_keeps_the_rule(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    before = set(rule_ids(store))
    rule = msgspec.structs.replace(LB.ingress[0], description="everybody")
    plan = apply(store, operator, cloud(security_groups=[msgspec.structs.replace(LB, ingress=[rule]), WEB]))
    assert set(rule_ids(store)) == before
    assert "ingress + tcp 443 from 0.0.0.0/0 (everybody)" in shown(plan.changes[0])


def test_what_commands_changed_is_put_back(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    vpc = records(store)
    default = default_group_id(vpc.vpc.record.id)
    permissions.authorize(store, operator, default, Direction.INGRESS, [Permission(protocol="all", peer="0.0.0.0/0")])
    acl = next(acl_id for acl_id, stored in vpc.of(NetworkAcl).items() if stored.record.is_default)
    acls.create_network_acl_entry(
        store, operator, acl, Direction.INGRESS, EntryRequest(number=1, allow=False, protocol="tcp", cidr="0.0.0.0/0")
    )
    plan = apply(store, operator, cloud())
    assert [(change.kind, change.name, shown(change)) for change in plan.changes] == [
        ("security-group", "default", ["ingress - all from 0.0.0.0/0"]),
        ("network-acl", "default", ["ingress - 1 deny tcp from 0.0.0.0/0"]),
    ]


def test_the_default_group_and_acl_can_be_declared_and_go_back_when_left_out(store: Store, operator: Caller) -> None:
    closed = [SecurityGroupDecl(name=DEFAULT_NAME, egress=[]), LB, WEB]
    plan = apply(store, operator, cloud(security_groups=closed, network_acls=[EDGE, NetworkAclDecl(name=DEFAULT_NAME)]))
    assert ("change", "security-group", "acme/web/default") in summary(plan)
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()
    plan = apply(store, operator, cloud())
    assert sorted(summary(plan)) == [
        ("change", "network-acl", "acme/web/default"),
        ("change", "security-group", "acme/web/default"),
    ]
    assert plan_cloud(store, operator, export_cloud(store)).changes == ()


def test_groups_that_refer_to_each_other_go_with_what_they_refer_to(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    plain = cloud(
        prefix_lists=[],
        security_groups=[],
        network_acls=[],
        subnets=[msgspec.structs.replace(subnet, network_acl="") for subnet in VPC.subnets],
        instances=[msgspec.structs.replace(instance, security_groups=[]) for instance in VPC.instances],
    )
    plan = plan_cloud(store, operator, plain)
    (subnet,) = [change for change in plan.changes if change.kind == "subnet"]
    assert [(item.field, item.before, item.after) for item in subnet.differences] == [("network_acl", "edge", "default")]
    assert sorted(summary(plan)) == [
        ("change", "instance", "acme/web/w1"),
        ("change", "subnet", "acme/web/a"),
        ("delete", "network-acl", "acme/web/edge"),
        ("delete", "prefix-list", "acme/web/offices"),
        ("delete", "security-group", "acme/web/lb"),
        ("delete", "security-group", "acme/web/web"),
    ]
    apply(store, operator, plain)
    assert group_names(store, "w1") == {"default"}
    assert [kv.key for kv in store.list("alloc/use/").kvs] == []


def test_other_groups_are_a_change_in_place_even_with_a_move(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    before = set(records(store).of(Instance))
    moved = msgspec.structs.replace(VPC.instances[0], host="hv2", security_groups=["default", "lb"])
    plan = plan_cloud(store, operator, cloud(instances=[moved, VPC.instances[1]]))
    assert summary(plan) == [("change", "instance", "acme/web/w1"), ("move", "instance", "acme/web/w1")]
    assert shown(plan.changes[0]) == ["security_groups - web", "security_groups + default"]
    apply_cloud(store, plan)
    assert group_names(store, "w1") == {"default", "lb"}
    assert {mapping.record.move.host for mapping in records(store).mappings.values() if mapping.record.move} == {"hv2"}
    assert set(records(store).of(Instance)) == before


def test_a_prefix_list_changes_in_place_and_its_rules_stay(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    before = rule_ids(store)
    plan = apply(store, operator, cloud(prefix_lists=[PrefixListDecl(name="offices", cidrs=["192.0.2.0/24", "203.0.113.0/24"])]))
    assert summary(plan) == [("change", "prefix-list", "acme/web/offices")]
    assert shown(plan.changes[0]) == ["cidrs - 198.51.100.0/24", "cidrs + 203.0.113.0/24"]
    assert rule_ids(store) == before
    with refused("InvalidParameterValue", "create another prefix list"):
        plan_cloud(store, operator, cloud(prefix_lists=[PrefixListDecl(name="offices", cidrs=["2001:db8::/32"])]))


def test_an_entry_of_an_acl_is_shown_with_its_number(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    shut = msgspec.structs.replace(EDGE.ingress[1], ports=23)
    plan = apply(store, operator, cloud(network_acls=[msgspec.structs.replace(EDGE, ingress=[EDGE.ingress[0], shut])]))
    assert shown(plan.changes[0]) == [
        "ingress - 100 deny tcp 22 from 10.0.0.0/8",
        "ingress + 100 deny tcp 23 from 10.0.0.0/8",
    ]


def test_a_group_of_an_interface_that_no_file_names_is_not_deleted(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    vpc = records(store)
    subnet = next(stored.record for stored in vpc.of(Subnet).values() if stored.record.name == "a")
    lb = next(stored.record for stored in vpc.of(SecurityGroup).values() if stored.record.name == "lb")
    enis.create_network_interface(store, operator, subnet.id, groups=[lb.id])
    alone = [msgspec.structs.replace(WEB, ingress=[])]
    named = [msgspec.structs.replace(VPC.instances[0], security_groups=["web"])]
    with refused("DependencyViolation", "security group lb"):
        plan_cloud(store, operator, cloud(security_groups=alone, instances=named))


def test_a_vpc_with_filters_is_deleted_with_them(store: Store, operator: Caller) -> None:
    into = SecurityGroupDecl(name=DEFAULT_NAME, ingress=[IngressDecl(protocol="all", source="sg-web")])
    apply(store, operator, cloud(security_groups=[into, LB, WEB]))
    apply(store, operator, Cloud(hosts=HOSTS))
    left = {
        kv.key.rpartition("/")[0] or kv.key
        for kv in store.list("").kvs
        if not kv.key.startswith(("host/", "alloc/vtep/", "alloc/accepts/", "alloc/ranges/", "alloc/source/"))
    }
    assert left == {"alloc", "alloc/vni"}


def test_many_groups_that_refer_to_each_other_take_several_transactions(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud())
    ring = [
        SecurityGroupDecl(name=f"g{n}", ingress=[IngressDecl(protocol="tcp", source=f"sg-g{(n + 1) % 150}")]) for n in range(150)
    ]
    plan = plan_cloud(store, operator, cloud(security_groups=[LB, WEB, *ring]))
    assert apply_cloud(store, plan, nothing_dangles(store)) > 1
    apply_cloud(store, plan_cloud(store, operator, cloud()), nothing_dangles(store), allow_mass_delete=True)
    assert len(records(store).of(SecurityGroup)) == 3


def nothing_dangles(store: Store) -> Progress:
    """Return a callback that checks after each transaction that every reference has its target."""

    def look(done: int, total: int) -> None:
        del done, total
        vpc = records(store)
        for stored in vpc.of(SecurityGroup).values():
            for rule in stored.record.ingress + stored.record.egress:
                assert rule.group in {"", *vpc.of(SecurityGroup)}
                assert rule.prefix_list in {"", *vpc.of(PrefixList)}
        assert all(
            group_id in vpc.of(SecurityGroup) for eni in vpc.of(NetworkInterface).values() for group_id in eni.record.groups
        )

    return look


@pytest.mark.parametrize(
    ("changes", "quotas", "code"),
    [
        ({}, Quotas(rules_per_group=9), "RulesPerSecurityGroupLimitExceeded"),
        ({}, Quotas(groups_per_vpc=2), "SecurityGroupLimitExceeded"),
        ({}, Quotas(groups_per_interface=1), "SecurityGroupsPerInterfaceLimitExceeded"),
        ({}, Quotas(acls_per_vpc=1), "NetworkAclLimitExceeded"),
        ({}, Quotas(entries_per_acl=1), "NetworkAclEntryLimitExceeded"),
        ({}, Quotas(prefix_lists_per_vpc=0), "PrefixListLimitExceeded"),
        (
            {
                "security_groups": [
                    LB,
                    WEB,
                    SecurityGroupDecl(name="x", ingress=[IngressDecl(protocol="all", source="sg-" + "0" * 17)]),
                ]
            },
            Quotas(),
            "InvalidGroup.NotFound",
        ),
    ],
)
def test_what_goes_over_a_quota_or_refers_nowhere_is_refused_before_anything_is_written(
    store: Store, operator: Caller, changes: dict[str, object], quotas: Quotas, code: str
) -> None:
    writes = Writes()
    writes.put(quota_key("acme"), quotas)
    writes.commit(store)
    with refused(code):
        plan_cloud(store, operator, cloud(**changes))


def test_commands_and_files_mean_the_same(store: Store, operator: Caller) -> None:
    apply(store, operator, cloud(security_groups=[], instances=[], prefix_lists=[]))
    vpc = records(store).vpc.record
    prefix_lists.create_prefix_list(
        store, operator, vpc.id, name="offices", cidrs=["198.51.100.0/24", "192.0.2.0/24"], max_entries=10
    )
    lb = groups.create_security_group(store, operator, vpc.id, name="lb")
    web = groups.create_security_group(store, operator, vpc.id, name="web", description="what serves", tags={"team": "blue"})
    subnet = next(stored.record for stored in records(store).of(Subnet).values() if stored.record.name == "a")
    placed = instances.run_instance(store, operator, RunRequest(name="w1", subnet=subnet.id, host="hv1"))
    memberships.modify_instance_groups(store, operator, placed.instance.id, [web.id, lb.id])
    permissions.revoke(
        store,
        operator,
        lb.id,
        Direction.EGRESS,
        [Permission(protocol="all", peer="0.0.0.0/0"), Permission(protocol="all", peer="::/0")],
    )
    for group, direction, protocol, ports, peer, description in (
        (lb, Direction.INGRESS, "tcp", "443", "0.0.0.0/0", "the world"),
        (lb, Direction.EGRESS, "tcp", "8000-8080", web.id, ""),
        (web, Direction.INGRESS, "tcp", "8000-8080", "sg-lb", ""),
        (web, Direction.INGRESS, "icmp", "8/0", "pl-offices", ""),
        (web, Direction.INGRESS, "47", "", "10.1.2.3/8", ""),
    ):
        request = Permission(protocol=protocol, ports=ports, peer=peer, description=description)
        permissions.authorize(store, operator, group.id, direction, [request])
    assert plan_cloud(store, operator, cloud(instances=VPC.instances[:1])).changes == ()
