"""Converts stored records into the input of traces and matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import is_id
from netorch.model.mapping import Reach
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.effective import effective, overrides, ranges_of, ranges_of_subnet
from netorch.model.routing.mapped import alias_of
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.reach import learned
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.vpc import VpcRecords
from netorch.trace.paths import Paths
from netorch.trace.policy_index import PolicyIndex


def policy_index_of(*vpcs: VpcRecords, mapped: PeeringConnection | None = None) -> PolicyIndex:
    """Return the rules of a VPC, or of peers, with the attached interfaces: only their addresses are mapped.

    Over a connection that maps addresses, each of two VPCs sees the other one's interfaces at their aliases. Interfaces
    outside of the mapped range have none and are left out.
    """
    return PolicyIndex(
        subnets=[found for records in vpcs for found in records.each(Subnet)],
        interfaces=[found for records in vpcs for found in _attached(records, mapped)],
        groups=[found for records in vpcs for found in records.each(SecurityGroup)],
        acls=[found for records in vpcs for found in records.each(NetworkAcl)],
        prefix_lists=[found for records in vpcs for found in records.each(PrefixList)],
        tables=[found for records in vpcs for found in records.each(RouteTable)],
        gateways=[eni for records in vpcs for eni in records.each(NetworkInterface) if eni.gateway],
        reaches=[found for records in vpcs for found in records.each(Reach)],
    )


class Indexes:
    """The rules of the VPCs on a packet's way: native peers are joined; others are separate and may have the same addresses."""

    def __init__(self, on_way: Sequence[VpcRecords], *, apart: bool) -> None:
        groups = [[records] for records in on_way] if apart else [list(on_way)]
        self._found = [(policy_index_of(*group), group) for group in groups]

    def of(self, vni: int) -> PolicyIndex:
        """Return the rules of a VPC and of its peers, or the sender's rules for no VPC."""
        return next((index for index, group in self._found if any(records.vni == vni for records in group)), self._found[0][0])

    def __iter__(self) -> Iterator[PolicyIndex]:
        return (index for index, _ in self._found)


def peers_of(records: VpcRecords, vpcs: Mapping[int, VpcRecords]) -> dict[str, VpcRecords]:
    """Return a VPC's active native peers among some VPCs, by the id of the connection."""
    active = [half for half in records.each(PeeringConnection) if half.is_native]
    return {half.id: vpcs[half.peer_vni] for half in active if half.peer_vni in vpcs}


def mapped_peers_of(records: VpcRecords, vpcs: Mapping[int, VpcRecords]) -> Iterator[tuple[PeeringConnection, VpcRecords]]:
    """Yield a VPC's active mapped connections to some VPCs."""
    for half in records.each(PeeringConnection):
        if half.gateway is not None and half.peer_vni in vpcs:
            yield half, vpcs[half.peer_vni]


def _attached(records: VpcRecords, mapped: PeeringConnection | None = None) -> list[NetworkInterface]:
    found = [eni for eni in records.each(NetworkInterface) if records.mappings_of(eni)]
    if mapped is None:
        return found
    end = mapped.own if records.vni == mapped.vni else mapped.peer
    aliases = [(eni, alias_of(end, eni.address)) for eni in found]
    return [msgspec.structs.replace(eni, address=alias, ipv6_address="") for eni, alias in aliases if alias]


def paths_of(records: VpcRecords) -> Paths:
    """Return the paths inside a VPC by the tables of its subnets. Only routes inside its ranges matter."""
    vpc = records.vpc.record
    ranges = ranges_of(vpc)
    main = records.main_table()
    interfaces = _attached(records)
    available = {eni.id for eni in interfaces}
    routes = {}
    for subnet in records.each(Subnet):
        table = records.one(RouteTable, subnet.route_table) or main
        if table is not None and overrides(vpc, table.routes):
            found = effective(vpc, table.routes, available=available, lists={}, own=ranges_of_subnet(subnet))
            routes[subnet.id] = tuple(route for route in found if any(own.contains(route.prefix) for own in ranges))
    return Paths(routes, interfaces)


def paths_between(connection: str, *vpcs: VpcRecords, mapped: PeeringConnection | None = None) -> Paths:
    """Return the paths over an active connection between two VPCs."""
    interfaces = [eni for records in vpcs for eni in _attached(records, mapped)]
    available = {connection, *(eni.id for eni in interfaces)}
    routes = {}
    for records in vpcs:
        vpc, main = records.vpc.record, records.main_table()
        lists = {found.id: found for found in records.each(PrefixList)}
        for subnet in records.each(Subnet):
            table = records.one(RouteTable, subnet.route_table) or main
            if table is not None:
                own, found = ranges_of_subnet(subnet), learned(records.each(Reach), table.propagating)
                routes[subnet.id] = effective(vpc, table.routes, available=available, lists=lists, learned=found, own=own)
    return Paths(routes, interfaces, connection)


def is_routed(connection: str, *vpcs: VpcRecords) -> bool:
    """Return whether a route leads to a connection."""
    return any(route.target == connection for records in vpcs for table in records.each(RouteTable) for route in table.routes)


def names_of(records: VpcRecords) -> dict[str, str]:
    """Return the name of each interface for people: its instance's name, with the address if it is not the primary one.

    A NAT gateway's interface has the gateway's name, an interface endpoint's the endpoint's.
    """
    names = {}
    for stored in records.of(NetworkInterface).values():
        eni = stored.record
        gateway, endpoint = records.one(NatGateway, eni.gateway), records.one(VpcEndpoint, eni.gateway)
        instance = records.of(Instance).get(eni.instance) if is_id(eni.instance, "i") else None
        if gateway is not None:
            names[eni.id] = f"nat-{gateway.name}"
        elif endpoint is not None:
            names[eni.id] = f"vpce-{endpoint.name}" if endpoint.name else endpoint.id
        elif instance is None:
            names[eni.id] = eni.name or eni.id
        elif eni.id[-17:] == eni.instance[-17:]:
            names[eni.id] = instance.record.name
        else:
            names[eni.id] = f"{instance.record.name}:{eni.address}"
    return names
