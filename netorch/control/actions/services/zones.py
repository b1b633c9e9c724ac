"""Private zones of an owner, their record sets, and the VPCs in which they are answered. Errors have Route 53's codes.

A change of a zone or of its associations rewrites the zone's record. An association also rewrites the VPC's record. If two such
changes happen at the same time, one fails and is decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from netorch.control.base import checks
from netorch.control.base.named import create_owned, delete_owned, owned_key
from netorch.control.base.quotas import Quotas, check_limit, check_room, quotas_of
from netorch.control.base.uses import drop_last_mark, use_key, use_revision
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.ids import vni_of
from netorch.model.rules import Violation
from netorch.model.services.zones import (
    PrivateZone,
    RecordSet,
    RecordType,
    VpcZone,
    checked_values,
    copy_of,
    domain_violation,
    in_order,
    plain,
    record_violation,
    relative_name,
    zone_violation,
)
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name
from netorch.records.read import Stored, get, listed, read_all, read_all_owned, read_owned, read_vpc
from netorch.store.base import Store


class ZoneInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A zone and its associated VPCs."""

    found: PrivateZone
    vpcs: tuple[str, ...]  # ids


def create_zone(
    store: Store, caller: Caller, vpc_id: str, *, name: str, domain: str = "", tags: Tags | None = None
) -> PrivateZone:
    """Create a zone without record sets, associated with a VPC of its owner, and return it; `domain` defaults to the name.

    Raises:
      ApiError: InvalidVpcID.NotFound, TooManyHostedZones, HostedZoneAlreadyExists for a taken name, ConflictingDomainExists,
        InvalidDomainName, InvalidParameterValue for a bad name.
    """

    def decide() -> tuple[Writes, PrivateZone]:
        vpc = read_vpc(store, caller, vpc_id)
        owner = vpc.record.owner
        asked = checked_zone(PrivateZone(id="", owner=owner, name=name, domain=domain or name, tags=tags or {}))
        writes, mark = Writes(), use_key(owner_mark(owner))
        writes.change(mark, use_revision(store, owner_mark(owner)), True)
        others = [other.record for other in listed(store, keys.owned_prefix("zone", owner), PrivateZone).values()]
        check_new(quotas_of(store, owner), asked, others)
        made = msgspec.structs.replace(asked, id=caller.new_id("zone", 0), tags=checks.tags(where_of(asked), tags))
        create_owned(writes, made)
        guard_structure(writes, vpc)
        refuse_conflict(made, vpc.record, zones_in(store, vpc.record.vni), endpoints_in(store, vpc.record.vni))
        join_writes(writes, made, vpc.record)
        return writes, made

    return attempt(store, decide)


def where_of(zone: PrivateZone) -> str:
    """Return the name of a zone for error texts."""
    return f"private zone {zone.name!r}"


def owner_mark(owner: str) -> str:
    """Return the mark (`use_key`) by which simultaneous creations of an owner's zones conflict."""
    return f"zone/{owner}"


def checked_zone(asked: PrivateZone) -> PrivateZone:
    """Return a zone with a valid name, domain and record sets, in their normal form.

    Raises:
      ApiError: InvalidDomainName, InvalidChangeBatch, InvalidParameterValue for a bad name.
    """
    checks.name(f"owner {asked.owner!r}", asked.owner)
    checks.name(where_of(asked), asked.name)
    zone = msgspec.structs.replace(asked, domain=plain(asked.domain))
    if violation := domain_violation(zone.domain):
        raise ApiError("InvalidDomainName", f"{where_of(asked)}: {violation.what}; {violation.fix}")
    records = in_order(checked_record(zone, record) for record in zone.records)
    if violation := zone_violation(records):
        raise _bad_change(where_of(asked), violation)
    return msgspec.structs.replace(zone, records=records)


def checked_record(zone: PrivateZone, asked: RecordSet) -> RecordSet:
    """Return a record set in its normal form. Raises ApiError: InvalidChangeBatch."""
    where = f"{where_of(zone)}: {asked.name} {asked.type.value}"
    values = checked_values(asked.type, asked.values)
    if isinstance(values, Violation):
        raise _bad_change(where, values)
    record = msgspec.structs.replace(asked, name=relative_name(asked.name, zone.domain), values=values)
    if violation := record_violation(record, zone.domain):
        raise _bad_change(where, violation)
    return record


def _bad_change(where: str, violation: Violation) -> ApiError:
    return ApiError("InvalidChangeBatch", f"{where}: {violation.what}; {violation.fix}")


def check_new(quotas: Quotas, asked: PrivateZone, others: list[PrivateZone]) -> None:
    """Refuse a zone beyond the quota, or a name that another zone of the owner has. Raises ApiError."""
    check_room(quotas, "TooManyHostedZones", f"owner {asked.owner}", len(others) + 1)
    if any(other.name == asked.name for other in others):
        raise duplicate_name("zone", asked.name, f"owner {asked.owner}")


def check_size(quotas: Quotas, zone: PrivateZone, had: int) -> None:
    """Refuse more record sets than a zone may have, if they are more than it `had`. Raises ApiError: LimitsExceeded."""
    if len(zone.records) > had:
        check_limit(quotas, "record_sets_per_zone", "LimitsExceeded", where_of(zone), len(zone.records), "record sets")


def check_vpcs(quotas: Quotas, zone: PrivateZone, count: int) -> None:
    """Refuse more VPCs than a zone may have. Raises ApiError: LimitsExceeded."""
    check_limit(quotas, "vpcs_per_zone", "LimitsExceeded", where_of(zone), count, "VPCs")


def zones_in(store: Store, vni: int) -> list[VpcZone]:
    """Return the zones associated with a VPC. Raises UnreadableRecord."""
    return [found.record for found in listed(store, keys.mapping(vni, keys.ZONE), VpcZone).values()]


def endpoints_in(store: Store, vni: int) -> list[VpcEndpoint]:
    """Return a VPC's endpoints. Raises UnreadableRecord."""
    return [stored.record for stored in read_all(store, VpcEndpoint, vni).values()]


def zone_of(domain: str, zones: Iterable[VpcZone], endpoints: Iterable[VpcEndpoint]) -> str:
    """Return the id of the zone or endpoint that has a domain in a VPC; nothing if there is none."""
    found = [zone.zone for zone in zones if zone.domain == domain]
    found += [endpoint.id for endpoint in endpoints if endpoint.private_dns_name == domain]
    return next(iter(found), "")


def refuse_conflict(zone: PrivateZone, vpc: Vpc, zones: Iterable[VpcZone], endpoints: Iterable[VpcEndpoint]) -> None:
    """Refuse a domain that another zone or an endpoint already has in a VPC. Raises ApiError: ConflictingDomainExists."""
    others = (other for other in zones if other.zone != zone.id)
    if known := zone_of(zone.domain, others, endpoints):
        what = f"{known} already has the domain {zone.domain} in VPC {vpc.id}"
        raise ApiError("ConflictingDomainExists", f"{where_of(zone)}: {what}; disassociate that zone first")


def join_writes(writes: Writes, zone: PrivateZone, vpc: Vpc) -> None:
    """Add the association of a VPC. The caller adds the guards."""
    writes.put(keys.vpc_zone(vpc.vni, zone.id), copy_of(zone, vpc.vni))
    writes.put(keys.zone_use(zone.owner, zone.id, vpc.id), True)


def part_writes(writes: Writes, owner: str, zone_id: str, vpc_id: str) -> None:
    """Add the end of a VPC's association."""
    writes.drop(keys.vpc_zone(vni_of(vpc_id), zone_id))
    writes.drop(keys.zone_use(owner, zone_id, vpc_id))


def associate_zone(store: Store, caller: Caller, zone_id: str, vpc_id: str) -> PrivateZone:
    """Associate a zone with one more VPC of its owner and return it; answers need the VPC's DNS support and host names.

    Raises:
      ApiError: NoSuchHostedZone, InvalidVpcID.NotFound, also for another owner's VPC; ConflictingDomainExists, LimitsExceeded.
    """

    def decide() -> tuple[Writes, PrivateZone]:
        held = read_owned(store, caller, PrivateZone, zone_id)
        zone = held.record
        vpc = read_vpc(store, Caller(owner=zone.owner), vpc_id)
        known, writes = vpcs_of(store, zone), Writes()
        if vpc_id not in known:
            check_vpcs(quotas_of(store, zone.owner), zone, len(known) + 1)
            refuse_conflict(zone, vpc.record, zones_in(store, vpc.record.vni), endpoints_in(store, vpc.record.vni))
            writes.change(owned_key(zone), held.mod_revision, zone)
            guard_structure(writes, vpc)
            join_writes(writes, zone, vpc.record)
        return writes, zone

    return attempt(store, decide)


def disassociate_zone(store: Store, caller: Caller, zone_id: str, vpc_id: str) -> PrivateZone:
    """End a zone's association with a VPC and return the zone.

    Raises:
      ApiError: NoSuchHostedZone, VPCAssociationNotFound, LastVPCAssociation.
    """

    def decide() -> tuple[Writes, PrivateZone]:
        held = read_owned(store, caller, PrivateZone, zone_id)
        zone = held.record
        known = vpcs_of(store, zone)
        if vpc_id not in known:
            text = f"{where_of(zone)}: {vpc_id} is not associated with it; `netorch zone show` lists its VPCs"
            raise ApiError("VPCAssociationNotFound", text)
        if len(known) == 1:
            fix = "associate another one first, or delete the zone"
            raise ApiError("LastVPCAssociation", f"{where_of(zone)}: {vpc_id} is its last VPC; {fix}")
        writes = Writes()
        writes.change(owned_key(zone), held.mod_revision, zone)
        part_writes(writes, zone.owner, zone.id, vpc_id)
        return writes, zone

    return attempt(store, decide)


def vpcs_of(store: Store, zone: PrivateZone) -> list[str]:
    """Return the ids of a zone's associated VPCs."""
    return [kv.key.rpartition("/")[2] for kv in store.list(keys.zone_use(zone.owner, zone.id)).kvs]


def put_record(store: Store, caller: Caller, zone_id: str, record: RecordSet) -> PrivateZone:
    """Add a record set to a zone, or replace the one of the same name and type, and return the zone. Route 53: UPSERT.

    Raises:
      ApiError: NoSuchHostedZone, InvalidChangeBatch for a bad name, value or combination, LimitsExceeded.
    """

    def changed(zone: PrivateZone) -> PrivateZone:
        asked = checked_record(zone, record)
        others = (one for one in zone.records if (one.name, one.type) != (asked.name, asked.type))
        return checked_zone(msgspec.structs.replace(zone, records=(*others, asked)))

    return _change(store, caller, zone_id, changed)


def delete_record(store: Store, caller: Caller, zone_id: str, name: str, type: RecordType) -> PrivateZone:
    """Delete a record set of a zone and return the zone.

    Raises:
      ApiError: NoSuchHostedZone, InvalidChangeBatch for a record set that does not exist.
    """

    def changed(zone: PrivateZone) -> PrivateZone:
        gone = relative_name(name, zone.domain), type
        rest = tuple(one for one in zone.records if (one.name, one.type) != gone)
        if len(rest) == len(zone.records):
            what = Violation(f"{gone[0]} has no {type.value} record", "`netorch zone record list` lists its records")
            raise _bad_change(where_of(zone), what)
        return msgspec.structs.replace(zone, records=rest)

    return _change(store, caller, zone_id, changed)


def _change(store: Store, caller: Caller, zone_id: str, change: Callable[[PrivateZone], PrivateZone]) -> PrivateZone:
    """Write a zone with changed record sets and its copies, and return the zone."""

    def decide() -> tuple[Writes, PrivateZone]:
        held = read_owned(store, caller, PrivateZone, zone_id)
        after, writes = change(held.record), Writes()
        check_size(quotas_of(store, after.owner), after, len(held.record.records))
        if after != held.record:
            copies = [_copy(store, after.id, vpc_id) for vpc_id in vpcs_of(store, after)]
            change_writes(writes, held, after, filter(None, copies))
        return writes, after

    return attempt(store, decide)


def _copy(store: Store, zone_id: str, vpc_id: str) -> Stored[VpcZone] | None:
    return get(store, keys.vpc_zone(vni_of(vpc_id), zone_id), VpcZone)


def change_writes(writes: Writes, held: Stored[PrivateZone], after: PrivateZone, copies: Iterable[Stored[VpcZone]]) -> None:
    """Add the change of a zone and of its copies. A VPC that is deleted at the same time gets no copy."""
    writes.change(owned_key(after), held.mod_revision, after)
    for copy in copies:
        vni = copy.record.vni
        writes.change(keys.vpc_zone(vni, after.id), copy.mod_revision, copy_of(after, vni))


def delete_zone(store: Store, caller: Caller, zone_id: str) -> None:
    """Delete a zone without record sets, with its associations.

    Raises:
      ApiError: NoSuchHostedZone, HostedZoneNotEmpty.
    """

    def decide() -> tuple[Writes, None]:
        held = read_owned(store, caller, PrivateZone, zone_id)
        zone = held.record
        if zone.records:
            what = f"it has {len(zone.records)} record sets"
            raise ApiError("HostedZoneNotEmpty", f"{where_of(zone)}: {what}; delete them first: netorch zone record delete")
        writes = Writes()
        delete_zone_writes(writes, held, vpcs_of(store, zone))
        drop_last_mark(writes, store, owner_mark(zone.owner), keys.owned_prefix("zone", zone.owner))
        return writes, None

    attempt(store, decide)


def delete_zone_writes(writes: Writes, held: Stored[PrivateZone], vpc_ids: Iterable[str]) -> None:
    """Add the deletion of a zone and of its associations."""
    delete_owned(writes, held)
    for vpc_id in vpc_ids:
        part_writes(writes, held.record.owner, held.record.id, vpc_id)


def describe_zones(store: Store, caller: Caller) -> list[ZoneInfo]:
    """Return the zones that the caller sees, by owner and name. Raises UnreadableRecord."""
    found = read_all_owned(store, caller, PrivateZone)
    return [_info(store, one) for one in sorted(found, key=lambda one: (one.owner, one.name, one.id))]


def describe_zone(store: Store, caller: Caller, zone_id: str) -> ZoneInfo:
    """Return one zone. Raises ApiError: NoSuchHostedZone."""
    return _info(store, read_owned(store, caller, PrivateZone, zone_id).record)


def _info(store: Store, found: PrivateZone) -> ZoneInfo:
    return ZoneInfo(found=found, vpcs=tuple(vpcs_of(store, found)))
