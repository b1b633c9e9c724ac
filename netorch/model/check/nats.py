"""Checks of the NAT gateways of one VPC. For their elastic IPs see netorch.model.check.outside."""

from __future__ import annotations

import msgspec

from netorch.model.check.addresses import AddressChecker
from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import VpcDecl
from netorch.model.outside.gateway import MAX_PUBLIC
from netorch.model.rules import Violation, shown


def check_nat_gateways(notes: Notes, vpc: VpcDecl, where: Where, addresses: AddressChecker) -> set[str] | None:
    """Report errors in NAT gateways. Return their names, or None if one is invalid."""
    names: dict[str, int] = {}
    all_named = True
    for j, nat in enumerate(vpc.nat_gateways):
        here: Where = (*where, "nat_gateways", j)
        if violation := notes.names[nat.name]:
            notes.add(violation, here, ("name",))
            all_named = False
        elif (other := names.setdefault(nat.name, j)) != j:
            notes.add(Violation(f"{shown(nat.name)} is also the name of nat_gateways[{other}]", "rename one"), here, ("name",))
        index = addresses.subnet(nat.subnet, here)
        if nat.address:
            addresses.address(nat.address, 4, here, index)
        if len(nat.elastic_ips) > MAX_PUBLIC:
            what = f"the gateway has {len(nat.elastic_ips)} elastic IPs"
            notes.add(Violation(what, f"keep at most {MAX_PUBLIC}"), here, ("elastic_ips",))
        if isinstance(vpc.internet_gateway, msgspec.UnsetType):
            fix = "add `internet_gateway: {}` to the VPC, or leave the NAT gateway out"
            notes.add(Violation("the VPC has no internet gateway", fix), here)
        if nat.tags:
            notes.tags(nat.tags, here)
    return set(names) if all_named else None
