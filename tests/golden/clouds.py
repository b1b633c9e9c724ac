"""Small clouds for tests: from a few lines of text to the views that compilers get."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from edges.internet import Internet
from edges.nat import NatCompiler
from edges.outside import Outside
from edges.peering.mapped import MappedPeering
from edges.skeleton import EdgeSkeleton
from netorch.compiler.base import (
    Compiler,
    Gateway,
    HostView,
    LocalEni,
    LocalPeer,
    LocalTable,
    Peer,
    Phase,
    RoutesFromPeer,
    RoutesToPeer,
    TableRoutes,
    VpcView,
)
from netorch.compiler.egress import EgressOnly, egress_subnets
from netorch.compiler.nat import Nat
from netorch.compiler.overlay import OverlayCompiler
from netorch.compiler.ports import PortCompiler, kept_keys
from netorch.compiler.registry import Objects, compile_host, compile_slice
from netorch.compiler.tables import local_tables, routes_to_peers, subnets_apart, table_routes
from netorch.compiler.vrf import VrfCompiler
from netorch.model.eni import Host, Instance, NetworkInterface, Role, Uplink
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Mapping, Move, MoveDirection, PublicMapping, Seat
from netorch.model.outside.public import AddressPool
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.peering import PeeringConnection, PeeringStatus, PeerVpc
from netorch.model.routing.seats import seat_for
from netorch.model.security import DEFAULT_NAME, AclEntry, NetworkAcl
from netorch.model.vpc import TABLE_NUMBER_LAST, RouteTable, Subnet, Vpc, VpcRoute
from netorch.state.base import Key
from tests.golden.cases import EniCase, MappedCase, NatCase, SubnetCase
from tests.views import make_view

COMPILERS: Sequence[Compiler] = (
    VrfCompiler(),
    OverlayCompiler(),
    PortCompiler(),
    EdgeSkeleton(),
    Outside(),
    Internet(),
    NatCompiler(),
    MappedPeering(),
)


class VpcCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A VPC; subnets, interfaces and route tables by name.

    A table is given by its routes, by destination. A target is written as in a stored route, or as `eni` and the name of an
    interface, which may be missing, `pcx` and the VNI of a peer, `igw` or `nat`, which the hosts in `seats` carry, or `eigw`.
    The table without a name is the main one; the others are numbered in the order of their names.
    """

    vni: int
    cidrs: tuple[str, ...]
    subnets: dict[str, SubnetCase]
    enis: dict[str, EniCase]
    ipv6_cidrs: tuple[str, ...] = ()
    ipv6_pools: dict[str, str] = {}
    route_tables: dict[str, dict[str, str]] = {}
    seats: tuple[str, ...] = ()
    nat: NatCase | None = None
    egress_only: tuple[str, ...] = ()  # the hosts that carry the egress-only internet gateway
    public: dict[str, str] = {}  # private addresses by public address

    def record(self) -> Vpc:
        """Return the VPC's record."""
        vpc_id = make_id("vpc", self.vni, 1)
        return Vpc(
            id=vpc_id,
            vni=self.vni,
            owner="o",
            name="v",
            cidrs=self.cidrs,
            ipv6_cidrs=self.ipv6_cidrs,
            ipv6_pools=self.ipv6_pools,
        )

    def translations(self) -> list[PublicMapping]:
        """Return the records of the public addresses."""
        return [
            PublicMapping(
                vni=self.vni,
                address=address,
                association=make_id("eipassoc", self.vni, number),
                eni=make_id("eni", self.vni, number),
                private_address=private,
                pool="p",
            )
            for number, (address, private) in enumerate(sorted(self.public.items()))
        ]

    def subnet(self, name: str) -> Subnet:
        """Return a subnet's record."""
        case = self.subnets[name]
        subnet_id = make_id("subnet", self.vni, sorted(self.subnets).index(name))
        table = self.table_id(case.route_table) if case.route_table else ""
        return Subnet(id=subnet_id, vni=self.vni, name=name, cidr=case.cidr, ipv6_cidr=case.ipv6_cidr, route_table=table)

    def table_id(self, name: str) -> str:
        """Return the id of a route table."""
        return make_id("rtb", self.vni, self._number(name))

    def table(self, name: str) -> RouteTable:
        """Return a route table's record."""
        routes = tuple(VpcRoute(destination=d, target=self._target(t)) for d, t in self.route_tables.get(name, {}).items())
        return RouteTable(
            id=self.table_id(name), vni=self.vni, name=name, main=not name, number=self._number(name), routes=routes
        )

    def _number(self, table: str) -> int:
        return sorted(self.route_tables.keys() | {""}).index(table)

    def _target(self, text: str) -> str:
        kind, _, name = text.partition(" ")
        if kind == "pcx" and name:
            return connection_id(self.vni, int(name))
        if text in ("igw", "nat", "eigw"):
            return {"igw": self.gateway_id, "nat": self.nat_id, "eigw": self.egress_only_id}[text]
        return text if not name else self.eni(name).id if name in self.enis else make_id(kind, self.vni, 0xDEAD)

    @property
    def gateway_id(self) -> str:
        """Return the id of the internet gateway."""
        return make_id("igw", self.vni, 0xA0B0C0D0E)

    @property
    def egress_only_id(self) -> str:
        """Return the id of the egress-only internet gateway."""
        return make_id("eigw", self.vni, 0xC0D0E0F01)

    @property
    def nat_id(self) -> str:
        """Return the id of the NAT gateway."""
        return make_id("nat", self.vni, 0xB0C0D0E0F)

    def nat_eni(self, case: NatCase) -> NetworkInterface:
        """Return the record of the NAT gateway's interface."""
        return NetworkInterface(
            id=make_id("eni", self.vni, 0xB0C0D0E0F),
            vni=self.vni,
            subnet=self.subnet(case.subnet).id,
            mac=gateway_mac(self.nat_id),
            address=case.address,
            gateway=self.nat_id,
        )

    def eni(self, name: str) -> NetworkInterface:
        """Return an interface's record. The random part of its id is its place in the order of names."""
        case = self.enis[name]
        place = sorted(self.enis).index(name) + 1
        return NetworkInterface(
            id=make_id("eni", self.vni, place << 16),
            vni=self.vni,
            subnet=self.subnet(case.subnet).id,
            mac=f"02:00:00:00:{self.vni & 255:02x}:{place:02x}",
            address=case.address,
            ipv6_address=case.ipv6_address,
            instance=self.instance(name).id,
        )

    def instance(self, name: str) -> Instance:
        """Return the record of an interface's instance."""
        case = self.enis[name]
        instance_id = make_id("i", self.vni, sorted(self.enis).index(name) + 1 << 16)  # same random part as its interface's
        return Instance(id=instance_id, vni=self.vni, name=name, attachment=case.attachment, netns=case.netns)


class CloudCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hosts by name with their VTEPs, VPCs, the pairs of VNIs that are active peers, and the hosts that do not answer.

    `mtus` are those of hosts' underlays. Hosts with an uplink are edges of one pair, which has the pools.
    """

    hosts: dict[str, str]
    vpcs: tuple[VpcCase, ...]
    peerings: tuple[tuple[int, int], ...] = ()
    mapped: tuple[MappedCase, ...] = ()
    silent: tuple[str, ...] = ()
    mtus: dict[str, int] = {}
    uplinks: dict[str, Uplink] = {}
    pools: tuple[str, ...] = ()

    def peers_of(self, vpc: VpcCase) -> list[VpcCase]:
        """Return the active peers of a VPC."""
        return [other for other in self.vpcs if {(vpc.vni, other.vni), (other.vni, vpc.vni)} & set(self.peerings)]

    def mapped_of(self, vpc: VpcCase) -> list[PeeringConnection]:
        """Return the records of a VPC's mapped connections."""
        return [
            PeeringConnection(
                id=connection_id(case.requester, case.accepter),
                vni=vpc.vni,
                requester=self._end(case.requester, case.aliases[0]),
                accepter=self._end(case.accepter, case.aliases[1]),
                status=PeeringStatus.ACTIVE,
                expires=0,
                seats=tuple(Seat(host=name, vtep=self.hosts[name]) for name in case.seats),
            )
            for case in self.mapped
            if vpc.vni in (case.requester, case.accepter)
        ]

    def _end(self, vni: int, alias: str) -> PeerVpc:
        vpc = next(vpc for vpc in self.vpcs if vpc.vni == vni)
        return PeerVpc(id=vpc.record().id, owner="o", range=vpc.cidrs[0], alias=alias)


def connection_id(*vnis: int) -> str:
    """Return the id of the peering connection of two VPCs."""
    return make_id("pcx", min(vnis), max(vnis))


def host_view(cloud: CloudCase, host: str) -> HostView:
    """Return the compilers' view of a host."""
    uplink = cloud.uplinks.get(host)
    role, pair = (Role.EDGE, "west") if uplink is not None else (Role.HYPERVISOR, "")
    pools = (AddressPool(name="p", pair=pair, cidrs=cloud.pools),) if cloud.pools and pair else ()
    record = Host(name=host, underlay=cloud.hosts[host], role=role, pair=pair, uplink=uplink)
    return HostView(host=record, underlay_ifname="eth0", underlay_mtu=1500, pools=pools)


def vpc_view(cloud: CloudCase, vpc: VpcCase, host: str) -> VpcView | None:
    """Return the compilers' view of a VPC on a host, or None if the host carries neither the VPC nor a peer of it."""
    local = tuple(
        LocalEni(eni=vpc.eni(name), subnet=vpc.subnet(case.subnet), instance=vpc.instance(name), phase=phase)
        for name, case in sorted(vpc.enis.items())
        if (phase := _phase(case, host)) is not None
    )
    here = [peer for peer in cloud.peers_of(vpc) if _is_here(peer, host)]
    carries = any(seat.host == host for half in cloud.mapped_of(vpc) for seat in half.seats)
    if not here and not carries and not _is_here(vpc, host):
        return None
    return make_view(
        host_view(cloud, host),
        vpc.record(),
        tables=_tables(vpc, host),
        routes=_routes(cloud, vpc, host),
        peers=[*_peer_inputs(cloud, vpc, host, here)],
        subnets=[vpc.subnet(name) for name in sorted(vpc.subnets)],
        local=local,
        gateways=_gateways(cloud, vpc, host),
        nats=_nats(cloud, vpc, host),
        egress_only=_egress_only(cloud, vpc, host),
        acls=[_default_acl(vpc)],
        public=vpc.translations(),
        connections=cloud.mapped_of(vpc),
    )


def _gateways(cloud: CloudCase, vpc: VpcCase, host: str) -> Iterator[Gateway]:
    if vpc.egress_only:
        yield _gateway(cloud, vpc, vpc.egress_only_id, vpc.egress_only, host)
    if vpc.seats:
        yield _gateway(cloud, vpc, vpc.gateway_id, vpc.seats, host)
    yield from (nat.gateway for nat in _nats(cloud, vpc, host))
    for half in cloud.mapped_of(vpc):
        yield _gateway(cloud, vpc, half.id, [seat.host for seat in half.seats], host)


def _nats(cloud: CloudCase, vpc: VpcCase, host: str) -> Iterator[Nat]:
    if vpc.nat is not None:
        gateway = _gateway(cloud, vpc, vpc.nat_id, vpc.seats, host)
        yield Nat(gateway=gateway, eni=vpc.nat_eni(vpc.nat), subnet=vpc.subnet(vpc.nat.subnet))


def _egress_only(cloud: CloudCase, vpc: VpcCase, host: str) -> Iterator[EgressOnly]:
    if host in vpc.egress_only:
        gateways = [gateway.id for gateway in _gateways(cloud, vpc, host)]
        tables = [vpc.table(name) for name in vpc.route_tables.keys() | {""}]
        subnets = [vpc.subnet(name) for name in sorted(vpc.subnets)]
        found = egress_subnets(vpc.egress_only_id, vpc.record(), subnets, tables, gateways, {})
        yield EgressOnly(gateway=_gateway(cloud, vpc, vpc.egress_only_id, vpc.egress_only, host), subnets=tuple(found))


def _gateway(cloud: CloudCase, vpc: VpcCase, gateway_id: str, at: Iterable[str], host: str) -> Gateway:
    seats = tuple(Seat(host=name, vtep=cloud.hosts[name]) for name in at)
    silent = {cloud.hosts[name] for name in cloud.silent}
    seat = seat_for(host, GatewayMapping(vni=vpc.vni, gateway=gateway_id, seats=seats), silent)
    return Gateway(id=gateway_id, seats=seats, seat=seat, underlay_mtu=cloud.mtus.get(seat.host))


def _default_acl(vpc: VpcCase) -> NetworkAcl:
    everything = (AclEntry(number=100, allow=True, protocol=-1, cidr="0.0.0.0/0"),)
    return NetworkAcl(id=make_id("acl", vpc.vni, 1), vni=vpc.vni, name=DEFAULT_NAME, ingress=everything, egress=everything)


def _subnets_here(vpc: VpcCase, host: str) -> list[str]:
    """Return the names of the subnets that have interfaces on a host, including those of NAT gateways."""
    found = {case.subnet for case in vpc.enis.values() if _phase(case, host) is not None}
    return sorted({*found, *([vpc.nat.subnet] if vpc.nat is not None and host in vpc.seats else [])})


def _used(vpc: VpcCase, host: str) -> list[str]:
    """Return the names of the route tables in use on a host; the main table's name is empty."""
    local = {vpc.subnets[name].route_table for name in _subnets_here(vpc, host)}
    return sorted({"", *local}) if local else []


def _tables(vpc: VpcCase, host: str) -> tuple[LocalTable, ...]:
    """Return the tables with a VRF; subnets that need a separate VRF are numbered from 201."""
    record, used = vpc.record(), [vpc.table(name) for name in _used(vpc, host)]
    here = [vpc.subnet(name) for name in _subnets_here(vpc, host)]
    apart = {subnet.id: number for number, subnet in enumerate(subnets_apart(record, used, here), TABLE_NUMBER_LAST + 1)}
    return local_tables(record, used, here, apart, open_first=host not in vpc.seats + vpc.egress_only)


def _routes(cloud: CloudCase, vpc: VpcCase, host: str) -> list[TableRoutes]:
    targets = {vpc.eni(name).id for name in vpc.enis} | {connection_id(vpc.vni, peer.vni) for peer in cloud.peers_of(vpc)}
    targets |= {vpc.gateway_id, vpc.nat_id} if vpc.seats else set()
    targets |= {vpc.egress_only_id} if vpc.egress_only else set()
    targets |= {half.id for half in cloud.mapped_of(vpc)}
    used = [vpc.table(name) for name in _used(vpc, host)]
    return [*table_routes(vpc.record(), used, _tables(vpc, host), targets, {})]


def _peer_inputs(
    cloud: CloudCase, vpc: VpcCase, host: str, here: list[VpcCase]
) -> Iterator[Peer | LocalPeer | RoutesToPeer | RoutesFromPeer]:
    """Yield a VPC's inputs about its peers; the host may carry the VPC only for a peer."""
    for peer in cloud.peers_of(vpc) if _is_here(vpc, host) else ():
        connection = connection_id(vpc.vni, peer.vni)
        yield Peer(vni=peer.vni, ranges=tuple(ranges_of(peer.record())))
        if peer in here:
            yield LocalPeer(vni=peer.vni, connection=connection)
        yield from routes_to_peers(vpc.record(), _routes(cloud, vpc, host), {peer.vni: connection})
    for peer in here:
        connections = {vpc.vni: connection_id(vpc.vni, peer.vni)}
        for routes in routes_to_peers(peer.record(), _routes(cloud, peer, host), connections):
            yield RoutesFromPeer(**msgspec.structs.asdict(routes))


def _is_here(vpc: VpcCase, host: str) -> bool:
    return host in vpc.seats + vpc.egress_only or any(
        _phase(case, host) is not None or _relays(case, host) for case in vpc.enis.values()
    )


def mappings(cloud: CloudCase, vpc: VpcCase) -> Iterator[Mapping]:
    """Yield the mapping of every address."""
    for name, case in sorted(vpc.enis.items()):
        eni = vpc.eni(name)
        move = None
        if case.move is not None:
            move = Move(direction=case.move.direction, host=case.move.host, vtep=cloud.hosts[case.move.host])
        for address in eni.addresses:
            yield Mapping(
                vni=vpc.vni, address=address, eni=eni.id, mac=eni.mac, host=case.host, vtep=cloud.hosts[case.host], move=move
            )


def compiled(cloud: CloudCase, host: str, compilers: Sequence[Compiler] = COMPILERS) -> Objects:
    """Return all objects of a host."""
    objects = compile_host(compilers, host_view(cloud, host))
    for vpc in cloud.vpcs:
        view = vpc_view(cloud, vpc, host)
        if view is not None:
            seen = [vpc, *(cloud.peers_of(vpc) if _is_here(vpc, host) else ())]
            objects |= compile_slice(compilers, view, [mapping for each in seen for mapping in mappings(cloud, each)])
    return objects


def kept(cloud: CloudCase, host: str) -> frozenset[Key]:
    """Return the keys that the plan must leave alone on a host."""
    views = [vpc_view(cloud, vpc, host) for vpc in cloud.vpcs]
    return frozenset(key for view in views if view is not None for key in kept_keys(view))


def _phase(case: EniCase, host: str) -> Phase | None:
    move = case.move
    if case.host == host:
        return Phase.OUTGOING if move is not None and move.direction is MoveDirection.TO else Phase.ACTIVE
    if move is not None and move.direction is MoveDirection.TO and move.host == host:
        return Phase.ACTIVE if case.plugged else Phase.INCOMING
    return None


def _relays(case: EniCase, host: str) -> bool:
    return case.move is not None and case.move.direction is MoveDirection.FROM and case.move.host == host
