"""How connections share the checks of their targets."""

from __future__ import annotations

from netorch.agent.tasks.targets.portions import Checked, Portions, shares

BIG = Checked(tuple(f"10.0.0.{n}" for n in range(100)), tuple(range(1, 51)))
SMALL = Checked(("10.0.0.1", "10.0.0.2"), (443,))


def test_a_service_with_many_targets_delays_no_check_of_others_and_has_all_of_its_own_checked() -> None:
    portions, known = Portions(), {"big": BIG, "small": SMALL, "none": Checked((), (443,))}
    seen = set()
    for _ in range(-(-5_000 // 18)):
        found = list(portions.take(known, 20))
        assert len(found) == len(set(found)) == 20
        assert sum(knock.netns == "small" for knock in found) == 2
        assert all(known[knock.netns].holds(knock) for knock in found)
        seen |= set(found)
    assert len(seen) == 5_002


def test_few_targets_are_all_checked_in_each_round() -> None:
    portions = Portions()
    for _ in range(3):
        assert len(set(portions.take({"a": SMALL, "b": SMALL}, 1_000))) == 4
    assert list(portions.take({}, 1_000)) == []


def test_small_ones_leave_the_rest_and_everybody_has_one() -> None:
    assert shares({"a": 1, "b": 50, "c": 5_000}, 101) == {"a": 1, "b": 50, "c": 50}
    assert shares(dict.fromkeys("abcde", 9), 3) == dict.fromkeys("abcde", 1)
