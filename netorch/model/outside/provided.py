"""The notation in vpc.yaml for IPv6 ranges from address pools, whose prefixes are not known when the file is written.

A VPC has `ipv6_cidrs: [provided]`. Its subnets have `ipv6_cidr: provided-N`, the N-th /64 of the range, 0-255. The numbers of a
second provided range are 256-511, and so on. An instance in such a subnet may give only the host part of its address, e.g. `::4`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv6Address
from typing import Final

import msgspec

from netorch.model import rules
from netorch.model.addr import Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.cloud import InstanceDecl, SubnetDecl, VpcDecl

PROVIDED: Final = "provided"
NUMBER_PATTERN: Final = rf"{PROVIDED}-(0|[1-9][0-9]{{0,3}})"
SUBNETS: Final = 1 << (rules.IPV6_SUBNET_LENGTH - rules.IPV6_VPC_LENGTH)  # subnets per range
HOST_PART: Final = Prefix(6, 0, rules.IPV6_SUBNET_LENGTH)  # the prefix of addresses that give only the host part

_NUMBER: Final = re.compile(NUMBER_PATTERN)
_SHIFT: Final = 128 - rules.IPV6_SUBNET_LENGTH
_HOST_MASK: Final = (1 << _SHIFT) - 1


def provided_number(text: str) -> int | None:
    """Return N of `provided-N`, the number of the /64; None for other texts."""
    found = _NUMBER.fullmatch(text)
    return int(found[1]) if found else None


def concrete(decl: VpcDecl, ranges: Sequence[str]) -> VpcDecl:
    """Return a declared VPC with `ranges` in place of its `provided` entries, in order."""
    left = iter(ranges)
    subnets = [_concrete_subnet(subnet, ranges) for subnet in decl.subnets]
    written = {before.name: now.ipv6_cidr for before, now in zip(decl.subnets, subnets, strict=True) if before != now}
    return msgspec.structs.replace(
        decl,
        ipv6_cidrs=[next(left) if text == PROVIDED else text for text in decl.ipv6_cidrs],
        subnets=subnets,
        instances=[_concrete_instance(instance, written.get(_subnet_of(instance, decl), "")) for instance in decl.instances],
    )


def relative(decl: VpcDecl, ranges: Collection[str]) -> VpcDecl:
    """Return a declared VPC with `provided` in place of these of its ranges."""
    named = [text for text in decl.ipv6_cidrs if text == PROVIDED or text in ranges]
    places = {text: place for place, text in enumerate(named) if text != PROVIDED}
    subnets = [_relative_subnet(subnet, places) for subnet in decl.subnets]
    written = {now.name for now in subnets if provided_number(now.ipv6_cidr) is not None}
    return msgspec.structs.replace(
        decl,
        ipv6_cidrs=[PROVIDED if text in places else text for text in decl.ipv6_cidrs],
        subnets=subnets,
        instances=[
            _relative_instance(instance) if _subnet_of(instance, decl) in written else instance for instance in decl.instances
        ],
    )


def _subnet_of(instance: InstanceDecl, decl: VpcDecl) -> str:
    return instance.subnet or (decl.subnets[0].name if len(decl.subnets) == 1 else "")


def _concrete_subnet(subnet: SubnetDecl, ranges: Sequence[str]) -> SubnetDecl:
    number = provided_number(subnet.ipv6_cidr)
    if number is None:
        return subnet
    place, inside = divmod(number, SUBNETS)
    network = parse_prefix(ranges[place]).network + (inside << _SHIFT)
    return msgspec.structs.replace(subnet, ipv6_cidr=str(Prefix(6, network, rules.IPV6_SUBNET_LENGTH)))


def _relative_subnet(subnet: SubnetDecl, places: dict[str, int]) -> SubnetDecl:
    if not subnet.ipv6_cidr or provided_number(subnet.ipv6_cidr) is not None:
        return subnet
    own = parse_prefix(subnet.ipv6_cidr)
    for text, place in places.items():
        whole = parse_prefix(text)
        if whole.contains(own):
            number = place * SUBNETS + (own.network - whole.network >> _SHIFT)
            return msgspec.structs.replace(subnet, ipv6_cidr=f"{PROVIDED}-{number}")
    return subnet


def _concrete_instance(instance: InstanceDecl, cidr: str) -> InstanceDecl:
    """Return an instance with its full IPv6 address. `cidr` is its subnet's CIDR if that is provided, else empty."""
    if not cidr or not instance.ipv6_address:
        return instance
    value = parse_prefix(cidr).network | parse_ip(instance.ipv6_address)[1]
    return msgspec.structs.replace(instance, ipv6_address=format_ip(6, value))


def _relative_instance(instance: InstanceDecl) -> InstanceDecl:
    if not instance.ipv6_address:
        return instance
    value = parse_ip(instance.ipv6_address)[1] & _HOST_MASK
    return msgspec.structs.replace(instance, ipv6_address=str(IPv6Address(value)))  # inet_ntop would write ::0.10.0.9
