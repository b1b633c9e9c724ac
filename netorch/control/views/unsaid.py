"""Stored facts that a vpc.yaml cannot express: an export names them, so that nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.model import rules
from netorch.model.addr import parse_prefix
from netorch.model.outside.direct_connect import BgpAuthentication, VirtualInterface
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords


def unsaid(inventory: Inventory, caller: Caller) -> Iterator[str]:
    """Yield a sentence for each thing that the caller sees and an export leaves out, or that a file cannot restore."""
    held = (found.record for found in inventory.elastic_ips.values())
    unnamed = sorted(elastic.address for elastic in held if not elastic.name and caller.sees(elastic.owner))
    if unnamed:
        yield f"elastic IP addresses without a name are left out: {', '.join(unnamed)}"
    seen = [records for records in inventory.vpcs.values() if caller.sees(records.vpc.record.owner)]
    provided = {parse_prefix(text).network for records in seen for text in records.vpc.record.ipv6_pools}
    for records in seen:
        yield from _of_virtual_interfaces(records)
    for records in seen if provided else ():
        if fixed := sorted({text for text in _destinations(records) if _range_of(text) in provided}):
            vpc = records.vpc.record
            what = "its routes and rules name prefixes of provided IPv6 ranges, and a file may bring back other ranges"
            yield f"VPC {vpc.owner}/{vpc.name}: {what}: {', '.join(fixed)}"


def _of_virtual_interfaces(records: VpcRecords) -> Iterator[str]:
    """Yield what a file leaves out of virtual interfaces."""
    path = f"VPC {records.vpc.record.owner}/{records.vpc.record.name}"
    vifs = sorted(records.each(VirtualInterface), key=lambda vif: vif.name)
    if waiting := [vif.name for vif in vifs if not vif.confirmed]:
        yield f"{path}: unconfirmed virtual interfaces are left out: {', '.join(waiting)}"
    if signed := [vif.name for vif in vifs if vif.confirmed and vif.authentication is not BgpAuthentication.NONE]:
        what = "the keys of virtual interfaces cannot be exported; write them into the files that key_file names"
        yield f"{path}: {what}: {', '.join(signed)}"


def _destinations(records: VpcRecords) -> Iterator[str]:
    """Yield the destinations and peers of a VPC's routes and rules: CIDRs and ids."""
    for table in records.each(RouteTable):
        yield from (route.destination for route in table.routes)
    for prefix_list in records.each(PrefixList):
        yield from (entry.cidr for entry in prefix_list.entries)
    for group in records.each(SecurityGroup):
        yield from (rule.peer for rule in (*group.ingress, *group.egress))
    for acl in records.each(NetworkAcl):
        yield from (entry.cidr for entry in (*acl.ingress, *acl.egress))


def _range_of(text: str) -> int | None:
    """Return the first address of the VPC-sized range that contains an IPv6 prefix; None if no such range does."""
    if ":" not in text:
        return None
    prefix = parse_prefix(text)
    if prefix.length < rules.IPV6_VPC_LENGTH:
        return None
    return prefix.network >> 128 - rules.IPV6_VPC_LENGTH << 128 - rules.IPV6_VPC_LENGTH
