"""A connection table shared by VPCs: which may not open new connections, for how long, and what is reported."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.agent.tasks.allowance import LOOK_EVERY_S, LOOK_SOON_S, SAMPLE, Allowance, over_allowance, within_allowance
from netorch.agent.tasks.base import Turn
from netorch.control.views.health import read_health
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import KernelError
from netorch.model.vpc import Vpc
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from netorch.state.nft import VPC_TABLE
from policy import skeleton
from tests.unit.agent.world import World

MOST = 10_000
HELD = st.dictionaries(st.integers(1, 20), st.integers(1, 3000), max_size=6).filter(lambda held: sum(held.values()) <= MOST)
REFUSED = st.frozensets(st.integers(1, 20))
NOBODY: frozenset[int] = frozenset()
A, B = "10.0.0.4", "10.0.0.5"


def decide(held: dict[int, float], most: int, refused: Set[int], owners: Mapping[int, str] | None = None) -> frozenset[int]:
    """Return the refused VPCs; by default, each has its own owner."""
    return over_allowance(held, owners or {who: str(who) for who in held}, most, refused)


# --- which VPCs are refused


@pytest.mark.parametrize(
    ("held", "over"),
    [
        ({1: 5000}, set()),
        ({1: 5001}, {1}),
        ({1: 4500, 2: 1000}, set()),
        ({1: 4500, 2: 1001}, {1}),
        ({1: 3333, 2: 3333}, set()),
        ({1: 3334, 2: 3334}, {1, 2}),
        ({1: 9900, 2: 100}, {1}),
        ({1: 6000, 2: 4000}, {1, 2}),
    ],
    ids=str,
)
def test_who_holds_more_than_is_free_and_more_than_little_is_refused(held: dict[int, float], over: set[int]) -> None:
    assert decide(held, MOST, NOBODY) == over


@given(HELD)
def test_nobody_who_holds_little_is_refused_however_full_the_table(held: dict[int, float]) -> None:
    modest = {who for who, count in held.items() if count <= MOST / (len(held) + 1) / 8}
    assert not decide(held, MOST, NOBODY) & modest


@given(HELD)
def test_nobody_is_refused_while_the_table_is_half_empty(held: dict[int, float]) -> None:
    assert decide(held, 2 * int(sum(held.values())), NOBODY) == NOBODY


@given(HELD)
def test_who_holds_as_much_as_one_who_is_refused_is_refused_too(held: dict[int, float]) -> None:
    over = decide(held, MOST, NOBODY)
    assert all(who in over for who in held for loser in over if held[who] >= held[loser])


@given(HELD, REFUSED)
def test_a_decision_stands_while_nothing_changes(held: dict[int, float], refused: frozenset[int]) -> None:
    over = decide(held, MOST, refused)
    assert decide(held, MOST, NOBODY) <= over <= held.keys()
    assert decide(held, MOST, over) == over


@given(HELD)
def test_who_is_refused_is_not_let_go_for_a_connection_that_ends(held: dict[int, float]) -> None:
    over = decide(held, MOST, NOBODY)
    for who in over:
        assert decide(held | {who: held[who] - 1}, MOST, over) == over


@given(st.lists(st.integers(0, 4)), st.sets(st.integers(0, 4), min_size=1))
def test_in_whatever_order_five_are_greedy_a_part_of_the_table_stays_free(order: list[int], greedy: set[int]) -> None:
    most, step = 6400, 40
    held: dict[int, float] = {}
    refused = NOBODY
    for who in [turn for turn in order for _ in range(most // step)] + sorted(greedy) * (most // step):
        if who in greedy and who not in refused:
            held[who] = held.get(who, 0) + step
        refused = decide(held, most, refused)
    assert most - sum(held.values()) > 0


def test_those_who_are_greedy_at_once_get_equal_parts_and_one_stays_free() -> None:
    held: dict[int, float] = {1: 0, 2: 0, 3: 0}
    for who in [1, 2, 3] * MOST:
        held[who] += who not in decide(held, MOST, NOBODY)
    assert all(abs(count - MOST / 4) < 3 for count in (*held.values(), MOST - sum(held.values())))


def test_an_owner_of_many_vpcs_is_refused_in_those_that_hold_more_than_little() -> None:
    held: dict[int, float] = dict.fromkeys(range(1, 7), 900.0) | {7: 10.0, 8: 100.0}  # 1000 are free
    owners = dict.fromkeys(range(1, 8), "a") | {8: "b"}
    assert decide(held, 6510, NOBODY) == NOBODY
    assert decide(held, 6510, NOBODY, owners) == set(range(1, 7))
    assert decide(held, 6900, NOBODY, owners) == NOBODY


@given(st.lists(st.integers(0, 19), max_size=30))
def test_an_owner_never_fills_the_table_however_many_vpcs_it_has(order: list[int]) -> None:
    most, step = 20_000, 10
    held: dict[int, float] = {}
    refused = NOBODY
    for who in [*order, *range(20)]:
        for _ in range(most // step):
            if who in refused:
                break
            held[who] = held.get(who, 0) + step
            refused = decide(held, most, refused, dict.fromkeys(range(20), "a"))
    assert sum(held.values()) <= most * (4 / 5 + 1 / 8)


# --- a running agent


def connections(zone: int, count: int) -> list[Flow]:
    return [Flow(zone=zone, protocol=17, source=A, destination=B, sport=sport, timeout_s=30) for sport in range(count)]


def fill(kernel: FakeKernel, held: dict[int, int]) -> None:
    """Make a kernel hold these numbers of connections by zone, and no others."""
    kernel.tracker.tracked.clear()
    kernel.trackers[OVERLAY].restore(flow for zone, count in held.items() for flow in connections(zone, count))


@pytest.fixture
def kernel() -> FakeKernel:
    kernel = FakeKernel(skeleton.overlay_tables())
    kernel.tracker.most = 100
    return kernel


def test_it_refuses_and_lets_go_again_and_keeps_the_refusal_alive(kernel: FakeKernel) -> None:
    allowance = Allowance(kernel.tracker, dict)
    for now, held, refused in (
        (0.0, {1: 40, 2: 5}, set()),
        (1.0, {1: 60, 2: 5}, {1}),
        (2.0, {1: 50, 2: 5}, {1}),
        (3.0, {1: 45, 2: 1}, {1}),
        (4.0, {1: 40, 2: 1}, set()),
        (5.0, {1: 60, 2: 5}, {1}),
        (6.0, {}, set()),
    ):
        fill(kernel, held)
        allowance.turn(Turn(now=now))
        assert kernel.tracker.refused_zones == allowance.refused == refused, now
    fill(kernel, {3: 90})
    allowance.turn(Turn(now=10.0))
    kernel.tracker.refused_zones = frozenset()  # expired, as after a reload of a table
    allowance.turn(Turn(now=14.0))
    assert kernel.tracker.refused_zones == {3}


def test_a_vpc_whose_inlet_has_a_zone_of_its_own_is_named_once(kernel: FakeKernel) -> None:
    vpc = Vpc(id="vpc-00138800000000001", vni=5000, owner="acme", name="a", cidrs=("10.0.0.0/16",))
    fill(kernel, {1: 40, 2: 40})
    allowance = Allowance(kernel.tracker, lambda: {1: vpc, 2: vpc})
    allowance.turn(Turn(now=0.0))
    assert allowance.refused == {1, 2}
    assert allowance.vnis == (5000,)


def test_a_vpc_has_no_larger_part_by_inlets_and_leaves_others_no_smaller_one(kernel: FakeKernel) -> None:
    """20 connections in each of three zones: as three VPCs, none would hold more than the free ones."""
    acme, globex = (
        Vpc(id=f"vpc-00138{n}00000000001", vni=5000 + n, owner=owner, name="a", cidrs=("10.0.0.0/16",))
        for n, owner in ((8, "acme"), (9, "globex"))
    )
    allowance = Allowance(kernel.tracker, lambda: dict.fromkeys(range(1, 10), acme) | {10: globex})
    fill(kernel, {1: 20, 2: 20, 3: 20})
    allowance.turn(Turn(now=0.0))
    assert allowance.refused == set(range(1, 10))
    fill(kernel, {1: 96, 10: 3})  # up to 100 / 8 / 3 is little
    allowance.turn(Turn(now=1.0))
    assert allowance.refused == set(range(1, 10))


def test_an_agent_that_is_restarted_goes_on_where_the_last_one_was(kernel: FakeKernel) -> None:
    fill(kernel, {1: 60})
    Allowance(kernel.tracker, dict).turn(Turn(now=0.0))
    fill(kernel, {1: 45})  # fewer than are free, but not enough to lift the refusal
    Allowance(kernel.tracker, dict).turn(Turn(now=0.0))
    assert kernel.tracker.refused_zones == {1}


def test_a_table_that_may_hold_everything_refuses_nobody(kernel: FakeKernel) -> None:
    fill(kernel, {1: 60})
    allowance = Allowance(kernel.tracker, dict)
    allowance.turn(Turn(now=0.0))
    kernel.tracker.most = 0
    allowance.turn(Turn(now=1.0))
    assert kernel.tracker.refused_zones == NOBODY
    assert allowance.percent == 0


def test_it_looks_oftener_at_a_table_that_fills_and_counts_a_bounded_part_of_a_full_one(kernel: FakeKernel) -> None:
    allowance = Allowance(kernel.tracker, dict)
    for held, wait_s in (({1: 25}, LOOK_EVERY_S), ({1: 26}, LOOK_SOON_S)):
        fill(kernel, held)
        now = allowance.look_at
        allowance.turn(Turn(now=now))
        assert allowance.look_at == now + wait_s
    kernel.tracker.most = 10 * SAMPLE
    fill(kernel, {1: 2 * SAMPLE, 2: 5 * SAMPLE})  # the fake lists those of 1 first
    allowance.turn(Turn(now=10.0))
    assert kernel.tracker.refused_zones == {1}


def test_a_kernel_that_refuses_is_asked_again(kernel: FakeKernel, caplog: pytest.LogCaptureFixture) -> None:
    fill(kernel, {1: 60})
    table = kernel.objects.pop(VPC_TABLE)
    allowance = Allowance(kernel.tracker, dict)
    for now in (0.0, 1.0, 2.0):
        allowance.turn(Turn(now=now))
    assert allowance.refused == NOBODY
    assert len(caplog.records) == 1
    kernel.objects[VPC_TABLE] = table
    allowance.turn(Turn(now=3.0))
    assert kernel.tracker.refused_zones == {1}


# --- in an agent -------------------------------------------------------------------------------------------------------------


def zone(world: World, vpc: Vpc) -> int:
    return world.agents["hv1"].reconciler.zone_of(vpc.vni)


def problems(world: World) -> tuple[str, ...]:
    return read_health(world.store, world.clock.now).problems


def test_status_tells_who_is_refused_where_and_how_full_the_table_is(world: World) -> None:
    (greedy, there), (modest, here) = world.vpc("greedy"), world.vpc("modest", "10.1.0.0/16")
    world.run(there, "hv1")
    world.run(here, "hv1")
    world.settle(3)
    kernel = world.kernels["hv1"]
    kernel.tracker.most = 100
    fill(kernel, {zone(world, greedy): 70, zone(world, modest): 5})
    world.settle(3)
    (host,) = (host for host in read_health(world.store, world.clock.now).hosts if host.name == "hv1")
    assert host.table_percent == 75
    assert problems(world) == (
        "host hv1: VPC greedy holds more connections than the host's table has free and cannot open new ones; see netorch flows",
    )
    world.assert_settled()  # no objects are left or rewritten
    fill(kernel, {})
    world.settle(3)
    assert problems(world) == ()
    assert kernel.tracker.refused_zones == NOBODY


def test_a_table_that_cannot_be_read_stops_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf() -> None:
        raise KernelError("read the fill level of the connection table", errno.EPERM)

    monkeypatch.setattr(world.kernels["hv1"].tracker, "use", deaf)
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(3)
    world.assert_host_settled("hv1")


@pytest.mark.parametrize(
    ("wanted", "held", "granted"),
    [
        ({1: 40, 2: 10}, {}, {1: 40, 2: 10}),  # half of the table
        ({1: 80, 2: 20}, {}, {1: 40, 2: 20}),  # as much as stays free
        ({1: 60}, {2: 40}, {1: 30}),
        ({1: 60}, {1: 20, 2: 20}, {1: 20}),
        ({1: 60, 2: 2}, {3: 96}, {1: 3, 2: 2}),  # an eighth of the table is for VPCs with few connections
        ({1: 60}, {3: 100}, {1: 4}),
        ({}, {1: 100}, {}),
    ],
)
def test_vpcs_take_connections_over_up_to_their_allowance_small_ones_first(
    wanted: dict[int, int], held: dict[int, int], granted: dict[int, int]
) -> None:
    owners = {vni: str(vni) for vni in wanted | held}
    assert within_allowance(wanted, held, owners, 100) == granted


def test_an_owners_vpcs_take_connections_over_up_to_what_they_may_hold_together() -> None:
    wanted = dict.fromkeys(range(1, 11), 20)
    granted = within_allowance(wanted, {}, dict.fromkeys(wanted, "greedy"), 200)
    assert sum(granted.values()) == pytest.approx(160, abs=8)
    assert decide(dict(granted), 200, NOBODY, dict.fromkeys(wanted, "greedy")) == NOBODY
