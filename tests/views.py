"""Views of VPCs as the agent builds them, from values that a test names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from netorch.compiler.base import (
    Compiler,
    Gateway,
    HostView,
    Identity,
    LocalEni,
    LocalPeer,
    LocalTable,
    MappingPart,
    Middlebox,
    Part,
    Peer,
    PeerIdentity,
    PeerMappingPart,
    Phase,
    RoutesFromPeer,
    RoutesToPeer,
    TableRoutes,
    VpcView,
)
from netorch.compiler.egress import EgressOnly
from netorch.compiler.interface_endpoint import Backend, EndpointEnd
from netorch.compiler.nat import Nat
from netorch.compiler.private import LocalTunnel, LocalVif
from netorch.compiler.registry import Objects, compile_mapping_part, compile_slice, parts_of
from netorch.compiler.services.metadata import GroupName
from netorch.compiler.services.names import EndpointNames
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.mapping import Mapping as EniMapping
from netorch.model.mapping import PublicMapping, Reach
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.services.zones import VpcZone
from netorch.model.vpc import Subnet, Vpc

MAIN: Final = LocalTable(id="rtb-00138800000000001", number=0, is_main=True)


def make_view(
    host: HostView,
    vpc: Vpc,
    *,
    subnets: Iterable[Subnet] = (),
    local: Iterable[LocalEni] = (),
    groups: Iterable[SecurityGroup] = (),
    acls: Iterable[NetworkAcl] = (),
    prefix_lists: Iterable[PrefixList] = (),
    identities: Iterable[tuple[str, ...]] = (),
    peers: Iterable[Peer | LocalPeer | RoutesToPeer | RoutesFromPeer | PeerIdentity] = (),
    tables: Iterable[LocalTable] = (MAIN,),
    routes: Iterable[TableRoutes] = (),
    middleboxes: Iterable[Middlebox] = (),
    gateways: Iterable[Gateway] = (),
    nats: Iterable[Nat] = (),
    egress_only: Iterable[EgressOnly] = (),
    endpoints: Iterable[EndpointEnd | Backend] = (),
    public: Iterable[PublicMapping] = (),
    connections: Iterable[PeeringConnection] = (),
    private: Iterable[LocalTunnel | LocalVif | VirtualPrivateGateway | Reach] = (),
    zone: int = 1,
    mtus: Mapping[str, int] | None = None,
) -> VpcView:
    """Return a view with every input of the compilers."""
    here, linked, sites, ends = tuple(local), tuple(peers), tuple(private), tuple(endpoints)
    known = tuple(groups)
    return VpcView(
        vni=vpc.vni,
        inputs={
            HostView: (host,),
            Vpc: (vpc,),
            Subnet: tuple(subnets),
            LocalEni: here,
            LocalTable: tuple(tables),
            TableRoutes: tuple(routes),
            SecurityGroup: known,
            GroupName: tuple(GroupName(id=group.id, name=group.name) for group in known),
            NetworkAcl: tuple(acls),
            PrefixList: tuple(prefix_lists),
            Identity: tuple(sorted(map(Identity, set(identities)))),
            Middlebox: tuple(middleboxes),
            Gateway: tuple(gateways),
            Nat: tuple(nats),
            EgressOnly: tuple(egress_only),
            PublicMapping: tuple(public),
            VpcEndpoint: (),
            VpcZone: (),
            EndpointNames: (),
            PeeringConnection: tuple(connections),
            **{kind: tuple(found for found in ends if type(found) is kind) for kind in (EndpointEnd, Backend)},
            **{
                kind: tuple(found for found in linked if type(found) is kind)
                for kind in (Peer, LocalPeer, RoutesToPeer, RoutesFromPeer, PeerIdentity)
            },
            **{
                kind: tuple(found for found in sites if type(found) is kind)
                for kind in (LocalTunnel, LocalVif, VirtualPrivateGateway, Reach)
            },
        },
        zone=zone,
        active=frozenset(address for item in here if item.phase is not Phase.INCOMING for address in item.eni.addresses),
        mtus=mtus or {},
    )


def vpc_objects(compilers: Sequence[Compiler], view: VpcView) -> Objects:
    """Return the objects that the compilers yield for a VPC without mappings."""
    return compile_slice(compilers, view, [])


def mapping_objects(compilers: Sequence[Compiler], view: VpcView, mapping: EniMapping) -> Objects:
    """Return the objects that the compilers yield for one mapping, of the VPC itself or of a peer."""
    found: Objects = {}
    own = mapping.vni == view.vni
    for part in parts_of(compilers, MappingPart) if own else parts_of(compilers, PeerMappingPart):
        found |= compile_mapping_part(part, view, mapping)
    return found


class OneOff:
    """A compiler made of parts that a test defines."""

    def __init__(self, name: str, *parts: Part) -> None:
        self.name = name
        self.reads: frozenset[type] = frozenset()
        self.parts = parts
