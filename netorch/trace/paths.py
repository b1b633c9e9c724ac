"""The paths of packets between two interfaces of a VPC, or of two peers, by route tables: from the records alone.

Inside a VPC packets follow the local route, directly to the holder of the address. A route to an interface may replace
it for the range of a subnet, or of the whole VPC. Then packets from other subnets pass this interface, a firewall or
router, and its own subnet's table routes them on. An interface accepts packets for other addresses only while its
source/destination check is off.

Packets to an interface of a peer need a route to the peering connection, and their answers need one in the peer. An
appliance cannot forward into a peer: the connection accepts only packets from the source's own interface.

The records do not describe an appliance's own rules. It is assumed to forward all packets unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from netorch.model.eni import NetworkInterface
from netorch.model.routing.effective import Effective, route_of
from netorch.model.routing.target import BLACKHOLE, TargetKind
from netorch.trace.codes import Code


class Path(NamedTuple):
    """A path between two interfaces: the ids of the interfaces that it passes, and the code if packets end there."""

    through: tuple[str, ...] = ()
    code: Code | None = None


DIRECT: Final = Path()


class Paths:
    """The paths inside one VPC, or over the peering connection of two.

    `routes` are the effective routes of a subnet's table, by subnet; empty: all are local.
    """

    def __init__(
        self, routes: Mapping[str, tuple[Effective, ...]], interfaces: Iterable[NetworkInterface], connection: str = ""
    ) -> None:
        self._routes = routes
        self._connection = connection
        self._interfaces = {eni.id: eni for eni in interfaces}
        found = [route for of_subnet in routes.values() for route in of_subnet]
        self.prefixes = frozenset(str(route.prefix) for route in found)  # addresses in the same ones have the same paths
        self.targets = frozenset(route.target.id for route in found if route.target.kind is TargetKind.INTERFACE)

    def path(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Path:
        """Return the path of packets of one IP version."""
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
        """Return whether packets from a subnet to an address are routed to the peering connection."""
        route = route_of(self._routes.get(subnet, ()), address)
        return route is not None and route.target.id == self._connection

    def there_and_back(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Path:
        """Return the path if answers return on the same one: appliances that see one direction only lose track."""
        if not self._routes:
            return DIRECT
        there, back = self.path(source, destination, version), self.path(destination, source, version)
        if there.code is None and back.code is not None:
            return Path(there.through, back.code)
        if there.code is None and there.through != back.through[::-1]:
            return Path(there.through, Code.ASYMMETRIC_ROUTES)
        return there
