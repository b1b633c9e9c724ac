"""Limits on the entries of many identities and rules."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from netorch.errors import CompileError
from netorch.model.security import TCP, SecurityGroup, SecurityGroupRule
from policy.groups import MOST_ENTRIES, peers_left_out, references

GROUP = "sg-00138800000000001"


OF_PEER, OF_OTHER = "sg-00138900000000001", "sg-00138a00000000001"
PEER, OTHER = 5001, 5002
FITS = MOST_ENTRIES // (1000 * 50)  # sets of groups on this host, if 50 rules refer to a group that 1000 identities hold


def referred(here: int, ports: int, *groups: str) -> Counter[str]:
    """Return the references of `here` sets of groups on this host, with a group whose rules permit ports to these groups."""
    permitted = tuple(
        SecurityGroupRule(id=f"sgr-001388{number:011x}", protocol=TCP, from_port=port, to_port=port, group=group)
        for number, (port, group) in enumerate(product(range(1, ports + 1), groups))
    )
    group = SecurityGroup(id=GROUP, vni=5000, name="g", ingress=permitted)
    return references([group], [(GROUP, f"sg-{number}") for number in range(here)])


def identities(count: int, group: str) -> list[tuple[str, str]]:
    """Return this many identities that hold a group."""
    return [(group, f"sg-{number}") for number in range(count)]


def test_what_one_customers_rules_come_to_is_bounded_before_it_is_written_out() -> None:
    assert peers_left_out(referred(FITS, 50, GROUP), identities(1000, GROUP), {}) == []
    with pytest.raises(CompileError, match="come to 250000 entries on this host, more than 200000; give interfaces fewer"):
        peers_left_out(referred(FITS + 1, 50, GROUP), identities(1000, GROUP), {})


def test_a_group_that_no_rule_refers_to_may_have_any_number_of_identities() -> None:
    assert peers_left_out(referred(1000, 0), identities(100_000, GROUP), {PEER: identities(100_000, OF_PEER)}) == []


def test_a_peer_whose_identities_are_too_many_stops_neither_the_vpc_nor_another_peer() -> None:
    both = referred(FITS, 50, OF_PEER, OF_OTHER)
    many, few = identities(1000, OF_PEER), identities(1, OF_OTHER)
    assert peers_left_out(both, [], {PEER: many}) == []
    assert peers_left_out(both, [], {PEER: many, OTHER: few}) == [PEER]
    assert peers_left_out(both, [], {PEER: few, OTHER: identities(1001, OF_OTHER)}) == [OTHER]
