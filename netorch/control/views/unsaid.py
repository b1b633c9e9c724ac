"""What the store holds and a vpc.yaml has no words for: an export names it, so that nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.records.caller import Caller
from netorch.records.inventory import Inventory


def unsaid(inventory: Inventory, caller: Caller) -> Iterator[str]:
    """Yield a sentence for each thing that the caller may see and an export leaves out."""
    held = (found.record for found in inventory.elastic_ips.values())
    unnamed = sorted(elastic.address for elastic in held if not elastic.name and caller.sees(elastic.owner))
    if unnamed:
        yield f"elastic IP addresses without a name are left out: {', '.join(unnamed)}"
