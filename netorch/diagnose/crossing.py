"""What a packet that leaves its VPC crosses: the peering connection that routes lead to, or that the ends have between them."""

from __future__ import annotations

from typing import NamedTuple

from netorch.diagnose.policy_indexes import is_routed, paths_between, peers_of
from netorch.errors import NetorchError
from netorch.model.eni import NetworkInterface
from netorch.model.routing.peering import PeeringConnection
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.trace.explain import Across


class Crossing(NamedTuple):
    """An active connection to a peer."""

    connection: str
    peer: VpcRecords

    def across(self, records: VpcRecords, near: NetworkInterface, address: str) -> Across:
        """Return what to know for explaining the end of a packet from an interface, or of the answer to it."""
        paths = paths_between(self.connection, records, self.peer)
        mapping = self.peer.mappings.get(address)
        far = self.peer.of(NetworkInterface)[mapping.record.eni].record if mapping is not None else None
        source = near.address if ":" not in address else near.ipv6_address
        leads = paths.leads(near.subnet, address), far is not None and paths.leads(far.subnet, source)
        return Across(peer=self.peer.vpc.record, connection=self.connection, leads=leads)


def crossing_between(records: VpcRecords, far: VpcRecords) -> Crossing | None:
    """Return the active connection of two VPCs."""
    found = peers_of(records, {far.vni: far})
    return next((Crossing(connection, peer) for connection, peer in found.items()), None)


def crossing_to(
    inventory: Inventory, caller: Caller, records: VpcRecords, near: NetworkInterface, address: str
) -> Crossing | None:
    """Return the active connection that the route from an interface to an address leads to.

    Raises:
      NetorchError: it leads to a VPC that the caller does not see.
    """
    for connection, peer in peers_of(records, inventory.vpcs).items():
        if is_routed(connection, records) and paths_between(connection, records).leads(near.subnet, address):
            vpc = peer.vpc.record
            if not caller.sees(vpc.owner):
                who = f"{vpc.id} of {vpc.owner}, by {connection}"
                raise NetorchError(
                    f"trace: the route to {address} leads to {who}: only who sees both VPCs can follow packets there"
                )
            return Crossing(connection, peer)
    return None


def waiting_between(records: VpcRecords, far: VpcRecords, now: float) -> PeeringConnection | None:
    """Return a request for a connection of two VPCs that nobody has accepted yet."""
    peer = far.vpc.record.id
    return next((half for half in records.each(PeeringConnection) if half.peer.id == peer and half.is_live(now)), None)
