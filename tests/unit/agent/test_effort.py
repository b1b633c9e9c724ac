"""The cost of an agent's start in function calls, which do not depend on the machine's load."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType

import msgspec

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    Cloud,
    EgressDecl,
    HostDecl,
    IngressDecl,
    InstanceDecl,
    NetworkAclDecl,
    SecurityGroupDecl,
    SubnetDecl,
    VpcDecl,
)
from netorch.model.eni import Attachment
from netorch.model.mapping import Mapping
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import KernelObject, Key
from netorch.state.op import Delete, Failure, Op
from netorch.store.base import Put
from netorch.store.memory import MemoryStore
from tests.rig.seats import gateway_of, seat_gateway

EDGES = {"e1": "192.0.2.21", "e2": "192.0.2.22"}
SIZES = (5, 20, 80)
OPERATIONS = 9  # of a mapping that moves to another host: its route and element, and the objects for the hosts
SWITCH_CALLS = 1_170  # of a VPC with a gateway and three routes to it: a fifth above the current number
# Of such a VPC, which has 60 objects: a fiftieth above the current numbers, i.e. one object more. An object of a first start
# costs 114 calls, one of a restart 97; before there were flowtables, a VPC had 50 objects, of 118 and 103 calls. Some calls of a
# first start, up to five a VPC, depend on the order of sets.
BUILD_CALLS, RESTART_CALLS = 6_990, 5_955


class Taking(FakeKernel):
    """A kernel that accepts all operations at negligible cost."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[Key, KernelObject] = {}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Record the operations."""
        self.taken |= {op.obj.key: op.obj for op in ops if not isinstance(op, Delete)}
        return []

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        """Return the recorded objects."""
        return dict(self.taken)


def cloud(vpcs: int) -> Cloud:
    """Return VPCs with a typical policy, each with one instance on this host and one on another."""
    entry = AclEntryDecl(rule=100, action=AclAction.ALLOW, protocol="tcp", cidr="0.0.0.0/0")
    web = [
        IngressDecl(protocol="tcp", ports="443", source="0.0.0.0/0"),
        IngressDecl(protocol="tcp", ports="8000-8100", source="sg-db"),
    ]
    db = [EgressDecl(protocol="tcp", ports="8000-8100", destination="sg-web")]
    return Cloud(
        hosts=[HostDecl(name="hv1", underlay="192.0.2.11"), HostDecl(name="hv2", underlay="192.0.2.12")],
        vpcs=[
            VpcDecl(
                name=f"vpc-{number}",
                cidrs=["10.44.0.0/16"],
                security_groups=[SecurityGroupDecl(name="web", ingress=web), SecurityGroupDecl(name="db", egress=db)],
                network_acls=[NetworkAclDecl(name="edge", ingress=[entry], egress=[entry])],
                subnets=[SubnetDecl(name="a", cidr="10.44.12.0/24", network_acl="edge")],
                instances=[
                    InstanceDecl(
                        name=f"on-{host}",
                        host=host,
                        address=f"10.44.12.{last}",
                        attachment=Attachment.TAP,
                        security_groups=[group],
                    )
                    for last, host, group in ((4, "hv1", "web"), (5, "hv2", "db"))
                ],
            )
            for number in range(vpcs)
        ],
    )


def clock() -> float:
    """Return a constant time, so that no timer expires."""
    return 0.0


def calls(action: Callable[[], object]) -> int:
    """Return the number of functions that an action calls, including those in C."""
    number = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # otherwise it could run finalizers of other tests' objects
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
        gc.enable()
    return number


def started(vpcs: int, directory: Path) -> tuple[Agent, MemoryStore]:
    """Return an idle agent of a host with this many VPCs, and its store."""
    store = MemoryStore()
    apply_cloud(store, plan_cloud(store, Caller(operator=True), cloud(vpcs)))
    agent = Agent("hv1", Taking(), lambda: store, SnapshotFile(directory / f"{vpcs}.snapshot"), load_compilers(), clock)
    agent.start()
    agent.turn()
    return agent, store


def starts(vpcs: int, directory: Path) -> list[int]:
    """Return the numbers of function calls of a first start and of a restart."""
    store, kernel = MemoryStore(), Taking()
    apply_cloud(store, plan_cloud(store, Caller(operator=True), cloud(vpcs)))
    costs = []
    for turn in range(2):
        snapshot = SnapshotFile(directory / f"{vpcs}-{turn}.snapshot")
        agent = Agent("hv1", kernel, lambda: store, snapshot, load_compilers(), clock)
        costs.append(calls(agent.start))
        assert not agent.reconciler.problems
        assert agent.reconciler.writes == (0 if turn else len(kernel.taken))
    return costs


def test_another_vpc_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    starts(1, tmp_path)  # imports, and values that are computed once for all VPCs
    found = [starts(vpcs, tmp_path) for vpcs in SIZES]
    for costs, most in zip(zip(*found, strict=True), (BUILD_CALLS, RESTART_CALLS), strict=True):
        each = [(after - before) / (more - fewer) for (fewer, before), (more, after) in pairwise(zip(SIZES, costs, strict=True))]
        assert each[1] < 1.02 * each[0]
        assert each[1] < most


def test_a_restarted_agent_keeps_no_object_twice(tmp_path: Path) -> None:
    _, store = started(3, tmp_path)
    kernel = Taking()
    for _ in range(2):
        agent = Agent("hv1", kernel, lambda: store, SnapshotFile(tmp_path / "twice.snapshot"), load_compilers(), clock)
        agent.start()
    slices = agent.reconciler.slices.values()
    assert sum(len(each.desired) for each in slices) > 100
    assert all(each.actual[key] is obj for each in slices for key, obj in each.desired.items())


def move_away(store: MemoryStore, key: str, vtep: str) -> None:
    """Move an address to another host."""
    known = store.get(key)
    assert known is not None
    mapping = msgspec.json.decode(known.value, type=Mapping)
    store.txn((), [Put(key, msgspec.json.encode(msgspec.structs.replace(mapping, vtep=vtep)))])


def test_a_changed_mapping_costs_the_same_whatever_else_the_host_holds(tmp_path: Path) -> None:
    found = []
    for vpcs in (1, *SIZES):
        agent, store = started(vpcs, tmp_path)
        key = next(kv.key for kv in store.list("map/").kvs if kv.key.endswith(".5"))
        move_away(store, key, "192.0.2.13")  # the first change creates objects that later ones reuse
        agent.turn()
        move_away(store, key, "192.0.2.14")
        writes, followed = agent.reconciler.writes, agent._prefixes()
        cost = calls(agent.turn)
        assert agent._prefixes() is followed
        found.append((cost, agent.reconciler.writes - writes, calls(agent.turn)))
    assert found[2:] == found[1:-1]  # the very first one imports modules
    assert found[-1][1] == OPERATIONS


def lead_outside(store: MemoryStore) -> None:
    """Give each VPC a gateway, and its main table three routes to it."""
    for vni, records in read_inventory(store).vpcs.items():
        seat_gateway(store, vni, EDGES)
        table = records.main_table()
        assert table is not None
        routes = tuple(VpcRoute(destination=dst, target=gateway_of(vni)) for dst in ("0.0.0.0/0", "8.0.0.0/8", "9.0.0.0/8"))
        store.txn((), [Put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))])


def test_another_edge_costs_each_vpc_one_operation_and_the_same_however_many_there_are(tmp_path: Path) -> None:
    each = []
    for vpcs in (1, *SIZES):
        agent, store = started(vpcs, tmp_path)
        lead_outside(store)
        agent.turn()
        agent.records.set_silent({EDGES["e1"]})
        agent.turn()
        writes = agent.reconciler.writes
        agent.records.set_silent({EDGES["e2"]})
        cost = calls(agent.turn)
        assert agent.reconciler.writes - writes == vpcs
        each.append(cost / vpcs)
    assert each[-1] < each[1]
    assert each[-1] < SWITCH_CALLS
