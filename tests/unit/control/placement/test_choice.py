"""Which hypervisor an instance without a host gets: how good the choice is, what it costs, and who may interfere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.control.actions import hosts, repair
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.placement.choice import CHOICES, COMPLETED, Accepting, PlannedHosts, sample
from netorch.errors import ApiError
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Host, Role
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.hosts import HostState
from netorch.records.inventory import read_inventory
from netorch.store.base import Compare, Delete, Put, Store, TxnResult
from netorch.store.memory import MemoryStore
from netorch.store.rules import MAX_OPS
from tests.unit.control.conftest import refused
from tests.unit.control.placement.world import Watched, one_of, wide_subnet

MANY = 100_000
DEAD = AgentStatus(version="1", pid=1, started_at=0.0)


def add_hosts(store: Store, count: int) -> None:
    """Write what a choice reads of hypervisors. The keys are sorted, because a `MemoryStore` inserts those fastest."""
    made = [Host(name=f"h{number}", underlay=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}") for number in range(count)]
    records = {keys.host_spec(host.name): encode(host) for host in made}
    records |= {keys.accepts(host.name): encode(host.name) for host in made}
    ops = [Put(key, records[key]) for key in sorted(records)]
    for first in range(0, len(ops), MAX_OPS):
        store.txn([], ops[first : first + MAX_OPS])


def accepting_of(names: Sequence[str]) -> Callable[[str], Accepting]:
    return PlannedHosts(
        {name: HostState(host=Host(name=name, underlay="192.0.2.1"), mod_revision=1) for name in names}, None
    ).accepting


@given(st.integers(0, 60), st.text(max_size=8))
def test_a_sample_has_every_host_once(count: int, seed: str) -> None:
    names = [f"hv{number}" for number in range(count)]
    assert sorted(sample(accepting_of(names), seed)) == sorted(names)


@pytest.mark.parametrize("count", [3, 20, 400])
def test_hosts_are_drawn_equally_often(count: int) -> None:
    accepting = accepting_of([f"hv{number}" for number in range(count)])
    draws = 40 * count
    seen = Counter(next(sample(accepting, f"{number}")) for number in range(draws))
    assert len(seen) > 0.95 * count
    assert max(seen.values()) <= 4 * draws / count


def test_four_choices_spread_a_load_evenly() -> None:
    accepting = accepting_of([f"hv{number}" for number in range(256)])
    load: Counter[str] = Counter()
    for number in range(256 * 20):
        load[min(islice(sample(accepting, f"i-{number}"), CHOICES), key=lambda name: load[name])] += 1
    assert max(load.values()) <= 20 + 4


def test_a_choice_among_100000_hosts_reads_as_few_keys_as_among_a_hundred(acme: Caller) -> None:
    reads = {}
    for count in (100, MANY):
        store = Watched()
        add_hosts(store, count)
        subnet = wide_subnet(store, acme)
        few = Cloud(
            vpcs=[
                VpcDecl(
                    name="file",
                    owner="acme",
                    cidrs=["10.1.0.0/16"],
                    subnets=[SubnetDecl(name="a", cidr="10.1.0.0/24")],
                    instances=[InstanceDecl(name=name) for name in ("one", "two")],
                )
            ]
        )
        store.read = 0
        one_of(store, acme, subnet)
        run, store.read = store.read, 0
        plan = plan_cloud(store, acme, few)
        reads[count] = (run, store.read)
        apply_cloud(store, plan)
        assert sum("/placement/" in kv.key for kv in store.list("host/").kvs) == 3
    for small, large in zip(reads[100], reads[MANY], strict=True):
        assert large <= small + 150, reads


def test_instances_of_a_vpc_are_spread_before_hosts_are_filled_evenly(store: Store, acme: Caller, operator: Caller) -> None:
    for number in range(4):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number + 1}")
    full, other = wide_subnet(store, acme, "full"), wide_subnet(store, acme, "other")
    for _ in range(3):
        one_of(store, acme, full, host="hv0")
    assert sorted(one_of(store, acme, other) for _ in range(4)) == ["hv0", "hv1", "hv2", "hv3"]
    assert {one_of(store, acme, full) for _ in range(3)} == {"hv1", "hv2", "hv3"}


def test_a_file_spreads_its_instances(store: Store, operator: Caller) -> None:
    for number in range(4):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number + 1}")
    subnet = SubnetDecl(name="a", cidr="10.1.0.0/24")
    decl = VpcDecl(name="v", cidrs=["10.1.0.0/16"], subnets=[subnet], instances=[InstanceDecl(name=f"i{n}") for n in range(8)])
    cloud = Cloud(vpcs=[decl])
    apply_cloud(store, plan_cloud(store, operator, cloud))
    assert [state.placements for state in read_inventory(store).hosts.values()] == [2, 2, 2, 2]
    assert not plan_cloud(store, operator, cloud).steps


def test_hosts_that_seem_dead_and_drained_ones_get_no_instance(
    store: Store, acme: Caller, operator: Caller, two_hosts: None
) -> None:
    subnet = wide_subnet(store, acme)
    store.txn([], [Put(keys.agent_status("hv1"), encode(DEAD))])  # it has run, and has no lease
    assert {one_of(store, acme, subnet) for _ in range(4)} == {"hv2"}
    drain_host(store, operator, "hv2")
    with refused("InsufficientInstanceCapacity", "1 is under-assessment"):
        one_of(store, acme, subnet)
    with refused("IncorrectState", "hv2: is drained"):
        one_of(store, acme, subnet, host="hv2")
    undrain_host(store, operator, "hv2")
    assert one_of(store, acme, subnet) == "hv2"
    assert not repair.damaged(store)


@pytest.mark.parametrize("how", ["run", "file"])
def test_a_drained_host_and_an_edge_with_the_key_of_an_older_netorch_get_no_instance(
    store: Store, acme: Caller, operator: Caller, two_hosts: None, how: str
) -> None:
    subnet = wide_subnet(store, acme)
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.9", role=Role.EDGE)
    store.txn([], [Put(keys.host_drained("hv1"), encode("hv1")), Put(keys.accepts("e1"), encode("e1"))])
    if how == "run":
        assert {one_of(store, acme, subnet) for _ in range(4)} == {"hv2"}
    else:
        decl = VpcDecl(
            name="v",
            cidrs=["10.1.0.0/16"],
            subnets=[SubnetDecl(name="a", cidr="10.1.0.0/24")],
            instances=[InstanceDecl(name=f"i{n}") for n in range(4)],
        )
        apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[decl])))
    assert {name: state.placements for name, state in read_inventory(store).hosts.items()} == {"e1": 0, "hv1": 0, "hv2": 4}
    store.txn([], [Put(keys.host_drained("hv2"), encode("hv2"))])
    with refused("InsufficientInstanceCapacity", "2 are drained"):
        one_of(store, acme, subnet)


@pytest.mark.parametrize("host", ["", "hv2"])
def test_a_host_that_is_drained_meanwhile_gets_no_instance(acme: Caller, operator: Caller, host: str) -> None:
    store = Watched()
    for number in (1, 2):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number}")
    subnet = wide_subnet(store, acme)
    one_of(store, acme, subnet, host="hv1")  # so that hv2 is the better one
    store.meanwhile = lambda: drain_host(store, operator, "hv2")
    if host:
        with refused("IncorrectState", "is drained"):
            one_of(store, acme, subnet, host=host)
    else:
        assert one_of(store, acme, subnet) == "hv1"
    assert read_inventory(store).hosts["hv2"].placements == 0


def test_a_host_that_is_deleted_meanwhile_gets_no_instance(acme: Caller, operator: Caller) -> None:
    store = Watched()
    for number in (1, 2):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"192.0.2.{number}")
    subnet = wide_subnet(store, acme)
    one_of(store, acme, subnet, host="hv1")
    store.meanwhile = lambda: hosts.delete_host(store, operator, "hv2")
    assert one_of(store, acme, subnet) == "hv1"
    assert [kv.key for kv in store.list(keys.accepting()).kvs] == [keys.accepts("hv1")]


def test_a_host_is_not_deleted_under_an_instance_that_is_placed_meanwhile(acme: Caller, operator: Caller) -> None:
    store = Watched()
    hosts.create_host(store, operator, name="hv1", underlay="192.0.2.1")
    subnet = wide_subnet(store, acme)
    store.meanwhile = lambda: one_of(store, acme, subnet)
    with pytest.raises(ApiError, match="hv1"):
        hosts.delete_host(store, operator, "hv1")
    assert one_of(store, acme, subnet) == "hv1"


def test_a_plan_does_not_place_on_a_host_that_was_drained_since(store: Store, operator: Caller, two_hosts: None) -> None:
    subnet = SubnetDecl(name="a", cidr="10.1.0.0/24")
    decl = VpcDecl(name="v", cidrs=["10.1.0.0/16"], subnets=[subnet], instances=[InstanceDecl(name="i")])
    cloud = Cloud(vpcs=[decl])
    plan = plan_cloud(store, operator, cloud)
    for name in ("hv1", "hv2"):
        drain_host(store, operator, name)
    undrain_host(store, operator, "hv1")
    apply_cloud(store, plan, again=lambda: plan_cloud(store, operator, cloud))
    assert {name: state.placements for name, state in read_inventory(store).hosts.items()} == {"hv1": 1, "hv2": 0}


@pytest.mark.parametrize("how", ["run", "run there", "file"])
@pytest.mark.parametrize("then", ["create", "file", "undrain", "capacity", "capacity in a file"])
def test_a_store_of_an_older_netorch_works_and_is_completed_by_the_next_host(
    store: Store, acme: Caller, operator: Caller, two_hosts: None, how: str, then: str
) -> None:
    missing = {keys.accepts("hv1"), keys.accepts("hv2")}
    store.txn([], [Delete(key) for key in missing])
    if how == "file":
        subnet = SubnetDecl(name="a", cidr="10.1.0.0/24")
        decl = VpcDecl(name="v", cidrs=["10.1.0.0/16"], subnets=[subnet], instances=[InstanceDecl(name="i")])
        apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[decl])))
        assert sum(state.placements for state in read_inventory(store).hosts.values()) == 1
    else:
        assert one_of(store, acme, wide_subnet(store, acme), host="hv1" if how == "run there" else "")
    assert set(repair.damaged(store)) == missing  # none has a key, so each is still chosen
    if then == "create":
        hosts.create_host(store, operator, name="hv3", underlay="192.0.2.3")
    elif then == "undrain":
        undrain_host(store, operator, "hv2")
    elif then == "capacity":
        hosts.set_capacity(store, operator, "hv1", 100)
    else:
        hv1 = HostDecl(name="hv1", underlay="192.0.2.11", capacity=100)
        hv3 = HostDecl(name="hv3", underlay="192.0.2.3")
        apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=[hv3 if then == "file" else hv1])))
    assert not repair.damaged(store)


class Ending(MemoryStore):
    """A store whose caller is killed after so many transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1  # any number

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().txn(compares, ops)


@pytest.mark.parametrize("how", ["command", "file"])
def test_the_next_completion_of_an_older_store_completes_an_interrupted_one(operator: Caller, how: str) -> None:
    store = Ending()
    for number in range(2 * COMPLETED):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"10.0.0.{number}")
    hosts.create_host(store, operator, name="e1", underlay="10.0.1.1", role=Role.EDGE)
    drain_host(store, operator, "hv7")
    store.txn([], [Delete(kv.key) for kv in store.list(keys.accepting()).kvs])

    def complete() -> None:
        if how == "file":
            apply_cloud(store, plan_cloud(store, operator, Cloud(hosts=[HostDecl(name="new", underlay="192.0.2.1")])))
        else:
            hosts.create_host(store, operator, name="new", underlay="192.0.2.1")

    store.left = 1
    with pytest.raises(KeyboardInterrupt):
        complete()
    assert 0 < len(store.list(keys.accepting()).kvs) < 2 * COMPLETED - 1
    store.left = -1
    complete()
    assert not repair.damaged(store)
    assert store.get(keys.accepts("hv7")) is None


def test_a_host_of_an_older_store_that_is_drained_meanwhile_gets_no_instance(acme: Caller, operator: Caller) -> None:
    store = Watched()
    hosts.create_host(store, operator, name="hv1", underlay="192.0.2.1")
    store.txn([], [Delete(keys.accepts("hv1"))])
    subnet = wide_subnet(store, acme)
    store.meanwhile = lambda: drain_host(store, operator, "hv1")
    with refused("IncorrectState", "is drained"):
        one_of(store, acme, subnet, host="hv1")
    assert not repair.damaged(store)


def test_a_drain_is_noticed_in_a_store_of_an_older_netorch(store: Store, acme: Caller, operator: Caller, two_hosts: None) -> None:
    store.txn([], [Delete(keys.accepts(name)) for name in ("hv1", "hv2")])
    drain_host(store, operator, "hv1")
    subnet = wide_subnet(store, acme)
    assert one_of(store, acme, subnet) == "hv2"
    made = VpcDecl(
        name="v",
        cidrs=["10.1.0.0/16"],
        subnets=[SubnetDecl(name="a", cidr="10.1.0.0/24")],
        instances=[InstanceDecl(name="i")],
    )
    apply_cloud(store, plan_cloud(store, operator, Cloud(vpcs=[made])))
    assert {name: state.placements for name, state in read_inventory(store).hosts.items()} == {"hv1": 0, "hv2": 2}


def test_a_new_host_costs_the_same_however_many_are_drained(operator: Caller) -> None:
    store, costs = Watched(), []
    for number in range(2 * COMPLETED + 3):
        hosts.create_host(store, operator, name=f"hv{number}", underlay=f"10.0.0.{number}")

    def cost(name: str, underlay: str) -> int:
        listed, store.read = len(store.list("alloc/").kvs), 0
        hosts.create_host(store, operator, name=name, underlay=underlay)
        return store.read - listed

    costs.append(cost("new1", "10.0.1.1"))
    for number in range(2 * COMPLETED):
        drain_host(store, operator, f"hv{number}")
    costs.append(cost("new2", "10.0.1.2"))
    # Drained by a version without the marks: the first command writes them.
    store.txn([], [Delete(keys.closed(f"hv{number}")) for number in range(COMPLETED)])
    assert cost("new3", "10.0.1.3") > costs[0] + COMPLETED
    costs.append(cost("new4", "10.0.1.4"))
    assert max(costs) <= min(costs) + 10, costs
    undrain_host(store, operator, "hv0")
    drain_host(store, operator, "hv1")
    hosts.delete_host(store, operator, "hv2")
    marks = {kv.key for kv in store.list(keys.accepting()).kvs if kv.key.endswith("/drained")}
    assert marks == {keys.closed(f"hv{number}") for number in range(1, 2 * COMPLETED) if number != 2}
    assert not repair.damaged(store)
