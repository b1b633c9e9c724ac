"""The peering connection on a packet's way out of its VPC: the one that routes lead to, or the one between the ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netorch.diagnose.policy_indexes import is_routed, mapped_peers_of, paths_between, peers_of
from netorch.errors import NetorchError
from netorch.model.eni import NetworkInterface
from netorch.model.routing.mapped import alias_of, behind_alias
from netorch.model.routing.peering import PeeringConnection, PeeringStatus
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.trace.explain import Across


class Crossing(NamedTuple):
    """An active connection to a peer. `mapped` is the sender's half of it, if it maps addresses."""

    connection: str
    peer: VpcRecords
    mapped: PeeringConnection | None = None

    def seen_as(self, address: str) -> str:
        """Return an address of the peer as the sender sees it, or "" if the connection does not cover it."""
        return alias_of(self.mapped.peer, address) if self.mapped is not None else address

    def own(self, address: str) -> str:
        """Return the peer's own address for one as the sender sees it, or "" if the connection does not cover it."""
        return behind_alias(self.mapped.peer, address) if self.mapped is not None else address

    def across(self, records: VpcRecords, near: NetworkInterface, address: str) -> Across:
        """Return the facts for the explanation of a packet's end, or of its answer's."""
        paths = paths_between(self.connection, records, self.peer)
        mapping = self.peer.mappings.get(self.own(address))
        far = self.peer.of(NetworkInterface)[mapping.record.eni].record if mapping is not None else None
        source = near.address if ":" not in address else near.ipv6_address
        if self.mapped is not None:
            source = alias_of(self.mapped.own, source)
        leads = paths.leads(near.subnet, address), far is not None and bool(source) and paths.leads(far.subnet, source)
        return Across(peer=self.peer.vpc.record, connection=self.connection, leads=leads, ranges=self._ranges(records))

    def _ranges(self, records: VpcRecords) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the peer's ranges as a VPC sees them, and the VPC's as the peer sees them."""
        if self.mapped is not None:
            return (self.mapped.peer.alias,), (self.mapped.own.alias,)
        here, there = records.vpc.record, self.peer.vpc.record
        return (*there.cidrs, *there.ipv6_cidrs), (*here.cidrs, *here.ipv6_cidrs)


def crossing_between(records: VpcRecords, far: VpcRecords) -> Crossing | None:
    """Return the active connection between two VPCs."""
    return next(_crossings(records, {far.vni: far}), None)


def crossing_to(
    inventory: Inventory, caller: Caller, records: VpcRecords, near: NetworkInterface, address: str
) -> Crossing | None:
    """Return the active connection that the route from an interface to an address leads to.

    Raises:
      NetorchError: it leads to a VPC that the caller does not see.
    """
    for crossing in _crossings(records, inventory.vpcs):
        connection, vpc = crossing.connection, crossing.peer.vpc.record
        if is_routed(connection, records) and paths_between(connection, records).leads(near.subnet, address):
            if not caller.sees(vpc.owner):
                who = f"{vpc.id} of {vpc.owner}, by {connection}"
                raise NetorchError(
                    f"trace: the route to {address} leads to {who}: only the owner of both VPCs or the operator can follow it"
                )
            return crossing
    return None


def _crossings(records: VpcRecords, vpcs: Mapping[int, VpcRecords]) -> Iterator[Crossing]:
    """Yield a VPC's active connections to some VPCs, mapped ones last."""
    yield from (Crossing(connection, peer) for connection, peer in peers_of(records, vpcs).items())
    yield from (Crossing(half.id, peer, half) for half, peer in mapped_peers_of(records, vpcs))


def waiting_between(records: VpcRecords, far: VpcRecords, now: float) -> PeeringConnection | None:
    """Return a pending request for a connection between two VPCs."""
    waits = (half for half in records.each(PeeringConnection) if half.status_at(now) is PeeringStatus.PENDING)
    return next((half for half in waits if half.peer_vni == far.vni), None)
