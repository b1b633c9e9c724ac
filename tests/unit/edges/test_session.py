"""An edge that speaks BGP is ready while it has a session with the border router that has lasted for some time."""

from __future__ import annotations

import msgspec
import pytest

from edges.readiness import active, ready
from netorch.agent.liveness import ANSWERS, MISSES, ROUND_S
from netorch.agent.tasks.readiness import HOLD_S, LOOK_EVERY_S, Facts, why_no_session, why_not_ready
from netorch.model.eni import Host, Role
from netorch.model.status import ESTABLISHED, AgentStatus, BorderSession
from netorch.records import keys
from netorch.state.base import BORDER_SLICE
from netorch.state.daemons.bgp import Announcement
from netorch.state.op import Create, Delete
from tests.unit.edges.pair import EDGES, POOL, UPLINK, Pair

ROUTER, OTHER = "198.18.0.254", "198.18.0.253"
E1 = ready(EDGES["e1"])


def session(state: str, router: str = ROUTER) -> BorderSession:
    return BorderSession(router=router, asn=64512, state=state)


UP, DOWN, DOWN_TOO = session(ESTABLISHED), session("Active"), session("Idle", OTHER)


@pytest.mark.parametrize("is_ready", [True, False])
@pytest.mark.parametrize(
    ("sessions", "why"),
    [
        ((), "it has no BGP session with the border router"),
        ((DOWN,), f"it has no BGP session with {ROUTER}"),
        ((DOWN, DOWN_TOO), f"it has no BGP session with {ROUTER}, {OTHER}"),
        ((UP,), ""),
        ((DOWN_TOO, UP), ""),
    ],
)
def test_an_edge_needs_one_session_that_is_established(sessions: tuple[BorderSession, ...], why: str, is_ready: bool) -> None:
    assert why_no_session(sessions, HOLD_S, ready=is_ready) == why


def test_a_new_session_must_hold_before_the_edge_becomes_ready_and_not_while_it_is() -> None:
    assert why_no_session((UP,), HOLD_S - 0.1, ready=False) == f"its BGP session with {ROUTER} was established less than 5 s ago"
    assert why_no_session((UP,), 0.0, ready=True) == ""


def test_what_else_is_wrong_with_the_uplink_is_said_first() -> None:
    facts = Facts(uplink="eth1", carrier=True, border="no session", unapplied=(7,))
    assert why_not_ready(facts) == "no session"
    assert why_not_ready(msgspec.structs.replace(facts, carrier=False)) == "uplink eth1 has no carrier"
    assert why_not_ready(msgspec.structs.replace(facts, connected=False)).startswith("its underlay has no carrier")


@pytest.fixture
def speaking(pair: Pair) -> Pair:
    """A pair with a VPC; both edges have a session that has lasted long enough."""
    pair.vpc("a")
    uplink = msgspec.structs.replace(UPLINK, asn=64601, gateway_asn=64512)
    for edge in EDGES:
        pair.put_edge(Host(name=edge, underlay=EDGES[edge], role=Role.EDGE, pair="west", uplink=uplink))
    pair.world.settle(HOLD_S + 12)  # until both edges are active
    assert says(pair)
    pair.world.new_ops("e1")
    return pair


def says(pair: Pair, edge: str = "e1") -> bool:
    """Return whether an edge's kernel has the mark that it is ready."""
    return ready(EDGES[edge]).key in pair.world.kernels[edge].objects


def end_session(pair: Pair, edge: str = "e1") -> None:
    pair.world.kernels[edge].session_states[ROUTER] = "Active"


def begin_session(pair: Pair, edge: str = "e1") -> None:
    pair.world.kernels[edge].session_states.clear()


def not_ready(pair: Pair, edge: str = "e1") -> str:
    found = pair.world.store.get(keys.agent_status(edge))
    assert found is not None
    return msgspec.json.decode(found.value, type=AgentStatus).not_ready


def test_an_edge_whose_session_ends_takes_its_word_back_and_changes_nothing_else(speaking: Pair) -> None:
    """Its announcements stay in bird's configuration, so the router gets them as soon as the session is back."""
    end_session(speaking)
    speaking.world.settle(3)
    assert speaking.world.new_ops("e1") == [Delete(E1)]
    speaking.world.settle(3)
    assert speaking.world.new_ops("e1") == [Delete(active(EDGES["e1"]))]  # hosts have left it
    assert not_ready(speaking) == f"it has no BGP session with {ROUTER}"
    assert says(speaking, "e2")
    begin_session(speaking)
    speaking.world.settle(3)
    assert speaking.world.new_ops("e1") == []
    assert not_ready(speaking) == f"its BGP session with {ROUTER} was established less than 5 s ago"
    speaking.world.settle(HOLD_S)
    assert speaking.world.new_ops("e1") == [Create(E1)]
    assert not_ready(speaking) == ""


def test_a_session_that_comes_and_goes_moves_nobody_until_it_holds(speaking: Pair) -> None:
    end_session(speaking)
    speaking.world.settle(8)
    speaking.world.new_ops("e1")
    for _ in range(10):
        begin_session(speaking)
        speaking.world.settle(HOLD_S - 1)
        end_session(speaking)
        speaking.world.settle(2)
    assert speaking.world.new_ops("e1") == []
    assert not says(speaking)


def test_the_end_of_a_session_is_noticed_within_a_second_without_any_event(speaking: Pair) -> None:
    agent, clock = speaking.world.agents["e1"], speaking.world.clock
    end_session(speaking)
    began = clock.now
    while says(speaking):
        clock.now = max(clock.now, agent._next_deadline())
        agent.turn()
    assert clock.now - began <= LOOK_EVERY_S


def test_an_edge_with_static_routes_is_ready_without_a_session(pair: Pair) -> None:
    pair.vpc("a")
    end_session(pair)
    pair.world.settle(3)
    assert says(pair)


def test_a_restarted_agent_of_an_edge_with_a_session_writes_nothing(speaking: Pair) -> None:
    speaking.world.start("e1")
    speaking.world.settle(3)
    assert speaking.world.new_ops("e1") == []
    assert not_ready(speaking) == ""


def test_an_agent_that_finds_no_session_after_its_restart_takes_the_word_back(speaking: Pair) -> None:
    speaking.world.kill("e1")
    end_session(speaking)
    speaking.world.start("e1")
    speaking.world.settle(2)
    assert not says(speaking)


def test_an_edge_that_boots_is_ready_once_its_session_has_held(speaking: Pair) -> None:
    speaking.world.kill("e1")
    fresh = speaking.boot("e1")
    speaking.world.start("e1")
    speaking.world.settle(HOLD_S - 1)
    assert [obj.kind for obj in fresh.objects.values() if obj.vni == BORDER_SLICE] == ["bgp-peer", "announcement"]
    assert not says(speaking)
    speaking.world.settle(4)
    assert says(speaking)


def test_an_edge_without_a_session_and_an_uplink_withdraws(speaking: Pair) -> None:
    end_session(speaking)
    speaking.world.kernels["e1"].unplugged.add(UPLINK.device)
    speaking.world.settle(3)
    assert Announcement(prefix=POOL) not in speaking.world.kernels["e1"].objects.values()


def test_a_restarted_agent_without_a_session_leaves_what_is_announced(speaking: Pair) -> None:
    end_session(speaking)
    speaking.world.settle(3)
    speaking.world.new_ops("e1")
    speaking.world.start("e1")
    speaking.world.settle(3)
    assert speaking.world.new_ops("e1") == []


def test_an_edge_falls_silent_for_itself_when_it_does_for_others(speaking: Pair) -> None:
    """Thus replies of its NAT gateways go to the edge that hosts use; earlier, they would find no connection there."""
    agent, clock = speaking.world.agents["e1"], speaking.world.clock

    def changes_after(seconds: float) -> float:
        before, began = agent.records.seats.silent, clock.now
        while agent.records.seats.silent == before:
            clock.now += 0.05
            agent.turn()
            assert clock.now - began < seconds
        return clock.now - began

    assert agent.records.seats.silent == frozenset()
    end_session(speaking)
    assert changes_after(LOOK_EVERY_S + 1.5) >= MISSES * ROUND_S - ROUND_S
    assert agent.records.seats.silent == {EDGES["e1"]}
    speaking.world.settle(3)
    speaking.world.new_ops("e1")
    speaking.world.start("e1")
    assert speaking.world.agents["e1"].records.seats.silent == {EDGES["e1"]}
    agent = speaking.world.agents["e1"]
    begin_session(speaking)
    assert changes_after(HOLD_S + LOOK_EVERY_S + 2) >= HOLD_S + ANSWERS * ROUND_S - ROUND_S
    assert agent.records.seats.silent == frozenset()
