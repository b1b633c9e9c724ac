"""Internet gateways: a VPC's way to the internet and back. EC2 creates a gateway, then attaches it; here one call does both.

The functions that all kinds of gateways share are here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netorch.control.actions.enis import target_ids
from netorch.control.base import checks
from netorch.control.base.named import add_name
from netorch.control.base.pairs import Pair, carried_by, choose_pair, place_gateway, shown_pair
from netorch.control.base.pools import read_pools
from netorch.control.base.public import gateway_pair, mapped_in, mark_revision, pair_of_addresses
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointService
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import GatewayRecord, InternetGateway, OnlyGateway
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.routing.next_hop import clashes
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.kinds import kind_of
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store

G = TypeVar("G", bound=GatewayRecord | EndpointService)
Placed = TypeVar("Placed", bound=OnlyGateway | VpcEndpoint | EndpointService)


class OnlyGatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway of a kind that a VPC has at most once, with the edges that carry it."""

    gateway: OnlyGateway
    vpc: Vpc
    pair: str
    edges: tuple[str, ...]  # in the order of its seats


def create_internet_gateway(
    store: Store, caller: Caller, vpc_id: str, *, name: str = "", tags: Tags | None = None
) -> InternetGateway:
    """Create a VPC's internet gateway and return it, on the pair of its other gateways or addresses, else the least loaded one.

    Raises:
      ApiError: InvalidVpcID.NotFound, Resource.AlreadyAssociated if the VPC has one, InsufficientInstanceCapacity if there is
        no pair of edges, InvalidParameterValue for a bad name.
    """

    def decide() -> tuple[Writes, InternetGateway]:
        vpc = read_vpc(store, caller, vpc_id)
        where = f"internet gateway {name!r}" if name else "internet gateway"
        if name:
            checks.name(where, name)
        writes = Writes()
        refuse_second(vpc.record, InternetGateway, read_all(store, InternetGateway, vpc.record.vni))
        wanted = InternetGateway(id="", vni=vpc.record.vni, name=name, tags=checks.tags(where, tags))
        made = gateway_writes(writes, store, caller, vpc.record, wanted)
        guard_structure(writes, vpc)
        return writes, made

    return attempt(store, decide)


def refuse_second(vpc: Vpc, kind: type[OnlyGateway], known: Iterable[str]) -> None:
    """Refuse a second gateway of a kind in a VPC. Raises ApiError: Resource.AlreadyAssociated."""
    for gateway_id in known:
        text = f"VPC {vpc.id}: already has the {kind_of(kind).noun} {gateway_id} attached; use that one"
        raise ApiError("Resource.AlreadyAssociated", text)


def gateway_writes(writes: Writes, store: Store, caller: Caller, vpc: Vpc, wanted: Placed) -> Placed:
    """Add a gateway of a VPC on the pair of its other gateways, else of its addresses, and return it.

    `wanted` has no id yet. The caller guards the VPC's structure. Raises ApiError.
    """
    vni = vpc.vni
    writes.expect(keys.public_mark(vni), mark_revision(store, vni))
    only = gateway_pair(store, vni) or pair_of_addresses(read_pools(store), vpc, mapped_in(store, vni))
    pair = choose_pair(store, caller, f"VPC {vpc.id}", only)
    gateway, _ = put_on(writes, caller, vpc, pair, target_ids(store, vni), wanted)
    return gateway


def put_on(
    writes: Writes, caller: Caller, vpc: Vpc, pair: Pair, targets: list[str], wanted: Placed
) -> tuple[Placed, GatewayMapping]:
    """Add a gateway on a pair, and return it with its mapping; `wanted` has no id yet.

    `targets` are the ids of the VPC's other route targets.
    """
    vni = vpc.vni
    gateway_id = fresh_gateway_id(caller, kind_of(type(wanted)).prefix, vni, targets)
    gateway = msgspec.structs.replace(wanted, id=gateway_id)
    writes.create(keys.resource(gateway.id), gateway)
    add_name(writes, vpc, gateway)
    return gateway, place_gateway(writes, pair, vni, gateway.id)


def fresh_gateway_id(caller: Caller, kind: str, vni: int, targets: list[str]) -> str:
    """Return the id of a new gateway that hosts cannot mistake for another route target of the VPC."""
    while True:
        found = caller.new_id(kind, vni)
        if not clashes(found, targets):
            return found


def delete_internet_gateway(store: Store, caller: Caller, gateway_id: str) -> None:
    """Delete an internet gateway. Routes to it become black holes.

    Raises:
      ApiError: InvalidInternetGatewayID.NotFound, DependencyViolation while the VPC has public addresses.
    """

    def decide() -> tuple[Writes, None]:
        vpc, gateway = read(store, caller, InternetGateway, gateway_id)
        vni = vpc.record.vni
        writes = Writes()
        writes.expect(keys.public_mark(vni), mark_revision(store, vni))
        if mapped := mapped_in(store, vni):
            what = f"Network {vpc.record.id} has some mapped public address(es), e.g. {mapped[0].address}"
            fix = "disassociate them, terminate the instances that came with them, or delete the NAT gateways"
            raise ApiError("DependencyViolation", f"internet gateway {gateway_id}: {what}; {fix}")
        delete_gateway(writes, vpc, gateway, get(store, keys.gateway_mapping(vni, gateway_id), GatewayMapping))
        return writes, None

    attempt(store, decide)


def delete_gateway(writes: Writes, vpc: Stored[Vpc], gateway: Stored[G], mapping: Stored[GatewayMapping] | None) -> None:
    """Add the deletion of a gateway, its mapping, placements and reach."""
    delete_part(writes, vpc, gateway)
    if mapping is not None:
        writes.delete(keys.gateway_mapping(gateway.record.vni, gateway.record.id), mapping.mod_revision)
        for seat in mapping.record.seats:
            writes.drop(keys.placement(seat.host, gateway.record.id))
            if isinstance(gateway.record, VirtualPrivateGateway):
                writes.drop(keys.reach(gateway.record.vni, gateway.record.id, seat.host))


def describe_internet_gateways(store: Store, caller: Caller, vpc_id: str) -> list[OnlyGatewayInfo]:
    """Return a VPC's internet gateway, if it has one. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    return [info_of(store, vpc, stored.record) for stored in read_all(store, InternetGateway, vpc.vni).values()]


def describe_internet_gateway(store: Store, caller: Caller, gateway_id: str) -> OnlyGatewayInfo:
    """Return one internet gateway. Raises ApiError: InvalidInternetGatewayID.NotFound."""
    vpc, gateway = read(store, caller, InternetGateway, gateway_id)
    return info_of(store, vpc.record, gateway.record)


def info_of(store: Store, vpc: Vpc, gateway: OnlyGateway) -> OnlyGatewayInfo:
    """Return a gateway's information for display."""
    edges = carried_by(store, vpc.vni, gateway.id)
    return OnlyGatewayInfo(gateway=gateway, vpc=vpc, pair=shown_pair(store, edges), edges=edges)
