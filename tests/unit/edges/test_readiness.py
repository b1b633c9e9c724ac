"""When an edge's kernel answers the probes of hypervisors."""

from __future__ import annotations

import errno

import pytest

from netorch.state.base import OUTSIDE, link_key
from netorch.state.link import CableEnd
from netorch.state.nft import UNREADY, NftElement, NftTable, unready
from netorch.state.op import Create, Delete
from tests.unit.edges.pair import UPLINK, Pair


def is_silent(pair: Pair, edge: str) -> bool:
    objects = pair.world.kernels[edge].objects.values()
    return any(isinstance(obj, NftElement) and obj.set == UNREADY for obj in objects)


def reboot(pair: Pair, edge: str) -> None:
    """Let an edge begin with an empty kernel; its agent has not started yet."""
    pair.world.kill(edge)
    pair.world.kernels[edge].close()
    pair.world.kernels[edge] = pair.kernel()


def test_an_edge_that_boots_keeps_silent_until_it_has_its_gateways(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, "198.51.100.5", "10.0.0.4")
    pair.world.settle(3)
    reboot(pair, "e1")
    pair.world.start("e1")
    pair.world.settle(3)
    ops = pair.world.new_ops("e1")
    (came,) = (n for n, op in enumerate(ops) if isinstance(op, Create) and getattr(op.obj, "set", "") == UNREADY)
    (gone,) = (n for n, op in enumerate(ops) if isinstance(op, Delete) and getattr(op.obj, "set", "") == UNREADY)
    table = next(n for n, op in enumerate(ops) if isinstance(op.obj, NftTable) and op.obj.netns == "underlay")
    cables = [n for n, op in enumerate(ops) if isinstance(op.obj, CableEnd)]
    assert table < came < min(cables)
    assert gone == len(ops) - 1
    pair.world.assert_settled()


@pytest.mark.parametrize("edge", ["e1", "hv1"])
def test_who_is_at_work_answers_whatever_comes(pair: Pair, edge: str) -> None:
    pair.world.settle(3)
    pair.world.new_ops(edge)
    pair.vpc("a")
    pair.world.settle(3)
    pair.world.start(edge)
    pair.world.settle(3)
    assert not [op for op in pair.world.new_ops(edge) if getattr(op.obj, "set", "") == UNREADY]


def test_an_agent_finishes_what_an_earlier_one_has_begun(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    kernel.disturb(Create(unready("192.0.2.21")))
    pair.world.start("e1")
    pair.world.settle(2)
    assert not is_silent(pair, "e1")
    pair.world.assert_settled()


def test_an_edge_that_boots_while_the_store_is_away_answers_all_the_same(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    reboot(pair, "e1")
    pair.world.wires["e1"].cut = True
    pair.world.start("e1")
    pair.world.settle(3)
    assert not is_silent(pair, "e1")
    assert [obj for obj in pair.world.kernels["e1"].objects.values() if isinstance(obj, CableEnd)]


def test_an_edge_keeps_silent_while_it_has_no_uplink(pair: Pair) -> None:
    pair.vpc("a")
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    kernel.fail_next("link", errno.ENODEV, 1000)
    kernel.disturb(Delete(kernel.objects[link_key(UPLINK.device, OUTSIDE)]))
    pair.world.settle(3)
    assert is_silent(pair, "e1")
    assert not is_silent(pair, "e2")
    kernel.host.failures.clear()
    pair.world.settle(60)
    assert not is_silent(pair, "e1")
    pair.world.assert_settled()
