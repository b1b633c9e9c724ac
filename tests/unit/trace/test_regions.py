"""How rules and routes distinguish the internet from other regions."""

from __future__ import annotations

import pytest

from netorch.model.addr import parse_prefix
from netorch.model.ids import make_id
from netorch.model.routing.effective import Effective, Origin
from netorch.model.routing.target import BLACKHOLE, LOCAL, Target, target_of
from netorch.trace.codes import Code
from netorch.trace.regions import EVERYTHING, code_of, distinct, label_of, regions, route_to

NAMED = ["10.0.0.0/8", "203.0.113.0/24", "8.8.8.8/32", "198.18.5.0/24", "100.64.0.0/10", "2001:db8::/32", "0.0.0.0/0"]
GATEWAY = target_of(make_id("igw", 5000, 1))


def test_regions_are_what_is_named_outside_of_vpcs_and_announced_by_networks() -> None:
    found = regions(map(parse_prefix, NAMED), [parse_prefix("198.18.0.0/16")])
    assert [label_of(region) for region in found] == ["internet", "internet 203.0.113.0/24", "internet 8.8.8.8/32"]
    assert regions([], []) == [EVERYTHING]


def test_what_is_said_of_a_wider_region_is_not_said_again() -> None:
    wide, inner, narrow = (parse_prefix(text) for text in ("8.0.0.0/8", "8.8.0.0/16", "8.8.8.8/32"))
    assert distinct({EVERYTHING: 1, wide: 1, inner: 2, narrow: 2}) == [(EVERYTHING, 1), (inner, 2)]
    assert distinct({EVERYTHING: 1, wide: 2, inner: 1}) == [(EVERYTHING, 1), (wide, 2), (inner, 1)]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (GATEWAY, None),
        (BLACKHOLE, Code.BAD_STATE_ROUTE),
        (LOCAL, Code.NO_ROUTE_TO_DESTINATION),
        (None, Code.NO_ROUTE_TO_DESTINATION),
    ],
)
def test_only_a_route_to_a_gateway_leads_to_the_internet(target: Target | None, code: Code | None) -> None:
    narrow = Effective(parse_prefix("8.8.8.8/32"), BLACKHOLE, Origin.STATIC)
    routes = [narrow, *([Effective(EVERYTHING, target, Origin.STATIC)] if target is not None else [])]
    assert code_of(route_to(routes, parse_prefix("8.8.8.0/24"))) is code
    assert code_of(route_to(routes, parse_prefix("8.8.8.8/32"))) is Code.BAD_STATE_ROUTE
