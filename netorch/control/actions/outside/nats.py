"""NAT gateways: each has a subnet, an interface in it, and an elastic IP that maps to the interface's private address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions import enis
from netorch.control.actions.outside.gateways import delete_gateway, fresh_gateway_id
from netorch.control.actions.outside.nat_addresses import associate_all, check_count, free_elastic_ips
from netorch.control.base import checks
from netorch.control.base.addresses import open_pool
from netorch.control.base.logged import Logs, logs_of
from netorch.control.base.named import add_name
from netorch.control.base.pairs import Pair, carried_by, choose_pair, place_gateway, shown_pair
from netorch.control.base.public import Publics, gateway_pair, publics_of
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.model.eni import NetworkInterface
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside import nat_metrics
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.status import NatUse
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store


class NatGatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A NAT gateway, with its addresses and the edges that carry it."""

    gateway: NatGateway
    vpc: Vpc
    subnet: str  # name
    address: str  # private
    public: tuple[PublicMapping, ...]  # the primary one first
    pair: str
    edges: tuple[str, ...]  # in seat order: the first active one that answers is in use
    metrics: dict[str, int]  # EC2's; sums of the edges' counters up to a few seconds ago
    dropped: dict[str, int]  # packets by reason, as old as `metrics`


def create_nat_gateway(
    store: Store,
    caller: Caller,
    subnet_id: str,
    allocation_id: str,
    *,
    name: str,
    secondary: Sequence[str] = (),
    address: str = "",
    tags: Tags | None = None,
) -> NatGateway:
    """Create a NAT gateway in a subnet, whose route table its packets follow, and return it.

    `allocation_id` is its primary elastic IP, which maps to the private `address`; `secondary` are further elastic IPs.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidAllocationID.NotFound, NatGatewayLimitExceeded, Gateway.NotAttached for a VPC
        without an internet gateway, Resource.AlreadyAssociated for an elastic IP that is mapped, PrivateIpAddressLimitExceeded
        for too many of them, InvalidIPAddress.InUse, InsufficientFreeAddressesInSubnet, NetworkInterfaceLimitExceeded,
        InvalidParameterValue for a bad value or a taken name, InsufficientInstanceCapacity while an edge of the pair is being
        deleted.
    """
    where = f"NAT gateway {checks.name(f'NAT gateway {name!r}', name)}"

    def decide() -> tuple[Writes, NatGateway]:
        vpc, subnet = read(store, caller, Subnet, subnet_id)
        vni = vpc.record.vni
        _check_room(store, vpc.record, name)
        check_count(name, len(secondary))
        pair_name = gateway_pair(store, vni)
        held = free_elastic_ips(store, caller, where, vpc.record, pair_name, [allocation_id, *secondary])
        pair = choose_pair(store, caller, f"VPC {vpc.record.id}", pair_name)
        writes = Writes()
        guard_structure(writes, vpc)
        enis.room_for_interfaces(store, vpc.record, 1)
        pool = open_pool(store, subnet.record)
        addresses = [pool.requested(address, 4) or pool.next(4), *(pool.next(4) for _ in secondary)]
        targets = enis.target_ids(store, vni)
        made, eni = new_gateway(caller, subnet.record, targets, addresses, name=name, tags=checks.tags(where, tags))
        create_writes(writes, vpc.record, subnet, pair, made, eni)
        pool.save(writes)
        associate_all(writes, caller, vpc, eni, dict(zip(addresses, held, strict=True)))
        return writes, made

    return attempt(store, decide)


def _check_room(store: Store, vpc: Vpc, name: str) -> None:
    known = read_all(store, NatGateway, vpc.vni).values()
    check_room(quotas_of(store, vpc.owner), "NatGatewayLimitExceeded", f"VPC {vpc.id}", len(known) + 1)
    if any(other.record.name == name for other in known):
        raise duplicate_name("nat", name, "the VPC")


def new_gateway(
    caller: Caller, subnet: Subnet, targets: Iterable[str], addresses: Sequence[str], *, name: str, tags: Tags
) -> tuple[NatGateway, NetworkInterface]:
    """Return a new gateway and its interface; `targets` are the ids of the VPC's other route targets.

    `addresses` are the private ones, the primary one first.
    """
    vni, others = subnet.vni, list(targets)
    gateway_id = fresh_gateway_id(caller, "nat", vni, others)
    taken = {host_name for target in (*others, gateway_id) for host_name in enis.host_names(target)}
    eni = NetworkInterface(
        id=enis.fresh_id(caller, "eni", vni, taken),
        vni=vni,
        subnet=subnet.id,
        mac=gateway_mac(gateway_id),
        address=addresses[0],
        secondary=tuple(addresses[1:]),
        gateway=gateway_id,
    )
    return NatGateway(id=gateway_id, vni=vni, name=name, subnet=subnet.id, eni=eni.id, tags=tags), eni


def create_writes(
    writes: Writes, vpc: Vpc, subnet: Stored[Subnet], pair: Pair, gateway: NatGateway, eni: NetworkInterface
) -> GatewayMapping:
    """Add a new gateway with its interface on a pair of edges, and return its mapping.

    The caller guards the VPC's structure and saves the subnet's cursor.
    """
    writes.create(keys.resource(gateway.id), gateway)
    add_name(writes, vpc, gateway)
    writes.expect(keys.resource(subnet.record.id), subnet.mod_revision)
    enis.create_writes(writes, vpc, eni)
    enis.hold_addresses(writes, eni)
    return place_gateway(writes, pair, gateway.vni, gateway.id)


def delete_nat_gateway(store: Store, caller: Caller, nat_id: str) -> None:
    """Delete a NAT gateway. Its owner keeps its elastic IPs; routes to the gateway become black holes.

    Raises:
      ApiError: NatGatewayNotFound.
    """

    def decide() -> tuple[Writes, None]:
        vpc, gateway = read(store, caller, NatGateway, nat_id)
        eni = get(store, keys.resource(gateway.record.eni), NetworkInterface)
        mapping = get(store, keys.gateway_mapping(gateway.record.vni, nat_id), GatewayMapping)
        publics = publics_of(store, vpc.record, caller.now())
        writes = Writes()
        delete_writes(writes, vpc, gateway, eni, mapping, logs_of(store, gateway.record.vni), publics)
        return writes, None

    attempt(store, decide)


def delete_writes(
    writes: Writes,
    vpc: Stored[Vpc],
    gateway: Stored[NatGateway],
    eni: Stored[NetworkInterface] | None,
    mapping: Stored[GatewayMapping] | None,
    logs: Logs,
    publics: Publics,
) -> None:
    """Add the deletion of a NAT gateway with its interface, mapping and placements."""
    delete_gateway(writes, vpc, gateway, mapping)
    if eni is not None:
        enis.delete_writes(writes, vpc.record, eni, {}, logs, publics)


def describe_nat_gateways(store: Store, caller: Caller, vpc_id: str) -> list[NatGatewayInfo]:
    """Return a VPC's NAT gateways by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    found = (stored.record for stored in read_all(store, NatGateway, vpc.vni).values())
    publics = publics_of(store, vpc, caller.now())
    return [_info(store, vpc, gateway, publics) for gateway in sorted(found, key=lambda gateway: gateway.name)]


def describe_nat_gateway(store: Store, caller: Caller, nat_id: str) -> NatGatewayInfo:
    """Return one NAT gateway. Raises ApiError: NatGatewayNotFound."""
    vpc, gateway = read(store, caller, NatGateway, nat_id)
    return _info(store, vpc.record, gateway.record, publics_of(store, vpc.record, caller.now()))


def _info(store: Store, vpc: Vpc, gateway: NatGateway, publics: Publics) -> NatGatewayInfo:
    eni, subnet = get(store, keys.resource(gateway.eni), NetworkInterface), get(store, keys.resource(gateway.subnet), Subnet)
    edges = carried_by(store, vpc.vni, gateway.id)
    said = [found.record for edge in edges if (found := get(store, keys.nat_use(edge, gateway.id), NatUse)) is not None]
    return NatGatewayInfo(
        gateway=gateway,
        vpc=vpc,
        subnet=subnet.record.name if subnet is not None else "",
        address=eni.record.address if eni is not None else "",
        public=_in_order(eni.record if eni is not None else None, publics.of(gateway.eni)),
        pair=shown_pair(store, edges),
        edges=edges,
        metrics=nat_metrics.total(use.metrics for use in said),
        dropped=dict(sum((Counter(use.dropped) for use in said), Counter())),
    )


def _in_order(eni: NetworkInterface | None, mappings: Iterable[Stored[PublicMapping]]) -> tuple[PublicMapping, ...]:
    """Return the public mappings of an interface in the order of its addresses."""
    places = {address: place for place, address in enumerate(eni.addresses)} if eni is not None else {}
    found = (stored.record for stored in mappings)
    return tuple(sorted(found, key=lambda mapping: (places.get(mapping.private_address, len(places)), mapping.address)))
