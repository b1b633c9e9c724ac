"""EC2's rules for the routes that a customer may create, the same for files and commands."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.effective import RESERVED, is_reserved
from netorch.model.routing.target import ONLY_VERSION, REPLACES_LOCAL, SUPPORTED, TargetKind
from netorch.model.routing.text import RouteWords
from netorch.model.rules import Violation

NOUNS: Final = {
    TargetKind.PEERING: "VPC peering connection",
    TargetKind.INTERNET_GATEWAY: "internet gateway",
    TargetKind.EGRESS_ONLY_GATEWAY: "egress-only internet gateway",
    TargetKind.NAT_GATEWAY: "NAT gateway",
    TargetKind.VPN_GATEWAY: "virtual private gateway",
    TargetKind.ENDPOINT: "gateway endpoint",
}


def violation_of_words(
    words: RouteWords, ranges: Collection[Prefix] | None, subnets: Collection[Prefix] | None
) -> Violation | None:
    """Return why a route cannot be created in a VPC, or None. This does not check that the list and the target exist.

    `ranges` are the VPC's own, `subnets` those of its subnets; None when they are not known.
    """
    if words.kind not in SUPPORTED:
        known = ", ".join(sorted(kind.value for kind in SUPPORTED))
        return Violation(f"{NOUNS[words.kind]}s ({words.kind.value}) are not supported yet", f"choose one of {known}")
    if words.kind is TargetKind.ENDPOINT:
        fix = "netorch endpoint modify ENDPOINT --add-route-table TABLE"
        return Violation(f"{words.target} is a gateway endpoint, which adds its own routes", fix)
    if words.destination.startswith(LIST_PREFIX):
        local = words.kind is TargetKind.LOCAL
        return Violation("only the ranges of the VPC are local, a prefix list is not", "choose another target") if local else None
    return violation_of(parse_prefix(words.destination), words.kind, ranges, subnets) if ranges is not None else None


def violation_of_version(destination: str, version: int, kind: TargetKind) -> Violation | None:
    """Return why a destination (a prefix or a prefix list) of IP version `version` cannot have such a target, or None."""
    if version == ONLY_VERSION.get(kind, version):
        return None
    what = f"{destination} is IPv{version}, and {NOUNS[kind]}s take IPv{ONLY_VERSION[kind]} only"
    return Violation(what, "choose another target, e.g. igw")


def violation_of(
    destination: Prefix, kind: TargetKind, ranges: Collection[Prefix], subnets: Collection[Prefix] | None
) -> Violation | None:
    """Return why a route to a destination cannot be created, or None.

    `ranges` are the VPC's own, `subnets` those of its subnets; None when they are not known.
    """
    if is_reserved(destination):
        block = next(block for block in RESERVED if block.contains(destination))
        return Violation(f"{destination} is inside {block}, which EC2 reserves for its services", "choose another destination")
    if violation := violation_of_version(str(destination), destination.version, kind):
        return violation
    inside = next((own for own in ranges if own.contains(destination)), None)
    if kind is TargetKind.LOCAL:
        if destination == inside:
            return None
        return Violation(f"{destination} is not a range of the VPC, and only those are local", "choose another target")
    if inside is None:
        return None
    if kind not in REPLACES_LOCAL:
        what = "is" if destination == inside else f"is more specific than {inside},"
        return Violation(f"{destination} {what} a range of the VPC itself", "choose an interface (eni) or a NAT gateway")
    if destination != inside and subnets is not None and destination not in subnets:
        what = f"{destination} is more specific than the VPC's {inside}, and is not the whole range of one of its subnets"
        return Violation(what, "write the range of a subnet, all of it")
    return None
