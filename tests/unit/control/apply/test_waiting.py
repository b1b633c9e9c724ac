"""Waiting for a plan's instances reads its VPCs once, and then only what can still change of those that do not run."""

from __future__ import annotations

from netorch.control.actions.instances import terminate_instance
from netorch.control.actions.moves import complete_arrival, move_instance
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.apply.waiting import PlannedInstances
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import EniState, EniStatus, primary_eni_id
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.store.base import KeyValue, Put, Range
from netorch.store.memory import MemoryStore

OPERATOR = Caller(operator=True)
HOSTS = ("hv1", "hv2", "hv3")


class CountingStore(MemoryStore):
    """Notes the keys and prefixes that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, key: str) -> KeyValue | None:
        self.read.append(key)
        return super().get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        self.read.append(prefix)
        return super().list(prefix, revision)


def vpc(number: int, hosts: tuple[str, ...]) -> VpcDecl:
    instances = [InstanceDecl(name=f"i{each}", host=host) for each, host in enumerate(hosts)]
    subnets = [SubnetDecl(name="app", cidr="10.0.0.0/24")]
    return VpcDecl(
        name=f"v{number}", owner="acme", vni=5000 + number, cidrs=["10.0.0.0/16"], subnets=subnets, instances=instances
    )


def planned(store: MemoryStore, beside: int) -> PlannedInstances:
    """Return the instances of a VPC that a plan adds beside others on the same hosts."""
    hosts = [HostDecl(name=name, underlay=f"192.0.2.{number}") for number, name in enumerate(HOSTS, 1)]
    others = [vpc(number, HOSTS) for number in range(1, beside + 1)]
    apply_cloud(store, plan_cloud(store, OPERATOR, Cloud(hosts=hosts, vpcs=others)))
    plan = plan_cloud(store, OPERATOR, Cloud(vpcs=[vpc(0, HOSTS)]))
    apply_cloud(store, plan)
    return PlannedInstances(store, OPERATOR, plan)


def attach(store: MemoryStore, found: PlannedInstances, host: str) -> None:
    """Let a host report the instances placed on it."""
    enis = [interface.eni.id for info in found.found for interface in info.interfaces if info.host == host]
    store.txn((), [Put(keys.host_live(host), b"{}"), *(Put(keys.eni_status(host, eni), ATTACHED) for eni in enis)])


ATTACHED = encode(EniStatus(state=EniState.ATTACHED))


def test_reads_do_not_grow_with_the_cloud_and_end_with_the_instances_that_run() -> None:
    read = {}
    for beside in (1, 20):
        store = CountingStore()
        found = planned(store, beside)
        looks = []
        for host in (None, "hv1", "hv2", "hv3"):
            if host is not None:
                attach(store, found, host)
            store.read.clear()
            found.look_again()
            found.absent()
            looks.append(len(store.read))
            assert "" not in store.read
        assert found.waiting(found.hosts()) == []
        assert found.running(()) == len(HOSTS)
        read[beside] = looks
    assert read[1] == read[20]
    assert read[1] == sorted(read[1], reverse=True)
    assert read[1][-1] == 2 + len(HOSTS)  # of the last instance that waits, and whether each host lives


def test_an_instance_that_moves_meanwhile_is_awaited_and_one_that_ends_is_not() -> None:
    store = MemoryStore()
    found = planned(store, 1)
    moving, ending, staying = (info.instance.id for info in found.found)
    move_instance(store, OPERATOR, moving, "hv2")
    terminate_instance(store, OPERATOR, ending)
    attach(store, found, "hv1")
    found.look_again()
    assert {info.instance.id: info.state.value for info in found.waiting(HOSTS)} == {moving: "moving", staying: "pending"}
    eni = primary_eni_id(moving)
    assert complete_arrival(store, "hv2", eni)
    store.txn((), [Put(keys.eni_status("hv2", eni), ATTACHED)])
    found.look_again()
    assert [(info.host, info.state.value) for info in found.found] == [("hv2", "running"), ("hv3", "pending")]


def test_only_hosts_of_the_plan_that_carry_its_instances_can_be_absent() -> None:
    store = MemoryStore()
    found = planned(store, 1)
    assert found.absent() == dict.fromkeys(HOSTS, False)
    store.txn((), [Put(keys.agent_status("hv1"), encode(AgentStatus(version="", pid=1, started_at=0.0)))])
    attach(store, found, "hv2")
    assert found.absent() == {"hv1": True, "hv3": False}
