"""Rules as text: `tcp 443 from 0.0.0.0/0`, `all to sg-db`, `deny tcp 22 from 10.0.0.0/8`.

`netorch.model.permission` parses the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from netorch.model.permission import PROTOCOLS
from netorch.model.security import ANY, ICMP, ICMPV6, PORT_LAST, TCP, UDP, AclEntry, Direction, SecurityGroupRule

_NAMES: Final = {number: name for name, number in PROTOCOLS.items()}
_WORD: Final = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})


def protocol_text(number: int) -> str:
    """Return a protocol's name, or its number if PROTOCOLS has no name for it."""
    return _NAMES.get(number, str(number))


def ports_text(protocol: int, from_port: int, to_port: int) -> str:
    """Return e.g. `443`, `8000-8080` or, for ICMP, `3/4`; empty for all."""
    if protocol in (TCP, UDP):
        if (from_port, to_port) == (0, PORT_LAST):
            return ""
        return str(from_port) if from_port == to_port else f"{from_port}-{to_port}"
    if protocol in (ICMP, ICMPV6) and from_port != ANY:
        return str(from_port) if to_port == ANY else f"{from_port}/{to_port}"
    return ""


def traffic_text(rule: SecurityGroupRule | AclEntry) -> str:
    """Return e.g. `tcp 443` or `all`."""
    ports = ports_text(rule.protocol, rule.from_port, rule.to_port)
    return f"{protocol_text(rule.protocol)} {ports}".rstrip()


def rule_text(rule: SecurityGroupRule, direction: Direction, names: Mapping[str, str] = _NO_NAMES) -> str:
    """Return e.g. `tcp 443 from sg-lb`. `names` maps ids of groups and prefix lists to names."""
    return f"{traffic_text(rule)} {_WORD[direction]} {names.get(rule.peer, rule.peer)}"


def entry_text(entry: AclEntry, direction: Direction) -> str:
    """Return e.g. `deny tcp 22 from 10.0.0.0/8`, without the entry's number."""
    return f"{'allow' if entry.allow else 'deny'} {traffic_text(entry)} {_WORD[direction]} {entry.cidr}"
