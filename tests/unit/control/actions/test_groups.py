from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import enis, groups, instances, memberships, permissions, prefix_lists, subnets, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.control.actions.permissions import Permission
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.eni import NetworkInterface
from netorch.model.security import Direction, SecurityGroup, default_group_id
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.records.read import mappings_of, read_all
from netorch.store.base import Store
from tests.unit.control.conftest import refused

HTTPS = Permission(protocol="tcp", ports="443", peer="0.0.0.0/0")


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"], ipv6_cidrs=["fd00:1::/56"])


@pytest.fixture
def subnet(store: Store, acme: Caller, vpc: Vpc, two_hosts: None) -> Subnet:
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24", ipv6_cidr="fd00:1::/64")


@pytest.fixture
def group(store: Store, acme: Caller, vpc: Vpc) -> SecurityGroup:
    return groups.create_security_group(store, acme, vpc.id, name="web")


def limit(store: Store, **quotas: int) -> None:
    writes = Writes()
    writes.put(quota_key("acme"), msgspec.structs.replace(Quotas(), **quotas))
    writes.commit(store)


def described(store: Store, caller: Caller, group_id: str) -> SecurityGroup:
    return groups.describe_security_group(store, caller, group_id).group


def test_the_default_group_lets_its_members_in_and_everything_out(store: Store, acme: Caller, vpc: Vpc) -> None:
    (info,) = groups.describe_security_groups(store, acme, vpc.id)
    assert info.group.id == default_group_id(vpc.id)
    assert [(rule.protocol, rule.peer) for rule in info.group.ingress] == [(-1, info.group.id)]
    assert [(rule.protocol, rule.peer) for rule in info.group.egress] == [(-1, "0.0.0.0/0"), (-1, "::/0")]


def test_a_new_group_lets_nothing_in_and_everything_out(group: SecurityGroup) -> None:
    assert group.ingress == ()
    assert [rule.peer for rule in group.egress] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("web", "InvalidGroup.Duplicate"),
        ("default", "InvalidGroup.Reserved"),
        ("sg-x", "InvalidParameterValue"),
        ("0013880a1b2c3d4e5", "InvalidParameterValue"),
        ("", "InvalidParameterValue"),
        ("a" * 256, "InvalidParameterValue"),
    ],
)
def test_a_name_that_is_taken_or_bad_is_refused(
    store: Store, acme: Caller, vpc: Vpc, group: SecurityGroup, name: str, code: str
) -> None:
    with refused(code):
        groups.create_security_group(store, acme, vpc.id, name=name)


def test_another_vpc_may_have_a_group_of_the_same_name(store: Store, acme: Caller, group: SecurityGroup) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    assert groups.create_security_group(store, acme, other.id, name="web").id != group.id


def test_the_default_group_is_never_deleted(store: Store, acme: Caller, vpc: Vpc) -> None:
    with refused("CannotDelete"):
        groups.delete_security_group(store, acme, default_group_id(vpc.id))


def test_a_group_in_use_is_not_deleted(store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, group: SecurityGroup) -> None:
    eni = enis.create_network_interface(store, acme, subnet.id, groups=[group.id])
    with refused("DependencyViolation", eni.id):
        groups.delete_security_group(store, acme, group.id)
    memberships.modify_interface_groups(store, acme, eni.id, [default_group_id(vpc.id)])
    permissions.authorize(store, acme, default_group_id(vpc.id), Direction.INGRESS, [Permission(protocol="all", peer="sg-web")])
    with refused("DependencyViolation", "a rule of default"):
        groups.delete_security_group(store, acme, group.id)
    permissions.revoke(store, acme, default_group_id(vpc.id), Direction.INGRESS, [Permission(protocol="all", peer=group.id)])
    permissions.authorize(store, acme, group.id, Direction.INGRESS, [Permission(protocol="all", peer="sg-web")])
    groups.delete_security_group(store, acme, group.id)
    with refused("InvalidGroup.NotFound"):
        groups.describe_security_group(store, acme, group.id)


def test_a_vpc_goes_with_its_default_group_but_not_with_others(
    store: Store, acme: Caller, vpc: Vpc, group: SecurityGroup
) -> None:
    with refused("DependencyViolation", "security group"):
        vpcs.delete_vpc(store, acme, vpc.id)
    groups.delete_security_group(store, acme, group.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert [kv.key for kv in store.list("vpc/").kvs] == []


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (HTTPS, (6, 443, 443, "0.0.0.0/0")),
        (Permission(protocol="udp", ports="8000-8080", peer="10.1.2.3/8"), (17, 8000, 8080, "10.0.0.0/8")),
        (Permission(protocol="tcp", peer="FD00:0::/8"), (6, 0, 65535, "fd00::/8")),
        (Permission(protocol="icmp", ports="3/4", peer="10.0.0.0/8"), (1, 3, 4, "10.0.0.0/8")),
        (Permission(protocol="icmpv6", ports="128", peer="::/0"), (58, 128, -1, "::/0")),
        (Permission(protocol="icmp", peer="10.0.0.0/8"), (1, -1, -1, "10.0.0.0/8")),
        (Permission(protocol=47, peer="10.0.0.0/8"), (47, -1, -1, "10.0.0.0/8")),
        (Permission(protocol="17", ports=53, peer="10.0.0.0/8"), (17, 53, 53, "10.0.0.0/8")),
    ],
)
def test_words_become_a_rule(
    store: Store, acme: Caller, group: SecurityGroup, asked: Permission, stored: tuple[int, int, int, str]
) -> None:
    (rule,) = permissions.authorize(store, acme, group.id, Direction.INGRESS, [asked])
    assert permissions.words_of(rule) == stored
    assert described(store, acme, group.id).ingress == (rule,)
    assert rule.id.startswith("sgr-")


@pytest.mark.parametrize(
    ("asked", "code", "match"),
    [
        (Permission(protocol="TCP", peer="::/0"), "InvalidParameterValue", "write tcp"),
        (Permission(protocol="tcp", ports="0-65536", peer="::/0"), "InvalidParameterValue", "65536 is not a port"),
        (Permission(protocol="all", ports="80", peer="::/0"), "InvalidParameterValue", "no ports"),
        (Permission(protocol="icmp", peer="::/0"), "InvalidParameterValue", "choose icmpv6"),
        (Permission(protocol="tcp", peer="10.0.0.0"), "InvalidParameterValue", "not a CIDR"),
        (Permission(protocol="tcp", peer="sg-nope"), "InvalidGroup.NotFound", "sg-nope"),
        (Permission(protocol="tcp", peer="pl-nope"), "InvalidPrefixListID.NotFound", "pl-nope"),
        (Permission(protocol="tcp", peer="::/0", description="a\nb"), "InvalidParameterValue", "description"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    store: Store, acme: Caller, group: SecurityGroup, asked: Permission, code: str, match: str
) -> None:
    with refused(code, match):
        permissions.authorize(store, acme, group.id, Direction.EGRESS, [HTTPS, asked])
    assert len(described(store, acme, group.id).egress) == 2


def test_another_vpcs_group_cannot_be_referred_to(store: Store, acme: Caller, group: SecurityGroup) -> None:
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    with refused("InvalidGroup.NotFound"):
        permissions.authorize(
            store, acme, group.id, Direction.INGRESS, [Permission(protocol="all", peer=default_group_id(other.id))]
        )


def test_a_rule_is_there_once_whatever_its_description(store: Store, acme: Caller, group: SecurityGroup) -> None:
    permissions.authorize(store, acme, group.id, Direction.INGRESS, [HTTPS])
    again = Permission(protocol=6, ports="443-443", peer="0.0.0.0/0", description="again")
    with refused("InvalidPermission.Duplicate", "tcp 443 from 0.0.0.0/0"):
        permissions.authorize(store, acme, group.id, Direction.INGRESS, [again])
    permissions.authorize(store, acme, group.id, Direction.EGRESS, [again])


def test_a_rule_is_revoked_by_its_words_or_its_id(store: Store, acme: Caller, group: SecurityGroup) -> None:
    (rule,) = permissions.authorize(store, acme, group.id, Direction.INGRESS, [HTTPS])
    with refused("InvalidPermission.NotFound", "no egress rule tcp 443 to 0.0.0.0/0"):
        permissions.revoke(store, acme, group.id, Direction.EGRESS, [HTTPS])
    assert permissions.revoke(store, acme, group.id, Direction.INGRESS, [HTTPS]).terminations == 0
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        permissions.revoke_by_id(store, acme, group.id, [rule.id])
    left = permissions.revoke_by_id(store, acme, group.id, [group.egress[0].id], terminate_established=True)
    assert (left.ingress, [rule.peer for rule in left.egress], left.terminations) == ((), ["::/0"], 1)


def test_rules_count_by_way_and_ip_version(store: Store, acme: Caller, vpc: Vpc, group: SecurityGroup) -> None:
    limit(store, rules_per_group=4)
    ports = [Permission(protocol="tcp", ports=port, peer="10.0.0.0/8") for port in range(3)]
    permissions.authorize(store, acme, group.id, Direction.INGRESS, ports)
    permissions.authorize(store, acme, group.id, Direction.INGRESS, [Permission(protocol="all", peer="::/0")])
    permissions.authorize(store, acme, group.id, Direction.INGRESS, [Permission(protocol="all", peer="sg-web")])
    with refused("RulesPerSecurityGroupLimitExceeded", "IPv4"):
        permissions.authorize(store, acme, group.id, Direction.INGRESS, [HTTPS])
    permissions.authorize(store, acme, group.id, Direction.INGRESS, [Permission(protocol="tcp", peer="fd00::/8")])
    prefix_lists.create_prefix_list(store, acme, vpc.id, name="two", cidrs=["2001:db8::/32"], max_entries=2)
    with refused("RulesPerSecurityGroupLimitExceeded", "IPv6"):
        permissions.authorize(store, acme, group.id, Direction.INGRESS, [Permission(protocol="tcp", peer="pl-two")])


def test_groups_of_a_vpc_and_of_an_interface_have_their_quotas(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, group: SecurityGroup
) -> None:
    limit(store, groups_per_vpc=2, groups_per_interface=1)
    with refused("SecurityGroupLimitExceeded"):
        groups.create_security_group(store, acme, vpc.id, name="more")
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        enis.create_network_interface(store, acme, subnet.id, groups=[group.id, default_group_id(vpc.id)])


@pytest.mark.parametrize(("rules", "groups_", "memberships_"), [(60, 5, 5), (200, 16, 5), (1000, 5, 1), (60, 16, 16)])
def test_who_raises_the_quota_of_rules_lowers_that_of_groups(rules: int, groups_: int, memberships_: int) -> None:
    assert Quotas(rules_per_group=rules, groups_per_interface=groups_).memberships == memberships_


def test_an_interface_is_in_the_default_group_unless_it_names_others(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, group: SecurityGroup
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    assert placed.eni.groups == (default_group_id(vpc.id),)
    spare = enis.create_network_interface(store, acme, subnet.id, groups=[group.id, group.id])
    assert spare.groups == (group.id,)
    enis.attach_network_interface(store, acme, spare.id, placed.instance.id)
    for stored in read_all(store, NetworkInterface, vpc.vni).values():
        found = mappings_of(store, stored.record)
        assert len(found) == 2
        assert {mapping.record.groups for mapping in found.values()} == {stored.record.groups}


def test_other_groups_of_an_instance_are_its_mappings_at_once(
    store: Store, acme: Caller, vpc: Vpc, subnet: Subnet, group: SecurityGroup
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(subnet=subnet.id))
    before = store.revision()
    both = tuple(sorted([group.id, default_group_id(vpc.id)]))
    changed = memberships.modify_instance_groups(store, acme, placed.instance.id, both[::-1])
    assert changed.groups == both
    assert {kv.mod_revision for kv in store.list("map/").kvs} == {before + 1}
    assert {mapping.record.groups for mapping in mappings_of(store, changed).values()} == {both}
    assert groups.describe_security_group(store, acme, group.id).interfaces == (changed.id,)
    with refused("MissingParameter"):
        memberships.modify_instance_groups(store, acme, placed.instance.id, [])
    with refused("InvalidGroup.NotFound"):
        memberships.modify_instance_groups(store, acme, placed.instance.id, ["sg-00100100000000000"])


def test_anothers_group_is_answered_as_one_that_never_was(
    store: Store, acme: Caller, globex: Caller, vpc: Vpc, group: SecurityGroup
) -> None:
    def answer(group_id: str) -> str:
        with pytest.raises(ApiError) as refusal:
            permissions.authorize(store, globex, group_id, Direction.INGRESS, [HTTPS])
        return str(refusal.value).replace(group_id, "ID")

    assert answer(group.id) == answer(globex.new_id("sg", 4242))
    with refused("InvalidVpcID.NotFound"):
        groups.create_security_group(store, globex, vpc.id, name="mine")
