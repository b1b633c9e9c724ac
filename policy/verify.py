"""Receive-side verification: only the host that an address is mapped to may send packets from that address.

The host of an interface without source/destination check may send from any address of that VPC.

The meaning of a moving address for each host (A old, B new; see netorch.model.mapping):

  mapping             at A                           at B                             elsewhere
  {A, move to B}      peers B, may send on to B      peers A, takes what A sends on   peers A and B
  {B, move from A}    peers B, may send on to B      takes what A sends on            peers B

An edge that carries a gateway of the VPC may send from outside addresses: from any address except those in the ranges of the
VPC and of its active peers, whatever is mapped there. 192.0.0.8, from which routers without an address send ICMP errors, counts
as outside.

The edges of a NAT gateway may also send from its private addresses. Those of an interface endpoint may send from the endpoint's
addresses in the consumer's VPC, and from its connection's address in the provider's VPC.

Only an edge that carries a mapped peering connection may send from the alias of the other VPC's range.

An active peer's host may send from the peer's addresses, with the VNI of the receiving VPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netorch.compiler.base import (
    Carried,
    Gateway,
    HostPart,
    HostView,
    LocalPeer,
    MappingPart,
    Middlebox,
    Part,
    Peer,
    PeerMappingPart,
    VpcPart,
    VpcView,
)
from netorch.compiler.interface_endpoint import EndpointEnd
from netorch.compiler.nat import Nat
from netorch.model.addr import Prefix, disjoint, parse_prefix
from netorch.model.endpoints.endpoint_service import EndpointConnection
from netorch.model.eni import NetworkInterface, Role
from netorch.model.mapping import GatewayMapping, Mapping, MoveDirection
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.target import TargetKind
from netorch.model.vpc import Vpc
from netorch.state.base import KernelObject
from netorch.state.nft import NftElement
from policy import nftgen, skeleton


def _table(_view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the table, which drops all VXLAN packets as long as there are no mappings."""
    yield skeleton.underlay_table()


def _rights(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the elements of hosts that may send from the address, and while it moves of hosts that may relay packets to it."""
    me, move = view.host.host.name, mapping.move
    yield from _senders(view, mapping)
    if move is None:
        return
    old_host, old_vtep = (mapping.host, mapping.vtep) if move.direction is MoveDirection.TO else (move.host, move.vtep)
    if old_host == me:
        for device in (view.vxlan, *(peer.ends(view.vni)[0] for peer in view.of(LocalPeer))):
            yield nftgen.transit(device, mapping.address, mapping.vni)
    elif me in (mapping.host, move.host):
        yield from _accept("relay", old_vtep, view.vni, mapping.address)


def _speakers(view: VpcView) -> Iterator[KernelObject]:
    """Yield the elements of hosts that may send from addresses not mapped to them.

    Hosts of interfaces without source/destination check may send from any address, and edges of the VPC's gateways from outside
    addresses, whether the edges answer or not.
    """
    me = view.host.host.name
    boxes = (box.mapping for box in view.of(Middlebox) if box.mapping is not None and not box.eni.source_dest_check)
    of_any = {vtep for mapping in boxes for vtep in _vteps(mapping, me)}
    yield from (nftgen.speaker(vtep, view.vni) for vtep in sorted(of_any))
    inside, aliases = _inside(view), _aliases(view)
    mapped = {vtep: found for vtep, found in aliases.items() if vtep not in of_any}
    gateways = (gateway for gateway in view.of(Gateway) if gateway.kind is not TargetKind.PEERING)
    edges = {seat.vtep for gateway in gateways for seat in gateway.seats if seat.host != me} - of_any
    if edges:
        chain = nftgen.outside_chain(view.vni, disjoint([*inside, *(prefix for found in aliases.values() for prefix in found)]))
        yield chain
        yield from (nftgen.speaker(vtep, view.vni, chain.name) for vtep in sorted(edges - mapped.keys()))
    for vtep, found in sorted(mapped.items()):
        own = nftgen.mapped_chain(view.vni, vtep, inside, found, chain if vtep in edges else None)
        yield own
        yield nftgen.speaker(vtep, view.vni, own.name)


def _aliases(view: VpcView) -> dict[str, list[Prefix]]:
    """Return the aliases that edges of mapped peering connections may send from, by VTEP, without this host's own."""
    found: dict[str, list[Prefix]] = {}
    for connection in view.of(PeeringConnection):
        for seat in connection.seats if connection.gateway is not None else ():
            if seat.host != view.host.host.name:
                found.setdefault(seat.vtep, []).append(parse_prefix(connection.peer.alias))
    return {vtep: disjoint(prefixes) for vtep, prefixes in found.items()}


def _translators(view: VpcView) -> Iterator[KernelObject]:
    """Yield the elements that let edges of a NAT gateway send from its addresses."""
    for nat in view.of(Nat):
        yield from _in_the_name(view, nat.gateway, nat.addresses)


def _endpoints(view: VpcView) -> Iterator[KernelObject]:
    """Yield the elements that let edges answer as the VPC's endpoints, and send as the consumers of its services."""
    for end in view.of(EndpointEnd):
        yield from _in_the_name(view, end.gateway, end.addresses)


def _in_the_name(view: VpcView, gateway: Gateway, addresses: Iterable[str]) -> Iterator[KernelObject]:
    for seat in gateway.seats:
        for address in addresses if seat.host != view.host.host.name else ():
            yield from _accept("senders", seat.vtep, view.vni, address)


def _inside(view: VpcView) -> list[Prefix]:
    """Return the ranges of the VPC and of its active peers, without those inside another one."""
    return disjoint([*ranges_of(view.vpc), *(prefix for peer in view.of(Peer) for prefix in peer.ranges)])


def _senders(view: VpcView, mapping: Mapping) -> Iterator[KernelObject]:
    """Yield the elements of other hosts that may send from the VPC's or a peer's address: packets have the receiver's VNI."""
    for vtep in _vteps(mapping, view.host.host.name):
        yield from _accept("senders", vtep, view.vni, mapping.address)


def _vteps(mapping: Mapping, me: str) -> Iterator[str]:
    """Yield the other hosts that may send from a mapping's address."""
    if mapping.host != me:
        yield mapping.vtep
    move = mapping.move
    if move is not None and move.direction is MoveDirection.TO and move.host != me:
        yield move.vtep


def _accept(kind: str, vtep: str, vni: int, address: str) -> tuple[NftElement, NftElement]:
    return nftgen.sender(kind, vtep, vni, address), nftgen.member(vtep, vni)


class Verify:
    """Yields the underlay's table, and for each mapping the right to send from its address."""

    name: Final = "verify"
    reads: Final[frozenset[type]] = frozenset({Mapping, NetworkInterface, GatewayMapping, NatGateway, EndpointConnection})
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="verify.host", compile=_table),
        VpcPart(
            id="verify.speakers",
            compile=_speakers,
            inputs=frozenset({HostView, Vpc, Peer, Middlebox, Gateway, PeeringConnection}),
        ),
        VpcPart(id="verify.nat", compile=_translators, inputs=frozenset({HostView, Nat})),
        VpcPart(id="verify.endpoints", compile=_endpoints, inputs=frozenset({HostView, EndpointEnd})),
        MappingPart(id="verify.mapping", compile=_rights, inputs=frozenset({HostView, LocalPeer})),
        # An edge accepts no packets from peers: a VPC's gateways serve only that VPC.
        PeerMappingPart(id="verify.peer", compile=_senders, inputs=frozenset({HostView}), role=Role.HYPERVISOR),
    )
