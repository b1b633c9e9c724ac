"""Which path packets between two interfaces of a VPC, or of two peers, take, by route tables: from the records alone.

Inside a VPC packets go where the local route leads, directly to whoever has the address. A route to an interface may take its
place for the range of a subnet, or of the whole VPC: then packets from other subnets pass that interface, a firewall or router,
whose own subnet's table says where they go on. An interface takes packets for others' addresses only while its
source/destination check is off.

To an interface of a peer packets go where a route leads to the peering connection, and their answers where one does in the peer.
There nobody may send on what is another's: the connection carries what comes from the source's own interface.

What such an appliance does with a packet no record says; it is taken to send on what it gets, as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from netorch.model.eni import NetworkInterface
from netorch.model.routing.effective import Effective, route_of
from netorch.model.routing.target import BLACKHOLE, TargetKind
from netorch.trace.codes import Code


class Path(NamedTuple):
    """A path from one interface to another: the ids of the interfaces that it passes, and why packets end there, if they do."""

    through: tuple[str, ...] = ()
    code: Code | None = None


DIRECT: Final = Path()


class Paths:
    """The paths inside one VPC, or those by the peering connection of two.

    `routes` are those in force in a subnet's table, by subnet; none: all are local.
    """

    def __init__(
        self, routes: Mapping[str, tuple[Effective, ...]], interfaces: Iterable[NetworkInterface], connection: str = ""
    ) -> None:
        self._routes = routes
        self._connection = connection
        self._interfaces = {eni.id: eni for eni in interfaces}
        found = [route for of_subnet in routes.values() for route in of_subnet]
        self.prefixes = frozenset(str(route.prefix) for route in found)  # an address inside the same ones has the same paths
        self.targets = frozenset(route.target.id for route in found if route.target.kind is TargetKind.INTERFACE)

    def path(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Path:
        """Return the path that packets of one IP version take."""
        address = destination.address if version == 4 else destination.ipv6_address
        through: list[str] = []
        at, crosses = source, source.vni != destination.vni
        while (route := route_of(self._routes.get(at.subnet, ()), address)) is not None:
            if route.target == BLACKHOLE:
                return Path(tuple(through), Code.BAD_STATE_ROUTE)
            if crosses and route.target.id == self._connection:
                return Path(tuple(through), Code.PCX_REQUIRES_ADDRESS_IN_VPC_CIDR if through else None)
            if route.target.kind is not TargetKind.INTERFACE or route.target.id == destination.id:
                break
            at = self._interfaces[route.target.id]
            if version == 6 and not at.ipv6_address:
                return Path((*through, at.id), Code.BAD_STATE_ROUTE)
            if at.source_dest_check:
                return Path((*through, at.id), Code.ENI_SOURCE_DEST_CHECK_RESTRICTION)
            if at.id in (source.id, *through):
                return Path(tuple(through), Code.ROUTING_LOOP)
            through.append(at.id)
        return Path(tuple(through), Code.NO_ROUTE_TO_DESTINATION if crosses else None)

    def leads(self, subnet: str, address: str) -> bool:
        """Return whether packets from a subnet to an address go to the peering connection."""
        route = route_of(self._routes.get(subnet, ()), address)
        return route is not None and route.target.id == self._connection

    def there_and_back(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Path:
        """Return the path of packets whose answers come back by the same one; appliances see both directions, or lose track."""
        if not self._routes:
            return DIRECT
        there, back = self.path(source, destination, version), self.path(destination, source, version)
        if there.code is None and back.code is not None:
            return Path(there.through, back.code)
        if there.code is None and there.through != back.through[::-1]:
            return Path(there.through, Code.ASYMMETRIC_ROUTES)
        return there
