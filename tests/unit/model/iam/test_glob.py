"""Patterns: the cost of a comparison depends on the pattern alone, not on the compared text of another owner."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from netorch.model.endpoints.endpoint_rules import MAX_POLICY
from netorch.model.iam import glob as module
from netorch.model.iam.glob import glob
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Policy

TEXT = "arn:aws:s3:::buc/" + "a" * 1_024


class Counted(dict[str, int]):
    """Counts its look-ups."""

    asked = 0

    def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
        Counted.asked += 1
        return super().get(key, default)


@pytest.fixture(autouse=True)
def _counting(monkeypatch: pytest.MonkeyPatch) -> None:
    places_of = module.places_of

    def counted(text: str) -> Mapping[str, int]:
        return Counted(places_of(text))

    Counted.asked = 0
    monkeypatch.setattr(module, "places_of", counted)


@pytest.mark.parametrize("part", ["a" * 500 + "b", "a" * 250 + "b" + "a" * 250, "b" + "a" * 500, "a?" * 250 + "b"])
@pytest.mark.parametrize("text", [TEXT, "b" + TEXT, TEXT + "b", TEXT[:500] + "b" + TEXT[500:], ("a" * 15 + "b") * 64])
def test_a_comparison_takes_no_more_steps_than_the_pattern_has_characters(part: str, text: str) -> None:
    pattern = glob(f"*{part}*", variables=False)
    pattern.matches(text)
    assert Counted.asked <= len(part) < pattern.effort <= len(part) + 2


def test_a_whole_policy_takes_as_many_steps_as_it_has_characters() -> None:
    resources = [f"arn:aws:s3:::*{'a' * number}b*" for number in range(480, 518)]
    text = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": resources}})
    policy = read_policy(text)
    assert isinstance(policy, Policy)
    assert policy.effort < len(text) < MAX_POLICY
    assert not any(pattern.matches(TEXT) for pattern in policy.statements[0].resources)
    assert Counted.asked <= policy.effort


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*b*c", "aXbXbXc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("*ab*ab*", "aXabab", True),
        ("*ab*ab*", "abXb", False),
        ("*a?c*", "abXaXc", True),
        ("*a?", "a", False),
        ("*?*?*", "a", False),
        ("*?*?*", "ab", True),
        ("?*", "", False),
        ("a?c", "abc", True),
        ("a?c", "abcd", False),
        ("**", "", True),
        ("*\U0001f600*", "x\U0001f600\n", True),
        ("${*}*${?}", "*a?", True),
        ("${*}*${?}", "*ab", False),
        ("*${*}x*", "a*x", True),
    ],
)
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    assert glob(pattern, variables=True).matches(text) is expected
