"""What the store holds and a vpc.yaml has no words for: an export names it, so that nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.records.caller import Caller
from netorch.records.inventory import Inventory


def unsaid(inventory: Inventory, caller: Caller) -> Iterator[str]:
    """Yield a sentence for each thing that the caller may see and an export leaves out, or that a file cannot bring back."""
    held = (found.record for found in inventory.elastic_ips.values())
    unnamed = sorted(elastic.address for elastic in held if not elastic.name and caller.sees(elastic.owner))
    if unnamed:
        yield f"elastic IP addresses without a name are left out: {', '.join(unnamed)}"
    for vpc in (records.vpc.record for records in inventory.vpcs.values()):
        if vpc.ipv6_pools and caller.sees(vpc.owner):
            what = "a file keeps its IPv6 range(s) of address pools, and cannot bring them back"
            yield f"VPC {vpc.owner}/{vpc.name}: {what}: {', '.join(vpc.ipv6_pools)}"
