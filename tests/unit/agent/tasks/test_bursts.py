"""Bursts: a few messages at once, then one per interval, for each key separately."""

from __future__ import annotations

from netorch.agent.tasks.bursts import AT_ONCE, EVERY_S, Bursts


def times(bursts: Bursts[int], one: int, begin: float, end: float) -> int:
    """Return how many messages a key may send that always has one, with a check every tenth of the interval."""
    said, now = 0, begin
    while now < end:
        if bursts.may_at(one) <= now:
            bursts.said(one, now)
            said += 1
        now += EVERY_S / 10 if said % AT_ONCE == 0 or bursts.may_at(one) > now else 0.0
    return said


def test_one_who_always_has_something_to_say_is_heard_once_in_a_while() -> None:
    bursts = Bursts[int]()
    assert times(bursts, 1, 1000.0, 1000.0 + 100 * EVERY_S) in range(100 + AT_ONCE - 1, 100 + AT_ONCE + 1)
    assert bursts.may_at(2) <= 0.0, "another one is heard at once"


def test_who_has_been_silent_for_a_while_has_a_few_at_once_again() -> None:
    bursts = Bursts[int]()
    for _ in range(AT_ONCE):
        assert bursts.may_at(1) <= 1000.0
        bursts.said(1, 1000.0)
    assert bursts.may_at(1) == 1000.0 + EVERY_S
    for _ in range(AT_ONCE):
        assert bursts.may_at(1) <= 5000.0
        bursts.said(1, 5000.0)
    assert bursts.may_at(1) > 5000.0


def test_who_is_gone_is_forgotten() -> None:
    bursts = Bursts[int]()
    bursts.said(1, 1000.0)
    bursts.keep({2})
    assert bursts.may_at(1) <= 0.0
