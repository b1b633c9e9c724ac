"""Gateways on edges, as the records that control writes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.model.eni import NetworkInterface, Placement
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, PublicMapping, Seat
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway, NatGateway
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.status import AgentStatus
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import read_all
from netorch.store.base import Delete, Put, Store


def gateway_of(vni: int) -> str:
    """Return the id of a VPC's internet gateway."""
    return make_id("igw", vni, 0xA0B0C0D0E)


def nat_of(vni: int) -> str:
    """Return the id of a VPC's NAT gateway."""
    return make_id("nat", vni, 0xB0C0D0E0F)


def egress_only_of(vni: int) -> str:
    """Return the id of a VPC's egress-only internet gateway."""
    return make_id("eigw", vni, 0xC0D0E0F01)


def seat_egress_only(store: Store, vni: int, edges: Mapping[str, str]) -> None:
    """Create an egress-only internet gateway of a VPC, carried by these edges (with their VTEPs)."""
    gateway = egress_only_of(vni)
    seats = tuple(Seat(host=host, vtep=vtep) for host, vtep in edges.items())
    records = {
        keys.resource(gateway): EgressOnlyInternetGateway(id=gateway, vni=vni),
        keys.gateway_mapping(vni, gateway): GatewayMapping(vni=vni, gateway=gateway, seats=seats),
        **{keys.placement(host, gateway): Placement(id=gateway) for host in edges},
    }
    store.txn((), [Put(key, encode(record)) for key, record in records.items()])


def seat_nat(store: Store, subnet: Subnet, address: str, public: str, edges: Mapping[str, str]) -> None:
    """Create a NAT gateway with these addresses in a subnet, carried by these edges (with their VTEPs)."""
    vni, nat = subnet.vni, nat_of(subnet.vni)
    eni = NetworkInterface(
        id=make_id("eni", vni, 0xB0C0D0E0F), vni=vni, subnet=subnet.id, mac=gateway_mac(nat), address=address, gateway=nat
    )
    mapping = PublicMapping(
        vni=vni,
        address=public,
        association=make_id("eipassoc", vni, 0xB0C0D0E0F),
        eni=eni.id,
        private_address=address,
        pool="west",
    )
    seats = tuple(Seat(host=host, vtep=vtep) for host, vtep in edges.items())
    records = {
        keys.resource(nat): NatGateway(id=nat, vni=vni, name="out", subnet=subnet.id, eni=eni.id),
        keys.resource(eni.id): eni,
        keys.gateway_mapping(vni, nat): GatewayMapping(vni=vni, gateway=nat, seats=seats),
        keys.public_mapping(vni, public): mapping,
        **{keys.placement(host, nat): Placement(id=nat) for host in edges},
    }
    store.txn((), [Put(key, encode(record)) for key, record in records.items()])


def lead_out(store: Store, vni: int) -> None:
    """Route everything that is not local from a VPC's main table to its internet gateway."""
    table = next(stored.record for stored in read_all(store, RouteTable, vni).values() if stored.record.main)
    routes = tuple(VpcRoute(destination=everything, target=gateway_of(vni)) for everything in ("0.0.0.0/0", "::/0"))
    store.txn((), [Put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))])


def seat_gateway(store: Store, vni: int, edges: Mapping[str, str]) -> None:
    """Create an internet gateway of a VPC, carried by these edges (with their VTEPs); without edges, delete it."""
    gateway, key = gateway_of(vni), keys.gateway_mapping(vni, gateway_of(vni))
    if not edges:
        store.txn((), [Delete(key), Delete(keys.resource(gateway))])
        return
    mapping = GatewayMapping(vni=vni, gateway=gateway, seats=tuple(Seat(host=host, vtep=vtep) for host, vtep in edges.items()))
    record = InternetGateway(id=gateway, vni=vni)
    store.txn((), [Put(keys.resource(gateway), encode(record)), Put(key, encode(mapping))])


def let_run(store: Store, *edges: str, not_ready: str = "", silent: tuple[str, ...] = ()) -> None:
    """Write the status of edges' agents: that they run, whether the edges are ready, and which VTEPs are silent to them."""
    said = encode(AgentStatus(version="1", pid=1, started_at=0.0, not_ready=not_ready, silent=silent))
    for edge in edges:
        store.txn([], [Put(keys.host_live(edge), b"{}"), Put(keys.agent_status(edge), said)])
