"""A pair of edges, and VPCs with the same addresses whose gateways the pair carries, as the records that control writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final, TypeVar

import msgspec

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment, Host, NetworkInterface, Placement, Role, Uplink
from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Seat
from netorch.model.outside.gateway import InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool
from netorch.model.record import Record
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.records.read import read_all
from netorch.store.base import Put, Store
from netorch.store.rules import MAX_OPS

T = TypeVar("T", bound=Record)

HYPERVISOR: Final = "hv1"
EDGES: Final = ("e1", "e2")
VTEPS: Final = {HYPERVISOR: "192.0.2.11", "e1": "192.0.2.21", "e2": "192.0.2.22"}
UPLINKS: Final = {
    edge: Uplink(device="out0", address=f"198.18.{number}.1/24", gateway=f"198.18.{number}.254")
    for number, edge in enumerate(EDGES)
}
FIRST_VNI: Final = 5_000
POOL: Final = "198.51.96.0/20"
INSTANCE: Final = "10.0.1.5"
PUBLIC: Final = "198.51.97.5"
NAT: Final = "10.0.128.9"  # in a separate subnet


def gateway_of(vni: int) -> str:
    """Return the id of a VPC's internet gateway."""
    return make_id("igw", vni, 0xABCDEF01234)


def nat_of(vni: int) -> str:
    """Return the id of a VPC's NAT gateway."""
    return make_id("nat", vni, 0xBCDEF012345)


def private_address(number: int = 0) -> str:
    """Return the address of an instance of a VPC."""
    return str(ip_address(INSTANCE) + number)


def public_address(number: int) -> str:
    """Return one of the pool's addresses."""
    return str(ip_address(PUBLIC) + number)


def cloud(vpcs: int, instances: int = 1) -> Cloud:
    """Return VPCs with the same ranges, and with the same addresses on the hypervisor."""
    hosts = [HostDecl(name=HYPERVISOR, underlay=VTEPS[HYPERVISOR])]
    hosts += [HostDecl(name=edge, underlay=VTEPS[edge], role=Role.EDGE) for edge in EDGES]
    taps = [
        InstanceDecl(name=f"i{number}", subnet="app", host=HYPERVISOR, address=private_address(number), attachment=Attachment.TAP)
        for number in range(instances)
    ]
    return Cloud(
        hosts=hosts,
        vpcs=[
            VpcDecl(
                name=f"vpc-{number:05d}",
                owner=f"customer-{number % 500:03d}",
                vni=FIRST_VNI + number,
                cidrs=["10.0.0.0/16"],
                route_tables=[RouteTableDecl(name="public")],
                subnets=[
                    SubnetDecl(name="app", cidr="10.0.0.0/17"),
                    SubnetDecl(name="public", cidr="10.0.128.0/24", route_table="public"),
                ],
                instances=taps,
            )
            for number in range(vpcs)
        ],
    )


def fill(store: Store, vpcs: int, instances: int = 1) -> None:
    """Write the cloud, the pair of edges and its pool."""
    apply_cloud(store, plan_cloud(store, Caller(operator=True), cloud(vpcs, instances)))
    edges = [Host(name=edge, underlay=VTEPS[edge], role=Role.EDGE, pair="west", uplink=UPLINKS[edge]) for edge in EDGES]
    put(store, [(keys.host_spec(edge.name), edge) for edge in edges])
    put(store, [(keys.pool("west"), AddressPool(name="west", pair="west", cidrs=(POOL,)))])


def put(store: Store, records: Iterable[tuple[str, msgspec.Struct]]) -> None:
    """Write records, in as few transactions as the store allows."""
    ops = [Put(key, encode(record)) for key, record in records]
    for start in range(0, len(ops), MAX_OPS):
        store.txn((), ops[start : start + MAX_OPS])


def gateway(vni: int) -> Iterator[tuple[str, msgspec.Struct]]:
    """Yield the records of a VPC's internet gateway on both edges."""
    found = gateway_of(vni)
    yield keys.resource(found), InternetGateway(id=found, vni=vni)
    yield from _seats(vni, found)


def nat_gateway(store: Store, vni: int, public: int) -> Iterator[tuple[str, msgspec.Struct]]:
    """Yield the records of a NAT gateway on both edges, with one of the pool's addresses."""
    found, address = nat_of(vni), public_address(public)
    eni = make_id("eni", vni, 0xBCDEF012345)
    (subnet,) = (each for each in _all(store, vni, Subnet) if each.name == "public")
    yield keys.resource(found), NatGateway(id=found, vni=vni, name="out", subnet=subnet.id, eni=eni)
    interface = NetworkInterface(id=eni, vni=vni, subnet=subnet.id, mac=gateway_mac(found), address=NAT, gateway=found)
    yield keys.resource(eni), interface
    yield from _seats(vni, found)
    yield keys.public_mapping(vni, address), _public_mapping(vni, public, eni, NAT)
    yield way_out(store, vni, "public")


def _seats(vni: int, found: str) -> Iterator[tuple[str, msgspec.Struct]]:
    seats = tuple(Seat(host=edge, vtep=VTEPS[edge]) for edge in EDGES)
    yield keys.gateway_mapping(vni, found), GatewayMapping(vni=vni, gateway=found, seats=seats)
    for edge in EDGES:
        yield keys.placement(edge, found), Placement(id=found)


def way_out(store: Store, vni: int, name: str = "") -> tuple[str, msgspec.Struct]:
    """Return the record of a VPC's route table (by default the main one) with a default route to the internet gateway."""
    (table,) = (table for table in _all(store, vni, RouteTable) if (table.name == name if name else table.main))
    route = VpcRoute(destination="0.0.0.0/0", target=gateway_of(vni))
    return keys.resource(table.id), msgspec.structs.replace(table, routes=(*table.routes, route))


def _all(store: Store, vni: int, kind: type[T]) -> list[T]:
    return [stored.record for stored in read_all(store, kind, vni).values()]


def association(store: Store, vni: int, public: int, instance: int = 0) -> tuple[str, msgspec.Struct]:
    """Return the record that associates one of the pool's addresses with an instance's address."""
    known = store.get(keys.mapping(vni, private_address(instance)))
    assert known is not None
    mapping = _public_mapping(vni, public, decode(known, Mapping).eni, private_address(instance))
    return keys.public_mapping(vni, mapping.address), mapping


def _public_mapping(vni: int, public: int, eni: str, private: str) -> PublicMapping:
    return PublicMapping(
        vni=vni,
        address=public_address(public),
        association=make_id("eipassoc", vni, public),
        eni=eni,
        private_address=private,
        pool="west",
    )
