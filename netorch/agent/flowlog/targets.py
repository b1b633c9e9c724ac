"""Which flow logs concern this host, and which of its interfaces each covers."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Set

from netorch.agent.flowlog.ledger import Target
from netorch.agent.flowlog.lines import Interface
from netorch.agent.flowlog.unlogged import service_addresses
from netorch.agent.records import Records
from netorch.compiler.base import Phase
from netorch.model import rules
from netorch.model.addr import packed
from netorch.model.eni import NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping, Reach
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.effective import Effective, effective, ranges_of_subnet
from netorch.model.routing.reach import learned
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.vpc import VpcRecords


def targets_of(records: Records, phases: Mapping[int, Mapping[str, Phase]], namespaces: Container[str] = ()) -> list[Target]:
    """Return the flow logs with the interfaces that are here; those of gateways whose namespaces are there, too.

    Cost: O(records of the VPCs that have flow logs).
    """
    found: list[Target] = []
    for vni in sorted(records.logged):
        vpc = records.vpcs[vni]
        found += _of_vpc(vpc, phases.get(vni, {}), {gateway for gateway in _gateways_here(records, vpc) if gateway in namespaces})
    return found


def _gateways_here(records: Records, vpc: VpcRecords) -> Iterator[str]:
    """Yield the NAT gateways of a VPC that are at this host now: at its other seat nothing passes."""
    for nat in vpc.each(NatGateway):
        mapping = vpc.one(GatewayMapping, nat.id)
        if mapping is not None and records.seats.is_at(records.host_name, mapping):
            yield nat.id


def _of_vpc(records: VpcRecords, phases: Mapping[str, Phase], gateways: Set[str]) -> Iterator[Target]:
    vpc = next(records.each(Vpc), None)
    if vpc is None or rules.name(vpc.owner):  # the owner's name becomes a directory's
        return
    enis = sorted(records.each(NetworkInterface), key=lambda eni: eni.id)
    here = [eni for eni in enis if eni.gateway in gateways or phases.get(eni.id, Phase.INCOMING) is not Phase.INCOMING]
    services = service_addresses(records.each(Subnet))
    for log in sorted(records.each(FlowLog), key=lambda log: log.id):
        covered = tuple(_interface(records, vpc, eni) for eni in here if log.resource in (vpc.id, eni.subnet, eni.id))
        if covered:
            yield Target(log=log, interfaces=covered, services=services)


def _interface(records: VpcRecords, vpc: Vpc, eni: NetworkInterface) -> Interface:
    return Interface(
        id=eni.id,
        owner=vpc.owner,
        vni=vpc.vni,
        vpc=vpc.id,
        subnet=eni.subnet,
        instance=eni.instance,
        addresses=tuple(map(packed, eni.addresses)),
        gateway=eni.gateway,
        routes=_routes(records, vpc, eni),
    )


def _routes(records: VpcRecords, vpc: Vpc, eni: NetworkInterface) -> tuple[Effective, ...]:
    """Return the routes of an interface's subnet. What its packets have passed was there: no target counts as gone."""
    subnet = records.one(Subnet, eni.subnet)
    table = records.one(RouteTable, subnet.route_table) if subnet is not None else None
    table = table or records.main_table()
    if subnet is None or table is None:
        return ()
    lists = {found.id: found for found in records.each(PrefixList)}
    targets = {*(route.target for route in table.routes), *table.propagating}
    found = learned(records.each(Reach), table.propagating)
    return effective(vpc, table.routes, available=targets, lists=lists, learned=found, own=ranges_of_subnet(subnet))
