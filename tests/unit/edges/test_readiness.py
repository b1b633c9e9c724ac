"""When an edge reports that it is ready for packets: the decision, and how its kernel gets and loses the mark."""

from __future__ import annotations

import errno

import msgspec
import pytest

from edges.readiness import active, ready
from netorch.agent.tasks.readiness import Facts, why_not_ready
from netorch.diagnose.desired import compiled_agent
from netorch.drivers.base import Lost
from netorch.model.eni import Host, Role, Uplink
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.state.base import UNDERLAY
from netorch.state.l3 import Route
from netorch.state.nft import NftElement, NftTable
from netorch.state.op import Create, Delete
from netorch.state.tc import Clsact
from tests.unit.edges.pair import EDGES, UPLINK, Pair, gateway_of

E1 = ready(EDGES["e1"])
FIT = Facts(uplink="eth1", carrier=True)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (FIT, ""),
        (msgspec.structs.replace(FIT, ready=True), ""),
        (
            msgspec.structs.replace(FIT, uplink="", carrier=False),
            "it has no uplink; set one: netorch host update --pair PAIR --uplink UPLINK",
        ),
        (msgspec.structs.replace(FIT, carrier=False), "uplink eth1 has no carrier"),
        (msgspec.structs.replace(FIT, ready=True, carrier=False), "uplink eth1 has no carrier"),
        (msgspec.structs.replace(FIT, ready=True, trouble="no route"), "no route"),
        (msgspec.structs.replace(FIT, carrier=False, trouble="no device eth1"), "no device eth1"),
        (msgspec.structs.replace(FIT, unapplied=(7,)), "1 VPC(s) are not applied yet: VNI 7"),
        (msgspec.structs.replace(FIT, unapplied=(7, 8, 9, 10)), "4 VPC(s) are not applied yet: VNI 7, 8, 9, ..."),
        (msgspec.structs.replace(FIT, ready=True, unapplied=(7,)), ""),
    ],
)
def test_an_edge_is_ready_when_all_is_there_and_stays_so_while_a_vpc_comes(facts: Facts, why: str) -> None:
    assert why_not_ready(facts) == why


def says(pair: Pair, edge: str = "e1") -> bool:
    """Return whether an edge's kernel has the mark that it is ready."""
    return ready(EDGES[edge]).key in pair.world.kernels[edge].objects


def status(pair: Pair, edge: str = "e1") -> AgentStatus:
    found = pair.world.store.get(keys.agent_status(edge))
    assert found is not None
    return msgspec.json.decode(found.value, type=AgentStatus)


def test_an_edge_that_is_drained_says_nothing_and_changes_nothing_else(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(8)
    pair.world.new_ops("e1")
    pair.world.put(keys.host_drained("e1"), b"e1")
    pair.world.settle(8)
    assert pair.world.new_ops("e1") == [Delete(E1), Delete(active(EDGES["e1"]))]
    assert status(pair).not_ready == ""
    pair.world.start("e1")
    pair.vpc("b")
    pair.world.settle(3)
    assert not says(pair)
    pair.world.assert_settled()
    pair.world.new_ops("e1")
    pair.world.delete(keys.host_drained("e1"))
    pair.world.settle(8)
    assert pair.world.new_ops("e1") == [Create(E1)]  # on standby, as the other edge is active


def test_the_word_comes_behind_everything_else_and_a_hypervisor_says_nothing(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    assert says(pair)
    assert says(pair, "e2")
    pair.world.start("e1", None)
    pair.world.assert_settled()
    assert not any(isinstance(obj, NftElement) and obj.set == E1.set for obj in pair.world.kernels["hv1"].objects.values())
    assert status(pair).not_ready == status(pair, "hv1").not_ready == ""


def test_a_new_edge_says_nothing_until_its_vpcs_are_applied(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.kill("e1")
    kernel = pair.boot("e1")
    kernel.fail_next(Clsact.kind, errno.ENOMEM, 50)
    pair.world.start("e1")
    pair.world.settle(2)
    assert not says(pair)
    assert status(pair).not_ready == f"1 VPC(s) are not applied yet: VNI {vpc.vni}"
    kernel.host.failures.clear()
    pair.world.settle(20)
    assert says(pair)
    last = kernel.applied[-1]
    assert last.obj == E1
    assert isinstance(last, Create)


def test_a_record_that_cannot_be_compiled_keeps_no_edge_from_carrying_others(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.vpc("b", "10.9.0.0/16")
    pair.world.put(keys.vpc(vpc.vni), b"{}")
    pair.world.kill("e1")
    pair.boot("e1")
    pair.world.start("e1")
    pair.world.settle(3)
    assert vpc.vni in pair.world.agents["e1"].reconciler.problems
    assert says(pair)


def test_a_vpc_that_comes_later_and_is_refused_leaves_the_edge_ready(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.kernels["e1"].fail_next(Clsact.kind, errno.ENOMEM, 50)
    pair.vpc("b", "10.9.0.0/16")
    pair.world.settle(2)
    assert pair.world.agents["e1"].reconciler.problems
    assert says(pair)


def test_an_uplink_without_carrier_takes_the_word_back_at_once_and_nothing_else(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(8)
    kernel, agent = pair.world.kernels["e1"], pair.world.agents["e1"]
    pair.world.new_ops("e1")
    kernel.unplugged.add(UPLINK.device)
    agent.turn()
    assert agent._next_deadline() <= pair.world.clock.now  # decided; the next turn follows at once
    agent.turn()
    assert pair.world.new_ops("e1") == [Delete(E1)]
    pair.world.clock.now += 1.1
    agent.turn()
    assert status(pair).not_ready == "uplink eth1 has no carrier"
    kernel.unplugged.clear()
    agent.turn()
    agent.turn()
    assert pair.world.new_ops("e1") == [Create(E1)]


def test_what_cannot_be_applied_on_the_host_takes_the_word_back(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    default = next(
        obj for obj in kernel.objects.values() if isinstance(obj, Route) and obj.dst == "0.0.0.0/0" and obj.ifname == "eth1"
    )
    kernel.fail_next(Route.kind, errno.ENETUNREACH, 20)
    kernel.disturb(Delete(default))
    pair.world.settle(2)
    assert not says(pair)
    kernel.host.failures.clear()
    pair.world.settle(40)
    assert says(pair)


def test_emptied_tables_come_back_before_the_word(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    before = dict(kernel.objects)
    for table in [obj for obj in kernel.objects.values() if isinstance(obj, NftTable) and obj.netns == UNDERLAY]:
        kernel.host.lose(table.key)
    kernel.tell(Lost())
    pair.world.new_ops("e1")
    pair.world.settle(2)
    ops = pair.world.new_ops("e1")
    assert len(ops) > 1
    assert ops[-1] == Create(E1)
    assert E1 not in [op.obj for op in ops[:-1]]
    assert kernel.objects == before


def test_a_killed_agent_leaves_the_word_and_the_next_one_writes_nothing(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.kill("e1")
    assert says(pair)
    pair.world.new_ops("e1")
    pair.world.start("e1")
    pair.world.settle(3)
    assert pair.world.new_ops("e1") == []


def test_the_word_is_no_drift(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    assert says(pair)
    assert compiled_agent("e1", pair.world.store, pair.world.kernels["e1"], read_kernel=True).pending() == []


def test_an_agent_that_starts_while_the_store_is_away_leaves_the_word(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.kill("e1")
    pair.world.wires["e1"].cut = True
    pair.world.new_ops("e1")
    (pair.world.path / "e1.snapshot").unlink()
    pair.world.start("e1")
    pair.world.settle(3)
    assert says(pair)
    assert pair.world.new_ops("e1") == []


def test_a_host_that_becomes_a_hypervisor_says_nothing_any_more(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    pair.unseat(vpc)
    pair.put_edge(Host(name="e1", underlay=EDGES["e1"], role=Role.HYPERVISOR))
    pair.world.settle(3)
    assert not says(pair)
    assert gateway_of(vpc.vni) not in pair.world.agents["e1"].records.placements


def test_an_edge_that_boots_while_the_store_is_away_is_ready_by_its_snapshot(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.kill("e1")
    pair.boot("e1")
    pair.world.wires["e1"].cut = True
    pair.world.start("e1")
    pair.world.settle(3)
    assert says(pair)


def test_an_uplink_that_fails_while_the_store_is_away_takes_the_word_back(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.wires["e1"].cut = True
    pair.world.kernels["e1"].unplugged.add(UPLINK.device)
    pair.world.settle(3)
    assert not says(pair)


def test_an_edge_gets_another_uplink_and_gives_the_old_one_back(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, "198.51.100.5", "10.0.0.4")
    pair.world.put(keys.host_drained("e1"), b"e1")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    kernel.devices.add("bond0.100")
    other = Uplink(device="bond0.100", address="198.18.5.21/24", gateway="198.18.5.254")
    pair.put_edge(Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE, pair="west", uplink=other))
    pair.world.settle(8)
    pair.world.assert_settled()
    assert not [obj for obj in kernel.objects.values() if "eth1" in obj.text()]
    ways = [obj for obj in kernel.objects.values() if isinstance(obj, Route) and obj.ifname == "bond0.100"]
    assert "0.0.0.0/0" in {obj.dst for obj in ways}
    pair.world.delete(keys.host_drained("e1"))
    pair.world.settle(3)
    assert says(pair)
