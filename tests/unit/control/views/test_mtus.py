"""Notes on hosts with different MTUs, or with too small ones."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions.moves import complete_arrival, finish_departure, move_instance
from netorch.control.actions.repair import damaged
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.health import read_health
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.status import HostMtu
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import read_inventory
from netorch.spec import load_cloud
from netorch.store.base import Put, Store

CLOUD = """
vpcs:
- name: web
  cidrs: [10.0.0.0/16]
  IPV6
  subnets: [{name: a, cidr: 10.0.1.0/24}]
  instances: [{name: one, host: hv1}, {name: two, host: hv2}]
"""


def say(store: Store, **mtus: int) -> None:
    store.txn([], [Put(keys.host_mtu(host), msgspec.json.encode(HostMtu(mtu=mtu))) for host, mtu in mtus.items()])


def cloud(ipv6: bool = False, **hosts: str) -> str:
    text = CLOUD.replace("  IPV6\n", "  ipv6_cidrs: ['fd00:0:0:100::/56']\n" if ipv6 else "")
    for name, host in hosts.items():
        text = text.replace(f"{{name: {name}, host: {'hv1' if name == 'one' else 'hv2'}}}", f"{{name: {name}, host: {host}}}")
    return text


def notes(store: Store, caller: Caller, text: str) -> tuple[str, ...]:
    plan = plan_cloud(store, caller, load_cloud("vpc.yaml", text))
    apply_cloud(store, plan)
    return plan.notes


def test_plan_and_status_name_hosts_of_different_mtus_that_share_a_vpc(store: Store, operator: Caller, two_hosts: None) -> None:
    say(store, hv1=9050, hv2=1550)
    said = "the hosts' underlays have different MTUs (9050 on hv1, 1550 on hv2); senders use the smaller one"
    text = f"VPC default/web: {said}"
    assert notes(store, operator, cloud()) == (text,)
    health = read_health(store, 0.0)
    assert health.notes == (text,)
    assert [host.mtu for host in health.hosts] == [9050, 1550]
    assert not any("MTU" in problem for problem in health.problems)


@pytest.mark.parametrize("mtus", [{}, {"hv1": 9050}, {"hv1": 9050, "hv2": 9050}])
def test_equal_and_unknown_mtus_are_no_news(store: Store, operator: Caller, two_hosts: None, mtus: dict[str, int]) -> None:
    say(store, **mtus)
    assert notes(store, operator, cloud()) == ()
    assert read_health(store, 0.0).notes == ()


def test_a_plan_tells_of_the_hosts_where_instances_will_be(store: Store, operator: Caller, two_hosts: None) -> None:
    say(store, hv1=9050, hv2=1550)
    assert notes(store, operator, cloud(two="hv1")) == ()
    assert len(notes(store, operator, cloud())) == 1  # a move to the smaller host
    assert len(read_health(store, 0.0).notes) == 1
    move_on(store)
    assert notes(store, operator, cloud(two="hv1")) == ()
    assert read_health(store, 0.0).notes == ()


def move_on(store: Store) -> None:
    """Complete every move, as agents do."""
    for records in read_inventory(store).vpcs.values():
        for eni in records.of(NetworkInterface):
            complete_arrival(store, "hv2", eni)
            finish_departure(store, "hv1", eni)


@pytest.mark.parametrize(("ipv6", "mtu", "needed"), [(True, 1329, 1330), (False, 625, 626)])
def test_an_mtu_below_what_the_vpc_needs_is_a_problem(
    store: Store, operator: Caller, two_hosts: None, ipv6: bool, mtu: int, needed: int
) -> None:
    say(store, hv1=mtu, hv2=mtu)
    found = [note for note in notes(store, operator, cloud(ipv6)) if f"needs {needed}" in note]
    assert [note.partition(":")[0] for note in found] == ["host hv1", "host hv2"]
    assert set(found) <= set(read_health(store, 0.0).problems)
    say(store, hv1=needed, hv2=needed)
    assert not any("MTU" in problem for problem in read_health(store, 0.0).problems)


@pytest.mark.parametrize("value", [b"{", b'{"mtu": 0}'])
def test_a_damaged_mtu_is_told_and_stops_nothing(store: Store, operator: Caller, two_hosts: None, value: bytes) -> None:
    store.txn([], [Put(keys.host_mtu("hv1"), value)])
    assert notes(store, operator, cloud()) == ()
    assert damaged(store).keys() == {keys.host_mtu("hv1")}
    assert read_inventory(store).vpcs


def test_an_instance_that_moves_counts_where_it_goes(store: Store, operator: Caller, two_hosts: None) -> None:
    say(store, hv1=9050, hv2=1550)
    notes(store, operator, cloud())
    one = next(found.record for found in next(iter(read_inventory(store).vpcs.values())).of(Instance).values())
    move_instance(store, operator, one.id, "hv2" if one.name == "one" else "hv1")
    assert read_health(store, 0.0).notes == ()
