"""VPC peering connections. Each of the two VPCs has its own record, at `vpc/<its vni>/pcx/<id>`.

The two records differ only in `vni`, `name` and `tags`; each owner has its own name and tags, as in EC2. One transaction writes
both. The id contains the requester's VNI.

    request --> pending-acceptance --accept--> active --delete--> deleted
       |               |               (accept, but ranges now overlap --> failed)
       |               +--reject--> rejected   +--7 days--> expired: never written, readers derive it from `expires`
       |               +--delete--> deleted
       +--ranges overlap--> failed

The VPCs of a mapped connection may have the same addresses. Each VPC sees a range of the other VPC as an alias, translated
address by address. Edges translate (edges.peering); both records list them in `seats` while the connection is active.

An ended connection is shown to each owner for as long as EC2 shows it, and is then ignored. Deletion of a VPC deletes both
records of each of its connections.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import ClassVar, Final

import msgspec

from netorch.model.addr import Prefix
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.record import Part, Record
from netorch.model.vpc import Tags

REQUEST_S: Final = 7 * 86_400  # EC2's lifetime of a request
SHOWN_S: Final = 2 * 3600  # EC2's time for which the owner that ended a connection sees it
SHOWN_TO_OTHER_S: Final = 2 * 86_400  # EC2's time for the other owner, and for both owners of an expired request


class PeeringStatus(Enum):
    """The state of a connection, with EC2's values."""

    PENDING = "pending-acceptance"
    ACTIVE = "active"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    DELETED = "deleted"


LIVE: Final = frozenset({PeeringStatus.PENDING, PeeringStatus.ACTIVE})


class PeerVpc(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One of the two VPCs, as far as the other owner may know it. Only the VPC's own record has its ranges.

    For a mapped connection, both ends have a range, inside one of the VPC's CIDRs, and an alias of the same length.
    """

    id: str
    owner: str
    range: str = ""  # IPv4, canonical, as is the alias
    alias: str = ""  # the range as the other VPC sees it


class PeeringConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The record of a peering connection in one of its two VPCs. Schema 2 added mapped connections."""

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int  # of this record's VPC
    requester: PeerVpc
    accepter: PeerVpc
    status: PeeringStatus  # as written; `status_at` derives expiry
    expires: int  # of a request, seconds since 1970
    ended: int = 0  # time at which it became rejected, failed or deleted, seconds since 1970
    ended_by: str = ""  # the id of the VPC whose side ended it
    name: str = ""  # unique in the VPC; empty if the accepter gave none
    seats: tuple[Seat, ...] = ()  # of an active mapped connection: the edges of the pair that carries it
    tags: Tags = {}

    @property
    def is_mapped(self) -> bool:
        """Return whether each VPC sees the other VPC's range as an alias."""
        return bool(self.requester.alias)

    @property
    def is_native(self) -> bool:
        """Return whether the connection is active and not mapped, so that the VPCs use each other's addresses unchanged."""
        return self.status is PeeringStatus.ACTIVE and not self.is_mapped

    @property
    def gateway(self) -> GatewayMapping | None:
        """Return the gateway mapping of an active mapped connection for this record's VPC; None for other connections."""
        if self.status is not PeeringStatus.ACTIVE or not self.seats:
            return None
        return GatewayMapping(vni=self.vni, gateway=self.id, seats=self.seats)

    @property
    def own(self) -> PeerVpc:
        """Return this record's VPC."""
        return self.requester if self.requested_here else self.accepter

    @property
    def requested_here(self) -> bool:
        """Return whether this record's VPC is the requester."""
        return vni_of(self.requester.id) == self.vni

    @property
    def peer(self) -> PeerVpc:
        """Return the other VPC."""
        return self.accepter if self.requested_here else self.requester

    @property
    def peer_vni(self) -> int:
        """Return the other VPC's VNI."""
        return vni_of(self.peer.id)

    def status_at(self, now: float) -> PeeringStatus:
        """Return the status at a time in seconds since 1970. A pending request expires without a write."""
        if self.status is PeeringStatus.PENDING and now >= self.expires:
            return PeeringStatus.EXPIRED
        return self.status

    def is_live(self, now: float) -> bool:
        """Return whether the connection is active or may become active."""
        return self.status_at(now) in LIVE

    def is_shown(self, now: float) -> bool:
        """Return whether the owner of this record's VPC still sees the connection: live, or ended recently."""
        return self._is_shown_to(self.own, now)

    def is_kept(self, now: float) -> bool:
        """Return whether either owner still sees the connection."""
        return self._is_shown_to(self.requester, now) or self._is_shown_to(self.accepter, now)

    def _is_shown_to(self, end: PeerVpc, now: float) -> bool:
        return self.is_live(now) or now < (self.ended or self.expires) + self._shown_s(end)

    def _shown_s(self, end: PeerVpc) -> int:
        """Return for how many seconds after its end the owner of `end` sees the connection."""
        ended_there = self.ended_by == end.id
        if self.status is PeeringStatus.FAILED:
            return SHOWN_S if ended_there or end == self.requester else 0
        one_owner = self.requester.owner == self.accepter.owner
        return SHOWN_S if ended_there or (self.ended and one_owner) else SHOWN_TO_OTHER_S


def halves(connection: PeeringConnection) -> tuple[PeeringConnection, PeeringConnection]:
    """Return the first records of the requester and the accepter. Name and tags are the requester's."""
    other = msgspec.structs.replace(connection, vni=vni_of(connection.accepter.id), name="", tags={})
    return connection, other


def overlap(one: Collection[Prefix], other: Collection[Prefix]) -> tuple[Prefix, Prefix] | None:
    """Return two overlapping ranges, one of each side, or None. VPCs with overlapping ranges cannot be peers."""
    return next(((a, b) for a in one for b in other if a.contains(b) or b.contains(a)), None)
