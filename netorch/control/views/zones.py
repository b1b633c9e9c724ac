"""Private zones in an export."""

from __future__ import annotations

from collections.abc import Iterator

from netorch.control.apply.builder import visible_tags
from netorch.model.ids import vni_of
from netorch.model.normal import normal_zone
from netorch.model.services.declared_zones import PrivateZoneDecl, RecordSetDecl
from netorch.model.services.zones import PrivateZone
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory


def private_zones(inventory: Inventory, caller: Caller) -> list[PrivateZoneDecl]:
    """Return the declarations of the zones that the caller sees, by owner and name."""
    seen = (stored.record for stored in inventory.zones.values() if caller.sees(stored.record.owner))
    return sorted((_zone(inventory, zone) for zone in seen), key=lambda decl: (decl.owner, decl.name))


def _zone(inventory: Inventory, zone: PrivateZone) -> PrivateZoneDecl:
    records = [
        RecordSetDecl(name=record.name, type=record.type, ttl=record.ttl, values=list(record.values)) for record in zone.records
    ]
    return normal_zone(
        PrivateZoneDecl(
            name=zone.name,
            owner=zone.owner,
            domain=zone.domain,
            vpcs=list(_vpcs(inventory, zone)),
            records=records,
            tags=visible_tags(zone.tags),
        )
    )


def _vpcs(inventory: Inventory, zone: PrivateZone) -> Iterator[str]:
    """Yield the names of a zone's VPCs; of an isolated VPC only if its name is known."""
    prefix = keys.zone_use(zone.owner, zone.id)
    for vni in (vni_of(key.removeprefix(prefix)) for key in inventory.raw if key.startswith(prefix)):
        if vni in inventory.vpcs:
            yield inventory.vpcs[vni].vpc.record.name
        elif vni in inventory.isolated and inventory.isolated[vni].name:
            yield inventory.isolated[vni].name
