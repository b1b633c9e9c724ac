"""Reachability of customers' sites through a VPC's virtual private gateway, and from sites: from records alone.

A flow needs a route to the gateway, also for answers, and an edge that reaches the prefix now. An interface without
such a route has no line: a private interface is no error. A route for which no edge reaches the prefix is an error, and
its line has a code.
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.diagnose.reach_outside import OutsideFlow, routes_of_subnets
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import GatewayMapping
from netorch.model.mapping import Reach as Reached
from netorch.model.routing.effective import Effective
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.model.security import Direction
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.reach import EquivalenceClass, Flows, Reach
from netorch.trace.regions import distinct, route_to


class Sites:
    """The flows between one VPC and customers' sites; none while no edge has a virtual private gateway of the VPC."""

    def __init__(self, records: VpcRecords, reach: Reach) -> None:
        self._reach = reach
        seated = (mapping.gateway for mapping in records.each(GatewayMapping) if mapping.seats)
        self._gateway = next((found for found in seated if gateway_kind(found) is TargetKind.VPN_GATEWAY), "")
        reaches = [found for found in records.each(Reached) if found.gateway == self._gateway]
        self._reached = {parse_prefix(one.prefix) for found in reaches for one in found.prefixes}
        self._routes = routes_of_subnets(records) if self._gateway else {}
        led = {route.prefix for routes in self._routes.values() for route in routes if self._is_led(route)}
        wide = self._reached | led
        named = {prefix for prefix in reach.named if any(around.contains(prefix) for around in wide)}
        self.regions = sorted(wide | named, key=lambda prefix: (prefix.length, prefix.network)) if self._gateway else []

    def label(self, region: Prefix) -> str:
        """Return a region's name for people."""
        return f"on-prem {region} via {self._gateway}" if self._gateway else f"on-prem {region}"

    def flows(self) -> Iterator[tuple[Direction, Prefix, OutsideFlow]]:
        """Yield all flows that rules permit; those that routes drop have a code."""
        for found, members in self._reach.members.items():
            wanted = [region for region in self.regions if region.version == found.version]
            for direction in (Direction.EGRESS, Direction.INGRESS):
                said = {region: self._flow(found, region, direction) for region in wanted}
                for region, (permitted, code) in distinct(said):
                    if permitted:
                        yield direction, region, OutsideFlow(tuple(members), permitted, code, ())

    def between(self, found: EquivalenceClass, region: Prefix, direction: Direction, *, public: bool) -> Flows:
        """Return the open flows between members of a class and a region; `public` addresses make no difference."""
        del public
        permitted, code = self._flow(found, region, direction)
        return {} if code is not None else permitted

    def through(self, found: EquivalenceClass, region: Prefix) -> tuple[str, ...]:
        """Return nothing: a site is not behind a NAT or egress-only gateway."""
        del found, region
        return ()

    def _flow(self, found: EquivalenceClass, region: Prefix, direction: Direction) -> tuple[Flows, Code | None]:
        route = route_to(self._routes.get(found.subnet, ()), region)
        if route is None or not self._is_led(route):
            return {}, None
        reached = any(prefix.contains(region) for prefix in self._reached)
        return self._reach.outside(found, region, direction), None if reached else Code.BAD_STATE_ROUTE

    def _is_led(self, route: Effective) -> bool:
        return route.target.id == self._gateway
