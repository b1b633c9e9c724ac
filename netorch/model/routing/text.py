"""Routes as text: `0.0.0.0/0 via igw`, `10.9.0.0/16 via pcx-b`, `pl-s3 via vpce-s3`, `10.44.13.0/24 via eni fw-1`.

    DESTINATION via TARGET

DESTINATION is a CIDR, or `pl-` and the name or id of a prefix list. TARGET is `local`, `blackhole`, the kind of a gateway of
which a VPC has one (`igw`, `eigw`, `vgw`), `eni` and the name of an instance, or a kind, a dash and a name (`pcx-b`). An id can
replace any of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.ids import is_id
from netorch.model.permission import LIST_PREFIX, cidr
from netorch.model.routing.target import BLACKHOLE, LOCAL, ONLY_ONE, TargetKind
from netorch.model.rules import Violation, shown

_VIA: Final = " via "
_ALONE: Final = frozenset({LOCAL.kind, BLACKHOLE.kind}) | ONLY_ONE
_WRITE: Final = "write DESTINATION via TARGET, e.g. 0.0.0.0/0 via eni fw-1"
_DESTINATIONS: Final = "write a CIDR, e.g. 0.0.0.0/0, or pl- and a prefix list's name"
_TARGETS: Final = (
    "write igw, eigw, vgw, nat- and a NAT gateway's name, eni and an instance's, pcx- and a peering's, blackhole, or an id"
)


class RouteWords(msgspec.Struct, frozen=True):
    """A parsed route, with names instead of ids."""

    destination: str  # a canonical CIDR, or pl- and a name or id
    kind: TargetKind
    name: str = ""  # name or id of the target; empty for kinds without a name

    def __str__(self) -> str:
        return f"{self.destination}{_VIA}{self.target}"

    @property
    def target(self) -> str:
        """Return the target as text: `igw`, `eni fw-1`, `pcx-b`, or its id."""
        if not self.name or is_id(self.name, self.kind.value):
            return self.name or self.kind.value
        return f"{self.kind.value}{' ' if self.kind is TargetKind.INTERFACE else '-'}{self.name}"


def parse_route(text: str) -> RouteWords | Violation:
    """Return the parsed route of a text, or the error in it."""
    destination, via, target = " ".join(text.split()).partition(_VIA)
    if not via:
        return Violation(f"{shown(text)} is not a route", _WRITE)
    found = parse_destination(destination)
    if isinstance(found, Violation):
        return found
    words = parse_target(target)
    return words if isinstance(words, Violation) else RouteWords(found, *words)


def parse_destination(text: str) -> str | Violation:
    """Return a destination in canonical form: a CIDR, where host bits are an error, or a prefix list unchanged."""
    if text.startswith(LIST_PREFIX):
        return (
            text
            if text != LIST_PREFIX
            else Violation(f"{shown(text)} names no prefix list", "write pl- and its name, e.g. pl-s3")
        )
    prefix = cidr(text, references=False)
    if isinstance(prefix, Violation):
        return prefix if "host bits" in prefix.what else Violation(f"{shown(text)} is not a destination", _DESTINATIONS)
    return str(prefix)


def destination_order(destination: str) -> tuple[bool, Prefix | str]:
    """Return the sort key of a destination: CIDRs by address, then prefix lists."""
    return (True, destination) if destination.startswith(LIST_PREFIX) else (False, parse_prefix(destination))


def parse_target(text: str) -> tuple[TargetKind, str] | Violation:
    """Return the kind of a target and its name or id. The name is empty for kinds of which a VPC has one."""
    word, _, rest = text.partition(" ")
    if word == TargetKind.INTERFACE.value:
        return (TargetKind.INTERFACE, rest) if rest else Violation("'eni' names no interface", "write eni and an instance's name")
    prefix, dash, name = text.partition("-")
    kind = _KINDS.get(prefix)
    if kind is None or " " in text or (dash and (not name or kind in (LOCAL.kind, BLACKHOLE.kind))):
        return Violation(f"{shown(text)} is not a target", _TARGETS)
    if is_id(text, prefix):
        return kind, text
    if not dash:
        return (kind, "") if kind in _ALONE else Violation(f"{shown(text)} names no target", f"write {prefix}- and its name")
    if kind is TargetKind.INTERFACE:
        return Violation(f"{shown(text)} is not the id of an interface", f"write eni {name}, or an id")
    if kind in ONLY_ONE:
        return Violation(f"{shown(text)} has a name, and a VPC has at most one {prefix}", f"write {prefix}")
    return kind, name


_KINDS: Final = {kind.value: kind for kind in TargetKind}
