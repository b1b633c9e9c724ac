"""Checks of subnets in IPv6 ranges that a VPC will get from address pools."""

from __future__ import annotations

from netorch.model.check.addresses import Subnets
from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import VpcDecl
from netorch.model.outside.provided import PROVIDED, SUBNETS
from netorch.model.rules import Violation


def check_provided_subnet(notes: Notes, vpc: VpcDecl, number: int, where: Where, index: int, subnets: Subnets) -> None:
    """Report errors in the number of a subnet's /64. `index` is the subnet's index in the VPC."""
    text, total = f"{PROVIDED}-{number}", SUBNETS * vpc.ipv6_cidrs.count(PROVIDED)
    violation = None
    if not total:
        fix = f"write ipv6_cidrs: [{PROVIDED}] in the VPC, or a /64 inside one of its ranges"
        violation = Violation(f"{text} is in a VPC without a provided IPv6 range", fix)
    elif number >= total:
        has = "range has" if total == SUBNETS else "ranges have"
        violation = Violation(
            f"the VPC's provided IPv6 {has} no /64 number {number}", f"choose one of {PROVIDED}-0 to {PROVIDED}-{total - 1}"
        )
    elif (other := subnets.provided.setdefault(number, index)) != index:
        violation = Violation(f"{text} is also the range of subnets[{other}]", "choose a number that is free")
    if violation:
        notes.add(violation, where, ("ipv6_cidr",))


def no_own_range(vpc: VpcDecl, text: str) -> Violation:
    """Return the error of a subnet's /64 in a VPC that declares no IPv6 CIDR of its own."""
    if PROVIDED in vpc.ipv6_cidrs:
        what = f"{text} is outside the VPC's IPv6 CIDRs, and the provided one is not known yet"
        return Violation(what, f"write {PROVIDED}-N for a /64 of the provided range, N from 0 to {SUBNETS - 1}")
    return Violation(f"{text} is in a VPC without IPv6", "give the VPC ipv6_cidrs, or leave ipv6_cidr out")
