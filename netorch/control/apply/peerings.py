"""Plan the peering connections of a file's VPCs as declared, after all VPCs.

Either VPC may declare a connection. It is active at once if the caller may act for both VPCs. Otherwise it is a request that
the other VPC's owner accepts, by a command or by a declaration of the connection. A connection that a VPC requested and no VPC
of the file at either end declares is deleted. Requests of others are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from netorch.control.actions.enis import targets_in
from netorch.control.actions.peerings import Ranges, Wanted, activated, ended, new_request, refuse_mapped
from netorch.control.apply.builder import Path, PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.apply.outside.gateways import pair_named
from netorch.control.base.pairs import Pair, place_on
from netorch.control.base.peers import sweep
from netorch.control.base.quotas import check_room
from netorch.control.base.writes import ABSENT, Writes, guard_structure
from netorch.errors import ApiError, NetorchError, UnreadableRecord
from netorch.model.check.peerings import peer_path
from netorch.model.cloud import PeeringDecl, VpcDecl
from netorch.model.ids import vni_of
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.mapped import read_ranges
from netorch.model.routing.peering import PeeringConnection, PeeringStatus, halves, overlap
from netorch.model.rules import Violation
from netorch.records import keys
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

Half = Stored[PeeringConnection]

_UNKNOWN: Final = ABSENT  # the revision of a key that an earlier step of the plan writes; `apply` knows it at commit


def plan_peerings(builder: PlanBuilder, decls: Iterable[VpcDecl]) -> dict[Path, NetorchError]:
    """Plan the connections of planned VPCs as declared; return the VPCs that cannot be planned, with their errors."""
    planner = _Planner(builder, [decl for decl in decls if (decl.owner, decl.name) in builder.planned])
    planner.plan_deletions()
    refused: dict[Path, NetorchError] = {}
    for decl in planner.decls:
        try:
            planner.plan(decl)
        except (ApiError, UnreadableRecord) as error:
            refused[decl.owner, decl.name] = error
    return refused


class _Planner:
    """Plans all connections. It edits the records of planned VPCs, and copies of other VPCs' records."""

    def __init__(self, builder: PlanBuilder, decls: list[VpcDecl]) -> None:
        self.decls = decls
        self._builder = builder
        self._now = builder.caller.now()
        self._vpcs = {records.vni: records for records in builder.planned.values()}

    def plan_deletions(self) -> None:
        """Add the deletion of connections that planned VPCs requested and neither end declares."""
        declared = {pair for decl in self.decls for pair in self._declared_pairs(decl)}
        for decl in self.decls:
            records = self._builder.planned[decl.owner, decl.name]
            for half in list(self._live(records)):
                pair = frozenset((half.record.requester.id, half.record.accepter.id))
                if half.record.requested_here and pair not in declared:
                    self._become(half, lambda known: ended(known, PeeringStatus.DELETED, int(self._now), known.requester.id))
                    self._note(Action.DELETE, records, half.record, None)

    def _declared_pairs(self, decl: VpcDecl) -> Iterator[frozenset[str]]:
        own = self._builder.planned[decl.owner, decl.name].vpc.record.id
        for peering in decl.peerings:
            peer = self._find(decl, peering)
            if peer is not None:
                yield frozenset((own, peer.vpc.record.id))

    def plan(self, decl: VpcDecl) -> None:
        """Plan the connections of one VPC as declared. Raises ApiError."""
        records = self._builder.planned[decl.owner, decl.name]
        self._check_ranges(records)
        for peering in decl.peerings:
            peer = self._find(decl, peering)
            if peer is None:
                raise self._unknown(peering.peer)
            pair = [half for half in self._live(records) if half.record.peer.id == peer.vpc.record.id]
            half = min(pair, key=lambda half: half.record.status is not PeeringStatus.ACTIVE, default=None)
            if half is None:
                self._request(records, peer, peering)
            else:
                self._change(records, peer, half, peering)

    def _find(self, decl: VpcDecl, peering: PeeringDecl) -> VpcRecords | None:
        """Return the other VPC after the plan; another owner's VPC is found only by its id."""
        path = peer_path(decl.owner, peering.peer)
        if isinstance(path, str):
            found = self._records(vni_of(path))
            return found if found is not None and found.vpc.record.id == path else None
        if path in self._builder.planned:
            return self._builder.planned[path]
        for records in self._builder.inventory.vpcs.values():
            vpc = records.vpc.record
            if (vpc.owner, vpc.name) == path and self._builder.caller.sees(vpc.owner):
                return self._records(records.vni)
        return None

    def _unknown(self, peer: str) -> ApiError:
        """Return the error for a VPC that the caller cannot name in this way."""
        error = not_found("vpc", peer)
        words = "owner/name or its id" if self._builder.caller.operator else "its id"
        return ApiError(error.code, f"{error.message}; for another owner's VPC write {words}")

    def _records(self, vni: int) -> VpcRecords | None:
        """Return a VPC's records after the plan; None if it does not exist or is deleted."""
        if vni not in self._vpcs:
            stored = self._builder.inventory.vpcs.get(vni)
            if stored is None or vni in self._builder.deleted:
                return None
            self._vpcs[vni] = stored.copied()
        return self._vpcs[vni]

    def _live(self, records: VpcRecords) -> Iterator[Half]:
        """Yield the live connections of a VPC whose other VPC exists after the plan."""
        for half in records.of(PeeringConnection).values():
            if half.record.is_live(self._now) and self._peer(half.record) is not None:
                yield half

    def _peer(self, half: PeeringConnection) -> VpcRecords | None:
        """Return the other VPC of a connection after the plan; its VNI may then belong to another VPC."""
        found = self._records(half.peer_vni)
        return found if found is not None and found.vpc.record.id == half.peer.id else None

    def _check_ranges(self, records: VpcRecords) -> None:
        """Refuse ranges that overlap those of an active peer after the plan."""
        for half in self._live(records):
            peer = self._peer(half.record)
            if half.record.status is PeeringStatus.ACTIVE and peer is not None:
                self._refuse_ranges(records, peer, half.record, half.record.name or half.record.id)

    def _refuse_ranges(self, records: VpcRecords, peer: VpcRecords, connection: PeeringConnection, name: str) -> None:
        """Refuse ranges of two VPCs that a connection, named `name` in errors, does not permit. Raises ApiError."""
        if not connection.is_mapped:
            self._refuse_overlap(records, peer, name)
            return
        sides = [(found.vpc.record, list(found.each(PeeringConnection))) for found in (records, peer)]
        requester, accepter = sides if connection.requested_here else reversed(sides)
        refuse_mapped(f"peering connection {name!r}", connection, requester, accepter, self._now)

    def _refuse_overlap(self, records: VpcRecords, peer: VpcRecords, name: str) -> None:
        own, other = records.vpc.record, peer.vpc.record
        if both := overlap(ranges_of(own), ranges_of(other)):
            theirs = str(both[1]) if self._builder.caller.sees(other.owner) else "a range"
            what = f"{both[0]} of {own.owner}/{own.name} overlaps {theirs} of {other.id}"
            raise invalid(f"peering connection {name!r}", what, "peers need ranges that do not overlap")

    def _request(self, records: VpcRecords, peer: VpcRecords, decl: PeeringDecl) -> None:
        beside = [half.record for vpc in (records, peer) for half in vpc.of(PeeringConnection).values()]
        targets = [*targets_in(records), *targets_in(peer)]
        wanted = Wanted(name=decl.name, tags=decl.tags, ranges=_ranges_of(decl))
        made = new_request(self._builder.caller, records.vpc.record, peer.vpc.record, wanted, beside, targets)
        self._refuse_ranges(records, peer, made, decl.name)
        pair = None
        if self._builder.caller.sees(peer.vpc.record.owner):
            self._check_active(records, peer)
            pair = self._pair(made)
            made = activated(made, pair.seats() if pair is not None else ())
        else:
            self._check_requests(records, sent=True)
            self._check_requests(peer, sent=False)
        writes = self._step(records, peer)
        if pair is not None:
            place_on(writes, pair, made.id)
        for vpc, half in zip((records, peer), halves(made), strict=True):
            writes.create(keys.member(half.vni, half.id), half)
            sweep(writes, vpc.each(PeeringConnection), self._now)
            vpc.of(PeeringConnection)[half.id] = Stored(half, _UNKNOWN)
        self._note(Action.ADD, records, None, made)

    def _change(self, records: VpcRecords, peer: VpcRecords, half: Half, decl: PeeringDecl) -> None:
        """Add a connection's declared name and tags, and accept it if the caller may."""
        before = half.record
        wanted = _ranges_of(decl)
        if wanted is not None and ((before.own.range, before.own.alias), (before.peer.range, before.peer.alias)) != wanted:
            what = "these VPCs have a connection with other ranges, which cannot be changed"
            raise invalid(
                f"peering connection {decl.name!r}", what, "delete that connection first, or write its map_own and map_peer"
            )
        answers = before.status is PeeringStatus.PENDING and self._builder.caller.sees(before.accepter.owner)
        if answers:
            self._refuse_ranges(records, peer, before, decl.name)
            self._check_active(records, peer)
            pair = self._pair(before)
            seats = pair.seats() if pair is not None else ()
            half = self._become(half, lambda known: activated(known, seats), pair)
        after = msgspec.structs.replace(half.record, name=decl.name, tags=decl.tags)
        if after != half.record:
            self._builder.step().change(keys.member(after.vni, after.id), half.mod_revision, after)
            records.of(PeeringConnection)[after.id] = Stored(after, _UNKNOWN)
        if after != before:
            self._note(Action.CHANGE, records, before, after)

    def _pair(self, connection: PeeringConnection) -> Pair | None:
        """Return the pair of edges for a mapped connection. Raises ApiError: InsufficientInstanceCapacity."""
        where = f"peering connection {connection.name or connection.id!r}"
        return pair_named(self._builder, where, "") if connection.is_mapped else None

    def _become(self, half: Half, change: Callable[[PeeringConnection], PeeringConnection], pair: Pair | None = None) -> Half:
        """Add a change of both records of a live connection, and return this side's changed record.

        From now on `pair` carries it. If it ends, its placements on edges are deleted.
        """
        both = [self._records(half.record.vni), self._peer(half.record)]
        writes = self._step(*(found for found in both if found is not None))
        if pair is not None:
            place_on(writes, pair, half.record.id)
        for seat in half.record.seats if not change(half.record).seats else ():
            writes.drop(keys.placement(seat.host, half.record.id))
        for records in both:
            known = records.of(PeeringConnection).get(half.record.id) if records is not None else None
            if records is not None and known is not None:
                changed = change(known.record)
                writes.change(keys.member(changed.vni, changed.id), known.mod_revision, changed)
                records.of(PeeringConnection)[changed.id] = Stored(changed, _UNKNOWN)
        return self._vpcs[half.record.vni].of(PeeringConnection)[half.record.id]

    def _step(self, *vpcs: VpcRecords) -> Writes:
        writes = self._builder.step()
        for records in vpcs:
            guard_structure(writes, records.vpc)
        return writes

    def _check_active(self, *vpcs: VpcRecords) -> None:
        for records in vpcs:
            count = sum(half.record.status is PeeringStatus.ACTIVE for half in self._live(records))
            self._check_room(records, "ActiveVpcPeeringConnectionPerVpcLimitExceeded", count + 1)

    def _check_requests(self, records: VpcRecords, *, sent: bool) -> None:
        pending = [half for half in self._live(records) if half.record.status is PeeringStatus.PENDING]
        count = sum(half.record.requested_here is sent for half in pending)
        self._check_room(records, "OutstandingVpcPeeringConnectionLimitExceeded", count + 1)

    def _check_room(self, records: VpcRecords, code: str, count: int) -> None:
        vpc = records.vpc.record
        check_room(self._builder.quotas_of(vpc.owner), code, f"VPC {vpc.id}", count)

    def _note(
        self, action: Action, records: VpcRecords, before: PeeringConnection | None, after: PeeringConnection | None
    ) -> None:
        vpc, found = records.vpc.record, after or before
        assert found is not None
        sides = [self._words(before), self._words(after)]
        only_names = before is not None and after is not None and before.status is after.status
        peer = self._peer(found) if not only_names and self._builder.caller.sees(found.peer.owner) else None
        change = Change(
            action=action,
            kind="peering",
            owner=vpc.owner,
            vpc=vpc.name,
            name=found.name or found.id,
            resource_id=before.id if before is not None else "",
            differences=differences(**{field: (sides[0][field], sides[1][field]) for field in sides[0]}),
            breaks="packets between the VPCs are dropped" if before is not None and after is None else "",
            hosts=(*carriers(records), *(carriers(peer) if peer is not None else ())),
            peer="" if only_names else str(sides[0]["peer"] or sides[1]["peer"]),
        )
        self._builder.changes.append(change)

    def _words(self, half: PeeringConnection | None) -> dict[str, object]:
        """Return the attributes of a connection for people, empty ones for None."""
        if half is None:
            return dict.fromkeys(("peer", "status", "name", "mapped", "tags"), "")
        peer = self._peer(half)
        seen = peer is not None and self._builder.caller.sees(half.peer.owner)
        named = f"{peer.vpc.record.owner}/{peer.vpc.record.name}" if peer is not None and seen else half.peer.id
        mapped = f"{half.own.range} as {half.own.alias}, {half.peer.range} as {half.peer.alias}" if half.is_mapped else ""
        return {"peer": named, "status": half.status.value, "name": half.name, "mapped": mapped, "tags": half.tags or ""}


def _ranges_of(decl: PeeringDecl) -> Ranges | None:
    """Return the checked ranges of a declared mapped connection, or None for a native one."""
    own, far = read_ranges(decl.map_own), read_ranges(decl.map_peer)
    return None if isinstance(own, Violation) or isinstance(far, Violation) else (own, far)
