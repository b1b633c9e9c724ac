"""VPC peering connections: request, answer, end. Each owner manages its own routes to a connection.

Every action rewrites the records of both VPCs, so that a deletion or a range change of one of them is decided again. The
requester must know the id of the other VPC. Of another owner's VPC it learns what EC2 tells: id and owner, and the ranges while
the connection is active.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from netorch.control.actions.enis import target_ids
from netorch.control.base import checks
from netorch.control.base.pairs import Pair, choose_pair, place_on
from netorch.control.base.peers import connections_of, sweep
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Seat
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.mapped import ranges_problem
from netorch.model.routing.next_hop import clashes
from netorch.model.routing.peering import (
    REQUEST_S,
    PeeringConnection,
    PeeringStatus,
    PeerVpc,
    halves,
    overlap,
)
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid, not_found
from netorch.records.read import Stored, get, read, read_all, read_vpc, seen_vpc
from netorch.store.base import Store

Ranges = tuple[tuple[str, str], tuple[str, str]]  # mapped: a range and its alias, of requester and accepter
Side = tuple[Vpc, list[PeeringConnection]]  # a VPC with its connections


class PeeringInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A peering connection as one of its VPCs sees it."""

    connection: PeeringConnection
    vpc: Vpc  # the VPC with this view
    status: PeeringStatus
    peer_ranges: tuple[str, ...]  # the other VPC's ranges, or its alias, while the connection is active


def request_peering(
    store: Store,
    caller: Caller,
    vpc_id: str,
    peer_id: str,
    *,
    name: str,
    ranges: Ranges | None = None,
    tags: Tags | None = None,
) -> PeeringConnection:
    """Request a peering connection of the caller's VPC with another VPC of any owner, and return it.

    With `ranges` the connection is mapped. A request without `ranges` fails at once if the VPCs' ranges overlap, as in EC2.

    Raises:
      ApiError: InvalidVpcID.NotFound, VpcPeeringConnectionAlreadyExists, OutstandingVpcPeeringConnectionLimitExceeded of either
        VPC, InvalidParameterValue for a VPC with itself, a bad or taken name, or ranges that cannot be mapped.
    """

    def decide() -> tuple[Writes, PeeringConnection]:
        vpc, peer = read_vpc(store, caller, vpc_id), _any_vpc(store, caller, peer_id)
        where = f"peering connection {name!r}"
        checks.name(where, name)
        theirs, own = (connections_of(store, caller, end.record) for end in (peer, vpc))
        _refuse_pair(caller, where, vpc.record, peer.record, own)
        _refuse_name(own, name, "", caller)
        check_requests(store, caller, vpc.record, [found for found in own if found.requested_here])
        check_requests(store, caller, peer.record, [found for found in theirs if not found.requested_here])
        wanted = Wanted(name=name, tags=checks.tags(where, tags), ranges=ranges)
        targets = [found for end in (vpc, peer) for found in target_ids(store, end.record.vni)]
        made = new_request(caller, vpc.record, peer.record, wanted, own + theirs, targets)
        refuse_mapped(where, made, (vpc.record, own), (peer.record, theirs), caller.now())
        if not made.is_mapped and overlap(ranges_of(vpc.record), ranges_of(peer.record)):
            made = ended(made, PeeringStatus.FAILED, int(caller.now()), vpc.record.id)
        writes = Writes()
        _guard(writes, vpc, peer)
        for half in halves(made):
            writes.create(keys.member(half.vni, half.id), half)
        for connections in (own, theirs):
            sweep(writes, connections, caller.now())
        return writes, made

    return attempt(store, decide)


def _any_vpc(store: Store, caller: Caller, vpc_id: str) -> Stored[Vpc]:
    """Return a VPC of any owner. Raises ApiError: InvalidVpcID.NotFound."""
    anybody = msgspec.structs.replace(caller, operator=True)
    try:
        found = seen_vpc(store, anybody, vni_of(vpc_id)) if is_id(vpc_id, "vpc") else None
    except UnreadableRecord:
        if caller.operator:
            raise
        raise not_found("vpc", vpc_id) from None
    if found is None or found.record.id != vpc_id:
        raise not_found("vpc", vpc_id)
    return found


def _refuse_pair(caller: Caller, where: str, vpc: Vpc, peer: Vpc, own: list[PeeringConnection]) -> None:
    """Refuse two VPCs that cannot become peers. Raises ApiError."""
    if vpc.id == peer.id:
        raise invalid(where, f"{vpc.id} cannot peer with itself", "name another VPC")
    for found in own:
        if found.peer.id == peer.id and found.is_live(caller.now()):
            raise _exists(where, found)


def _exists(where: str, other: PeeringConnection) -> ApiError:
    text = f"{where}: {other.id} between {other.requester.id} and {other.accepter.id} is {other.status.value}; use that one"
    return ApiError("VpcPeeringConnectionAlreadyExists", text)


def _refuse_name(own: list[PeeringConnection], name: str, of: str, caller: Caller) -> None:
    """Refuse a name that another live connection of the VPC has. Raises ApiError."""
    if any(found.name == name and found.id != of and found.is_live(caller.now()) for found in own):
        raise duplicate_name("pcx", name, "the VPC")


def check_requests(store: Store, caller: Caller, vpc: Vpc, of_vpc: list[PeeringConnection]) -> None:
    """Refuse one more request, sent or received. Raises ApiError: OutstandingVpcPeeringConnectionLimitExceeded."""
    count = sum(found.status_at(caller.now()) is PeeringStatus.PENDING for found in of_vpc)
    code = "OutstandingVpcPeeringConnectionLimitExceeded"
    check_room(quotas_of(store, vpc.owner), code, f"VPC {vpc.id}", count + 1)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a request."""

    name: str
    tags: Tags = {}
    ranges: Ranges | None = None  # of a mapped connection


def new_request(
    caller: Caller, vpc: Vpc, peer: Vpc, wanted: Wanted, beside: list[PeeringConnection], targets: list[str]
) -> PeeringConnection:
    """Return a request as the requester's record. `targets` are the ids of both VPCs' route targets.

    Hosts name a device after seven digits of the id, so no two connections of either VPC may share these digits.
    """
    taken = {found.id[-11:-4] for found in beside}
    new_id = caller.new_id("pcx", vpc.vni)
    while new_id[-11:-4] in taken or clashes(new_id, targets):
        new_id = caller.new_id("pcx", vpc.vni)
    (own, own_alias), (far, far_alias) = wanted.ranges or (("", ""), ("", ""))
    return PeeringConnection(
        id=new_id,
        vni=vpc.vni,
        requester=PeerVpc(id=vpc.id, owner=vpc.owner, range=own, alias=own_alias),
        accepter=PeerVpc(id=peer.id, owner=peer.owner, range=far, alias=far_alias),
        status=PeeringStatus.PENDING,
        expires=int(caller.now()) + REQUEST_S,
        name=wanted.name,
        tags=wanted.tags,
    )


def refuse_mapped(where: str, connection: PeeringConnection, requester: Side, accepter: Side, now: float) -> None:
    """Refuse ranges that cannot be mapped between two VPCs with their connections. Raises ApiError: InvalidParameterValue."""
    if not connection.is_mapped:
        return
    ends = (connection.requester, connection.accepter)
    for end, far, (vpc, connections) in zip(ends, reversed(ends), (requester, accepter), strict=True):
        beside = [found for found in connections if found.id != connection.id and found.is_live(now)]
        if violation := ranges_problem(end, ranges_of(vpc), far, beside):
            raise invalid(where, violation.what, violation.fix)


def _guard(writes: Writes, *vpcs: Stored[Vpc]) -> None:
    for vpc in vpcs:
        guard_structure(writes, vpc)


def accept_peering(store: Store, caller: Caller, connection_id: str, *, name: str = "") -> PeeringConnection:
    """Accept a request and return it: active, or failed if the VPCs' ranges now overlap. `name` is the accepter's name for it.

    Raises:
      ApiError: InvalidVpcPeeringConnectionID.NotFound, OperationNotPermitted if the caller does not own the accepter,
        InvalidStateTransition if it is no request, VpcPeeringConnectionAlreadyExists if another connection of the two VPCs is
        active, ActiveVpcPeeringConnectionPerVpcLimitExceeded of either VPC, InvalidParameterValue for a bad or taken name, or
        for ranges that can no longer be mapped, InsufficientInstanceCapacity if no pair of edges can carry a mapped one.
    """

    def decide() -> tuple[Writes, PeeringConnection]:
        found = _Pair(store, caller, connection_id)
        found.answerable("accepted")
        if name:
            checks.name(f"peering connection {connection_id}", name)
            _refuse_name(found.connections_of(found.accepter_vpc), name, connection_id, caller)
        mapped = found.requester.record.is_mapped
        if not mapped and overlap(ranges_of(found.requester_vpc.record), ranges_of(found.accepter_vpc.record)):
            return found.end(PeeringStatus.FAILED, found.accepter_vpc)
        for vpc in (found.requester_vpc, found.accepter_vpc):
            active = [other for other in found.connections_of(vpc) if other.status is PeeringStatus.ACTIVE]
            found.refuse_second(active)
            check_active(store, vpc.record, len(active) + 1)
        if not mapped:
            return found.activate(name)
        where = f"peering connection {connection_id}"
        ends = [(vpc.record, found.connections_of(vpc)) for vpc in (found.requester_vpc, found.accepter_vpc)]
        refuse_mapped(where, found.requester.record, ends[0], ends[1], caller.now())
        return found.activate(name, choose_pair(store, caller, where))

    return attempt(store, decide)


def check_active(store: Store, vpc: Vpc, count: int) -> None:
    """Refuse more active connections than a VPC may have. Raises ApiError: ActiveVpcPeeringConnectionPerVpcLimitExceeded."""
    check_room(quotas_of(store, vpc.owner), "ActiveVpcPeeringConnectionPerVpcLimitExceeded", f"VPC {vpc.id}", count)


def reject_peering(store: Store, caller: Caller, connection_id: str) -> PeeringConnection:
    """Reject a request and return it.

    Raises:
      ApiError: InvalidVpcPeeringConnectionID.NotFound, OperationNotPermitted if the caller does not own the accepter,
        InvalidStateTransition if it is no request.
    """

    def decide() -> tuple[Writes, PeeringConnection]:
        found = _Pair(store, caller, connection_id)
        found.answerable("rejected")
        return found.end(PeeringStatus.REJECTED, found.accepter_vpc)

    return attempt(store, decide)


def delete_peering(store: Store, caller: Caller, connection_id: str) -> None:
    """End an active connection, or withdraw a request. Routes to it become black holes on both sides.

    Raises:
      ApiError: InvalidVpcPeeringConnectionID.NotFound, OperationNotPermitted for another owner's request,
        InvalidStateTransition if it has ended.
    """

    def decide() -> tuple[Writes, None]:
        found = _Pair(store, caller, connection_id)
        status = found.requester.record.status_at(caller.now())
        if not found.requester.record.is_live(caller.now()):
            raise _no_transition(connection_id, status, "deleted")
        if status is PeeringStatus.PENDING and not caller.sees(found.requester.record.requester.owner):
            text = f"peering connection {connection_id}: another owner made the request; reject it instead"
            raise ApiError("OperationNotPermitted", text)
        by = found.requester_vpc if caller.sees(found.requester_vpc.record.owner) else found.accepter_vpc
        writes, _ = found.end(PeeringStatus.DELETED, by)
        return writes, None

    attempt(store, decide)


def _no_transition(connection_id: str, status: PeeringStatus, what: str) -> ApiError:
    fix = "delete it to end it" if status is PeeringStatus.ACTIVE else "request a new one"
    text = f"peering connection {connection_id}: is {status.value} and cannot be {what}; {fix}"
    return ApiError("InvalidStateTransition", text)


def _half(store: Store, caller: Caller, connection_id: str, end: PeerVpc) -> Stored[PeeringConnection] | None:
    """Return one VPC's record of a connection; nothing if it is another owner's and cannot be read."""
    try:
        return get(store, keys.member(vni_of(end.id), connection_id), PeeringConnection)
    except UnreadableRecord:
        if caller.sees(end.owner):
            raise
        return None


class _Pair:
    """Both records of a connection with both VPCs; the caller sees at least one of them."""

    def __init__(self, store: Store, caller: Caller, connection_id: str) -> None:
        """Raise ApiError: InvalidVpcPeeringConnectionID.NotFound."""
        _, seen = read(store, caller, PeeringConnection, connection_id)
        connection = seen.record
        ends = (connection.requester, connection.accepter)
        halves_ = {half.record.vni: half for end in ends if (half := _half(store, caller, connection.id, end))}
        if len(halves_) < 2 or not connection.is_shown(caller.now()):
            raise not_found("pcx", connection_id)
        self._store, self._caller = store, caller
        self.requester_vpc = _any_vpc(store, caller, connection.requester.id)
        self.accepter_vpc = _any_vpc(store, caller, connection.accepter.id)
        self.requester = halves_[self.requester_vpc.record.vni]
        self.accepter = halves_[self.accepter_vpc.record.vni]

    def connections_of(self, vpc: Stored[Vpc]) -> list[PeeringConnection]:
        """Return the connections of one of the two VPCs."""
        return connections_of(self._store, self._caller, vpc.record)

    def answerable(self, what: str) -> None:
        """Refuse to answer a connection that is no request, or a request to another owner. Raises ApiError."""
        connection = self.accepter.record
        if not self._caller.sees(connection.accepter.owner):
            text = f"peering connection {connection.id}: only the owner of {connection.accepter.id} can answer the request"
            raise ApiError("OperationNotPermitted", text)
        status = connection.status_at(self._caller.now())
        if status is not PeeringStatus.PENDING:
            raise _no_transition(connection.id, status, what)

    def refuse_second(self, active: Iterable[PeeringConnection]) -> None:
        """Refuse to accept beside an active connection of the two VPCs: with a slow clock, two requests may be pending.

        Raises:
          ApiError: VpcPeeringConnectionAlreadyExists.
        """
        pair = {self.requester_vpc.record.id, self.accepter_vpc.record.id}
        for other in active:
            if {other.requester.id, other.accepter.id} == pair:
                raise _exists(f"peering connection {self.accepter.record.id}", other)

    def activate(self, accepter_name: str, pair: Pair | None = None) -> tuple[Writes, PeeringConnection]:
        """Return the writes that activate it, and the caller's record of it; an empty name keeps the accepter's.

        A pair of edges carries a mapped connection.
        """
        seats = pair.seats() if pair is not None else ()
        theirs = activated(self.accepter.record, seats)
        theirs = msgspec.structs.replace(theirs, name=accepter_name or theirs.name)
        writes, found = self._become(activated(self.requester.record, seats), theirs)
        if pair is not None:
            place_on(writes, pair, theirs.id)
        return writes, found

    def end(self, status: PeeringStatus, by: Stored[Vpc]) -> tuple[Writes, PeeringConnection]:
        """Return the writes that end it from the side of `by`, and the caller's record of it."""
        at, by_id = int(self._caller.now()), by.record.id
        return self._become(ended(self.requester.record, status, at, by_id), ended(self.accepter.record, status, at, by_id))

    def _become(self, own: PeeringConnection, theirs: PeeringConnection) -> tuple[Writes, PeeringConnection]:
        writes = Writes()
        _guard(writes, self.requester_vpc, self.accepter_vpc)
        for seat in self.requester.record.seats if not own.seats else ():
            writes.drop(keys.placement(seat.host, own.id))
        for before, after in ((self.requester, own), (self.accepter, theirs)):
            writes.change(keys.member(after.vni, after.id), before.mod_revision, after)
        return writes, own if self._caller.sees(own.requester.owner) else theirs


def activated(half: PeeringConnection, seats: tuple[Seat, ...] = ()) -> PeeringConnection:
    """Return a record of an accepted request; `seats` are the edges that carry a mapped connection."""
    return msgspec.structs.replace(half, status=PeeringStatus.ACTIVE, seats=seats)


def ended(half: PeeringConnection, status: PeeringStatus, at: int, by: str) -> PeeringConnection:
    """Return a record of a connection that ended at a time, from the side of the VPC with the id `by`."""
    return msgspec.structs.replace(half, status=status, ended=at, ended_by=by, seats=())


def describe_peerings(store: Store, caller: Caller, vpc_id: str) -> list[PeeringInfo]:
    """Return a VPC's peering connections by name, then by id. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    found = [stored.record for stored in read_all(store, PeeringConnection, vpc.vni).values()]
    shown = [_info(store, caller, vpc, half) for half in found if half.is_shown(caller.now())]
    return sorted(shown, key=lambda info: (info.connection.name, info.connection.id))


def describe_peering(store: Store, caller: Caller, connection_id: str) -> PeeringInfo:
    """Return one peering connection. Raises ApiError: InvalidVpcPeeringConnectionID.NotFound."""
    vpc, found = read(store, caller, PeeringConnection, connection_id)
    if not found.record.is_shown(caller.now()):
        raise not_found("pcx", connection_id)
    return _info(store, caller, vpc.record, found.record)


def _info(store: Store, caller: Caller, vpc: Vpc, half: PeeringConnection) -> PeeringInfo:
    status = half.status_at(caller.now())
    ranges: tuple[str, ...] = ()
    if half.is_mapped:
        ranges = (half.peer.alias,) if status is PeeringStatus.ACTIVE else ()
    elif status is PeeringStatus.ACTIVE:
        with suppress(ApiError):
            peer = _any_vpc(store, caller, half.peer.id).record
            ranges = peer.cidrs + peer.ipv6_cidrs
    return PeeringInfo(connection=half, vpc=vpc, status=status, peer_ranges=ranges)
