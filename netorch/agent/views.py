"""Views of VPCs for compilers: a VPC's records, and what this host derives from them.

A view is kept and updated kind by kind. A changed record costs only its own kind, and only if some part of a compiler depends
on that kind. Among changed kinds, `Phase` stands for the place of the interfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from typing import Any, Final, TypeVar, get_args

import msgspec

from netorch.agent.indexes.endpoint_ends import backend, endpoint_ends, needed, ports_of_endpoints
from netorch.agent.numbers import Numbers
from netorch.agent.records import Records
from netorch.compiler.base import (
    Gateway,
    HostView,
    Identity,
    Inlet,
    LocalEni,
    LocalPeer,
    LocalTable,
    Middlebox,
    Peer,
    PeerIdentity,
    Phase,
    RoutesFromPeer,
    RoutesToPeer,
    TableRoutes,
    VpcView,
)
from netorch.compiler.egress import EgressOnly, egress_subnets
from netorch.compiler.interface_endpoint import Backend, EndpointEnd
from netorch.compiler.nat import Nat
from netorch.compiler.private import LocalTunnel, LocalVif, local_tunnels, local_vifs
from netorch.compiler.services.metadata import GroupName
from netorch.compiler.services.names import EndpointNames
from netorch.compiler.tables import local_tables, routes_to_peers, subnets_apart, table_routes
from netorch.errors import CompileError
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.mapping import GatewayMapping, Reach
from netorch.model.mapping import Mapping as EniMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import EgressOnlyInternetGateway, NatGateway
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.reach import said_by_seats
from netorch.model.routing.target import TargetKind, TargetRecord, takes_packets
from netorch.model.security import PrefixList, SecurityGroup
from netorch.model.status import Sealed
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.vpc import MissingRecord, VpcRecords
from netorch.state.names import inlet_name

T = TypeVar("T")
Phases = Mapping[str, Phase]  # of the interfaces on this host


def local_enis(records: VpcRecords, phases: Phases) -> tuple[LocalEni, ...]:
    """Return the interfaces that are on this host in some phase. Raises MissingRecord."""
    found = []
    for eni_id in sorted(phases):
        eni = needed(records, NetworkInterface, eni_id)
        subnet, instance = needed(records, Subnet, eni.subnet), needed(records, Instance, eni.instance)
        found.append(LocalEni(eni=eni, subnet=subnet, instance=instance, phase=phases[eni_id]))
    return tuple(found)


def _interfaces(records: VpcRecords, phases: Phases, seated: Set[str]) -> list[str]:
    """Return the ids of the interfaces on this host, including those of gateways with a seat on it. Raises MissingRecord."""
    nats = (nat.eni for nat in records.each(NatGateway) if nat.id in seated)
    return [*phases, *nats, *ports_of_endpoints(records, seated)]


def _subnets_of(records: VpcRecords, interfaces: Iterable[str]) -> list[Subnet]:
    """Return the subnets of interfaces. Raises MissingRecord."""
    ids = {needed(records, NetworkInterface, eni_id).subnet for eni_id in interfaces}
    return [needed(records, Subnet, subnet_id) for subnet_id in sorted(ids)]


def _tables_of(records: VpcRecords, subnets: Collection[Subnet]) -> list[RouteTable]:
    """Return the main table, and those of the subnets of interfaces on this host; none without interfaces.

    Schema 1 of route tables had neither numbers nor routes. Such a table is equivalent to the main one while neither has
    routes, and has no VRF of its own.
    """
    if not subnets:
        return []
    main = records.main_table()
    if main is None:
        raise MissingRecord("the record of the main route table is missing")
    named = {subnet.route_table for subnet in subnets}
    used = [needed(records, RouteTable, table_id) for table_id in sorted(named - {"", main.id})]
    old = [table for table in used if not table.number]
    if old and any(table.routes for table in (main, *old)):
        what = f"route table {old[0].name} ({old[0].id}) was created by a version without routes, and has no number"
        raise CompileError(f"{what}; associate its subnets with a new table: netorch route-table create")
    found = [main, *(table for table in used if table.number)]
    if len({table.number for table in found}) < len(found):
        raise CompileError(f"two of the route tables {', '.join(table.id for table in found)} have the same number; delete one")
    return found


def _group_names(records: VpcRecords, _phases: Phases) -> tuple[GroupName, ...]:
    """Return the names of a VPC's security groups."""
    return tuple(GroupName(id=group.id, name=group.name) for group in _by_id(records, SecurityGroup))


def _endpoint_names(records: VpcRecords, _phases: Phases) -> tuple[EndpointNames, ...]:
    """Return what the names of a VPC's available interface endpoints are made of."""
    found = []
    for endpoint in _by_id(records, VpcEndpoint):
        if endpoint.type is EndpointType.INTERFACE and endpoint.state is EndpointState.AVAILABLE:
            enis = (records.one(NetworkInterface, eni_id) for eni_id in endpoint.interfaces)
            found.append(EndpointNames(endpoint=endpoint, addresses=tuple(eni.address for eni in enis if eni is not None)))
    return tuple(found)


def _takes_packets(records: VpcRecords, target: str) -> bool:
    """Return whether the target of a route exists and can take packets."""
    found = next(filter(None, (records.one(kind, target) for kind in get_args(TargetRecord))), None)
    return found is not None and takes_packets(found)


def _by_id(records: VpcRecords, kind: type[T]) -> tuple[T, ...]:
    return tuple(stored.record for _, stored in sorted(records.of(kind).items()))


_OF_TABLES: Final = frozenset(
    {Vpc, Subnet, NetworkInterface, RouteTable, Phase, NatGateway, GatewayMapping, VpcEndpoint, EndpointConnection}
)
_OF_ENDPOINTS: Final = frozenset({TargetKind.ENDPOINT_SERVICE, TargetKind.ENDPOINT_CONNECTION})
_OF_ENDS: Final = frozenset({Gateway, GatewayMapping, EndpointConnection, VpcEndpoint, NetworkInterface, Subnet})
_OF_EGRESS_ONLY: Final = frozenset({Gateway, GatewayMapping, EgressOnlyInternetGateway, Vpc, Subnet, RouteTable, PrefixList})
_OF_ROUTES: Final = _OF_TABLES | {PrefixList, PeeringConnection, Reach}
# Inputs derived from records and phases: the kinds that they depend on, and how. Any other input is all records of its kind.
_MADE: Final[dict[type, tuple[Set[type], Callable[[VpcRecords, Phases], tuple[Any, ...]]]]] = {
    LocalEni: (frozenset({NetworkInterface, Subnet, Instance, Phase}), local_enis),
    GroupName: (frozenset({SecurityGroup}), _group_names),
    EndpointNames: (frozenset({VpcEndpoint, NetworkInterface}), _endpoint_names),
}


class Views:
    """The views of the VPCs that this host carries."""

    def __init__(
        self, records: Records, inputs: Set[type], numbers: Numbers, others: Mapping[int, VpcView] | None = None
    ) -> None:
        """Make views with these inputs; peers' views are taken from `others`, or else from these views themselves."""
        self.known: dict[int, VpcView] = {}
        self._records = records
        self._numbers = numbers
        self._others = self.known if others is None else others
        # In a fixed order, because numbers are chosen on the way.
        self._inputs = sorted(inputs - {HostView} | {Vpc, LocalEni, Peer, RoutesToPeer}, key=lambda kind: kind.__name__)

    def refresh(
        self, vni: int, kinds: Set[type], host: HostView, phases: Phases
    ) -> tuple[VpcView, VpcView | None, frozenset[type]]:
        """Update a VPC's view with records of these kinds; return the view, the previous one, and which inputs differ.

        Raises:
          MissingRecord: a record that another one refers to is missing; the view stays as it is.
          CompileError: this host has no conntrack zone for the VPC, or its route tables contradict each other.
        """
        before = self.known.get(vni)
        fresh: dict[type, tuple[Any, ...]] = {HostView: (host,)}
        for kind in self._inputs:
            if before is None or not kinds.isdisjoint(_kinds_of(kind)):
                fresh[kind] = self._values(vni, kind, phases)
        if before is None:
            changed = frozenset(fresh)
        else:
            changed = frozenset(kind for kind, values in fresh.items() if values != before.inputs[kind])
        inputs = {**(before.inputs if before is not None else {}), **fresh}
        zone = self._numbers.zone_of(vni)
        mtus, named = self._records.underlay_mtus.mtus, self._records.named.of(vni)
        view = VpcView(vni=vni, inputs=inputs, zone=zone, active=_active(inputs), mtus=mtus, named=named)
        self.known[vni] = view
        return view, before, changed

    def _values(self, vni: int, kind: type, phases: Phases) -> tuple[Any, ...]:
        if kind in _LINKED:
            return tuple(_LINKED[kind][1](self, vni, phases))
        records = self._records.vpcs[vni]
        return _MADE[kind][1](records, phases) if kind in _MADE else _by_id(records, kind)

    def middleboxes(self, vni: int, phases: Phases) -> Iterable[Middlebox]:
        """Yield the interfaces that are route targets, or have no source/destination check."""
        records, boxes = self._records.vpcs[vni], self._records.middleboxes_of(vni)
        for eni_id in boxes.ids():
            eni = records.one(NetworkInterface, eni_id)
            if eni is None:
                continue
            found = records.one(EniMapping, eni.address)
            mapping = found if found is not None and found.eni == eni_id else None
            is_here = phases.get(eni_id, Phase.INCOMING) is not Phase.INCOMING
            inlet, no_inlet = self._inlet(vni, eni_id) if is_here and boxes.is_target(eni_id) else (None, "")
            underlay_mtu = self._records.underlay_mtus.mtus.get(mapping.host) if mapping is not None else None
            yield Middlebox(eni=eni, mapping=mapping, underlay_mtu=underlay_mtu, inlet=inlet, no_inlet=no_inlet)

    def _inlet(self, vni: int, eni_id: str) -> tuple[Inlet | None, str]:
        """Return an interface's inlet, or why it can have none: this affects only the interface, not the rest of its VPC."""
        try:
            return self._numbers.inlet(inlet_name(vni, eni_id)), ""
        except CompileError as error:
            return None, str(error)

    def gateways(self, vni: int, _phases: Phases) -> Iterable[Gateway]:
        """Yield a VPC's gateways on edges. Endpoint services and connections with them are not route targets."""
        return (gateway for gateway in self._carried(vni) if gateway.kind not in _OF_ENDPOINTS)

    def _carried(self, vni: int) -> Iterable[Gateway]:
        """Yield everything of a VPC that edges carry."""
        seats, mtus = self._records.seats, self._records.underlay_mtus.mtus
        records = self._records.vpcs[vni]
        mapped = (found.gateway for found in _by_id(records, PeeringConnection))
        for mapping in (*_by_id(records, GatewayMapping), *(found for found in mapped if found is not None)):
            if mapping.seats:
                seat, ways = seats.seat_of(self._records.host_name, mapping), seats.ways_of(mapping)
                # Routes to an edge have no MTU of their own: routes that may use either edge get the smaller one.
                known = [mtus[way.host] for way in ways or (seat,) if way.host in mtus]
                underlay_mtu = min(known, default=None)
                yield Gateway(id=mapping.gateway, seats=mapping.seats, seat=seat, underlay_mtu=underlay_mtu, ways=ways)

    def nats(self, vni: int, phases: Phases) -> Iterable[Nat]:
        """Yield a VPC's NAT gateways on edges. Raises MissingRecord."""
        records = self._records.vpcs[vni]
        for gateway in self.gateways(vni, phases):
            if gateway.kind is TargetKind.NAT_GATEWAY:
                nat = needed(records, NatGateway, gateway.id)
                eni = needed(records, NetworkInterface, nat.eni)
                subnet = needed(records, Subnet, eni.subnet)
                yield Nat(gateway=gateway, eni=eni, subnet=subnet, draining=tuple(nat.draining))

    def endpoint_ends(self, vni: int, _phases: Phases) -> Iterable[EndpointEnd]:
        """Yield a VPC's ends of the connections of interface endpoints. Raises MissingRecord."""
        records, carried = self._records.vpcs[vni], {gateway.id: gateway for gateway in self._carried(vni)}
        for found in _by_id(records, EndpointConnection) if carried else ():
            yield from endpoint_ends(records, found, carried)

    def backends(self, vni: int, _phases: Phases) -> Iterable[Backend]:
        """Yield the backends of a VPC's endpoints that have a seat on this host, if the services' VPCs are known."""
        records = self._records.vpcs[vni]
        seated = self._seated(records)
        for found in _by_id(records, EndpointConnection):
            provider = self._records.vpcs.get(found.provider)
            if found.id in seated and provider is not None:
                yield from backend(provider, found, self._records.ailing.get(found.id, frozenset()))

    def egress_only(self, vni: int, phases: Phases) -> Iterable[EgressOnly]:
        """Yield the egress-only internet gateway of a VPC, if it has a seat on this host. Raises MissingRecord."""
        records = self._records.vpcs[vni]
        for gateway in self.gateways(vni, phases) if records.of(EgressOnlyInternetGateway) else ():
            if gateway.kind is TargetKind.EGRESS_ONLY_GATEWAY and gateway.is_at(self._records.host_name):
                subnets, lists = _by_id(records, Subnet), {found.id: found for found in records.each(PrefixList)}
                carried = [found.gateway for found in records.each(GatewayMapping) if found.seats]
                tables = _tables_of(records, subnets)
                found = egress_subnets(gateway.id, records.vpc.record, subnets, tables, carried, lists)
                yield EgressOnly(gateway=gateway, subnets=tuple(found))

    def local_tunnels(self, vni: int, _phases: Phases) -> Iterable[LocalTunnel]:
        """Yield the tunnels of a VPC's VPN connections that end at this host."""
        known = self._records
        ends = known.private_ends
        return local_tunnels(known.host_name, _by_id(known.vpcs[vni], VpnConnection), ends.secrets, ends.up, ends.invites)

    def local_vifs(self, vni: int, _phases: Phases) -> Iterable[LocalVif]:
        """Yield a VPC's virtual interfaces on ports of this host."""
        known = self._records
        ends = known.private_ends
        return local_vifs(known.host_name, _by_id(known.vpcs[vni], VirtualInterface), ends.secrets, ends.up, ends.invites)

    def local_tables(self, vni: int, phases: Phases) -> tuple[LocalTable, ...]:
        """Return the route tables that have a VRF on this host. Raises MissingRecord, CompileError."""
        records = self._records.vpcs[vni]
        seated = self._seated(records)
        interfaces = _interfaces(records, phases, seated)
        subnets = _subnets_of(records, interfaces)
        used, apart = _tables_of(records, subnets), {}
        for subnet in subnets_apart(records.vpc.record, used, subnets):
            ports = [port_name(eni_id) for eni_id in interfaces if needed(records, NetworkInterface, eni_id).subnet == subnet.id]
            apart[subnet.id] = self._numbers.vrf_of_subnet(subnet, ports)
        found = local_tables(records.vpc.record, used, subnets, apart, open_first=bool(phases))
        endpoints = sorted(one.number for one in records.each(VpcEndpoint) if one.number and one.id in seated)
        return (*found, *(LocalTable(id="", number=number) for number in endpoints))

    def _seated(self, records: VpcRecords) -> set[str]:
        """Return the ids of the gateways with a seat on this host."""
        me = self._records.host_name
        return {found for found, stored in records.of(GatewayMapping).items() if me in {s.host for s in stored.record.seats}}

    def table_routes(self, vni: int, phases: Phases) -> tuple[TableRoutes, ...]:
        """Return the routes of these tables. Raises MissingRecord, CompileError."""
        records = self._records.vpcs[vni]
        used = _tables_of(records, _subnets_of(records, _interfaces(records, phases, self._seated(records))))
        targets = {target for table in used for target in (*(route.target for route in table.routes), *table.propagating)}
        if not targets:
            return ()
        lists = {list_id: stored.record for list_id, stored in records.of(PrefixList).items()}
        available = {target for target in targets if _takes_packets(records, target)}
        seats = {gateway: stored.record.seats for gateway, stored in records.of(GatewayMapping).items()}
        local, reaches = self.local_tables(vni, phases), said_by_seats(_by_id(records, Reach), seats)
        return table_routes(records.vpc.record, used, local, available, lists, reaches)

    def identities(self, vni: int, _phases: Phases) -> Iterable[Identity]:
        """Return the sets of groups of a VPC's mappings."""
        return sorted(map(Identity, self._records.groups_of(vni)))

    def peer_identities(self, vni: int, _phases: Phases) -> Iterable[PeerIdentity]:
        """Return the sets of groups of the mappings of a VPC's active peers."""
        peers = self._records.peerings.of(vni)
        return sorted({PeerIdentity(groups) for peer in peers for groups in self._records.groups_of(peer)})

    def peers(self, vni: int, _phases: Phases) -> Iterable[Peer]:
        """Yield a VPC's active peers whose records are known."""
        for peer in sorted(self._records.peerings.of(vni)):
            for vpc in self._records.vpcs[peer].each(Vpc) if peer in self._records.vpcs else ():
                yield Peer(vni=peer, ranges=tuple(ranges_of(vpc)))

    def local_peers(self, vni: int, _phases: Phases) -> Iterable[LocalPeer]:
        """Yield a VPC's active peers that have interfaces on this host."""
        for peer, connection in sorted(self._records.peerings.of(vni).items()):
            if self._records.placements_of(peer):
                yield LocalPeer(vni=peer, connection=connection)

    def routes_to_peers(self, vni: int, phases: Phases) -> Iterable[RoutesToPeer]:
        """Return the routes of a VPC's tables to its active peers. Raises MissingRecord, CompileError."""
        peers, records = self._records.peerings.of(vni), self._records.vpcs[vni]
        return routes_to_peers(records.vpc.record, self.table_routes(vni, phases), peers) if peers else ()

    def routes_from_peers(self, vni: int, _phases: Phases) -> Iterable[RoutesFromPeer]:
        """Yield the routes of peers' tables to a VPC, from the last view of each peer."""
        for peer in sorted(self._records.peerings.peered_with(vni)):
            view = self._others.get(peer)
            for routes in view.of(RoutesToPeer) if view is not None else ():
                if routes.peer == vni:
                    yield RoutesFromPeer(**msgspec.structs.asdict(routes))

    def forget(self, vni: int) -> VpcView | None:
        """Forget a VPC that is no longer carried; return its last view."""
        return self.known.pop(vni, None)


# Inputs that need more than the VPC's own records.
_LINKED: Final[dict[type, tuple[Set[type], Callable[[Views, int, Phases], Iterable[Any]]]]] = {
    Gateway: (frozenset({Gateway, GatewayMapping, PeeringConnection}), Views.gateways),
    Nat: (frozenset({Gateway, GatewayMapping, NatGateway, NetworkInterface, Subnet}), Views.nats),
    EgressOnly: (_OF_EGRESS_ONLY, Views.egress_only),
    EndpointEnd: (_OF_ENDS, Views.endpoint_ends),
    Backend: (frozenset({Backend, GatewayMapping, EndpointConnection}), Views.backends),
    LocalTable: (_OF_TABLES, Views.local_tables),
    LocalTunnel: (frozenset({LocalTunnel, Sealed, VpnConnection}), Views.local_tunnels),
    LocalVif: (frozenset({LocalVif, Sealed, VirtualInterface}), Views.local_vifs),
    TableRoutes: (_OF_ROUTES, Views.table_routes),
    Identity: (frozenset({Identity}), Views.identities),
    Middlebox: (frozenset({Middlebox, Phase}), Views.middleboxes),
    PeerIdentity: (frozenset({PeerIdentity}), Views.peer_identities),
    Peer: (frozenset({Peer}), Views.peers),
    LocalPeer: (frozenset({LocalPeer}), Views.local_peers),
    RoutesToPeer: (_OF_ROUTES, Views.routes_to_peers),
    RoutesFromPeer: (frozenset({RoutesFromPeer}), Views.routes_from_peers),
}


def _kinds_of(kind: type) -> Collection[type]:
    """Return the kinds of changes that an input depends on."""
    made = _MADE.get(kind) or _LINKED.get(kind)
    return made[0] if made is not None else (kind,)


def _active(inputs: Mapping[type, tuple[Any, ...]]) -> frozenset[str]:
    local: tuple[LocalEni, ...] = inputs.get(LocalEni, ())
    return frozenset(address for item in local if item.phase is not Phase.INCOMING for address in item.eni.addresses)
