"""The rules for the ranges of mapped peering connections, the same for files, commands and records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from netorch.model import rules
from netorch.model.addr import BITS, AddressError, Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.routing.peering import PeeringConnection, PeerVpc
from netorch.model.rules import Violation, shown


def read_ranges(text: str) -> tuple[str, str] | Violation:
    """Return the range and alias of a text such as `10.0.0.0/16=100.66.0.0/16`, canonical, or the error in it."""
    words = text.split("=")
    found = []
    for word in words:
        try:
            found.append(parse_prefix(word))
        except AddressError as error:
            return Violation(str(error), "write RANGE=ALIAS, e.g. 10.0.0.0/16=100.66.0.0/16")
    if len(found) != 2:
        return Violation(f"{shown(text)} is not a range and its alias", "write RANGE=ALIAS, e.g. 10.0.0.0/16=100.66.0.0/16")
    own, alias = found
    return pair_problem(own, alias) or (str(own), str(alias))


def pair_problem(own: Prefix, alias: Prefix) -> Violation | None:
    """Return the error that a range and its alias have in any VPC, or None."""
    if own.version != 4 or alias.version != 4:
        return Violation(f"{own if own.version != 4 else alias} is not an IPv4 range", "map IPv4 ranges only")
    if own.length != alias.length:
        return Violation(f"{own} and {alias} have different lengths", f"choose an alias with the length /{own.length}")
    if violation := rules.unusable(alias):
        return violation
    return None


def ranges_problem(end: PeerVpc, own: Collection[Prefix], far: PeerVpc, beside: Iterable[PeeringConnection]) -> Violation | None:
    """Return the error in the ranges of a mapped connection for its VPC `end`, which has the ranges `own`, or None.

    `far` is the other VPC. `beside` are the other live connections of `end`: their aliases must not overlap.
    """
    alias = parse_prefix(far.alias)
    if violation := range_without(end, own):
        return violation
    if any(prefix.overlaps(alias) for prefix in own):
        return Violation(f"{alias} overlaps a range of {end.id}, whose traffic it would capture", "choose another alias")
    for other in beside:
        if other.is_mapped and alias.overlaps(parse_prefix(other.peer.alias)):
            what = f"{alias} overlaps {other.peer.alias}, an alias of {other.id} in {end.id}"
            return Violation(what, "choose another alias, or end that connection")
    return None


def outside_alias(destination: str, alias: str) -> Violation | None:
    """Return why a route to a destination cannot lead to a mapped connection, whose other VPC has `alias`, or None."""
    if parse_prefix(alias).contains(parse_prefix(destination)):
        return None
    what = f"{destination} is not inside {alias}, the other VPC's alias in this mapped peering connection"
    return Violation(what, f"write {alias}, or a part of it")


def range_without(end: PeerVpc, own: Collection[Prefix]) -> Violation | None:
    """Return why a VPC with the ranges `own` cannot have the end `end` of a mapped connection, or None."""
    mine = parse_prefix(end.range)
    if any(prefix.contains(mine) for prefix in own):
        return None
    return Violation(f"{mine} is not inside a range of {end.id}", "choose a part of one of its ranges")


def aliases_of(connections: Iterable[PeeringConnection]) -> Iterator[Prefix]:
    """Yield the aliases of other VPCs, by a VPC's mapped connections."""
    return (parse_prefix(connection.peer.alias) for connection in connections if connection.is_mapped)


def alias_of(end: PeerVpc, address: str) -> str:
    """Return the alias of a VPC's address for the other VPC of a mapped connection; empty outside the range."""
    return _moved(address, end.range, end.alias)


def behind_alias(end: PeerVpc, alias: str) -> str:
    """Return the address behind an alias address; empty outside the alias."""
    return _moved(alias, end.alias, end.range)


def _moved(address: str, old: str, new: str) -> str:
    version, value = parse_ip(address)
    source, target = parse_prefix(old), parse_prefix(new)
    if not source.holds(version, value):
        return ""
    return format_ip(version, target.network | value & (1 << BITS[version] - source.length) - 1)


def active_aliases(connections: Iterable[PeeringConnection]) -> Iterator[Prefix]:
    """Yield the aliases from which other VPCs can send to a VPC now."""
    return aliases_of(connection for connection in connections if connection.gateway is not None)
