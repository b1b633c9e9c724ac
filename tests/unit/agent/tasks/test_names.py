"""Instances' own names on a host that follows their VPC, and the cost of a changed interface."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import NetworkInterface
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.daemons.services.names import NameRecord
from netorch.store.base import Put
from netorch.store.memory import MemoryStore
from tests.unit.agent.test_effort import Taking, calls, clock


def vpc_of(instances: int) -> Cloud:
    """Return a VPC with host names: one instance on hv1, the others on hv2.

    No other test has these names: a name that this process has checked before costs less.
    """
    hosts = [HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")]
    made = [
        InstanceDecl(name=f"named-{number}", host="hv2" if number else "hv1", address=f"10.44.12.{10 + number}")
        for number in range(instances)
    ]
    subnet = SubnetDecl(name="a", cidr="10.44.12.0/24")
    return Cloud(
        hosts=hosts, vpcs=[VpcDecl(name="v", cidrs=["10.44.0.0/16"], enable_dns_hostnames=True, subnets=[subnet], instances=made)]
    )


def declare(store: MemoryStore, instances: int) -> None:
    """Store a VPC with this many instances."""
    apply_cloud(store, plan_cloud(store, Caller(operator=True), vpc_of(instances)))


def started(instances: int, directory: Path) -> tuple[MemoryStore, Agent]:
    """Return a store with this many instances, and the agent of hv1."""
    store = MemoryStore()
    declare(store, instances)
    agent = Agent("hv1", Taking(), lambda: store, SnapshotFile(directory / f"{instances}"), load_compilers(), clock)
    agent.start()
    return store, agent


def interface_at(store: MemoryStore, address: str) -> NetworkInterface:
    """Return the interface with an address."""
    (records,) = read_inventory(store).vpcs.values()
    return next(eni for eni in records.each(NetworkInterface) if eni.address == address)


def named(agent: Agent, vni: int) -> dict[str, tuple[str, ...]]:
    """Return the desired names of the host's daemon."""
    return {obj.name: obj.values for obj in agent.reconciler.slices[vni].desired.values() if isinstance(obj, NameRecord)}


def test_a_changed_interface_costs_the_same_however_many_names_its_vpc_has(tmp_path: Path) -> None:
    costs = []
    for instances in (2, 5, 20, 80):
        store, agent = started(instances, tmp_path)
        eni = interface_at(store, "10.44.12.11")
        assert len(named(agent, eni.vni)) == instances
        each = []
        for tag in ("first", "second"):
            store.txn((), [Put(keys.resource(eni.id), encode(msgspec.structs.replace(eni, tags={"k": tag})))])
            each.append(calls(agent.turn))
        before = agent.reconciler.writes
        declare(store, instances + 1)
        each.append(calls(agent.turn))
        assert len(named(agent, eni.vni)) == instances + 1
        new = named(agent, eni.vni)[f"{interface_at(store, f'10.44.12.{10 + instances}').instance}.compute.internal"]
        assert new == (f"10.44.12.{10 + instances}",)
        each.append(agent.reconciler.writes - before)
        costs.append(each)
    assert costs[2:] == costs[1:-1]  # the very first one imports


def test_a_name_follows_its_interface_and_goes_with_it(tmp_path: Path) -> None:
    store, agent = started(3, tmp_path)
    eni = interface_at(store, "10.44.12.11")
    name, vni = f"{eni.instance}.compute.internal", eni.vni
    for change, wanted in ((b"{", True), (encode(msgspec.structs.replace(eni, instance="")), False), (encode(eni), True)):
        store.txn((), [Put(keys.resource(eni.id), change)])
        agent.turn()
        assert (name in named(agent, vni)) is wanted
        if change != b"{":
            assert agent.reconciler.recomputed(vni) == agent.reconciler.slices[vni].desired
    declare(store, 1)
    agent.turn()
    assert list(named(agent, vni).values()) == [("10.44.12.10",)]
