"""Sets of services behave like sets of numbers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.services import EVERYTHING, NOTHING, Services, services, type_intervals

PROTOCOLS = (0, 1, 6, 17, 47, 58, 255)
PORTS = (0, 1, 79, 80, 81, 255, 256, 257, 443, 65534, 65535)
NUMBERS = (0, 3, 8, 255)

rules = st.one_of(
    st.just((-1, -1, -1)),
    st.tuples(st.sampled_from((6, 17)), st.sampled_from(PORTS), st.sampled_from(PORTS)).map(lambda r: (r[0], *sorted(r[1:]))),
    st.tuples(st.sampled_from((1, 58)), st.sampled_from(NUMBERS), st.sampled_from((-1, *NUMBERS))),
    st.tuples(st.sampled_from(PROTOCOLS), st.just(-1), st.just(-1)),
)
sets = st.lists(rules, max_size=5).map(lambda found: _union(services(*rule) for rule in found))


def _union(found: object) -> Services:
    total = NOTHING
    for one in found:  # type: ignore[attr-defined]  # an iterable of Services
        total = total | one
    return total


def members(found: Services) -> set[tuple[int, int]]:
    """Return the members among those services in which sets of these tests can differ."""
    points = {point for edge in PORTS for point in (edge - 1, edge, edge + 1)}
    points |= {point for t in NUMBERS for c in NUMBERS for point in ((t << 8 | c) - 1, t << 8 | c, (t << 8 | c) + 1)}
    inside = set()
    for protocol in (*PROTOCOLS, 2, 132):
        ranges = found.of(protocol)
        inside |= {(protocol, p) for p in points if 0 <= p <= 65535 and any(first <= p <= last for first, last in ranges)}
    return inside


@given(sets, sets)
def test_or_minus_and_are_those_of_sets(a: Services, b: Services) -> None:
    assert members(a | b) == members(a) | members(b)
    assert members(a - b) == members(a) - members(b)
    assert members(a & b) == members(a) & members(b)


@given(sets, sets)
def test_equal_sets_are_equal_values(a: Services, b: Services) -> None:
    assert a | b == b | a
    assert a - b == a - (a & b)
    assert (a - b) | (a & b) == a
    assert a - EVERYTHING == NOTHING
    assert bool(a) == bool(members(a))


@given(sets)
def test_the_whole_protocols_are_told_as_ranges_with_gaps(a: Services) -> None:
    ranges = list(a.whole_ranges())
    assert {p for first, last in ranges for p in range(first, last + 1)} == {p for p in range(256) if a.whole >> p & 1}
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


@given(sets)
def test_intervals_of_icmp_types_and_codes_hold_each_of_them_once(a: Services) -> None:
    wanted = sorted(p for first, last in a.of(1) for p in range(first, last + 1))
    intervals = list(type_intervals(a.of(1)))
    found = [
        t << 8 | c for types, codes in intervals for t in range(types[0], types[1] + 1) for c in range(codes[0], codes[1] + 1)
    ]
    assert sorted(found) == wanted


@pytest.mark.parametrize(
    ("rule", "has", "has_not"),
    [
        ((6, 443, 443), (6, 443), (6, 444)),
        ((6, -1, -1), (6, 0), (17, 0)),
        ((1, 8, -1), (1, 8 << 8 | 7), (1, 9 << 8)),
        ((1, 3, 4), (1, 3 << 8 | 4), (1, 3 << 8 | 3)),
        ((1, -1, -1), (1, 65535), (58, 0)),
        ((47, -1, -1), (47, 12), (48, 12)),
        ((-1, -1, -1), (255, 0), None),
    ],
)
def test_a_rule_means_its_protocol_and_numbers(
    rule: tuple[int, int, int], has: tuple[int, int], has_not: tuple[int, int] | None
) -> None:
    found = services(*rule)
    assert any(first <= has[1] <= last for first, last in found.of(has[0]))
    assert has_not is None or not any(first <= has_not[1] <= last for first, last in found.of(has_not[0]))
