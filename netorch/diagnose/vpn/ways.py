"""Packets between a VPC and the sites behind its virtual private gateway: which they are, where they enter, why they fail."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from netorch.diagnose.ends import End
from netorch.diagnose.vpn.ends import learned_routes, site_ends
from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, Reach
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import effective, ranges_of_subnet, route_of
from netorch.model.routing.reach import learned
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.vpc import VpcRecords
from netorch.state.names import tunnel_name, vlan_name
from netorch.store.base import Store
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation
from netorch.trace.host_model import SiteEnd
from netorch.trace.regions import NOT_ROUTED
from netorch.trace.way import Arrival, Walk

_UNREACHED = (Code.BAD_STATE_ROUTE, Code.VGW_REACHES_NO_SUCH_ADDRESS, Code.BAD_STATE_VPN, Code.BAD_STATE_VIRTUAL_INTERFACE)


def leads_to_site(records: VpcRecords, eni: NetworkInterface, address: str) -> bool:
    """Return whether an address is at a site: routed to the virtual private gateway, or unrouted but reached by edges."""
    if not any(records.each(VirtualPrivateGateway)):
        return False
    subnet, table = records.one(Subnet, eni.subnet), _table(records, eni)
    if subnet is None or table is None:
        return False
    targets = {*(route.target for route in table.routes), *table.propagating}
    lists, propagated = {found.id: found for found in records.each(PrefixList)}, learned(records.each(Reach), table.propagating)
    own = ranges_of_subnet(subnet)
    routes = effective(records.vpc.record, table.routes, available=targets, lists=lists, learned=propagated, own=own)
    route = route_of(routes, address)
    if route is None:
        return bool(_reaching(records, address))
    return route.target.kind is TargetKind.VPN_GATEWAY


def _reaching(records: VpcRecords, address: str) -> list[tuple[str, str]]:
    """Return the edges that reach an address by a prefix other than the default route, each with the longest such prefix."""
    found = []
    for reach in sorted(records.each(Reach), key=lambda reach: reach.edge):
        prefixes = (parse_prefix(one.prefix) for one in reach.prefixes)
        holding = [prefix for prefix in prefixes if prefix.length and prefix.holds(*parse_ip(address))]
        if holding:
            found.append((reach.edge, str(max(holding, key=lambda prefix: prefix.length))))
    return found


def starts_at_site(store: Store, end: End, address: str) -> tuple[Arrival, ...]:
    """Return where packets of a site to an interface enter edges; empty for an address at no site.

    Packets from a private address that no edge reaches may enter over any tunnel or VLAN that is up, and are dropped
    there.
    """
    records, is_private = end.records, any(prefix.length and prefix.holds(*parse_ip(address)) for prefix, _ in NOT_ROUTED)
    if not is_private and not leads_to_site(records, end.eni, address):
        return ()
    seats = [m for m in records.each(GatewayMapping) if gateway_kind(m.gateway) is TargetKind.VPN_GATEWAY]
    edges = [seat.host for mapping in seats for seat in mapping.seats]
    up = {edge: {name: found for name, found in site_ends(store, records, edge).items() if not found.problem} for edge in edges}
    found = [Arrival(host=edge, ifname=name) for edge in edges for name in _towards(records, edge, up[edge], address)]
    if found or not is_private:
        return tuple(found)
    return tuple(Arrival(host=edge, ifname=name) for edge in edges for name in up[edge])


def _towards(records: VpcRecords, edge: str, up: dict[str, SiteEnd], address: str) -> list[str]:
    """Return the devices through which an edge reaches an address; `up` are the ends that are up."""
    routes = {(route.dst, route.ifname) for route in learned_routes(records, edge, up)}
    for connection in records.each(VpnConnection):
        names = (tunnel_name(records.vni, connection.id, place) for place in range(len(connection.tunnels)))
        routes |= {(dst, name) for name in names for dst in (connection.routes if connection.static else ())}
    for vif in records.each(VirtualInterface):
        routes |= {(dst, vlan_name(records.vni, vif.id)) for dst in (() if vif.asn else vif.routes)}
    return sorted({name for dst, name in routes if name in up and parse_prefix(dst).holds(*parse_ip(address))})


def refined_to_site(store: Store, said: Explanation, died: Walk, end: End) -> Explanation:
    """Return an explanation with the reason why a packet does not arrive from a site, or leave for one; `end` is in the VPC."""
    vpc, address = end.records.vpc.record, died.packet.destination
    table = _table(end.records, end.eni)
    if said.code is Code.NO_ROUTE_TO_DESTINATION and table is not None and (reaching := _reaching(end.records, address)):
        by = ", ".join(sorted({edge for edge, _ in reaching}))
        what = f"{reaching[0][1]} is reached by {by}, but route table {table.name} has no route to it"
        fix = f"netorch route-table propagate {vpc.owner}/{vpc.name}/{table.name}"
        return structs.replace(said, sentence=f"on host {died.host}: {what}: it does not propagate the gateway's routes", fix=fix)
    if said.code in _UNREACHED:
        down = list(_down(store, end.records))
        sentence = "; ".join([said.sentence, *(text for text, _ in down)])
        return structs.replace(said, sentence=sentence, fix=next((fix for _, fix in down), said.fix))
    return said


def _down(store: Store, records: VpcRecords) -> Iterator[tuple[str, str]]:
    """Yield a VPC's tunnels and virtual interfaces that are down, each with the command for details."""
    vpc = records.vpc.record
    more = {
        tunnel_name(records.vni, connection.id, place): f"netorch vpn doctor {vpc.owner}/{vpc.name}/{connection.name}"
        for connection in records.each(VpnConnection)
        for place in range(len(connection.tunnels))
    }
    more |= {
        vlan_name(records.vni, vif.id): f"netorch dx vif show {vpc.owner}/{vpc.name}/{vif.name}"
        for vif in records.each(VirtualInterface)
    }
    edges = sorted({seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats})
    for edge in edges:
        for ifname, found in site_ends(store, records, edge).items():
            if found.problem:
                yield f"{found.words} at {edge} is down: {found.problem}", more[ifname]


def _table(records: VpcRecords, eni: NetworkInterface) -> RouteTable | None:
    subnet = records.one(Subnet, eni.subnet)
    named = records.one(RouteTable, subnet.route_table) if subnet is not None else None
    return named or records.main_table()
