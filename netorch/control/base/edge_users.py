"""Which hosts send to an edge: from the records of who carries what, and from what agents say about their probes."""

from __future__ import annotations

from netorch.model.mapping import GatewayMapping
from netorch.records.inventory import Inventory


def users_of(inventory: Inventory, name: str) -> tuple[str, ...]:
    """Return the hosts, by name, that may still send to an edge. Cost: O(mappings).

    These are the hosts of the VPCs with a gateway there, and the partner, that have not said that they have left the edge. One
    whose agent has died stays among them, because its kernel goes on. One whose agent never ran sends nothing.
    """
    edge = inventory.hosts[name].host
    found: set[str] = set()
    for records in inventory.vpcs.values():
        seats = {seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats}
        if name in seats:
            found |= seats | {mapping.record.host for mapping in records.mappings.values()}
    known = ((host, inventory.agents[host]) for host in sorted(found - {name}) if host in inventory.agents)
    return tuple(host for host, status in known if edge.underlay not in status.silent)
