"""Silent edges: the result of rounds of echoes; a late agent never reports an edge as silent."""

from __future__ import annotations

from itertools import product

import pytest

from netorch.agent.liveness import ANSWERS, MISSES, ROUND_S, Liveness, Standing, passed_over
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.seats import seat_for

E1, E2, E3 = "192.0.2.21", "192.0.2.22", "192.0.2.23"
SEATS = tuple(Seat(host=f"e{number}", vtep=vtep) for number, vtep in enumerate((E1, E2, E3), 1))


def evaluated(rounds: str, silent: frozenset[str] = frozenset()) -> list[bool]:
    """Return after each round whether an edge is silent; in `rounds`, `+` is an answer and `-` none."""
    liveness, found = Liveness(), []
    for answer in rounds:
        silent = liveness.evaluate(silent, [E1], {E1} if answer == "+" else set())
        found.append(E1 in silent)
    return found


@pytest.mark.parametrize(
    ("rounds", "silent"),
    [
        ("++++", "...."),
        ("----", "...s"),
        ("---+----", ".......s"),
        ("+-+-+-+-", "........"),
        ("----+++", "...sss."),
        ("----++-+++", "...ssssss."),
        ("-----", "...ss"),
        ("----+++----", "...sss....s"),
    ],
)
def test_four_rounds_without_an_answer_are_silence_and_three_answers_end_it(rounds: str, silent: str) -> None:
    assert evaluated(rounds) == [mark == "s" for mark in silent]


def test_the_last_rounds_alone_decide() -> None:
    for length in range(1, 11):
        for answers in product("+-", repeat=length):
            rounds = "".join(answers)
            state = False
            for end in range(1, length + 1):
                state = rounds[:end].endswith("-" * MISSES) or (state and not rounds[:end].endswith("+" * ANSWERS))
                assert evaluated(rounds[:end])[-1] is state


def test_an_edge_that_was_silent_stays_so_until_it_has_answered_three_rounds() -> None:
    assert evaluated("+++", frozenset({E1})) == [True, True, False]


def test_edges_are_judged_apart() -> None:
    liveness, silent = Liveness(), frozenset[str]()
    for _ in range(MISSES):
        silent = liveness.evaluate(silent, [E1, E2], {E2})
    assert silent == {E1}


def test_silence_is_noticed_within_the_time_that_failover_has() -> None:
    assert (MISSES + 1) * ROUND_S <= 1.5


def test_what_was_known_of_an_edge_that_was_not_asked_for_a_while_does_not_count() -> None:
    liveness, silent = Liveness(), frozenset[str]()
    for _ in range(MISSES - 1):
        silent = liveness.evaluate(silent, [E1], set())
    liveness.forget(set())
    assert liveness.evaluate(silent, [E1], set()) == frozenset()


@pytest.mark.parametrize("kind", ["igw", "nat"])
def test_one_that_is_ready_comes_before_one_that_answers_and_that_before_a_dead_one(kind: str) -> None:
    mapping = GatewayMapping(vni=5000, gateway=make_id(kind, 5000, 7), seats=SEATS)
    everybody = {E1, E2, E3}
    best = seat_for("hv1", mapping, ()).vtep
    for vtep in everybody:
        assert seat_for("hv1", mapping, everybody - {vtep}, everybody - {vtep}).vtep == vtep
        assert seat_for("hv1", mapping, everybody, everybody - {vtep}).vtep == vtep
        assert seat_for("hv1", mapping, everybody - {vtep}).vtep == vtep
    assert seat_for("hv1", mapping, everybody, everybody).vtep == best
    assert seat_for("hv1", mapping, everybody).vtep == best


@pytest.mark.parametrize("kind", ["igw", "nat"])
@pytest.mark.parametrize("host", ["hv1", "hv2", "hv3"])
def test_whom_a_host_passes_over_to_send_to_an_edge(kind: str, host: str) -> None:
    mapping = GatewayMapping(vni=5000, gateway=make_id(kind, 5000, 7), seats=SEATS)
    for seat in SEATS:
        passed = passed_over(host, mapping, seat.vtep)
        assert seat_for(host, mapping, passed) == seat
        assert seat.vtep not in passed
        if kind == "nat":
            assert seat_for(host, mapping, (), standby=passed) == seat
    assert passed_over(host, mapping, seat_for(host, mapping, ()).vtep) == frozenset()
    assert passed_over(host, mapping, "192.0.2.99") == frozenset()


def test_who_is_on_standby_is_used_when_nobody_else_is_there_and_by_stateless_gateways_as_ever() -> None:
    nat, igw = (GatewayMapping(vni=5000, gateway=make_id(kind, 5000, 7), seats=SEATS) for kind in ("nat", "igw"))
    for silent, standby, used in (
        ((), (E1,), E2),
        ((), (E1, E2), E3),
        ((), (E1, E2, E3), E1),
        ((E2, E3), (E1,), E1),
        ((E1, E2, E3), (E1,), E2),
    ):
        assert seat_for("hv1", nat, silent, standby=standby).vtep == used
        assert seat_for("hv1", igw, silent, standby=standby) == seat_for("hv1", igw, silent)


def standings(rounds: str, active: bool) -> str:
    """Return after each round whether an edge is active (`a`) or on standby (`s`).

    In `rounds`, `.` means that no host reaches the edge, `o` that only other hosts probe it, `r` that another edge is active,
    too.
    """
    standing, found = Standing(), ""
    for each in rounds:
        active = standing.evaluate(active, reachable=each != ".", rival=each == "r")
        found += "a" if active else "s"
    return found


@pytest.mark.parametrize(
    ("rounds", "active", "expected"),
    [
        ("oooooo", False, "sssaaa"),  # a new edge without another one
        ("rrrrrr", False, "ssssss"),  # an edge that is back
        ("rrrooo", False, "ssssss"),
        ("rrroooo", False, "ssssssa"),  # the other edge fell silent or handed over
        ("rrrrrr", True, "aaaaaa"),  # a pair with two active edges
        ("...rrr", True, "aaaaaa"),  # no host has left it yet
        ("....rrrr", True, "aaasssss"),  # it was cut off, and the other edge took over
        ("....oooo", True, "aaassssa"),  # all edges were cut off
        ("....ooro", True, "aaasssss"),
        ("..o..o..", True, "aaaaaaaa"),
    ],
)
def test_who_could_not_be_reached_is_on_standby_while_another_edge_is_active(rounds: str, active: bool, expected: str) -> None:
    assert standings(rounds, active) == expected


def test_an_edge_is_on_standby_no_later_than_hosts_have_left_it() -> None:
    """Hosts leave an edge after as many rounds without an answer as make the edge go on standby without an echo."""
    assert standings("." * MISSES, True)[-1] == "s"
