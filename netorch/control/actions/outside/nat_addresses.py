"""The secondary elastic IPs of NAT gateways: each maps to a secondary private address of the gateway's interface.

After disassociation an address drains: no new connection uses it, and existing ones may continue for a while. Then an edge of
the gateway ends the drain (netorch.agent.tasks.nat_drains) and the address's mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from netorch.control.actions.outside.addresses import check_end, new_mapping, pair_of_pool
from netorch.control.actions.outside.associations import already_associated, association_of
from netorch.control.base.addresses import AddressPool, claim_key, open_pool
from netorch.control.base.public import Publics, gateway_pair, publics_of, stand_for
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.eni import NetworkInterface
from netorch.model.outside.gateway import MAX_PUBLIC, NatGateway
from netorch.model.outside.public import ElasticIp
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.read import Stored, get, read, read_owned
from netorch.store.base import Store

T = TypeVar("T")

DRAIN_S: Final = 350  # EC2's default of MaxDrainDurationSeconds
DRAIN_FIRST_S, DRAIN_LAST_S = 1, 4000  # EC2's


def associate_nat_gateway_address(store: Store, caller: Caller, nat_id: str, allocations: Sequence[str]) -> NatGateway:
    """Add elastic IPs to a NAT gateway, each with a new private address, and return the gateway.

    Raises:
      ApiError: NatGatewayNotFound, InvalidAllocationID.NotFound, Resource.AlreadyAssociated, PrivateIpAddressLimitExceeded,
        InsufficientFreeAddressesInSubnet, InvalidParameterValue for an elastic IP from another pair's pool.
    """

    def decide() -> tuple[Writes, NatGateway]:
        vpc, gateway = read(store, caller, NatGateway, nat_id)
        eni, subnet = _needed(store, gateway.record.eni, NetworkInterface), _needed(store, gateway.record.subnet, Subnet)
        pair = gateway_pair(store, vpc.record.vni)
        pool, writes = open_pool(store, subnet.record), Writes()
        check_count(nat_id, len(eni.record.secondary) + len(allocations))
        held = free_elastic_ips(store, caller, f"NAT gateway {nat_id}", vpc.record, pair, allocations)
        changed = add_addresses(writes, eni, subnet, pool, len(allocations))
        new = changed.secondary[len(eni.record.secondary) :]
        associate_all(writes, caller, vpc, changed, dict(zip(new, held, strict=True)))
        pool.save(writes)
        writes.change(keys.resource(nat_id), gateway.mod_revision, gateway.record)  # a simultaneous deletion conflicts
        return writes, gateway.record

    return attempt(store, decide)


def free_elastic_ips(
    store: Store, caller: Caller, where: str, vpc: Vpc, pair: str, allocations: Sequence[str]
) -> list[Stored[ElasticIp]]:
    """Return elastic IPs for a VPC's gateway on the pair `pair`.

    Raises:
      ApiError: InvalidAllocationID.NotFound, Gateway.NotAttached, Resource.AlreadyAssociated, InvalidParameterValue for an
        elastic IP that is named twice or is from another pair's pool.
    """
    found = []
    for allocation in allocations:
        held = read_owned(store, caller, ElasticIp, allocation)
        where_held = f"elastic IP address {held.record.address}"
        if allocations.count(allocation) > 1:
            raise invalid(where, f"{where_held} is named twice", "name it once")
        check_end(held.record, vpc, pair, pair_of_pool(store, held.record))
        if (before := association_of(store, held.record)) is not None:
            raise already_associated(where_held, before.record)
        found.append(held)
    return found


def associate_all(
    writes: Writes, caller: Caller, vpc: Stored[Vpc], eni: NetworkInterface, held: Mapping[str, Stored[ElasticIp]]
) -> None:
    """Add the mappings of elastic IPs, by private address, to a gateway's interface."""
    for address, elastic in held.items():
        stand_for(writes, vpc, new_mapping(caller, elastic.record, eni, address))
        used = msgspec.structs.replace(elastic.record, vni=eni.vni)
        writes.change(keys.owned("eip", used.owner, used.id), elastic.mod_revision, used)


def check_count(where: str, secondary: int) -> None:
    """Refuse more addresses than a gateway may have. Raises ApiError: PrivateIpAddressLimitExceeded."""
    if secondary >= MAX_PUBLIC:
        what = f"a NAT gateway has at most {MAX_PUBLIC} addresses, and would have {secondary + 1}"
        raise ApiError("PrivateIpAddressLimitExceeded", f"NAT gateway {where}: {what}; create another gateway for the rest")


def add_addresses(
    writes: Writes, eni: Stored[NetworkInterface], subnet: Stored[Subnet], pool: AddressPool, count: int
) -> NetworkInterface:
    """Add private addresses to a gateway's interface, and return the changed interface. The caller saves the pool's cursor."""
    new = tuple(pool.next(4) for _ in range(count))
    changed = msgspec.structs.replace(eni.record, secondary=eni.record.secondary + new)
    writes.expect(keys.resource(subnet.record.id), subnet.mod_revision)
    writes.change(keys.resource(changed.id), eni.mod_revision, changed)
    for address in new:
        writes.create(claim_key(changed.vni, address), changed.id)
    return changed


def disassociate_nat_gateway_address(
    store: Store, caller: Caller, nat_id: str, allocations: Sequence[str], *, drain_s: int = DRAIN_S
) -> NatGateway:
    """Start to drain secondary elastic IPs of a NAT gateway and return it: they are not used for new connections.

    Their mappings end when their connections have ended, or after `drain_s` seconds.

    Raises:
      ApiError: NatGatewayNotFound, InvalidAllocationID.NotFound, InvalidAssociationID.NotFound for an elastic IP of another
        holder, OperationNotPermitted for the primary one, InvalidParameterValue.
    """

    def decide() -> tuple[Writes, NatGateway]:
        _, gateway = read(store, caller, NatGateway, nat_id)
        eni = _needed(store, gateway.record.eni, NetworkInterface).record
        draining, until = dict(gateway.record.draining), caller.now() + drain_s
        for allocation in allocations:
            held = read_owned(store, caller, ElasticIp, allocation).record
            mapping = association_of(store, held)
            if mapping is None or mapping.record.eni != eni.id:
                raise ApiError(
                    "InvalidAssociationID.NotFound",
                    f"elastic IP address {held.address}: is not associated with NAT gateway {nat_id}",
                )
            if mapping.record.private_address == eni.address:
                what = f"is the primary address of NAT gateway {nat_id}, which it keeps until it is deleted"
                raise ApiError(
                    "OperationNotPermitted", f"elastic IP address {held.address}: {what}; create another gateway instead"
                )
            draining[mapping.record.private_address] = min(until, draining.get(mapping.record.private_address, until))
        changed = msgspec.structs.replace(gateway.record, draining=draining)
        writes = Writes()
        writes.change(keys.resource(nat_id), gateway.mod_revision, changed)
        return writes, changed

    if not DRAIN_FIRST_S <= drain_s <= DRAIN_LAST_S:
        what = f"a drain of {drain_s} s is out of range"
        raise invalid(f"NAT gateway {nat_id}", what, f"choose {DRAIN_FIRST_S} to {DRAIN_LAST_S}")
    return attempt(store, decide)


def end_drain(store: Store, nat_id: str, addresses: Iterable[str], now: float) -> None:
    """Release drained private addresses of a gateway and end their mappings. Raises UnreadableRecord, Conflict."""
    wanted = frozenset(addresses)

    def decide() -> tuple[Writes, None]:
        writes, gateway = Writes(), get(store, keys.resource(nat_id), NatGateway)
        if gateway is None:
            return writes, None
        vpc, eni = get(store, keys.vpc(gateway.record.vni), Vpc), _needed(store, gateway.record.eni, NetworkInterface)
        ended = [address for address in gateway.record.draining if address in wanted]
        if ended and vpc is not None:
            remove_addresses(writes, eni, ended, publics_of(store, vpc.record, now))
            kept = {address: until for address, until in gateway.record.draining.items() if address not in ended}
            writes.change(keys.resource(nat_id), gateway.mod_revision, msgspec.structs.replace(gateway.record, draining=kept))
        return writes, None

    attempt(store, decide)


def remove_addresses(
    writes: Writes, eni: Stored[NetworkInterface], addresses: Sequence[str], publics: Publics
) -> NetworkInterface:
    """Add the release of secondary private addresses and the end of their mappings, and return the changed interface."""
    kept = tuple(address for address in eni.record.secondary if address not in addresses)
    changed = msgspec.structs.replace(eni.record, secondary=kept)
    writes.change(keys.resource(changed.id), eni.mod_revision, changed)
    for address in addresses:
        writes.drop(claim_key(changed.vni, address))
    for mapping in publics.of(changed.id):
        if mapping.record.private_address in addresses:
            publics.end(writes, mapping)
    return changed


def _needed(store: Store, record_id: str, kind: type[T]) -> Stored[T]:
    found = get(store, keys.resource(record_id), kind)
    if found is None:
        raise UnreadableRecord(keys.resource(record_id), "is missing")
    return found
