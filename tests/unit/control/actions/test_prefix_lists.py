from __future__ import annotations

import pytest

from netorch.control.actions import permissions, prefix_lists, vpcs
from netorch.control.actions.permissions import Permission
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import Writes
from netorch.model.security import Direction, PrefixList, default_group_id
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.conftest import refused


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def offices(store: Store, acme: Caller, vpc: Vpc) -> PrefixList:
    return prefix_lists.create_prefix_list(store, acme, vpc.id, name="offices", cidrs=["198.51.100.0/24", "192.0.2.9/24"])


def cidrs(found: PrefixList) -> list[str]:
    return [entry.cidr for entry in found.entries]


def test_a_list_has_the_version_and_the_number_of_its_cidrs(offices: PrefixList) -> None:
    assert cidrs(offices) == ["192.0.2.0/24", "198.51.100.0/24"]
    assert (offices.version, offices.max_entries) == (4, 2)


@pytest.mark.parametrize(
    ("name", "cidrs_", "size", "code"),
    [
        ("offices", ["192.0.2.0/24"], None, "InvalidParameterValue"),
        ("pl-x", ["192.0.2.0/24"], None, "InvalidParameterValue"),
        ("x", [], None, "MissingParameter"),
        ("x", ["192.0.2.0"], None, "InvalidParameterValue"),
        ("x", ["192.0.2.0/24", "::/0"], None, "InvalidParameterValue"),
        ("x", ["192.0.2.0/24", "10.0.0.0/8"], 1, "PrefixListMaxEntriesExceeded"),
        ("x", ["192.0.2.0/24"], 1001, "InvalidParameterValue"),
        ("x", ["192.0.2.0/24"], 0, "InvalidParameterValue"),
    ],
)
def test_a_bad_list_is_refused(
    store: Store, acme: Caller, vpc: Vpc, offices: PrefixList, name: str, cidrs_: list[str], size: int | None, code: str
) -> None:
    with refused(code):
        prefix_lists.create_prefix_list(store, acme, vpc.id, name=name, cidrs=cidrs_, max_entries=size)


def test_cidrs_and_size_change_each_by_itself(store: Store, acme: Caller, offices: PrefixList) -> None:
    changed = prefix_lists.modify_prefix_list(store, acme, offices.id, cidrs=["203.0.113.0/24"])
    assert (cidrs(changed), changed.max_entries) == (["203.0.113.0/24"], 2)
    three = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]
    with refused("PrefixListMaxEntriesExceeded"):
        prefix_lists.modify_prefix_list(store, acme, offices.id, cidrs=three)
    assert cidrs(prefix_lists.modify_prefix_list(store, acme, offices.id, cidrs=three, max_entries=3)) == three
    with refused("PrefixListMaxEntriesExceeded"):
        prefix_lists.modify_prefix_list(store, acme, offices.id, max_entries=2)
    with refused("InvalidParameterValue", "not IPv4"):
        prefix_lists.modify_prefix_list(store, acme, offices.id, cidrs=["::/0"])


def test_a_list_does_not_grow_beyond_what_its_groups_may_have(store: Store, acme: Caller, vpc: Vpc, offices: PrefixList) -> None:
    group = default_group_id(vpc.id)
    permissions.authorize(store, acme, group, Direction.INGRESS, [Permission(protocol="tcp", peer="pl-offices")])
    assert prefix_lists.describe_prefix_list(store, acme, offices.id).groups == (group,)
    prefix_lists.modify_prefix_list(store, acme, offices.id, max_entries=59)  # plus the group's existing rule
    with refused("RulesPerSecurityGroupLimitExceeded", "61 with the requested ones"):
        prefix_lists.modify_prefix_list(store, acme, offices.id, max_entries=60)


def test_a_list_that_a_rule_refers_to_is_not_deleted(store: Store, acme: Caller, vpc: Vpc, offices: PrefixList) -> None:
    group = default_group_id(vpc.id)
    request = Permission(protocol="icmp", peer=offices.id)
    permissions.authorize(store, acme, group, Direction.EGRESS, [request])
    with refused("DependencyViolation", "a rule of security group default"):
        prefix_lists.delete_prefix_list(store, acme, offices.id)
    permissions.revoke(store, acme, group, Direction.EGRESS, [request])
    with refused("DependencyViolation", "prefix list"):
        vpcs.delete_vpc(store, acme, vpc.id)
    prefix_lists.delete_prefix_list(store, acme, offices.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert [kv.key for kv in store.list("alloc/use/").kvs] == []


def test_a_protocol_of_the_other_version_is_refused(store: Store, acme: Caller, vpc: Vpc, offices: PrefixList) -> None:
    with refused("InvalidParameterValue", "pl-offices is IPv4"):
        permissions.authorize(
            store, acme, default_group_id(vpc.id), Direction.INGRESS, [Permission(protocol="icmpv6", peer="pl-offices")]
        )


def test_a_vpc_may_have_so_many(store: Store, acme: Caller, vpc: Vpc, offices: PrefixList) -> None:
    writes = Writes()
    writes.put(quota_key("acme"), Quotas(prefix_lists_per_vpc=1))
    writes.commit(store)
    with refused("PrefixListLimitExceeded"):
        prefix_lists.create_prefix_list(store, acme, vpc.id, name="more", cidrs=["10.0.0.0/8"])
