"""DNS support of a VPC: by commands, by files, and in the objects that compilers yield."""

from __future__ import annotations

import pytest

from netorch.control.actions.services.attributes import modify_vpc
from netorch.control.actions.vpcs import create_default_vpc, create_vpc
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_inventory
from netorch.errors import ApiError
from netorch.model.services.near import METADATA, RESOLVER, near_addresses, resolvers
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.spec import load_cloud
from netorch.store.memory import MemoryStore

FILE = "vpcs:\n- {name: acme, cidrs: [10.44.0.0/20, 10.9.0.0/16]%s}\n"
CALLER = Caller(owner="default", operator=True)


def apply(store: MemoryStore, more: str) -> int:
    """Apply a file, and return the number of its changes."""
    plan = plan_cloud(store, CALLER, load_cloud("vpc.yaml", FILE % more))
    apply_cloud(store, plan)
    return len(plan.changes)


def test_names_are_asked_for_behind_the_router_of_the_primary_range_and_at_ec2s_address() -> None:
    store = MemoryStore()
    vpc = create_vpc(store, CALLER, name="acme", cidrs=["10.44.0.0/20", "10.9.0.0/16"])
    assert resolvers(vpc) == ("10.44.0.2", RESOLVER)
    assert near_addresses(vpc) == ("10.44.0.2", RESOLVER, METADATA)
    off = modify_vpc(store, CALLER, vpc.id, enable_dns_support=False)
    assert resolvers(off) == ()
    assert near_addresses(off) == (METADATA,)
    revision = store.revision()
    assert modify_vpc(store, CALLER, vpc.id, enable_dns_support=False) == off
    assert store.revision() == revision


def test_a_file_says_whether_names_are_answered_and_an_export_says_it_again() -> None:
    store = MemoryStore()
    assert apply(store, ", enable_dns_support: false") == 1
    (decl,) = export_inventory(read_inventory(store), CALLER).vpcs
    assert not decl.enable_dns_support
    assert apply(store, ", enable_dns_support: false") == 0
    assert apply(store, "") == 1
    (decl,) = export_inventory(read_inventory(store), CALLER).vpcs
    assert decl.enable_dns_support


def test_host_names_are_on_in_the_default_vpc_and_need_dns_support() -> None:
    store = MemoryStore()
    assert create_default_vpc(store, CALLER).has_hostnames
    vpc = create_vpc(store, CALLER, name="acme", cidrs=["10.44.0.0/20"])
    assert not vpc.has_hostnames
    assert modify_vpc(store, CALLER, vpc.id, enable_dns_hostnames=True).has_hostnames
    assert not modify_vpc(store, CALLER, vpc.id, enable_dns_support=False).has_hostnames
    with pytest.raises(ApiError, match="need DNS support"):
        modify_vpc(store, CALLER, vpc.id, enable_dns_hostnames=True)
    assert modify_vpc(store, CALLER, vpc.id, enable_dns_support=True, enable_dns_hostnames=True).has_hostnames
    with pytest.raises(ApiError, match="MissingParameter"):
        modify_vpc(store, CALLER, vpc.id)


def test_a_file_leaves_host_names_to_ec2s_default_or_says_so() -> None:
    store = MemoryStore()

    def stored() -> dict[str, Vpc]:
        return {records.vpc.record.name: records.vpc.record for records in read_inventory(store).vpcs.values()}

    for more, wanted in (("", False), (", enable_dns_hostnames: true", True), (", enable_dns_hostnames: false", False)):
        assert apply(store, more) == 1
        assert stored()["acme"].enable_dns_hostnames == wanted
        assert apply(store, more) == 0
