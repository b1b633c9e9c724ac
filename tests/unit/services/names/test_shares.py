"""Limits shared by VPCs: a VPC that uses little always finds room, whatever the others use."""

from __future__ import annotations

from netorch.services.names.shares import QUESTIONS, QUESTIONS_OF_ALL, SPAN_S, Allowance, Places


def test_a_vpc_is_answered_so_many_questions_in_a_span_and_as_many_in_the_next() -> None:
    allowance = Allowance()
    assert sum(allowance.admits(1, 10.0) for _ in range(3 * QUESTIONS)) == QUESTIONS
    assert allowance.admits(2, 10.0)
    assert sum(allowance.admits(1, 10.0 + SPAN_S) for _ in range(3 * QUESTIONS)) == QUESTIONS


def test_many_vpcs_that_flood_leave_room_for_one_that_does_not() -> None:
    allowance = Allowance()
    taken = 0
    for _ in range(QUESTIONS_OF_ALL):
        taken += sum(allowance.admits(vni, 10.0) for vni in range(1, 11))
    assert taken <= QUESTIONS_OF_ALL * 10 // 11 + 10
    assert sum(allowance.admits(99, 10.0) for _ in range(30)) == 30


def test_places_are_an_interfaces_a_vpcs_and_all() -> None:
    places = Places(of_one=3, of_vpc=8, of_all=20)
    assert sum(places.take((1, "10.0.0.1")) for _ in range(9)) == 3
    assert sum(places.take((1, f"10.0.1.{n}")) for n in range(9)) == 5
    assert sum(places.take((2, f"10.0.1.{n}")) for n in range(20)) == 6  # as many as are free
    assert places.take((3, "10.0.0.1"))
    assert not places.take((1, "10.0.0.9"))
    places.give((1, "10.0.0.1"))
    assert not places.take((1, "10.0.0.9"))  # it has seven, and six are free
    for n in range(5):
        places.give((1, f"10.0.1.{n}"))
    assert places.take((1, "10.0.0.1"))
    assert not places.take((1, "10.0.0.1"))  # it has three again
