"""The internet divided by rules and routes: regions, each a range without those of narrower regions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.routing.effective import Effective
from netorch.model.routing.target import TargetKind
from netorch.trace.codes import Code

T = TypeVar("T")
EVERYTHING: Final = parse_prefix("0.0.0.0/0")
_EVERYTHING: Final = {4: EVERYTHING, 6: parse_prefix("::/0")}
# Ranges that no network announces, with EC2's code. Source: RFC 6890.
NOT_ROUTED: Final = tuple(
    (parse_prefix(prefix), code)
    for code, prefixes in {
        Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS: ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        Code.IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS: ("100.64.0.0/10",),
        Code.NO_ROUTE_TO_DESTINATION: ("169.254.0.0/16", "240.0.0.0/4", "fc00::/7", "fe80::/10", "::/0"),
    }.items()
    for prefix in prefixes
)


def regions(named: Iterable[Prefix], inside: Sequence[Prefix], version: int = 4) -> list[Prefix]:
    """Return the regions of the internet that named prefixes define, the widest first; `inside` are the ranges of VPCs."""
    elsewhere = (*inside, *(prefix for prefix, _ in NOT_ROUTED if prefix.length))
    found = {_EVERYTHING[version], *(prefix for prefix in named if prefix.version == version)}
    outside = (prefix for prefix in found if not any(other.contains(prefix) for other in elsewhere))
    return sorted(outside, key=lambda prefix: (prefix.length, prefix.network))


def distinct(of_regions: Mapping[Prefix, T]) -> list[tuple[Prefix, T]]:
    """Return the values of regions, without regions that have the value of the next wider one."""

    def wider(region: Prefix) -> T | None:
        around = [other for other in of_regions if other != region and other.contains(region)]
        return of_regions[max(around, key=lambda other: other.length)] if around else None

    return [(region, said) for region, said in of_regions.items() if said != wider(region)]


def label_of(region: Prefix) -> str:
    """Return a region's name for people."""
    return f"internet {region}" if region.length else "internet"


def route_to(routes: Iterable[Effective], region: Prefix) -> Effective | None:
    """Return the route of packets to a region; prefixes of routes are regions, too."""
    holding = (route for route in routes if route.prefix.contains(region))
    return max(holding, key=lambda route: route.prefix.length, default=None)


def code_of(route: Effective | None) -> Code | None:
    """Return why a route does not lead to the internet, or None if it does."""
    if route is None:
        return Code.NO_ROUTE_TO_DESTINATION
    if route.target.kind is TargetKind.BLACKHOLE:
        return Code.BAD_STATE_ROUTE
    return None if route.target.kind is TargetKind.INTERNET_GATEWAY else Code.NO_ROUTE_TO_DESTINATION
