"""The facts about a VPN connection, read from the store at one revision except for the hosts' reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netorch.diagnose.vpn.findings import TableFacts, TunnelFacts, VpnFacts, networks
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import Reach
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import effective
from netorch.model.routing.reach import learned
from netorch.model.security import PrefixList, SecurityGroup
from netorch.model.status import AgentStatus, Sealed, VpnStatus
from netorch.model.vpc import RouteTable, Subnet
from netorch.records import keys
from netorch.records.part import read_part
from netorch.records.read import get
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store


def facts_of(store: Store, connection: VpnConnection) -> VpnFacts:
    """Return the facts about a connection. Raises UnreadableRecord for an unreadable VPC or status."""
    inventory = read_part(store, [connection.vni])
    isolated = inventory.isolated.get(connection.vni)
    if isolated is not None:
        raise isolated.error
    records = inventory.vpcs[connection.vni]
    reaches = [reach for reach in records.each(Reach) if reach.gateway == connection.gateway]
    tunnels = tuple(_tunnel(store, connection, number, reaches) for number in range(1, len(connection.tunnels) + 1))
    wanted = networks(connection, (one for tunnel in tunnels for one in tunnel.reached))
    gateway = records.one(VirtualPrivateGateway, connection.gateway)
    return VpnFacts(
        connection=connection,
        asn=gateway.asn if gateway is not None else 0,
        ranges=records.vpc.record.cidrs,
        tunnels=tunnels,
        tables=tuple(_tables(records, reaches, connection.gateway, wanted)),
        admitted=frozenset(text for text in wanted if _admits(records, parse_prefix(text))),
    )


def _tunnel(store: Store, connection: VpnConnection, number: int, reaches: Sequence[Reach]) -> TunnelFacts:
    tunnel = connection.tunnels[number - 1]
    edge = tunnel.edge
    if not edge:
        return TunnelFacts(number=number, tunnel=tunnel)
    status = get(store, keys.agent_status(edge), AgentStatus)
    said = get(store, keys.tunnel_status(edge, connection.id), VpnStatus)
    sealed = get(store, keys.secret(edge, connection.id), Sealed)
    return TunnelFacts(
        number=number,
        tunnel=tunnel,
        has_secret=sealed is not None and number in sealed.record.boxes,
        runs=store.get(keys.host_live(edge)) is not None,
        not_ready=status.record.not_ready if status is not None else "",
        drained=store.get(keys.host_drained(edge)) is not None,
        said=said.record.tunnels.get(number) if said is not None else None,
        reached=tuple(one for reach in reaches if reach.edge == edge for one in reach.prefixes),
    )


def _tables(records: VpcRecords, reaches: Sequence[Reach], gateway: str, wanted: Sequence[str]) -> Iterator[TableFacts]:
    """Yield the tables in use by some subnet: those that subnets name, and the main one."""
    named = {subnet.route_table for subnet in records.each(Subnet)}
    for table in sorted(records.each(RouteTable), key=lambda table: table.name):
        if table.id not in named and not (table.main and "" in named):
            continue
        lists = {found.id: found for found in records.each(PrefixList)}
        routes = effective(
            records.vpc.record, table.routes, available={gateway}, lists=lists, learned=learned(reaches, table.propagating)
        )
        ways = [route.prefix for route in routes if route.target.id == gateway]
        leads = (text for text in wanted if any(way.contains(parse_prefix(text)) for way in ways))
        yield TableFacts(name=table.name, leads=frozenset(leads))


def _admits(records: VpcRecords, network: Prefix) -> bool:
    """Return whether a group of some interface admits any traffic from a network."""
    used = {group for eni in records.each(NetworkInterface) for group in eni.groups}
    rules = (rule for group in records.each(SecurityGroup) if group.id in used for rule in group.ingress)
    return any(source.overlaps(network) for rule in rules for source in _sources(records, rule.cidr, rule.prefix_list))


def _sources(records: VpcRecords, cidr: str, prefix_list: str) -> Iterator[Prefix]:
    if cidr:
        yield parse_prefix(cidr)
    found = records.one(PrefixList, prefix_list)
    for entry in found.entries if found is not None else ():
        yield parse_prefix(entry.cidr)
