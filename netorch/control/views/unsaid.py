"""What the store holds and a vpc.yaml has no words for yet: an export names it, so that nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.model.mapping import PublicMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords


def unsaid(inventory: Inventory, caller: Caller) -> Iterator[str]:
    """Yield a sentence for each thing that the caller may see and an export leaves out."""
    elastic = sorted(found.record.address for found in inventory.elastic_ips.values() if caller.sees(found.record.owner))
    if elastic:
        yield f"elastic IP addresses are left out: {', '.join(elastic)}"
    for records in inventory.vpcs.values():
        if caller.sees(records.vpc.record.owner):
            path = f"VPC {records.vpc.record.owner}/{records.vpc.record.name}"
            yield from (f"{path}: {what}" for what in _of_vpc(records))


def _of_vpc(records: VpcRecords) -> Iterator[str]:
    for gateway in records.each(InternetGateway):
        yield f"its internet gateway {gateway.name or gateway.id} is left out"
    if public := sorted(subnet.name for subnet in records.each(Subnet) if subnet.public_on_launch):
        yield f"that new instances get public addresses is left out, in the subnets {', '.join(public)}"
    if ephemeral := sum(not mapping.allocation for mapping in records.each(PublicMapping)):
        yield f"{ephemeral} ephemeral public address(es) of instances are left out"
