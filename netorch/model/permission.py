"""The words of a rule in vpc.yaml and in commands: `tcp`, `8000-8080`, `10.0.0.0/8`, `sg-web`, `pl-offices`.

Like `netorch.model.rules`, each function returns the value or a Violation and never raises.
"""

from __future__ import annotations

import re
from typing import Final

from netorch.model.addr import AddressError, Prefix, parse_prefix
from netorch.model.rules import Violation, number_text, shown
from netorch.model.security import ALL_PROTOCOLS, ANY, ICMP, ICMPV6, PORT_LAST, TCP, UDP

PROTOCOLS: Final = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6, "all": ALL_PROTOCOLS}
PROTOCOL_LAST: Final = 255
ICMP_LAST: Final = 255  # the highest type and code
GROUP_PREFIX: Final = "sg-"
LIST_PREFIX: Final = "pl-"
PORTS_PATTERN: Final = r"^[0-9]{1,5}(-[0-9]{1,5}|/[0-9]{1,3})?$"

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,4})\Z")
_RANGE = re.compile(r"(0|[1-9][0-9]{0,4})-(0|[1-9][0-9]{0,4})\Z")
_TYPE_AND_CODE = re.compile(r"(0|[1-9][0-9]{0,2})(?:/(0|[1-9][0-9]{0,2}))?\Z")
_WRITE_PORTS: Final = f"write one of 0 to {PORT_LAST}, or a range such as 8000-8080, or leave it out for all"
_WRITE_TYPE: Final = "write a type such as 8, a type and a code such as 3/4, or leave it out for all"

Words = tuple[int, int, int, str]  # protocol, from_port, to_port, peer: rules with equal Words are duplicates


def protocol(text: str | int) -> int | Violation:
    """Return the number of a protocol, or ALL_PROTOCOLS for `all`."""
    word = text if isinstance(text, str) else number_text(text)
    if word in PROTOCOLS:
        return PROTOCOLS[word]
    if _NUMBER.match(word) and int(word) <= PROTOCOL_LAST:
        return int(word)
    fix = (
        f"write {word.lower()}"
        if word.lower() in PROTOCOLS
        else f"write {', '.join(PROTOCOLS)} or a number, 0 to {PROTOCOL_LAST}"
    )
    return Violation(f"{shown(word)} is not a protocol", fix)


def ports(text: str | int, number: int) -> tuple[int, int] | Violation:
    """Return `from_port` and `to_port` for a protocol: a port range, or ICMP type and code. An empty text means all."""
    word = text if isinstance(text, str) else number_text(text)
    if number in (TCP, UDP):
        return _ports(word) if word else (0, PORT_LAST)
    if not word:
        return ANY, ANY
    if number in (ICMP, ICMPV6):
        return _type_and_code(word)
    noun = "all protocols" if number == ALL_PROTOCOLS else f"protocol {number}"
    return Violation(f"{shown(word)} is given for {noun}, which has no ports", "leave it out, or choose tcp or udp")


def _ports(word: str) -> tuple[int, int] | Violation:
    if _NUMBER.match(word):
        first = last = int(word)
    elif found := _RANGE.match(word):
        first, last = int(found[1]), int(found[2])
    else:
        return Violation(f"{shown(word)} is neither a port nor a range of ports", _WRITE_PORTS)
    if max(first, last) > PORT_LAST:
        return Violation(f"{max(first, last)} is not a port", _WRITE_PORTS)
    if first > last:
        return Violation(f"{word} ends before it begins", f"write {last}-{first}")
    return first, last


def _type_and_code(word: str) -> tuple[int, int] | Violation:
    found = _TYPE_AND_CODE.match(word)
    if found is None:
        return Violation(f"{shown(word)} is not a type of ICMP", _WRITE_TYPE)
    type_, code = int(found[1]), int(found[2]) if found[2] else ANY
    if max(type_, code) > ICMP_LAST:
        return Violation(f"{max(type_, code)} is over {ICMP_LAST}, the highest type and code of ICMP", _WRITE_TYPE)
    return type_, code


def is_reference(text: str) -> bool:
    """Return whether the peer of a rule is a group or a prefix list, by name or id, and not a CIDR."""
    return text.startswith((GROUP_PREFIX, LIST_PREFIX))


def cidr(text: str, *, references: bool) -> Prefix | Violation:
    """Return the CIDR of a rule. Host bits are an error. With `references`, the error also suggests groups and prefix lists."""
    try:
        return parse_prefix(text)
    except AddressError:
        pass
    try:
        network = parse_prefix(text, strict=False)
    except AddressError:
        others = (
            f", {GROUP_PREFIX} and a group's name (a peer's group: its id) or {LIST_PREFIX} and a prefix list's"
            if references
            else ""
        )
        return Violation(f"{shown(text)} is not a CIDR", f"write e.g. 10.0.0.0/8{others}")
    return Violation(f"{text} has host bits set", f"write {network}")


def other_family(number: int, version: int, what: str) -> Violation | None:
    """Return why a protocol cannot have a peer of IP version `version`, e.g. ICMP with IPv6. `what` names the peer."""
    if number == ICMP and version == 6:
        return Violation(f"{what} is IPv6, the protocol is icmp", "choose icmpv6 or an IPv4 CIDR")
    if number == ICMPV6 and version == 4:
        return Violation(f"{what} is IPv4, the protocol is icmpv6", "choose icmp or an IPv6 CIDR")
    return None
