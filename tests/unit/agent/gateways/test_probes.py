"""An agent's probes: when a host leaves an edge, and when it must not."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from netorch.agent.liveness import ANSWER_S, ANSWERS, MISSES, ROUND_S
from netorch.agent.tasks.base import Turn
from netorch.agent.tasks.probes import Probes
from netorch.drivers.base import Answer, Underlay
from netorch.drivers.fake.kernel import FakeKernel
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.state.l2 import Fdb
from tests.unit.agent.gateways.shop import EDGES, Shop, vtep

STEP_S = 0.05


def pass_time(shop: Shop, seconds: float, host: str = "hv1") -> float | None:
    """Let time pass; return the time until the host sent to another edge, or None."""
    world, before, changed = shop.world, shop.leads_to(host), None
    begin = world.clock.now
    while world.clock.now < begin + seconds:
        world.clock.now += STEP_S
        world.turn(host, audits=False)
        if changed is None and shop.leads_to(host) != before:
            changed = world.clock.now - begin
    return changed


def fail(shop: Shop, host: str = "hv1") -> tuple[str, str]:
    """Make the edge that a host sends to silent; return its VTEP and that of the other edge."""
    first = shop.leads_to(host)
    shop.world.kernels[host].silent.add(first)
    return first, next(vtep(edge) for edge in EDGES if vtep(edge) != first)


def test_a_silent_edge_is_left_in_time_with_one_operation_and_taken_again_once_it_answers(shop: Shop) -> None:
    pass_time(shop, 1)
    shop.forget()
    first, other = fail(shop)
    left = pass_time(shop, 2)
    assert left is not None
    assert MISSES * ROUND_S <= left <= 1.5
    assert shop.leads_to("hv1") == other
    assert [(type(op.obj), op.obj.dst) for op in shop.world.new_ops("hv1") if isinstance(op.obj, Fdb)] == [(Fdb, other)]
    shop.world.kernels["hv1"].silent.clear()
    back = pass_time(shop, 2)
    assert back is not None
    assert back >= ANSWERS * ROUND_S - ROUND_S
    assert shop.leads_to("hv1") == first
    assert len(shop.world.new_ops("hv1")) == 1


def test_an_edge_that_joins_another_one_is_left_alone_until_it_answers(shop: Shop) -> None:
    better = next(edge for edge in EDGES if vtep(edge) == shop.leads_to("hv1"))
    first = next(edge for edge in EDGES if edge != better)
    shop.seat(first)
    pass_time(shop, 1)
    shop.world.kernels["hv1"].silent.add(vtep(better))
    assert shop.leads_to("hv1") == vtep(first)
    shop.seat(first, better)
    assert pass_time(shop, 3) is None
    shop.world.kernels["hv1"].silent.clear()
    back = pass_time(shop, 2)
    assert back is not None
    assert back >= ANSWERS * ROUND_S - ROUND_S
    assert shop.leads_to("hv1") == vtep(better)


def test_nothing_is_sent_while_no_gateway_is_known(shop: Shop) -> None:
    kernel = shop.world.kernels["hv1"]
    pass_time(shop, 1)
    assert set(kernel.probed) == {vtep(edge) for edge in EDGES}
    shop.seat()
    shop.world.settle(1)
    kernel.probed.clear()
    shop.world.settle(5)
    assert kernel.probed == []
    assert shop.world.kernels["hv2"].probed
    assert shop.world.agents["hv1"].probes.wake_at(shop.world.clock.now) is None


def test_an_edge_does_not_probe_itself(shop: Shop) -> None:
    shop.seat("hv1", "hv2")
    shop.world.settle(1)
    shop.world.kernels["hv1"].probed.clear()
    shop.world.settle(3)
    assert set(shop.world.kernels["hv1"].probed) == {vtep("hv2")}


def test_edges_are_left_while_the_store_is_away(shop: Shop) -> None:
    pass_time(shop, 1)
    shop.world.wires["hv1"].cut = True
    _, other = fail(shop)
    assert pass_time(shop, 2) is not None
    assert shop.leads_to("hv1") == other


def test_a_host_that_hears_nobody_sends_where_it_would_send_anyway(shop: Shop) -> None:
    pass_time(shop, 1)
    first, other = fail(shop)
    pass_time(shop, 2)
    shop.world.kernels["hv1"].silent.add(other)
    pass_time(shop, 2)
    assert shop.world.agents["hv1"].records.seats.silent == {first, other}
    assert shop.leads_to("hv1") == shop.chosen("hv1")


def test_of_edges_of_which_none_is_ready_a_host_sends_to_one_that_answers(shop: Shop) -> None:
    """E.g. one edge is drained and the other one dies: the drained one still forwards."""
    pass_time(shop, 1)
    first, other = fail(shop)
    kernel = shop.world.kernels["hv1"]
    kernel.unready.add(other)
    pass_time(shop, 2)
    assert shop.leads_to("hv1") == other
    shop.forget()
    shop.world.start("hv1")
    pass_time(shop, 3)
    assert shop.world.new_ops("hv1") == [], "a restarted agent finds the same"
    kernel.silent.clear()
    kernel.unready |= {first, other}
    pass_time(shop, 2)
    assert shop.leads_to("hv1") == first, "as if both were ready"
    kernel.unready.discard(other)
    pass_time(shop, 2)
    assert shop.leads_to("hv1") == other


def test_a_restarted_agent_does_not_return_to_an_edge_that_it_had_left(shop: Shop) -> None:
    pass_time(shop, 1)
    _, other = fail(shop)
    pass_time(shop, 2)
    shop.forget()
    shop.world.start("hv1")
    pass_time(shop, 3)
    assert shop.world.new_ops("hv1") == []
    assert shop.leads_to("hv1") == other


def test_a_host_says_which_edges_do_not_answer(shop: Shop) -> None:
    first, _ = fail(shop)
    pass_time(shop, 4)
    found = shop.world.store.get(keys.agent_status("hv1"))
    assert found is not None
    assert msgspec.json.decode(found.value, type=AgentStatus).silent == (first,)


def test_a_host_without_its_underlay_address_takes_nobody_for_silent(shop: Shop) -> None:
    pass_time(shop, 1)
    kernel = shop.world.kernels["hv1"]
    kernel.underlays = {}
    kernel.silent |= {vtep(edge) for edge in EDGES}
    shop.world.agents["hv1"].records.dirty.host = True
    assert pass_time(shop, 3) is None
    kernel.underlays = {vtep("hv1"): Underlay(ifname="eth0", mtu=1550)}
    kernel.silent.clear()
    assert pass_time(shop, 3) is None


class SlowClock:
    """A clock that advances with each call, as for a slow agent."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class LateEchoes:
    """Echoes with a latency."""

    def __init__(self, clock: SlowClock, latency_s: float) -> None:
        self._clock = clock
        self._latency_s = latency_s
        self._under_way: list[tuple[float, str]] = []

    def send(self, vteps: Iterable[str]) -> None:
        self._under_way += [(self._clock() + self._latency_s, name) for name in vteps]

    def heard(self) -> dict[str, Answer]:
        come = {name: Answer.ACTIVE for when, name in self._under_way if when <= self._clock.now}
        assert len(come) == len(self._under_way), "read before the answers have had their time"
        self._under_way = []
        return come

    def asked(self) -> bool:
        return True

    def close(self) -> None:
        pass


class LateKernel(FakeKernel):
    """A kernel with late answers to echoes."""

    def __init__(self, clock: SlowClock) -> None:
        super().__init__()
        self._clock = clock

    def echoes(self, source: str) -> LateEchoes:  # type: ignore[override]
        return LateEchoes(self._clock, 0.9 * ANSWER_S)


@pytest.mark.parametrize("turn_s", [0.0, 0.1, 0.3, 3.0])
def test_a_slow_agent_takes_nobody_for_silent(shop: Shop, turn_s: float) -> None:
    """Some turns take this long before their probes run; the next turns follow at once."""
    agent, clock = shop.world.agents["hv1"], SlowClock(1000.0)
    kernel = LateKernel(clock)
    probes = Probes(agent.records, agent.reconciler, kernel, clock)
    for number in range(300):
        began = clock()
        clock.now += turn_s if number % 30 == 0 else 0.0
        probes.turn(Turn(now=began))
        assert agent.records.seats.silent == frozenset()
        clock.now += 0.02
    kernel.close()
