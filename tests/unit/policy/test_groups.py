"""What many classes and rules may come to."""

from __future__ import annotations

import pytest

from netorch.errors import CompileError
from netorch.model.security import TCP, SecurityGroup, SecurityGroupRule
from policy.groups import MOST_ENTRIES, GroupRules

GROUP = "sg-00138800000000001"


def rules(classes: int, ports: int) -> GroupRules:
    """Return a group whose rules permit ports to itself, and so many classes that hold it."""
    permitted = tuple(
        SecurityGroupRule(id=f"sgr-001388{port:011x}", protocol=TCP, from_port=port, to_port=port, group=GROUP)
        for port in range(1, ports + 1)
    )
    group = SecurityGroup(id=GROUP, vni=5000, name="g", ingress=permitted)
    return GroupRules([group], [], {number: (GROUP, f"sg-{number}") for number in range(1, classes + 1)})


def test_what_one_customers_rules_come_to_is_bounded_before_it_is_written_out() -> None:
    local = [(GROUP, f"sg-{number}") for number in range(MOST_ENTRIES // (1000 * 50))]
    rules(1000, 50).check_size(local)
    with pytest.raises(CompileError, match="come to 250000 entries on this host, more than 200000; give interfaces fewer"):
        rules(1000, 50).check_size([*local, (GROUP, "sg-x")])


def test_a_group_that_no_rule_refers_to_may_have_any_number_of_classes() -> None:
    rules(100_000, 0).check_size([(GROUP,)] * 1000)
