from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import hosts, instances, vpcs
from netorch.control.actions.instances import RunRequest
from netorch.errors import ApiError
from netorch.model.eni import Host, Role
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.inventory import read_inventory
from netorch.store.base import Put, Store


def test_a_created_host_is_stored_where_its_agent_looks(store: Store, operator: Caller) -> None:
    host = hosts.create_host(store, operator, name="hv1", underlay="192.0.2.11", role=Role.EDGE, tags={"rack": "7"})
    kv = store.get("host/hv1/spec")
    assert kv is not None
    assert decode(kv, Host) == host


def test_a_second_host_of_a_name_is_refused(store: Store, operator: Caller, two_hosts: None) -> None:
    with pytest.raises(ApiError, match=r"host 'hv1': the name is in use") as refusal:
        hosts.create_host(store, operator, name="hv1", underlay="192.0.2.99")
    assert refusal.value.code == "InvalidParameterValue"


def test_two_hosts_cannot_share_an_underlay_address(store: Store, operator: Caller, two_hosts: None) -> None:
    with pytest.raises(ApiError, match=r"another host has the underlay address 192\.0\.2\.11"):
        hosts.create_host(store, operator, name="hv3", underlay="192.0.2.11")


def test_an_ipv6_underlay_is_refused(store: Store, operator: Caller) -> None:
    with pytest.raises(ApiError, match="IPv4"):
        hosts.create_host(store, operator, name="hv1", underlay="2001:db8::1")


def test_a_host_lives_while_its_agent_holds_the_live_key(store: Store, operator: Caller, two_hosts: None) -> None:
    store.txn([], [Put(keys.host_live("hv2"), b"{}", store.grant(60))])
    assert [(info.host.name, info.live) for info in hosts.describe_hosts(read_inventory(store).hosts, {})] == [
        ("hv1", False),
        ("hv2", True),
    ]


def test_a_host_with_interfaces_is_not_deleted_and_may_be_used_again(
    store: Store, operator: Caller, acme: Caller, two_hosts: None
) -> None:
    placed = instances.run_instance(store, acme, RunRequest(host="hv1"))
    with pytest.raises(ApiError, match=r"host hv1: still has 1 network interface") as refusal:
        hosts.delete_host(store, operator, "hv1")
    assert refusal.value.code == "DependencyViolation"
    assert instances.run_instance(store, acme, RunRequest(host="hv1")).host.name == "hv1"
    assert placed.host.name == "hv1"


def test_a_deleted_host_leaves_nothing(store: Store, operator: Caller) -> None:
    hosts.create_host(store, operator, name="hv1", underlay="192.0.2.11")
    status = msgspec.json.encode(AgentStatus(version="1", pid=1, started_at=0.0))
    store.txn([], [Put(keys.agent_status("hv1"), status)])
    hosts.delete_host(store, operator, "hv1")
    assert store.list("").kvs == ()


def test_nothing_is_placed_on_a_host_that_is_being_deleted(store: Store, acme: Caller, two_hosts: None) -> None:
    vpcs.create_default_vpc(store, acme)
    store.txn([], [Put(keys.host_drain("hv1"), b'"hv1"')])
    with pytest.raises(ApiError, match=r"host hv1: is being deleted"):
        instances.run_instance(store, acme, RunRequest(host="hv1"))
    assert instances.run_instance(store, acme, RunRequest()).host.name == "hv2"


def test_a_missing_host_is_named(store: Store, operator: Caller) -> None:
    with pytest.raises(ApiError, match=r"host 'hv9': does not exist") as refusal:
        hosts.describe_host(store, operator, "hv9")
    assert refusal.value.code == "InvalidHostID.NotFound"
