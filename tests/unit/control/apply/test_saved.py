"""A saved plan keeps the hosts that it chose while other instances come, and is refused when one of them accepts no more."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.control.actions import hosts, subnets, vpcs
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.control.actions.outside.drains import drain_host
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.apply.saved import SavedPlan, load, plan_again, save
from netorch.control.views.export import export_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.memory import MemoryStore
from tests.unit.control.conftest import refused

SUBNETS = [SubnetDecl(name="a", cidr="10.1.0.0/24")]
STATUS = encode(AgentStatus(version="1", pid=1, started_at=0.0))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def cloud_of(*instances: InstanceDecl) -> Cloud:
    return Cloud(vpcs=[VpcDecl(name="v", cidrs=["10.1.0.0/16"], subnets=SUBNETS, instances=list(instances))])


FREE = cloud_of(*(InstanceDecl(name=f"i{number}") for number in range(3)))


def add_hosts(store: MemoryStore, operator: Caller, count: int = 20) -> None:
    for number in range(count):
        capacity = 9 * (number % 2)  # placements rewrite the keys of hosts that have one
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number + 1}", capacity=capacity)


def saved(store: MemoryStore, operator: Caller, cloud: Cloud) -> SavedPlan:
    plan = plan_cloud(store, operator, cloud)
    return load("plan", save(store, operator, plan, source="", cloud=""))


def chosen(plan: SavedPlan) -> dict[str, str]:
    """Return the hosts of a plan's new instances."""
    return {change.name: change.hosts[0] for change in plan.changes if change.kind == "instance"}


def placed(store: MemoryStore, vpc: str) -> dict[str, str]:
    """Return the hosts of a VPC's instances."""
    return {decl.name: decl.host for found in export_cloud(store).vpcs if found.name == vpc for decl in found.instances}


@pytest.mark.parametrize("top", [False, True])
def test_it_is_applied_with_its_hosts_whatever_else_is_placed(
    store: MemoryStore, acme: Caller, operator: Caller, top: bool
) -> None:
    add_hosts(store, operator)
    vpc = vpcs.create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    subnet = subnets.create_subnet(store, acme, vpc.id, name="a", cidr="10.0.0.0/24")
    cloud = Cloud(instances=FREE.vpcs[0].instances) if top else FREE
    plan = saved(store, operator, cloud)
    for host in sorted({*chosen(plan).values()}):
        for _ in range(3):
            run_instance(store, acme, RunRequest(subnet=subnet.id, host=host))
        store.txn([], [Put(keys.agent_status(host), STATUS), Put(keys.host_live(host), b"{}")])
    apply_cloud(store, plan_again(store, operator, plan, cloud, lambda path: True))
    assert placed(store, "default" if top else "v") == chosen(plan)


def test_planning_the_same_store_again_chooses_the_same_hosts(store: MemoryStore, operator: Caller) -> None:
    add_hosts(store, operator)
    assert chosen(saved(store, operator, FREE)) == chosen(saved(store, operator, FREE))


def silence(store: MemoryStore, operator: Caller, host: str) -> None:
    del operator
    store.txn([], [Put(keys.agent_status(host), STATUS)])  # its agent has run, and does no longer


@pytest.mark.parametrize(("close", "why"), [(drain_host, "drained"), (silence, "under-assessment")])
def test_it_is_refused_when_a_chosen_host_accepts_no_more_but_not_for_a_host_that_the_file_names(
    store: MemoryStore, operator: Caller, close: Callable[[MemoryStore, Caller, str], object], why: str
) -> None:
    add_hosts(store, operator, 2)
    named = cloud_of(InstanceDecl(name="i", host="hv1"))
    plan, of_file = saved(store, operator, FREE), saved(store, operator, named)
    close(store, operator, "hv1")
    with refused("IncorrectState", f"host hv1 is to get instances and is {why}; plan again"):
        plan_again(store, operator, plan, FREE, lambda path: True)
    if why == "drained":
        with refused("IncorrectState", "choose another host"):
            plan_again(store, operator, of_file, named, lambda path: True)
    else:
        apply_cloud(store, plan_again(store, operator, of_file, named, lambda path: True))
        assert placed(store, "v") == {"i": "hv1"}


def test_it_may_place_instances_on_a_host_that_it_makes(store: MemoryStore, operator: Caller) -> None:
    cloud = msgspec.structs.replace(FREE, hosts=[HostDecl(name="hv1", underlay="192.0.2.1")])
    apply_cloud(store, plan_again(store, operator, saved(store, operator, cloud), cloud, lambda path: True))
    assert {*placed(store, "v").values()} == {"hv1"}
