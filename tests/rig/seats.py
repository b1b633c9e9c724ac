"""Gateways on edges, as records: what control writes."""

from __future__ import annotations

from collections.abc import Mapping

from netorch.model.ids import make_id
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside.gateway import InternetGateway
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Delete, Put, Store


def gateway_of(vni: int) -> str:
    """Return the id of a VPC's internet gateway."""
    return make_id("igw", vni, 0xA0B0C0D0E)


def seat_gateway(store: Store, vni: int, edges: Mapping[str, str]) -> None:
    """Let these edges, with their VTEPs, carry a VPC's internet gateway; none: it is carried by nobody."""
    gateway, key = gateway_of(vni), keys.gateway_mapping(vni, gateway_of(vni))
    if not edges:
        store.txn((), [Delete(key)])
        return
    mapping = GatewayMapping(vni=vni, gateway=gateway, seats=tuple(Seat(host=host, vtep=vtep) for host, vtep in edges.items()))
    record = InternetGateway(id=gateway, vni=vni)
    store.txn((), [Put(keys.resource(gateway), encode(record)), Put(key, encode(mapping))])
