"""Which flow logs concern this host, and which of its interfaces each log covers."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

from netorch.agent.flowlog.ledger import Target
from netorch.agent.flowlog.lines import Interface
from netorch.agent.flowlog.unlogged import service_addresses
from netorch.agent.records import Records
from netorch.compiler.base import Phase
from netorch.compiler.interface_endpoint import BACK, FRONT
from netorch.model import rules
from netorch.model.addr import packed
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection
from netorch.model.eni import NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping, Reach
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.effective import Effective, effective, ranges_of_subnet
from netorch.model.routing.reach import learned
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.vpc import VpcRecords


def targets_of(
    records: Records, vni: int, phases: Mapping[int, Mapping[str, Phase]], namespaces: Container[str] = ()
) -> tuple[Target, ...]:
    """Return a VPC's flow logs with their interfaces on this host, including gateways whose namespaces exist.

    Cost: O(records of the VPC).
    """
    vpc = records.vpcs[vni]
    tracked = {eni: place for eni, place in _tracked_here(records, vpc) if place.netns in namespaces}
    return tuple(_of_vpc(vpc, phases.get(vni, {}), tracked))


class _Place(NamedTuple):
    """Where an interface's connections are tracked, if not in the overlay."""

    netns: str  # label of the namespace
    end: str = ""  # the interface's device there, for an endpoint's connection


def _tracked_here(records: Records, vpc: VpcRecords) -> Iterator[tuple[str, _Place]]:
    """Yield a VPC's interfaces of gateways and endpoints in use at this host: another seat passes no traffic."""
    used = {found.gateway for found in vpc.each(GatewayMapping) if records.seats.is_at(records.host_name, found)}
    for nat in vpc.each(NatGateway):
        if nat.id in used:
            yield nat.eni, _Place(nat.id)
    for connection in vpc.each(EndpointConnection):
        is_consumers = connection.vni == connection.consumer
        if (connection.id if is_consumers else connection.service) not in used:
            continue
        endpoint = vpc.one(VpcEndpoint, connection.endpoint)
        of_endpoint = endpoint.interfaces if endpoint is not None else ()
        for eni in of_endpoint if is_consumers else (connection.eni,):
            yield eni, _Place(connection.id, FRONT if is_consumers else BACK)


def _of_vpc(records: VpcRecords, phases: Mapping[str, Phase], tracked: Mapping[str, _Place]) -> Iterator[Target]:
    vpc = next(records.each(Vpc), None)
    if vpc is None or rules.name(vpc.owner):  # the owner's name becomes a directory name
        return
    enis = sorted(records.each(NetworkInterface), key=lambda eni: eni.id)
    here = [eni for eni in enis if eni.id in tracked or phases.get(eni.id, Phase.INCOMING) is not Phase.INCOMING]
    services = service_addresses(records.each(Subnet))
    for log in sorted(records.each(FlowLog), key=lambda log: log.id):
        covered = tuple(
            _interface(records, vpc, eni, tracked.get(eni.id, _Place("")))
            for eni in here
            if log.resource in (vpc.id, eni.subnet, eni.id)
        )
        if covered:
            yield Target(log=log, interfaces=covered, services=services)


def _interface(records: VpcRecords, vpc: Vpc, eni: NetworkInterface, place: _Place) -> Interface:
    return Interface(
        id=eni.id,
        owner=vpc.owner,
        vni=vpc.vni,
        vpc=vpc.id,
        subnet=eni.subnet,
        instance=eni.instance,
        addresses=tuple(map(packed, eni.addresses)),
        gateway=place.netns,
        end=place.end,
        routes=_routes(records, vpc, eni),
    )


def _routes(records: VpcRecords, vpc: Vpc, eni: NetworkInterface) -> tuple[Effective, ...]:
    """Return the routes of an interface's subnet. Logged packets reached their targets, so all targets count as available."""
    subnet = records.one(Subnet, eni.subnet)
    table = records.one(RouteTable, subnet.route_table) if subnet is not None else None
    table = table or records.main_table()
    if subnet is None or table is None:
        return ()
    lists = {found.id: found for found in records.each(PrefixList)}
    targets = {*(route.target for route in table.routes), *table.propagating}
    found = learned(records.each(Reach), table.propagating)
    return effective(vpc, table.routes, available=targets, lists=lists, learned=found, own=ranges_of_subnet(subnet))
