"""Connections that are rejected, and those that make room for a new one; tests set the time."""

from __future__ import annotations

from netorch.services.relay import limits
from netorch.services.relay.places import Places


class Connection:
    """A connection that records that it was cut."""

    def __init__(self, vni: int, moved: float = 0.0) -> None:
        self.vni = vni
        self.moved = moved
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


def entered(places: Places, vni: int, count: int, moved: float = 0.0) -> list[Connection]:
    found = [Connection(vni, moved) for _ in range(count)]
    assert all(places.admit(one, moved) for one in found)
    return found


def test_a_vpc_that_has_all_gives_up_its_longest_quiet_one_and_none_that_is_at_work() -> None:
    places = Places(of_vpc=2, of_all=10)
    first, second = entered(places, 5000, 2)
    assert not places.admit(Connection(5000), limits.QUIET_S - 1)
    first.moved = 15.0
    places.moved(first)
    assert places.admit(Connection(5000), limits.QUIET_S)
    assert (first.is_cut, second.is_cut) == (False, True)


def test_one_vpc_keeps_no_other_out() -> None:
    places = Places(of_vpc=10, of_all=4)
    greedy = entered(places, 5000, 4)
    others = entered(places, 6000, 2)
    assert [one.is_cut for one in greedy] == [True, True, False, False]
    assert not places.admit(Connection(6000), 0.0)  # now both have the same number
    assert not places.admit(Connection(5000), 0.0)
    assert not any(one.is_cut for one in others)


def test_a_place_that_was_left_is_free_once() -> None:
    places = Places(of_vpc=1, of_all=1)
    (one,) = entered(places, 5000, 1)
    places.leave(one)
    places.leave(one)
    (other,) = entered(places, 6000, 1)
    assert not places.admit(Connection(6000), 0.0)
    assert not other.is_cut


def test_what_was_quiet_for_too_long_is_cut() -> None:
    places = Places()
    (quiet,) = entered(places, 5000, 1)
    (lively,) = entered(places, 5000, 1, moved=10.0)
    places.sweep(limits.IDLE_S)
    assert (quiet.is_cut, lively.is_cut) == (True, False)
