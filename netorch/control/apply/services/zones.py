"""Plan private zones as declared, once the VPCs are planned. Each zone changes in one step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec

from netorch.control.actions.services.zones import (
    change_writes,
    check_new,
    check_size,
    check_vpcs,
    checked_zone,
    delete_zone_writes,
    join_writes,
    owner_mark,
    part_writes,
    refuse_conflict,
    where_of,
)
from netorch.control.apply.builder import Path, PlanBuilder, carriers, of_source
from netorch.control.apply.changes import Action, Change, Difference, change_of_owned, member_differences
from netorch.control.base.named import create_owned
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT, Writes, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.ids import vni_of
from netorch.model.services.declared_zones import PrivateZoneDecl, declared_records
from netorch.model.services.zones import PrivateZone, RecordSet, VpcZone
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A declared zone."""

    decl: PrivateZoneDecl
    held: Stored[PrivateZone] | None  # stored zone
    zone: PrivateZone
    had: frozenset[str]  # ids of its VPCs before the plan
    vpcs: frozenset[str]


def plan_zones(builder: PlanBuilder, decls: Iterable[PrivateZoneDecl], refused: Collection[Path]) -> None:
    """Add the deletion of zones that the file owns and no longer names, then plan the declared ones.

    For VPCs that cannot be planned (`refused`), associations stay as they are.

    Raises:
      ApiError: a zone cannot be planned as declared.
      UnreadableRecord: a changed zone has a copy in an isolated VPC.
    """
    planner = _Planner(builder)
    named = {(decl.owner, decl.name) for decl in decls}
    planner.end_leftovers(named)
    wanted = [planner.wanted(decl, refused) for decl in decls]
    for each in wanted:
        planner.forget(each)
    for each in wanted:
        planner.plan(each)


class _Planner:
    def __init__(self, builder: PlanBuilder) -> None:
        self._builder = builder
        inventory = builder.inventory
        self._zones = dict(inventory.zones)  # by id, after the plan
        stay = {vni: records for vni, records in inventory.vpcs.items() if vni not in builder.deleted}
        self._vpcs: dict[int, VpcRecords] = stay | {records.vni: records for records in builder.planned.values()}
        # Each VPC's copies of zones after the plan, by zone id.
        self._copies: dict[int, dict[str, VpcZone]] = {
            vni: {copy.zone: copy for copy in inventory.vpcs[vni].each(VpcZone)} if vni in stay else {} for vni in self._vpcs
        }

    def end_leftovers(self, named: Collection[Path]) -> None:
        """Add the deletion of zones that the file owns and no longer names."""
        builder = self._builder
        for zone_id, stored in list(self._zones.items()):
            zone = stored.record
            if (zone.owner, zone.name) in named or not builder.source.owns(zone.tags) or not builder.caller.sees(zone.owner):
                continue
            had = self._uses(zone)
            delete_zone_writes(builder.step(), stored, had)
            del self._zones[zone_id]
            for vpc_id in had:
                self._copies.get(vni_of(vpc_id), {}).pop(zone_id, None)
            self._note(Action.DELETE, zone, had, ())

    def _uses(self, zone: PrivateZone) -> frozenset[str]:
        """Return the ids of a zone's associated VPCs, without deleted ones."""
        prefix = keys.zone_use(zone.owner, zone.id)
        found = (key.removeprefix(prefix) for key in self._builder.inventory.raw if key.startswith(prefix))
        return frozenset(vpc_id for vpc_id in found if vni_of(vpc_id) not in self._builder.deleted)

    def wanted(self, decl: PrivateZoneDecl, refused: Collection[Path]) -> _Wanted:
        """Return a zone as declared. Raises ApiError."""
        builder = self._builder
        held = next((one for one in self._zones.values() if (one.record.owner, one.record.name) == (decl.owner, decl.name)), None)
        asked = checked_zone(
            PrivateZone(
                id=held.record.id if held is not None else builder.caller.new_id("zone", 0),
                owner=decl.owner,
                name=decl.name,
                domain=decl.domain or decl.name,
                records=declared_records(decl),
            )
        )
        if held is not None and asked.domain != held.record.domain:
            what = f"its domain is {held.record.domain}, which cannot be changed"
            raise ApiError("InvalidParameterValue", f"{where_of(asked)}: {what}; give the new zone another name")
        had = self._uses(asked) if held is not None else frozenset()
        vpcs = {vpc_id for vpc_id in had if vni_of(vpc_id) in builder.inventory.isolated}
        for name in decl.vpcs:
            path = (decl.owner, name)
            found = next((one.vpc.record.id for one in self._vpcs.values() if _path(one) == path), "")
            if found and (path not in refused or found in had):
                vpcs.add(found)
            elif not found and path not in refused:
                raise not_found("vpc", f"{decl.owner}/{name}")
        return _Wanted(decl=decl, held=held, zone=asked, had=had, vpcs=frozenset(vpcs))

    def forget(self, wanted: _Wanted) -> None:
        """Remove a zone's copies from the VPCs that it leaves, before other zones with its domain join these."""
        for vpc_id in wanted.had - wanted.vpcs:
            self._copies[vni_of(vpc_id)].pop(wanted.zone.id, None)

    def plan(self, wanted: _Wanted) -> None:
        """Plan a zone as declared. Raises ApiError, UnreadableRecord."""
        builder, held, quotas = self._builder, wanted.held, self._builder.quotas_of(wanted.zone.owner)
        before = held.record if held is not None else None
        check_size(quotas, wanted.zone, len(before.records) if before is not None else 0)
        if len(wanted.vpcs) > len(wanted.had):
            check_vpcs(quotas, wanted.zone, len(wanted.vpcs))
        zone, changed = self._tagged(wanted)
        if before is not None and not changed:
            return
        writes = builder.step()
        if held is None:
            self._create(writes, zone)
        else:
            change_writes(
                writes, held, zone, self._copies_of(zone, wanted.had & wanted.vpcs) if zone.records != held.record.records else ()
            )
        for vpc_id in sorted(wanted.had - wanted.vpcs):
            part_writes(writes, zone.owner, zone.id, vpc_id)
        for vpc_id in sorted(wanted.vpcs - wanted.had):
            self._join(writes, zone, self._vpcs[vni_of(vpc_id)])
        self._zones[zone.id] = Stored(zone, ABSENT)
        self._note(Action.ADD if before is None else Action.CHANGE, zone, wanted.had | wanted.vpcs, changed)

    def _tagged(self, wanted: _Wanted) -> tuple[PrivateZone, tuple[Difference, ...]]:
        """Return a zone with its tags, and its differences."""
        before = wanted.held.record if wanted.held is not None else None
        records = (map(_line, before.records) if before is not None else (), map(_line, wanted.zone.records))
        changed = (
            *member_differences("records", *records),
            *member_differences("vpcs", *(sorted(map(self._spoken, ids)) for ids in (wanted.had, wanted.vpcs))),
        )
        if before is None:
            tags = of_source(wanted.decl.tags, self._builder.source.label)
            return msgspec.structs.replace(wanted.zone, tags=tags), changed
        tags, differing = self._builder.tagged(wanted.decl.tags, before.tags, changed=bool(changed))
        return msgspec.structs.replace(wanted.zone, tags=tags), changed + differing

    def _spoken(self, vpc_id: str) -> str:
        records = self._vpcs.get(vni_of(vpc_id))
        return records.vpc.record.name if records is not None else vpc_id

    def _create(self, writes: Writes, zone: PrivateZone) -> None:
        builder, mark = self._builder, use_key(owner_mark(zone.owner))
        writes.change(mark, builder.revision_of(mark), True)
        others = [one.record for one in self._zones.values() if one.record.owner == zone.owner]
        check_new(builder.quotas_of(zone.owner), zone, others)
        create_owned(writes, zone)

    def _copies_of(self, zone: PrivateZone, vpc_ids: Iterable[str]) -> Iterator[Stored[VpcZone]]:
        """Yield a zone's copies in some VPCs. Raises UnreadableRecord: one of them is isolated."""
        inventory = self._builder.inventory
        for vpc_id in sorted(vpc_ids):
            isolated = inventory.isolated.get(vni_of(vpc_id))
            if isolated is not None:
                raise isolated.error
            yield inventory.vpcs[vni_of(vpc_id)].of(VpcZone)[f"{keys.ZONE}{zone.id}"]

    def _join(self, writes: Writes, zone: PrivateZone, records: VpcRecords) -> None:
        copies = self._copies[records.vni]
        refuse_conflict(zone, records.vpc.record, copies.values(), records.each(VpcEndpoint))
        copies[zone.id] = VpcZone(vni=records.vni, zone=zone.id, domain=zone.domain)
        guard_structure(writes, records.vpc)
        join_writes(writes, zone, records.vpc.record)

    def _note(self, action: Action, zone: PrivateZone, vpc_ids: Iterable[str], changed: tuple[Difference, ...]) -> None:
        known = (self._vpcs[vni] for vni in map(vni_of, vpc_ids) if vni in self._vpcs)
        hosts = tuple(sorted({host for records in known for host in carriers(records)}))
        change: Change = change_of_owned(action, "private-zone", zone, changed)
        self._builder.changes.append(msgspec.structs.replace(change, hosts=hosts))


def _path(records: VpcRecords) -> Path:
    return records.vpc.record.owner, records.vpc.record.name


def _line(record: RecordSet) -> str:
    return f"{record.name} {record.ttl} {record.type.value} {', '.join(record.values)}"
