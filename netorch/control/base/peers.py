"""Peers of a VPC: how a change of its ranges, or its deletion, affects its peering connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.addr import Prefix
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.mapped import aliases_of, range_without
from netorch.model.routing.peering import LIVE, PeeringConnection, PeeringStatus, overlap
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import in_use
from netorch.records.kinds import keys_of
from netorch.records.read import Stored, get, read_all
from netorch.store.base import Store

_AT_ONCE: Final = 50  # both records of so many connections fit into one transaction
_SWEPT: Final = 10  # deleted together with one new connection, so that ended connections do not pile up
_KEPT: Final = 25  # ended connections that a VPC keeps


def connections_of(store: Store, caller: Caller, vpc: Vpc) -> list[PeeringConnection]:
    """Return a VPC's connections. Of another owner's VPC it returns the readable ones: only the owner learns of damaged records.

    Raises:
      UnreadableRecord: an unreadable record of a VPC that the caller sees.
    """
    found = []
    for kv in store.list(keys.resources(vpc.vni, "pcx")).kvs:
        try:
            found.append(decode(kv, PeeringConnection))
        except UnreadableRecord:
            if caller.sees(vpc.owner):
                raise
    return found


def refuse_ranges(
    writes: Writes, before: Vpc, vpc: Vpc, connections: Iterable[PeeringConnection], peers: Iterable[Stored[Vpc]], now: float
) -> None:
    """Refuse ranges that a VPC's peering connections do not permit, and let the transaction fail if a peer's ranges change.

    The creation of a connection and a change of the ranges both rewrite the VPC's record, so `connections` is complete.

    Raises:
      ApiError: OperationNotPermitted for a new range while a request of the VPC is pending, as in EC2; InvalidVpc.Range for a
        range that overlaps an active peer's. The error names the peer's range: EC2 shows the ranges of an active peer.
    """
    known = list(connections)
    if new := [prefix for prefix in ranges_of(vpc) if prefix not in ranges_of(before)]:
        _refuse_while_pending(vpc, new[0], known, now)
    _refuse_overlap(writes, vpc, known, peers)


def _refuse_while_pending(vpc: Vpc, new: Prefix, connections: Iterable[PeeringConnection], now: float) -> None:
    for found in connections:
        if found.requested_here and found.status_at(now) is PeeringStatus.PENDING:
            what = f"it cannot get {new} while its peering request {found.id} is {PeeringStatus.PENDING.value}"
            fix = "wait until the request is accepted, or delete it and request again"
            raise ApiError("OperationNotPermitted", f"VPC {vpc.id}: {what}; {fix}")


def _refuse_overlap(writes: Writes, vpc: Vpc, connections: Iterable[PeeringConnection], peers: Iterable[Stored[Vpc]]) -> None:
    known = list(connections)
    for alias in aliases_of(found for found in known if found.status in LIVE):
        if both := overlap(ranges_of(vpc), [alias]):
            what = f"{both[0]} overlaps {alias}, the alias of a mapped peering connection"
            raise ApiError("InvalidVpc.Range", f"VPC {vpc.id}: {what}; choose another range, or delete that peering connection")
    active = {found.peer.id: found.id for found in known if found.is_native}
    for peer in peers:
        if peer.record.id not in active:
            continue
        if found := overlap(ranges_of(vpc), ranges_of(peer.record)):
            what = f"{found[0]} overlaps {found[1]} of {peer.record.id}, its peer through {active[peer.record.id]}"
            raise ApiError("InvalidVpc.Range", f"VPC {vpc.id}: {what}; choose another range, or delete that peering connection")
        writes.expect(keys.vpc(peer.record.vni), peer.mod_revision)


def refuse_unmapped(vpc: Vpc, connections: Iterable[PeeringConnection], now: float) -> None:
    """Refuse a VPC without a range that a live mapped connection translates. Raises ApiError: DependencyViolation."""
    for found in connections:
        if found.is_mapped and found.is_live(now) and range_without(found.own, ranges_of(vpc)):
            by = f"peering connection {found.name or found.id}, in which {found.own.range} has the alias {found.own.alias}"
            raise in_use("vpc", vpc.id, by, "delete that connection first")


def peers_of(store: Store, caller: Caller, connections: Iterable[PeeringConnection]) -> Iterator[Stored[Vpc]]:
    """Yield the VPCs at the other end of active native connections. Peers of mapped connections may have the same ranges.

    Raises:
      UnreadableRecord: the peer is a VPC that the caller sees.
      ApiError: IncorrectState for a peer of another owner.
    """
    for connection in connections:
        if not connection.is_native:
            continue
        try:
            found = get(store, keys.vpc(connection.peer_vni), Vpc)
        except UnreadableRecord:
            if caller.sees(connection.peer.owner):
                raise
            raise unknown_ranges(connection) from None
        if found is not None and found.record.id == connection.peer.id:
            yield found


def unknown_ranges(connection: PeeringConnection) -> ApiError:
    """Return the error for another owner's peer whose record cannot be read, so that its ranges are unknown."""
    what = f"{connection.peer.id}, a peer through {connection.id}, may have the same ranges: its record cannot be read"
    return ApiError("IncorrectState", f"VPC {what}; ask its owner, or the operator, to repair it")


def delete_idle(store: Store, vni: int) -> None:
    """Delete a VPC's inactive connections: a VPC may have more of them than fit into the transaction that deletes it."""

    def decide() -> tuple[Writes, bool]:
        found = [stored for stored in read_all(store, PeeringConnection, vni).values() if not is_active(stored.record)]
        writes = Writes()
        for stored in found[:_AT_ONCE]:
            writes.expect(keys.member(vni, stored.record.id), stored.mod_revision)
            delete_both(writes, stored.record)
        return writes, len(found) > _AT_ONCE

    while attempt(store, decide):
        pass


def is_active(connection: PeeringConnection) -> bool:
    """Return whether a connection carries packets."""
    return connection.status is PeeringStatus.ACTIVE


def delete_both(writes: Writes, connection: PeeringConnection) -> None:
    """Add the deletion of both records of a connection."""
    for key in keys_of(connection):
        writes.drop(key)


def sweep(writes: Writes, connections: Iterable[PeeringConnection], now: float) -> None:
    """Delete the VPC's connections that are no longer shown to either owner, and the oldest ended ones beyond the limit."""
    ended = sorted((found for found in connections if not found.is_live(now)), key=lambda found: found.ended or found.expires)
    for index, found in enumerate(ended[:_SWEPT]):
        if not found.is_kept(now) or index < len(ended) - _KEPT:
            delete_both(writes, found)
