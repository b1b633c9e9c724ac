"""Reachability of the internet through a VPC's gateways, and from the internet: from records alone.

Through an internet gateway a flow needs a route to the gateway, also for answers, and a public address associated with
the interface, or an IPv6 address of a range from a pool. Through a NAT gateway an interface needs a route to that, and
the gateway needs the same as an interface. Flows are outbound only, and of the protocols that it translates. Through an
egress-only gateway IPv6 flows are outbound only. Interfaces with neither are left out: a private interface is no error.
Rules and routes divide the internet into regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.mapping import Reach as Reached
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.effective import Effective, effective, ranges_of, ranges_of_subnet
from netorch.model.routing.reach import learned
from netorch.model.routing.target import TargetKind
from netorch.model.security import Direction, PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.vpc import VpcRecords
from netorch.trace.codes import Code
from netorch.trace.reach import EquivalenceClass, Flows, Reach
from netorch.trace.regions import code_of, distinct, label_of, regions, route_to

_KINDS = (TargetKind.INTERNET_GATEWAY, TargetKind.EGRESS_ONLY_GATEWAY, TargetKind.NAT_GATEWAY)
_GATEWAYS = tuple(f"{kind.value}-" for kind in _KINDS)
_CARRIED = (*_GATEWAYS, f"{TargetKind.VPN_GATEWAY.value}-")  # on edges


class OutsideFlow(NamedTuple):
    """Flows of one class of interfaces to a region of the internet (EGRESS), or from there (INGRESS)."""

    members: tuple[NetworkInterface, ...]
    permitted: Flows
    code: Code | None  # why routes drop them
    through: tuple[str, ...]  # the NAT or egress-only gateway on the way


class Beyond(Protocol):
    """The flows between one VPC and regions beyond its edges: the internet, or customers' sites."""

    regions: list[Prefix]

    def label(self, region: Prefix) -> str:
        """Return a region's name for people."""
        ...

    def flows(self) -> Iterator[tuple[Direction, Prefix, OutsideFlow]]:
        """Yield all flows that rules permit. Flows that routes drop have a code."""
        ...

    def between(self, found: EquivalenceClass, region: Prefix, direction: Direction, *, public: bool) -> Flows:
        """Return the open flows between members of a class, with or without public addresses, and a region."""
        ...

    def through(self, found: EquivalenceClass, region: Prefix) -> tuple[str, ...]:
        """Return the NAT or egress-only gateway that packets from a class to a region pass, if any."""
        ...


class _Nat(NamedTuple):
    """A NAT gateway on edges."""

    name: str
    eni: NetworkInterface


class _Exit(NamedTuple):
    """The exit of packets from a subnet to a region: why they do not leave, and the NAT or egress-only gateway that they pass."""

    code: Code | None
    nat: _Nat | None = None
    egress_only: bool = False

    @property
    def through(self) -> tuple[str, ...]:
        """Return the name of that gateway."""
        if self.egress_only:
            return (TargetKind.EGRESS_ONLY_GATEWAY.value,)
        return (self.nat.name,) if self.nat is not None else ()


class Outside:
    """The flows between one VPC and the internet; none while the VPC has no gateway."""

    def __init__(self, records: VpcRecords, reach: Reach) -> None:
        self._reach = reach
        self._gateways = {mapping.gateway for mapping in _seated(records) if mapping.gateway.startswith(_GATEWAYS)}
        self._public = {mapping.eni for mapping in records.each(PublicMapping)}
        self._pools = [parse_prefix(text) for text in records.vpc.record.ipv6_pools]
        self._nats = {
            nat.id: _Nat(f"nat-{nat.name}", records.of(NetworkInterface)[nat.eni].record)
            for nat in records.each(NatGateway)
            if nat.id in self._gateways
        }
        self._routes = routes_of_subnets(records) if self._gateways else {}
        named = [*reach.named, *(route.prefix for routes in self._routes.values() for route in routes)]
        versions = [4, *([6] if self._pools else [])] if self._gateways else []
        inside = ranges_of(records.vpc.record)
        self.regions = [region for version in versions for region in regions(named, inside, version)]

    def label(self, region: Prefix) -> str:
        """Return a region's name for people."""
        return label_of(region)

    def is_public(self, eni: NetworkInterface, version: int) -> bool:
        """Return whether an interface has a public address, and the VPC has a gateway."""
        if not self._gateways:
            return False
        if version == 4:
            return eni.id in self._public
        return bool(eni.ipv6_address) and any(prefix.holds(*parse_ip(eni.ipv6_address)) for prefix in self._pools)

    def flows(self) -> Iterator[tuple[Direction, Prefix, OutsideFlow]]:
        """Yield all flows that rules permit. Of flows that routes drop, only those to the whole internet."""
        for found, members in self._reach.members.items():
            wanted = [region for region in self.regions if region.version == found.version]
            for direction in (Direction.EGRESS, Direction.INGRESS):
                said = {region: self._flow(found, members, region, direction) for region in wanted}
                for region, flow in distinct(said):
                    if flow.members and flow.permitted and (flow.code is None or not region.length):
                        yield direction, region, flow

    def between(self, found: EquivalenceClass, region: Prefix, direction: Direction, *, public: bool) -> Flows:
        """Return the open flows between members of a class, with or without public addresses, and a region."""
        way = self._exit(found.subnet, region)
        if way.code is not None or (way.through and direction is Direction.INGRESS) or not (public or way.nat is not None):
            return {}
        return self._permitted(found, region, direction, way.nat)

    def through(self, found: EquivalenceClass, region: Prefix) -> tuple[str, ...]:
        """Return the NAT or egress-only gateway that packets from a class to a region pass, if any."""
        return self._exit(found.subnet, region).through

    def _flow(
        self, found: EquivalenceClass, members: Iterable[NetworkInterface], region: Prefix, direction: Direction
    ) -> OutsideFlow:
        way = self._exit(found.subnet, region)
        code, nat = way.code, way.nat
        if way.egress_only and direction is Direction.INGRESS:
            return OutsideFlow((), {}, None, ())
        if nat is not None and direction is Direction.EGRESS:
            return OutsideFlow(tuple(members), self._permitted(found, region, direction, nat), code, way.through)
        if nat is not None:  # answers to inbound packets go to the NAT gateway, which does not know the connection
            code = Code.ASYMMETRIC_ROUTES
        public = tuple(eni for eni in members if self.is_public(eni, found.version))
        return OutsideFlow(public, self._permitted(found, region, direction, None), code, way.through if nat is None else ())

    def _permitted(self, found: EquivalenceClass, region: Prefix, direction: Direction, nat: _Nat | None) -> Flows:
        return self._reach.outside(found, region, direction, nat.eni.subnet if nat is not None else "")

    def _exit(self, subnet: str, region: Prefix) -> _Exit:
        """Return the exit of packets from a subnet to a region."""
        route = route_to(self._routes.get(subnet, ()), region)
        nat = self._nats.get(route.target.id) if route is not None else None
        if route is not None and route.target.kind is TargetKind.EGRESS_ONLY_GATEWAY:
            return _Exit(None, egress_only=True)
        if nat is None:
            return _Exit(code_of(route))
        if nat.eni.id not in self._public:
            return _Exit(Code.IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS, nat)
        onward = route_to(self._routes.get(nat.eni.subnet, ()), region)
        if onward is not None and onward.target.kind is TargetKind.NAT_GATEWAY:  # on an edge this route is a black hole
            return _Exit(Code.BAD_STATE_ROUTE, nat)
        return _Exit(code_of(onward), nat)


def joint(*found: Iterable[Prefix]) -> list[Prefix]:
    """Return the regions of several states of a VPC together."""
    return sorted({region for regions_of in found for region in regions_of}, key=lambda prefix: (prefix.length, prefix.network))


def routes_of_subnets(records: VpcRecords) -> dict[str, tuple[Effective, ...]]:
    """Return the effective routes of each subnet. Of all targets, only gateways can be unavailable."""
    vpc, main = records.vpc.record, records.main_table()
    lists = {found.id: found for found in records.each(PrefixList)}
    gateways = {mapping.gateway for mapping in _seated(records)}
    routes = {}
    for subnet in records.each(Subnet):
        table = records.one(RouteTable, subnet.route_table) or main
        if table is not None:
            available = gateways | {route.target for route in table.routes if not route.target.startswith(_CARRIED)}
            own, found = ranges_of_subnet(subnet), learned(records.each(Reached), table.propagating)
            routes[subnet.id] = effective(vpc, table.routes, available=available, lists=lists, learned=found, own=own)
    return routes


def _seated(records: VpcRecords) -> Iterator[GatewayMapping]:
    """Yield the gateways with a seat on an edge."""
    return (mapping for mapping in records.each(GatewayMapping) if mapping.seats)
