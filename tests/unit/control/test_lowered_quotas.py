"""Quotas lowered below current use: they refuse further growth, and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import acls, memberships, permissions, prefix_lists, vpcs
from netorch.control.actions.acls import EntryRequest
from netorch.control.actions.permissions import Permission
from netorch.control.apply.cloud import plan_cloud
from netorch.control.base.quotas import LIMITS, set_quotas
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import NetworkInterface
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.apply.clouds import apply, records, summary
from tests.unit.control.conftest import refused

INGRESS, EGRESS = Direction.INGRESS, Direction.EGRESS


def entry(number: int, cidr: str = "10.0.0.0/8") -> AclEntryDecl:
    return AclEntryDecl(rule=number, action=AclAction.ALLOW, protocol="all", cidr=cidr)


def rule(port: int, source: str = "10.0.0.0/8") -> IngressDecl:
    return IngressDecl(protocol="tcp", ports=port, source=source)


WEB = VpcDecl(
    name="web",
    owner="acme",
    cidrs=["10.0.0.0/16", "10.1.0.0/16"],
    prefix_lists=[PrefixListDecl(name=name, cidrs=["192.0.2.0/24"], max_entries=3) for name in ("one", "two")],
    security_groups=[
        SecurityGroupDecl(name="app", ingress=[rule(1), rule(2), IngressDecl(protocol="tcp", source="pl-one")]),
        SecurityGroupDecl(name="web"),
    ],
    network_acls=[NetworkAclDecl(name=name, ingress=[entry(100), entry(200)]) for name in ("edge", "core")],
    route_tables=[RouteTableDecl(name=name, routes=["0.0.0.0/0 via blackhole", "pl-two via blackhole"]) for name in ("x", "y")],
    subnets=[SubnetDecl(name=f"s{n}", cidr=f"10.0.{n}.0/24") for n in range(2)],
    instances=[InstanceDecl(name=f"i{n}", subnet="s0", security_groups=["app", "web"]) for n in range(2)],
)
OTHER = VpcDecl(name="other", owner="acme", cidrs=["10.9.0.0/16"])


def cloud(**changes: object) -> Cloud:
    return Cloud(hosts=[HostDecl(name="hv1", underlay="192.0.2.11")], vpcs=[msgspec.structs.replace(WEB, **changes), OTHER])


@pytest.fixture
def lowered(store: Store, operator: Caller) -> Store:
    apply(store, operator, cloud())
    set_quotas(store, "acme", dict.fromkeys(LIMITS, 1))
    return store


def test_a_file_may_change_what_does_not_grow(lowered: Store, operator: Caller) -> None:
    assert plan_cloud(lowered, operator, cloud()).changes == ()
    renamed = [SecurityGroupDecl(name="app", ingress=[rule(1), rule(3)]), SecurityGroupDecl(name="web", tags={"a": "b"})]
    plan = apply(
        lowered,
        operator,
        cloud(
            tags={"a": "b"},
            ipv6_cidrs=["fd00::/56"],
            security_groups=renamed,
            network_acls=[NetworkAclDecl(name=name, ingress=[entry(100), entry(300)]) for name in ("edge", "core")],
            route_tables=[RouteTableDecl(name=name, routes=["pl-two via blackhole"]) for name in ("x", "y")],
        ),
    )
    assert {kind for _, kind, _ in summary(plan)} == {"vpc", "security-group", "network-acl", "route-table"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cidrs": [*WEB.cidrs, "10.2.0.0/16"]}, "CidrLimitExceeded"),
        ({"subnets": [*WEB.subnets, SubnetDecl(name="more", cidr="10.0.9.0/24")]}, "SubnetLimitExceeded"),
        ({"route_tables": [*WEB.route_tables, RouteTableDecl(name="z")]}, "RouteTableLimitExceeded"),
        ({"instances": [*WEB.instances, InstanceDecl(name="more", subnet="s0")]}, "NetworkInterfaceLimitExceeded"),
        ({"security_groups": [*WEB.security_groups, SecurityGroupDecl(name="more")]}, "SecurityGroupLimitExceeded"),
        ({"network_acls": [*WEB.network_acls, NetworkAclDecl(name="more")]}, "NetworkAclLimitExceeded"),
        (
            {"prefix_lists": [*WEB.prefix_lists, PrefixListDecl(name="more", cidrs=["192.0.2.0/24"])]},
            "PrefixListLimitExceeded",
        ),
        (
            {"prefix_lists": [msgspec.structs.replace(WEB.prefix_lists[0], max_entries=4), WEB.prefix_lists[1]]},
            "RulesPerSecurityGroupLimitExceeded",
        ),
        (
            {"prefix_lists": [WEB.prefix_lists[0], msgspec.structs.replace(WEB.prefix_lists[1], max_entries=4)]},
            "RouteLimitExceeded",
        ),
        (
            {"network_acls": [NetworkAclDecl(name="edge", ingress=[entry(n) for n in (1, 2, 3)]), WEB.network_acls[1]]},
            "NetworkAclEntryLimitExceeded",
        ),
    ],
)
def test_a_file_is_refused_what_grows(lowered: Store, operator: Caller, changes: dict[str, object], code: str) -> None:
    with refused(code):
        plan_cloud(lowered, operator, cloud(**changes))


def test_a_file_may_keep_the_groups_of_an_interface_and_is_refused_more(store: Store, operator: Caller) -> None:
    three = [*WEB.security_groups, SecurityGroupDecl(name="third")]
    apply(store, operator, cloud(security_groups=three))
    set_quotas(store, "acme", {"groups_per_interface": 1})

    def with_groups(*names: str) -> Cloud:
        run = [msgspec.structs.replace(decl, security_groups=list(names)) for decl in WEB.instances]
        return cloud(security_groups=three, instances=run)

    apply(store, operator, with_groups("app", "third"))
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        plan_cloud(store, operator, with_groups("app", "web", "third"))


def test_a_new_vpc_is_refused_and_one_that_is_there_is_not(lowered: Store, operator: Caller) -> None:
    with refused("VpcLimitExceeded"):
        plan_cloud(lowered, operator, Cloud(vpcs=[msgspec.structs.replace(OTHER, name="third")]))
    apply(lowered, operator, Cloud(vpcs=[msgspec.structs.replace(OTHER, tags={"a": "b"})]), source="/srv/other.yaml")


def test_rules_of_another_direction_or_ip_version_have_room(lowered: Store, operator: Caller, acme: Caller) -> None:
    """Only IPv4 ingress rules exceed the quota; other rules can still be added and removed."""
    group = one(lowered, SecurityGroup, "app")
    permissions.authorize(lowered, acme, group, INGRESS, [Permission(protocol="tcp", ports=9, peer="fd00::/8")])
    with refused("RulesPerSecurityGroupLimitExceeded", "ingress rules of IPv6"):
        permissions.authorize(lowered, acme, group, INGRESS, [Permission(protocol="tcp", ports=8, peer="fd00::/8")])
    with refused("RulesPerSecurityGroupLimitExceeded", "ingress rules of IPv4"):
        permissions.authorize(lowered, acme, group, INGRESS, [Permission(protocol="tcp", ports=9, peer="10.0.0.0/8")])
    permissions.revoke(lowered, acme, group, EGRESS, [Permission(protocol="all", peer="0.0.0.0/0")])
    permissions.authorize(lowered, acme, group, EGRESS, [Permission(protocol="tcp", peer="10.0.0.0/8")])
    with refused("RulesPerSecurityGroupLimitExceeded"):
        prefix_lists.modify_prefix_list(lowered, acme, one(lowered, PrefixList, "one"), max_entries=4)
    prefix_lists.modify_prefix_list(lowered, acme, one(lowered, PrefixList, "one"), max_entries=2)
    prefix_lists.modify_prefix_list(lowered, acme, one(lowered, PrefixList, "two"), max_entries=2)


def test_entries_of_another_direction_or_ip_version_have_room(lowered: Store, acme: Caller) -> None:
    acl = one(lowered, NetworkAcl, "edge")

    def request(number: int, cidr: str) -> EntryRequest:
        return EntryRequest(number=number, allow=True, protocol="all", cidr=cidr)

    acls.replace_network_acl_entry(lowered, acme, acl, INGRESS, request(100, "10.7.0.0/16"))
    acls.create_network_acl_entry(lowered, acme, acl, INGRESS, request(300, "::/0"))
    acls.create_network_acl_entry(lowered, acme, acl, EGRESS, request(100, "0.0.0.0/0"))
    with refused("NetworkAclEntryLimitExceeded", "ingress entries of IPv4"):
        acls.create_network_acl_entry(lowered, acme, acl, INGRESS, request(400, "10.0.0.0/8"))
    with refused("NetworkAclEntryLimitExceeded", "ingress entries of IPv6"):
        acls.replace_network_acl_entry(lowered, acme, acl, INGRESS, request(100, "fd00::/8"))


def test_an_interface_may_change_its_groups_and_get_no_more(lowered: Store, acme: Caller) -> None:
    eni = next(iter(records(lowered).of(NetworkInterface)))
    app, web, default = (one(lowered, SecurityGroup, name) for name in ("app", "web", "default"))
    memberships.modify_interface_groups(lowered, acme, eni, [app, default])
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        memberships.modify_interface_groups(lowered, acme, eni, [app, web, default])


def test_a_vpc_with_too_many_ipv4_ranges_may_get_an_ipv6_one(lowered: Store, acme: Caller) -> None:
    vpc = records(lowered).vpc.record
    with refused("CidrLimitExceeded"):
        vpcs.associate_cidr(lowered, acme, vpc.id, "10.2.0.0/16")
    vpcs.associate_cidr(lowered, acme, vpc.id, "fd00::/56")


def one(store: Store, kind: type[SecurityGroup | NetworkAcl | PrefixList], name: str) -> str:
    """Return the id of a named resource of the VPC."""
    return next(record.id for record in records(store).each(kind) if record.name == name)
