"""Who reaches the internet by a VPC's gateway, and who is reached from there: from records alone.

A flow needs a route to an internet gateway that edges carry, for answers as well, and a public address that stands for the
interface's own. Interfaces without a public address are left out: that they are private is no fault. The internet is told apart
by what rules and routes name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netorch.model.addr import Prefix
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.routing.effective import Effective, effective, ranges_of, ranges_of_subnet
from netorch.model.security import Direction, PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.reach import EquivalenceClass, Flows, Reach
from netorch.trace.regions import EVERYTHING, code_of, distinct, regions, route_to


class OutsideFlow(NamedTuple):
    """What interfaces of one class can open to a region of the internet (EGRESS), or be opened from there (INGRESS)."""

    direction: Direction
    region: Prefix
    members: tuple[NetworkInterface, ...]
    permitted: Flows
    code: Code | None  # why routes drop it


class Outside:
    """The flows between one VPC and the internet; none while the VPC has no gateway."""

    def __init__(self, records: VpcRecords, reach: Reach) -> None:
        self._reach = reach
        self._gateways = {mapping.gateway for mapping in records.each(GatewayMapping) if mapping.seats}
        self._public = {mapping.eni for mapping in records.each(PublicMapping)}
        self._routes = _routes(records, self._gateways) if self._gateways else {}
        named = (*reach.named, *(route.prefix for routes in self._routes.values() for route in routes))
        self.regions = regions(named, ranges_of(records.vpc.record)) if self._gateways else []

    def is_open(self, eni: NetworkInterface) -> bool:
        """Return whether an interface has a public address, and the VPC a gateway."""
        return bool(self._gateways) and eni.id in self._public

    def flows(self) -> Iterator[OutsideFlow]:
        """Yield all flows that rules permit; of what routes drop, that to the internet at large."""
        for found, members in self._reach.members.items():
            public = tuple(eni for eni in members if self.is_open(eni))
            if not public or found.version != 4:
                continue
            codes = {region: self._code(found.subnet, region) for region in self.regions}
            for direction in (Direction.EGRESS, Direction.INGRESS):
                said = {region: (self._reach.outside(found, region, direction), code) for region, code in codes.items()}
                for region, (permitted, code) in distinct(said):
                    if permitted and (code is None or region == EVERYTHING):
                        yield OutsideFlow(direction, region, public, permitted, code)

    def between(self, eni: EquivalenceClass, region: Prefix, direction: Direction) -> Flows:
        """Return what is open between members of a class that have public addresses and a region."""
        if not self._gateways or self._code(eni.subnet, region) is not None:
            return {}
        return self._reach.outside(eni, region, direction)

    def _code(self, subnet: str, region: Prefix) -> Code | None:
        return code_of(route_to(self._routes.get(subnet, ()), region))


def joint(*found: Iterable[Prefix]) -> list[Prefix]:
    """Return the regions of several states of a VPC together."""
    return sorted({region for regions_of in found for region in regions_of}, key=lambda prefix: (prefix.length, prefix.network))


def _routes(records: VpcRecords, gateways: set[str]) -> dict[str, tuple[Effective, ...]]:
    """Return the routes that are in force in each subnet; of targets only gateways may be gone."""
    vpc, main = records.vpc.record, records.main_table()
    lists = {found.id: found for found in records.each(PrefixList)}
    routes = {}
    for subnet in records.each(Subnet):
        table = records.one(RouteTable, subnet.route_table) or main
        if table is not None:
            others = {route.target for route in table.routes if not route.target.startswith("igw-")}
            own = ranges_of_subnet(subnet)
            routes[subnet.id] = effective(vpc, table.routes, available=gateways | others, lists=lists, own=own)
    return routes
