"""VPC peering connections. Each of the two VPCs has a record of its own, at `vpc/<its vni>/pcx/<id>`.

Both records agree in everything but `vni`, `name` and `tags`, which are each owner's own, as in EC2. One transaction writes both.
The id carries the requester's VNI.

    request --> pending-acceptance --accept--> active --delete--> deleted
       |               |               (accept, and ranges overlap meanwhile --> failed)
       |               +--reject--> rejected   +--7 days--> expired: nobody writes that, a reader concludes it from `expires`
       |               +--delete--> deleted
       +--ranges overlap--> failed

A mapped connection is between VPCs that may have the same addresses: a range of each appears to the other as another one, its
alias, address by address. Edges translate (edges.peering); they are in `seats` of both records while it is active.

What has ended is shown to each owner for as long as EC2 shows it, and then counts as not there. A VPC that is deleted takes both
records of each of its connections along.
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

REQUEST_S: Final = 7 * 86_400  # EC2's: how long a request may be accepted
SHOWN_S: Final = 2 * 3600  # EC2's: how long one that has ended is shown to the owner that ended it
SHOWN_TO_OTHER_S: Final = 2 * 86_400  # EC2's: how long it is shown to the other owner, and an expired one to both


class PeeringStatus(Enum):
    """How far a connection has come, in EC2's words."""

    PENDING = "pending-acceptance"
    ACTIVE = "active"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    DELETED = "deleted"


LIVE: Final = frozenset({PeeringStatus.PENDING, PeeringStatus.ACTIVE})


class PeerVpc(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One of the two VPCs, as far as the other one's owner may know it. Its ranges are in its own record only.

    Of a mapped connection both ends have a range, inside one of the VPC's own, and an alias of the same length.
    """

    id: str
    owner: str
    range: str = ""  # IPv4, canonical, as the alias is
    alias: str = ""  # what the range is for the other VPC


class PeeringConnection(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A peering connection, as one of its two VPCs has it. Schema 2 added what mapped connections have."""

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int  # of the VPC that has this record
    requester: PeerVpc
    accepter: PeerVpc
    status: PeeringStatus  # as it was written: see `status_at`
    expires: int  # seconds since 1970, of a request
    ended: int = 0  # seconds since 1970: when it became rejected, failed or deleted
    ended_by: str = ""  # the VPC on whose side it ended
    name: str = ""  # among those of the VPC; the accepter may give none
    seats: tuple[Seat, ...] = ()  # of a mapped connection that is active: the edges that carry it, of one pair
    tags: Tags = {}

    @property
    def is_mapped(self) -> bool:
        """Return whether ranges of the two VPCs appear to each other as other ones."""
        return bool(self.requester.alias)

    @property
    def is_native(self) -> bool:
        """Return whether it is active, and each VPC has the other one's addresses as they are: the VPCs are peers then."""
        return self.status is PeeringStatus.ACTIVE and not self.is_mapped

    @property
    def gateway(self) -> GatewayMapping | None:
        """Return where the gateway is that a mapped connection is for the VPC that has this record; None: there is none."""
        if self.status is not PeeringStatus.ACTIVE or not self.seats:
            return None
        return GatewayMapping(vni=self.vni, gateway=self.id, seats=self.seats)

    @property
    def own(self) -> PeerVpc:
        """Return the VPC that has this record."""
        return self.requester if self.requested_here else self.accepter

    @property
    def requested_here(self) -> bool:
        """Return whether the VPC that has this record asked for the connection."""
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
        """Return the status at a time in seconds since 1970: a request that nobody accepted expires by itself."""
        if self.status is PeeringStatus.PENDING and now >= self.expires:
            return PeeringStatus.EXPIRED
        return self.status

    def is_live(self, now: float) -> bool:
        """Return whether it is active, or may still become so."""
        return self.status_at(now) in LIVE

    def is_shown(self, now: float) -> bool:
        """Return whether it is shown to the owner of the VPC that has this record: live, or ended not long ago."""
        return self._is_shown_to(self.own, now)

    def is_kept(self, now: float) -> bool:
        """Return whether it is shown to either owner."""
        return self._is_shown_to(self.requester, now) or self._is_shown_to(self.accepter, now)

    def _is_shown_to(self, end: PeerVpc, now: float) -> bool:
        return self.is_live(now) or now < (self.ended or self.expires) + self._shown_s(end)

    def _shown_s(self, end: PeerVpc) -> int:
        """Return for how many seconds after its end it is shown to the owner of one of the two VPCs."""
        ended_there = self.ended_by == end.id
        if self.status is PeeringStatus.FAILED:
            return SHOWN_S if ended_there or end == self.requester else 0
        one_owner = self.requester.owner == self.accepter.owner
        return SHOWN_S if ended_there or (self.ended and one_owner) else SHOWN_TO_OTHER_S


def halves(connection: PeeringConnection) -> tuple[PeeringConnection, PeeringConnection]:
    """Return a connection as the requester and as the accepter first have it; name and tags are the requester's."""
    other = msgspec.structs.replace(connection, vni=vni_of(connection.accepter.id), name="", tags={})
    return connection, other


def overlap(one: Collection[Prefix], other: Collection[Prefix]) -> tuple[Prefix, Prefix] | None:
    """Return two ranges that overlap, one of each side, or None: VPCs with such ranges cannot be peers."""
    return next(((a, b) for a in one for b in other if a.contains(b) or b.contains(a)), None)
