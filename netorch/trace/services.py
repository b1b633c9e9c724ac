"""Sets of services: the part of a protocol that a rule applies to, as spans of numbers.

A service's number is the destination port for TCP and UDP, 256 * type + code for ICMP of the packet's IP version, and 0
for any other protocol, whose packets rules cannot distinguish.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from netorch.model.packet import Packet
from netorch.model.security import ALL_PROTOCOLS, ANY, ICMP, ICMPV6, PORT_LAST, TCP, UDP, AclEntry, SecurityGroupRule

Spans = tuple[tuple[int, int], ...]  # first and last, in order, neither touching nor overlapping
NOTHING: Final[Spans] = ()
_CODES: Final = 256
EPHEMERAL: Final = (1024, PORT_LAST)  # destination of answers. Source: EC2's guide on network ACLs, "Ephemeral ports"
_NAMES: Final = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMPV6: "icmpv6"}


def everything(protocol: int, version: int) -> Spans:
    """Return all services of a protocol; ALL_PROTOCOLS stands for one that no rule names."""
    return ((0, PORT_LAST),) if protocol in (TCP, UDP) or protocol == _icmp(version) else ((0, 0),)


def services_of(rule: SecurityGroupRule | AclEntry, protocol: int, version: int) -> Spans:
    """Return the services of a protocol that a rule applies to."""
    if rule.protocol == ALL_PROTOCOLS:
        return everything(protocol, version)
    if rule.protocol != protocol:
        return NOTHING
    if protocol in (TCP, UDP):
        return ((rule.from_port, rule.to_port),)
    if rule.from_port == ANY and rule.to_port == ANY:
        return everything(protocol, version)
    if protocol != _icmp(version):
        return NOTHING
    first = rule.from_port * _CODES
    return ((first, first + _CODES - 1),) if rule.to_port == ANY else ((first + rule.to_port,) * 2,)


def service(packet: Packet) -> int:
    """Return the number of a packet's service."""
    if packet.has_ports:
        return packet.destination_port
    return packet.icmp_type * _CODES + packet.icmp_code if packet.has_type else 0


def holds(spans: Spans, number: int) -> bool:
    """Return whether the spans contain a service."""
    return any(first <= number <= last for first, last in spans)


def union(spans: Iterable[tuple[int, int]]) -> Spans:
    """Return the union of spans."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def both(a: Spans, b: Spans) -> Spans:
    """Return the intersection."""
    found = ((max(x[0], y[0]), min(x[1], y[1])) for x in a for y in b)
    return union((first, last) for first, last in found if first <= last)


def without(a: Spans, b: Spans) -> Spans:
    """Return the services in `a` that are not in `b`."""
    rest = list(a)
    for low, high in b:
        pieces = [piece for first, last in rest for piece in ((first, min(last, low - 1)), (max(first, high + 1), last))]
        rest = [(first, last) for first, last in pieces if first <= last]
    return union(rest)


def name_of(protocol: int) -> str:
    """Return a protocol in command-line syntax; ALL_PROTOCOLS stands for all that no rule names."""
    return _NAMES.get(protocol, str(protocol)) if protocol != ALL_PROTOCOLS else "all others"


def text_of(protocol: int, spans: Spans, version: int) -> str:
    """Return services in command-line syntax, e.g. `tcp 22,8000-8080`, `icmp 8/0`, `47`, `all others`."""
    name = name_of(protocol)
    if spans == everything(protocol, version):
        return name
    if protocol in (TCP, UDP):
        return f"{name} {ports_of(spans)}"
    return f"{name} " + ",".join(_icmp_text(first, last) for first, last in spans)


def ports_of(spans: Spans) -> str:
    """Return ports in command-line syntax, e.g. `22,8000-8080`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _icmp_text(first: int, last: int) -> str:
    types = (first // _CODES, last // _CODES)
    if first % _CODES == 0 and last % _CODES == _CODES - 1:
        return str(types[0]) if types[0] == types[1] else f"{types[0]}-{types[1]}"
    begin = f"{types[0]}/{first % _CODES}"
    return begin if first == last else f"{begin}-{types[1]}/{last % _CODES}"


def _icmp(version: int) -> int:
    return ICMP if version == 4 else ICMPV6
