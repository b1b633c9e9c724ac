"""Which way packets between two interfaces of a VPC take, by its route tables: from the records alone.

Inside a VPC packets go where the local route leads, straight to whoever has the address. A route to an interface may take its
place for the range of a subnet, or of the whole VPC: then packets pass that interface, a firewall or router, whose own subnet's
table says where they go on. An interface takes packets for others' addresses only while its source/destination check is off.

What such an appliance does with a packet no record says; it is taken to send on what it gets, as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from netorch.model.eni import NetworkInterface
from netorch.model.routing.effective import Effective, route_of
from netorch.model.routing.target import BLACKHOLE, TargetKind
from netorch.trace.codes import Code


class Way(NamedTuple):
    """A way from one interface to another: the ids of the interfaces that it passes, and why packets end there, if they do."""

    through: tuple[str, ...] = ()
    code: Code | None = None


STRAIGHT: Final = Way()


class Ways:
    """The ways inside one VPC. `routes` are those in force in a subnet's table, by subnet; one that is missing has local ones."""

    def __init__(self, routes: Mapping[str, tuple[Effective, ...]], interfaces: Iterable[NetworkInterface]) -> None:
        self._routes = routes
        self._interfaces = {eni.id: eni for eni in interfaces}
        found = [route for of_subnet in routes.values() for route in of_subnet]
        self.prefixes = frozenset(str(route.prefix) for route in found)  # an address inside the same ones has the same ways
        self.targets = frozenset(route.target.id for route in found if route.target.kind is TargetKind.INTERFACE)

    def way(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Way:
        """Return the way that packets of one IP version take."""
        address = destination.address if version == 4 else destination.ipv6_address
        through: list[str] = []
        at = source
        while (route := route_of(self._routes.get(at.subnet, ()), address)) is not None:
            if route.target == BLACKHOLE:
                return Way(tuple(through), Code.BAD_STATE_ROUTE)
            if route.target.kind is not TargetKind.INTERFACE or route.target.id == destination.id:
                break
            at = self._interfaces[route.target.id]
            if at.source_dest_check:
                return Way((*through, at.id), Code.ENI_SOURCE_DEST_CHECK_RESTRICTION)
            if at.id in (source.id, *through):
                return Way(tuple(through), Code.ROUTING_LOOP)
            through.append(at.id)
        return Way(tuple(through))

    def there_and_back(self, source: NetworkInterface, destination: NetworkInterface, version: int) -> Way:
        """Return the way of packets whose answers come back the same way; appliances see both directions, or lose track."""
        if not self._routes:
            return STRAIGHT
        there, back = self.way(source, destination, version), self.way(destination, source, version)
        if there.code is None and back.code is not None:
            return Way(there.through, back.code)
        if there.code is None and there.through != back.through[::-1]:
            return Way(there.through, Code.ASYMMETRIC_ROUTES)
        return there
