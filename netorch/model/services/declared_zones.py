"""Private zones as vpc.yaml declares them. See netorch.model.cloud."""

from __future__ import annotations

import msgspec

from netorch.model.services.zones import DEFAULT_TTL, RecordSet, RecordType
from netorch.model.vpc import DEFAULT_OWNER, Tags


class RecordSetDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A record set of a private zone: the values of one name and type."""

    name: str  # relative to the zone's domain; `@`: the domain itself
    type: RecordType
    ttl: int = DEFAULT_TTL  # seconds
    values: list[str]


class PrivateZoneDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An owner's private zone. `owner` and `name` together identify it. Its domain never changes."""

    name: str
    owner: str = DEFAULT_OWNER
    domain: str = ""  # default: `name`
    vpcs: list[str]  # names of the owner's VPCs that use the zone
    records: list[RecordSetDecl] = []
    tags: Tags = {}


def declared_records(decl: PrivateZoneDecl) -> tuple[RecordSet, ...]:
    """Return the record sets of a declared zone, not normalized."""
    return tuple(
        RecordSet(name=record.name, type=record.type, ttl=record.ttl, values=tuple(record.values)) for record in decl.records
    )
