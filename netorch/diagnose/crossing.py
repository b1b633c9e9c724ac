"""What a packet that leaves its VPC crosses: the peering connection that routes lead to, or that the ends have between them."""

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
    """An active connection to a peer. `mapped` is the sender's record of one that maps addresses."""

    connection: str
    peer: VpcRecords
    mapped: PeeringConnection | None = None

    def seen_as(self, address: str) -> str:
        """Return what an address of the peer's is for the sender; nothing if the connection does not carry it."""
        return alias_of(self.mapped.peer, address) if self.mapped is not None else address

    def own(self, address: str) -> str:
        """Return the peer's own address for what is one for the sender; nothing if the connection does not carry it."""
        return behind_alias(self.mapped.peer, address) if self.mapped is not None else address

    def across(self, records: VpcRecords, near: NetworkInterface, address: str) -> Across:
        """Return what to know for explaining the end of a packet from an interface, or of the answer to it."""
        paths = paths_between(self.connection, records, self.peer)
        mapping = self.peer.mappings.get(self.own(address))
        far = self.peer.of(NetworkInterface)[mapping.record.eni].record if mapping is not None else None
        source = near.address if ":" not in address else near.ipv6_address
        if self.mapped is not None:
            source = alias_of(self.mapped.own, source)
        leads = paths.leads(near.subnet, address), far is not None and bool(source) and paths.leads(far.subnet, source)
        return Across(peer=self.peer.vpc.record, connection=self.connection, leads=leads, ranges=self._ranges(records))

    def _ranges(self, records: VpcRecords) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ranges that the peer has for a VPC, and that this has for the peer."""
        if self.mapped is not None:
            return (self.mapped.peer.alias,), (self.mapped.own.alias,)
        here, there = records.vpc.record, self.peer.vpc.record
        return (*there.cidrs, *there.ipv6_cidrs), (*here.cidrs, *here.ipv6_cidrs)


def crossing_between(records: VpcRecords, far: VpcRecords) -> Crossing | None:
    """Return the active connection of two VPCs."""
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
                    f"trace: the route to {address} leads to {who}: only who sees both VPCs can follow packets there"
                )
            return crossing
    return None


def _crossings(records: VpcRecords, vpcs: Mapping[int, VpcRecords]) -> Iterator[Crossing]:
    """Yield a VPC's active connections to some VPCs, mapped ones last."""
    yield from (Crossing(connection, peer) for connection, peer in peers_of(records, vpcs).items())
    yield from (Crossing(half.id, peer, half) for half, peer in mapped_peers_of(records, vpcs))


def waiting_between(records: VpcRecords, far: VpcRecords, now: float) -> PeeringConnection | None:
    """Return a request for a connection of two VPCs that nobody has accepted yet."""
    waits = (half for half in records.each(PeeringConnection) if half.status_at(now) is PeeringStatus.PENDING)
    return next((half for half in waits if half.peer_vni == far.vni), None)
