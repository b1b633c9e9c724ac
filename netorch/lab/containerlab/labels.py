"""The labels that define a node's part in netorch."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

import msgspec

from netorch.lab.topology import NodeRole
from netorch.model.check.notes import Where
from netorch.model.outside.uplink import parse_uplink
from netorch.model.rules import Violation

ROLE: Final = "netorch.role"
UNDERLAY: Final = "netorch.underlay"
PAIR: Final = "netorch.pair"
UPLINK: Final = "netorch.uplink"
ASN: Final = "netorch.asn"
GATEWAY_ASN: Final = "netorch.gateway-asn"
_ALL: Final = (ROLE, UNDERLAY, PAIR, UPLINK, ASN, GATEWAY_ASN)
_ROLES: Final = {role.value: role for role in NodeRole}

Add = Callable[[Where, str, str], None]  # reports a problem: where, what, and the fix


class HostLabels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a node; empty for a node without netorch."""

    role: NodeRole | None = None
    underlay: str = ""
    pair: str = ""
    uplink: str = ""
    asn: int = 0
    gateway_asn: int = 0


def read_labels(labels: Mapping[str, str], where: Where, add: Add) -> HostLabels:
    """Return the labels of a node; `where` is the node, and `add` gets every problem."""
    for label, what, fix in _problems(labels):
        add((*where, "labels", *([label] if label else [])), what, fix)
    return HostLabels(
        role=_ROLES.get(labels.get(ROLE, "")),
        underlay=labels.get(UNDERLAY, ""),
        pair=labels.get(PAIR, ""),
        uplink=labels.get(UPLINK, ""),
        asn=_number(labels, ASN) or 0,
        gateway_asn=_number(labels, GATEWAY_ASN) or 0,
    )


def _number(labels: Mapping[str, str], label: str) -> int | None:
    """Return an AS number, 0 where the label is missing, None for an invalid number."""
    text = labels.get(label, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len("4294967295") else None


def _problems(labels: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield label, problem and fix for each problem; an empty label: one is missing."""
    for label in labels:
        if label.startswith("netorch.") and label not in _ALL:
            near = get_close_matches(label, _ALL, 1)
            yield label, f"netorch has no label {label!r}", f"did you mean {near[0]}?" if near else f"use {', '.join(_ALL)}"
    role, underlay = labels.get(ROLE, ""), labels.get(UNDERLAY, "")
    if role and role not in _ROLES:
        yield ROLE, f"there is no role {role!r}", f"use {', '.join(_ROLES)}"
        return
    has_agent = bool(role) and _ROLES[role].has_agent
    if has_agent and not underlay:
        yield "", f"a {role} without underlay address", f"add {UNDERLAY}: 192.0.2.11"
    elif underlay and not has_agent:
        fix = f"remove it, or set {ROLE}: {NodeRole.HYPERVISOR.value}"
        yield UNDERLAY, "only a hypervisor or an edge has an underlay address", fix
    elif underlay and not _is_ipv4(underlay):
        yield UNDERLAY, f"{underlay!r} is no IPv4 address", "write one, e.g. 192.0.2.11"
    yield from _edge_problems(labels, role)


def _edge_problems(labels: Mapping[str, str], role: str) -> Iterator[tuple[str, str, str]]:
    given = [label for label in (PAIR, UPLINK, ASN, GATEWAY_ASN) if label in labels]
    if given and role != NodeRole.EDGE.value:
        yield given[0], "only an edge has a pair and an uplink", f"remove it, or set {ROLE}: {NodeRole.EDGE.value}"
        return
    missing = [label for label in (PAIR, UPLINK) if given and label not in labels]
    if missing:
        yield "", f"{given[0]} without {missing[0]}", f"add {missing[0]}: an edge carries gateways only with both"
        return
    numbers = {label: _number(labels, label) for label in (ASN, GATEWAY_ASN)}
    for label, number in numbers.items():
        if number is None:
            yield label, f"{labels[label]!r} is no AS number", "write one, e.g. 64601"
    if given and isinstance(found := parse_uplink(labels[UPLINK], *(number or 0 for number in numbers.values())), Violation):
        yield UPLINK, found.what, found.fix


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
