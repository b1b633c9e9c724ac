from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import acls, subnets, vpcs
from netorch.control.actions.acls import EntryRequest
from netorch.control.base.quotas import Quotas, quota_key
from netorch.control.base.writes import Writes
from netorch.model.security import Direction, NetworkAcl, default_acl_id
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.store.base import Store
from tests.unit.control.conftest import refused

SSH = EntryRequest(number=100, allow=False, protocol="tcp", ports="22", cidr="10.1.2.3/8")


@pytest.fixture
def vpc(store: Store, acme: Caller) -> Vpc:
    return vpcs.create_vpc(store, acme, name="web", cidrs=["10.0.0.0/16"])


@pytest.fixture
def subnet(store: Store, acme: Caller, vpc: Vpc) -> Subnet:
    return subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.1.0/24")


@pytest.fixture
def acl(store: Store, acme: Caller, vpc: Vpc) -> NetworkAcl:
    return acls.create_network_acl(store, acme, vpc.id, name="edge")


def limit(store: Store, **quotas: int) -> None:
    writes = Writes()
    writes.put(quota_key("acme"), msgspec.structs.replace(Quotas(), **quotas))
    writes.commit(store)


def test_the_default_acl_allows_everything_in_every_subnet(store: Store, acme: Caller, vpc: Vpc, subnet: Subnet) -> None:
    (info,) = acls.describe_network_acls(store, acme, vpc.id)
    assert info.acl.id == default_acl_id(vpc.id) == subnets.describe_subnet(store, acme, subnet.id).network_acl
    for entries in (info.acl.ingress, info.acl.egress):
        assert [(entry.allow, entry.protocol, entry.cidr) for entry in entries] == [(True, -1, "0.0.0.0/0"), (True, -1, "::/0")]
    assert info.subnets == (subnet.id,)


def test_a_new_acl_denies_everything(acl: NetworkAcl) -> None:
    assert acl.ingress == acl.egress == ()


def test_entries_stand_in_the_order_of_their_numbers(store: Store, acme: Caller, acl: NetworkAcl) -> None:
    acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, SSH)
    rest = EntryRequest(number=99, allow=True, protocol="all", cidr="0.0.0.0/0")
    changed = acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, rest)
    assert [(entry.number, entry.cidr) for entry in changed.ingress] == [(99, "0.0.0.0/0"), (100, "10.0.0.0/8")]
    assert changed.egress == ()


def test_a_number_is_there_once_each_way_until_it_is_replaced_or_deleted(store: Store, acme: Caller, acl: NetworkAcl) -> None:
    acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, SSH)
    with refused("NetworkAclEntryAlreadyExists", "ingress entry 100"):
        acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, SSH)
    with refused("InvalidNetworkAclEntry.NotFound", "egress entry 100"):
        acls.replace_network_acl_entry(store, acme, acl.id, Direction.EGRESS, SSH)
    open_ = EntryRequest(number=100, allow=True, protocol="tcp", ports="22", cidr="10.0.0.0/8")
    assert acls.replace_network_acl_entry(store, acme, acl.id, Direction.INGRESS, open_).ingress[0].allow
    assert acls.delete_network_acl_entry(store, acme, acl.id, Direction.INGRESS, 100).ingress == ()
    with refused("InvalidNetworkAclEntry.NotFound"):
        acls.delete_network_acl_entry(store, acme, acl.id, Direction.INGRESS, 100)


@pytest.mark.parametrize(
    "asked",
    [
        EntryRequest(number=0, allow=True, protocol="all", cidr="0.0.0.0/0"),
        EntryRequest(number=32767, allow=True, protocol="all", cidr="0.0.0.0/0"),
        EntryRequest(number=1, allow=True, protocol="sctp", cidr="0.0.0.0/0"),
        EntryRequest(number=1, allow=True, protocol="udp", ports="2-1", cidr="0.0.0.0/0"),
        EntryRequest(number=1, allow=True, protocol="all", cidr="sg-web"),
        EntryRequest(number=1, allow=True, protocol="icmpv6", cidr="0.0.0.0/0"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(store: Store, acme: Caller, acl: NetworkAcl, asked: EntryRequest) -> None:
    with refused("InvalidParameterValue"):
        acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, asked)


def test_a_subnet_uses_the_acl_that_is_associated(store: Store, acme: Caller, subnet: Subnet, acl: NetworkAcl) -> None:
    assert subnets.associate_network_acl(store, acme, subnet.id, acl.id).acl == acl.id
    assert acls.describe_network_acl(store, acme, acl.id).subnets == (subnet.id,)
    with refused("DependencyViolation", subnet.id):
        acls.delete_network_acl(store, acme, acl.id)
    assert subnets.associate_network_acl(store, acme, subnet.id, "").acl == ""
    acls.delete_network_acl(store, acme, acl.id)


def test_a_subnet_may_begin_with_an_acl_of_its_own_vpc_only(store: Store, acme: Caller, vpc: Vpc, acl: NetworkAcl) -> None:
    made = subnets.create_subnet(store, acme, vpc.id, name="b", cidr="10.0.2.0/24", network_acl=acl.id)
    assert made.acl == acl.id
    other = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    with refused("InvalidParameterValue", "another VPC"):
        subnets.create_subnet(store, acme, other.id, name="b", cidr="10.0.2.0/24", network_acl=acl.id)
    with refused("InvalidNetworkAclID.NotFound"):
        subnets.associate_network_acl(store, acme, made.id, "acl-00100100000000000")


def test_the_default_acl_is_never_deleted_but_with_its_vpc(store: Store, acme: Caller, vpc: Vpc, acl: NetworkAcl) -> None:
    with refused("CannotDelete"):
        acls.delete_network_acl(store, acme, default_acl_id(vpc.id))
    with refused("DependencyViolation", "network ACL"):
        vpcs.delete_vpc(store, acme, vpc.id)
    acls.delete_network_acl(store, acme, acl.id)
    vpcs.delete_vpc(store, acme, vpc.id)
    assert [kv.key for kv in store.list("vpc/").kvs] == []


def test_acls_and_their_entries_have_their_quotas(store: Store, acme: Caller, vpc: Vpc, acl: NetworkAcl) -> None:
    limit(store, acls_per_vpc=2, entries_per_acl=1)
    with refused("NetworkAclLimitExceeded"):
        acls.create_network_acl(store, acme, vpc.id, name="more")
    acls.create_network_acl_entry(store, acme, acl.id, Direction.INGRESS, SSH)
    with refused("NetworkAclEntryLimitExceeded", "IPv4"):
        acls.create_network_acl_entry(
            store, acme, acl.id, Direction.INGRESS, EntryRequest(number=1, allow=True, protocol="all", cidr="10.0.0.0/8")
        )
    acls.create_network_acl_entry(
        store, acme, acl.id, Direction.INGRESS, EntryRequest(number=2, allow=True, protocol="all", cidr="::/0")
    )
    limit(store, entries_per_acl=0)
    assert len(acls.delete_network_acl_entry(store, acme, acl.id, Direction.INGRESS, 2).ingress) == 1


def test_a_name_is_a_vpcs_once(store: Store, acme: Caller, vpc: Vpc, acl: NetworkAcl) -> None:
    for name in ("edge", "default", "no name"):
        with refused("InvalidParameterValue"):
            acls.create_network_acl(store, acme, vpc.id, name=name)
