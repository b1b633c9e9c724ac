"""Reachability of services through a VPC's endpoints, and of a VPC's own services for consumers: from records alone.

    gateway endpoint      interfaces whose table has a route to it; TCP ports 80 and 443 of the service's prefixes
    interface endpoint    interfaces that its groups permit; the service's ports, if the provider's VPC is visible
    connection            a consumer's flows to the provider's targets: their ports

Policies of endpoints and buckets apply to requests, not flows. Only consumers open flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from netorch.diagnose.reach_outside import OutsideFlow, routes_of_subnets
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, ServicePort, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping
from netorch.model.security import TCP, Direction, PrefixList
from netorch.records.vpc import VpcRecords
from netorch.trace.reach import EquivalenceClass, Flows, Part, Reach
from netorch.trace.regions import route_to
from netorch.trace.services import both, union

_WEB = (ServicePort(protocol=TCP, port=80, target_port=80), ServicePort(protocol=TCP, port=443, target_port=443))


class _End(NamedTuple):
    """An end of flows: its name, the direction of flows, and the flows that rules permit with a class."""

    label: str
    direction: Direction
    permitted: Callable[[EquivalenceClass], Flows]


class Endpoints:
    """The flows between one VPC and services through its endpoints, and between its own services and their consumers."""

    def __init__(self, records: VpcRecords, reach: Reach, vpcs: Mapping[int, VpcRecords]) -> None:
        self._reach, self._records = reach, records
        self._ends: dict[Prefix, _End] = {}
        self._seated = {found.gateway for found in records.each(GatewayMapping) if found.seats}
        self._routes = routes_of_subnets(records) if any(records.each(VpcEndpoint)) else {}
        for endpoint in records.each(VpcEndpoint):
            if endpoint.type is EndpointType.GATEWAY and endpoint.id in self._seated:
                self._add_gateway(endpoint)
            elif connection_of(endpoint.id) in self._seated and endpoint.state is EndpointState.AVAILABLE:
                self._add_interfaces(endpoint, vpcs)
        for connection in records.each(EndpointConnection):
            if connection.vni == connection.provider and connection.eni and connection.service in self._seated:
                self._add_connection(connection)
        self.regions = sorted(self._ends, key=lambda prefix: (prefix.length, prefix.network))

    def label(self, region: Prefix) -> str:
        """Return a region's name for people."""
        found = self._ends.get(region)
        return found.label if found is not None else f"endpoint at {region}"

    def flows(self) -> Iterator[tuple[Direction, Prefix, OutsideFlow]]:
        """Yield all flows that rules permit."""
        for found, members in self._reach.members.items():
            for region, end in self._ends.items() if found.version == 4 else ():
                permitted = end.permitted(found)
                if permitted:
                    yield end.direction, region, OutsideFlow(tuple(members), permitted, None, ())

    def between(self, found: EquivalenceClass, region: Prefix, direction: Direction, *, public: bool) -> Flows:
        """Return the open flows between members of a class and a region; `public` addresses make no difference."""
        del public
        end = self._ends.get(region)
        return end.permitted(found) if end is not None and end.direction is direction and found.version == 4 else {}

    def through(self, found: EquivalenceClass, region: Prefix) -> tuple[str, ...]:
        """Return nothing: there is no gateway behind the endpoint."""
        del found, region
        return ()

    def _add_gateway(self, endpoint: VpcEndpoint) -> None:
        """Add the prefixes of a gateway endpoint's service."""
        found = self._records.one(PrefixList, endpoint.prefix_list)
        for entry in found.entries if found is not None else ():
            region = parse_prefix(entry.cidr)

            def permitted(source: EquivalenceClass, region: Prefix = region) -> Flows:
                route = route_to(self._routes.get(source.subnet, ()), region)
                if route is None or route.target.id != endpoint.id:
                    return {}
                return _of(self._reach.outside(source, region, Direction.EGRESS), _WEB)

            self._ends[region] = _End(f"{endpoint.service} {region} via {_name(endpoint)}", Direction.EGRESS, permitted)

    def _add_interfaces(self, endpoint: VpcEndpoint, vpcs: Mapping[int, VpcRecords]) -> None:
        """Add the addresses of an interface endpoint."""
        connection = self._records.one(EndpointConnection, connection_of(endpoint.id))
        provider = vpcs.get(connection.provider) if connection is not None else None
        service = provider.one(EndpointService, endpoint.service) if provider is not None else None
        for eni_id in endpoint.interfaces:
            eni = self._records.one(NetworkInterface, eni_id)
            if eni is None:
                continue
            at = self._reach.seen_at(eni.address, eni.groups, eni.subnet)

            def permitted(source: EquivalenceClass, at: EquivalenceClass = at) -> Flows:
                found = self._reach.to_endpoint(source, at)
                return _of(found, service.ports) if service is not None else found

            label = f"{_name(endpoint)} {eni.address}"
            self._ends[parse_prefix(f"{eni.address}/32")] = _End(label, Direction.EGRESS, permitted)

    def _add_connection(self, connection: EndpointConnection) -> None:
        """Add the address that a service's targets see for a consumer."""
        service = self._records.one(EndpointService, connection.service)
        eni = self._records.one(NetworkInterface, connection.eni)
        if service is None or eni is None:
            return
        behind = tuple(ServicePort(protocol=one.protocol, port=one.target_port, target_port=0) for one in service.ports)
        targets = {self._reach.class_of(one, 4) for one in self._reach_members() if one.id in service.targets}
        at = self._reach.seen_at(eni.address, (), eni.subnet)

        def permitted(target: EquivalenceClass) -> Flows:
            return _of(self._reach.from_endpoint(at, target), behind) if target in targets else {}

        label = f"{connection.owner} by {service.name} {eni.address}"
        self._ends[parse_prefix(f"{eni.address}/32")] = _End(label, Direction.INGRESS, permitted)

    def _reach_members(self) -> Iterator[NetworkInterface]:
        return (eni for members in self._reach.members.values() for eni in members)


def _name(endpoint: VpcEndpoint) -> str:
    return f"vpce-{endpoint.name}" if endpoint.name else endpoint.id


def _of(found: Flows, ports: tuple[ServicePort, ...]) -> Flows:
    """Return the flows to a service's ports."""
    kept: Flows = {}
    for protocol, part in found.items():
        spans = both(part.services, union((one.port, one.port) for one in ports if one.protocol == protocol))
        if spans:
            kept[protocol] = Part(spans, part.answers)
    return kept
