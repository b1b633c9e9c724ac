"""The text of rules, parsed and formatted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.model import permission
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    EgressDecl,
    IngressDecl,
    NetworkAclDecl,
    PrefixListDecl,
    SecurityGroupDecl,
)
from netorch.model.normal import normal_acls, normal_groups, normal_lists
from netorch.model.rule_text import entry_text, ports_text, protocol_text, rule_text
from netorch.model.rules import Violation
from netorch.model.security import AclEntry, Direction, SecurityGroupRule


@pytest.mark.parametrize(
    ("text", "number"), [("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("all", -1), ("0", 0), (255, 255), ("6", 6)]
)
def test_a_protocol_has_a_name_or_a_number(text: str | int, number: int) -> None:
    assert permission.protocol(text) == number


@pytest.mark.parametrize(
    "text", ["TCP", "Tcp", " tcp", "-1", -1, "256", 256, "06", "sctp", "", "\u0666", pytest.param(10**5000, id="huge")]
)
def test_what_is_no_protocol_is_a_violation(text: str | int) -> None:
    assert isinstance(permission.protocol(text), Violation)


@pytest.mark.parametrize("text", ["-1", "65536", "1-65536", "2-1", "1-", "-", "1,2", "0x1", "01", " 1", "1/2", 65536, -1])
def test_what_are_no_ports_is_a_violation(text: str | int) -> None:
    assert isinstance(permission.ports(text, 6), Violation)


@pytest.mark.parametrize("text", ["256", "8/256", "/0", "8/", "1-2", "echo", "-1"])
def test_what_is_no_type_of_icmp_is_a_violation(text: str) -> None:
    assert isinstance(permission.ports(text, 1), Violation)


@given(st.sampled_from([6, 17]), st.integers(0, 65535), st.integers(0, 65535))
def test_ports_are_read_as_they_are_written(protocol: int, one: int, other: int) -> None:
    span = min(one, other), max(one, other)
    assert permission.ports(ports_text(protocol, *span), protocol) == span


@given(st.sampled_from([1, 58]), st.integers(-1, 255), st.integers(-1, 255))
def test_types_and_codes_are_read_as_they_are_written(protocol: int, type_: int, code: int) -> None:
    span = type_, code if type_ >= 0 else -1
    assert permission.ports(ports_text(protocol, *span), protocol) == span


@given(st.integers(-1, 255))
def test_protocols_are_read_as_they_are_written(number: int) -> None:
    assert permission.protocol(protocol_text(number)) == number


def test_rules_and_entries_have_a_text() -> None:
    rule = SecurityGroupRule(id="sgr-1", protocol=6, from_port=443, to_port=443, cidr="0.0.0.0/0")
    assert rule_text(rule, Direction.INGRESS) == "tcp 443 from 0.0.0.0/0"
    member = SecurityGroupRule(id="sgr-1", protocol=-1, group="sg-1")
    assert rule_text(member, Direction.EGRESS, {"sg-1": "sg-web"}) == "all to sg-web"
    entry = AclEntry(number=1, allow=False, protocol=6, from_port=22, to_port=22, cidr="10.0.0.0/8")
    assert entry_text(entry, Direction.INGRESS) == "deny tcp 22 from 10.0.0.0/8"


def test_what_means_the_same_is_written_the_same() -> None:
    https = IngressDecl(protocol="6", ports="443-443", source="FD00:0::/8")
    open_ = IngressDecl(protocol="all", source="sg-x")
    outbound = [EgressDecl(protocol="all", destination="::/0"), EgressDecl(protocol="all", destination="0.0.0.0/0")]
    (group,) = normal_groups(
        [
            SecurityGroupDecl(name="web", ingress=[https, open_], egress=outbound),
            SecurityGroupDecl(name="default", ingress=[IngressDecl(protocol="all", source="sg-default")], egress=outbound),
        ]
    )
    assert group == SecurityGroupDecl(name="web", ingress=[open_, IngressDecl(protocol="tcp", ports=443, source="fd00::/8")])
    entries = [AclEntryDecl(rule=n, action=AclAction.DENY, protocol=17, ports="0-65535", cidr="::/0") for n in (2, 1)]
    (acl,) = normal_acls([NetworkAclDecl(name="edge", ingress=entries)])
    assert [(entry.rule, entry.protocol, entry.ports) for entry in acl.ingress] == [(1, "udp", ""), (2, "udp", "")]
    (found,) = normal_lists([PrefixListDecl(name="a", cidrs=["192.0.2.0/24", "10.0.0.0/8"], max_entries=2)])
    assert found == PrefixListDecl(name="a", cidrs=["10.0.0.0/8", "192.0.2.0/24"])
