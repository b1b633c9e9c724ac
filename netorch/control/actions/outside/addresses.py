"""Elastic IP addresses: public addresses that a customer holds and maps to addresses of interfaces.

Another owner's address is reported as unknown. Each action is one transaction over all records of an address's use: its key
`alloc/eip/<address>`, the holder's record, and the mapping that edges read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.control.actions.enis import attached_to, refuse_managed
from netorch.control.actions.outside.associations import already_associated, association_of, of_gateway, refuse_of_gateway
from netorch.control.base import checks
from netorch.control.base.named import create_owned, delete_owned, owned_id
from netorch.control.base.pools import Addresses, open_addresses
from netorch.control.base.public import Publics, gateway_pair, owner_pair, private_address, publics_of, stand_for, use_of
from netorch.control.base.quotas import check_room, quotas_of
from netorch.control.base.uses import drop_last_mark, use_key, use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.addr import AddressError, canonical_ip
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import PublicMapping
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.status import PublicUse
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored, get, listed, read, read_all_owned, read_named, read_owned
from netorch.store.alloc import holder_of, release
from netorch.store.base import KeyValue, Store

_REASSOCIATE: Final = "disassociate it first, or use --allow-reassociation"


def allocate_address(
    store: Store, caller: Caller, *, pool: str = "", address: str = "", name: str = "", tags: Tags | None = None
) -> ElasticIp:
    """Allocate a public address from a pool, or the named address, and return it; the caller holds it until it is released.

    Without either, the address arrives at the caller's gateways if one pair of edges carries them all, so that it can be
    associated there. Otherwise any address is chosen.

    Raises:
      ApiError: AddressLimitExceeded, InsufficientAddressCapacity, InvalidPublicIpv4PoolID.NotFound, InvalidAddress.NotFound for
        an address outside all pools, InvalidIPAddress.InUse, InvalidParameterValue for a bad or taken name.
    """
    where = f"elastic IP address {name!r}" if name else "elastic IP address"

    def decide() -> tuple[Writes, ElasticIp]:
        owner = checks.name(f"owner {caller.owner!r}", caller.owner)
        writes = Writes()
        _room(writes, store, owner, where, name)
        if pool:
            read_named(store, AddressPool, pool)
        pair = owner_pair(store, owner) if not pool and not address else ""
        addresses = open_addresses(store, caller)
        wanted = Wanted(owner=owner, name=name, pool=pool, pair=pair, address=address)
        return writes, allocate_writes(writes, caller, addresses, where, wanted, checks.tags(where, tags))

    return attempt(store, decide)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a new elastic IP; omitted ones are chosen."""

    owner: str
    name: str = ""
    pool: str = ""
    pair: str = ""  # on which the address must arrive
    address: str = ""


def allocate_writes(writes: Writes, caller: Caller, addresses: Addresses, where: str, wanted: Wanted, tags: Tags) -> ElasticIp:
    """Add a new elastic IP, and return it. The caller guards the owner's other ones. Raises ApiError: no address."""
    made_id = caller.new_id("eipalloc", 0)
    if wanted.address:
        address = checks.address(wanted.address, where, 4)
        chosen = addresses.requested(where, address, made_id, wanted.owner)
        if wanted.pool and chosen.pool.record.name != wanted.pool:
            raise invalid(where, f"{wanted.address} is not in pool {wanted.pool}", "leave one of the two out")
    else:
        if wanted.pool and wanted.pool not in addresses.pools:
            raise not_found("pool", wanted.pool)
        pools = addresses.pools.values()
        fit = [pool for pool in pools if wanted.pool in ("", pool.record.name) and wanted.pair in ("", pool.record.pair)]
        chosen = addresses.next(where, fit, made_id, wanted.owner)
    chosen.take(writes)
    pool = chosen.pool.record.name
    made = ElasticIp(id=made_id, owner=wanted.owner, address=chosen.address, pool=pool, name=wanted.name, tags=tags)
    create_owned(writes, made)
    return made


def _room(writes: Writes, store: Store, owner: str, where: str, name: str) -> None:
    """Refuse one elastic IP beyond the quota, or a taken name; simultaneous allocations conflict. Raises ApiError."""
    mark = owner_mark(owner)
    writes.change(use_key(mark), use_revision(store, mark), True)
    others = listed(store, keys.owned_prefix("eip", owner), ElasticIp).values()
    check_room(quotas_of(store, owner), "AddressLimitExceeded", f"owner {owner}", len(others) + 1)
    if name and any(other.record.name == checks.name(where, name) for other in others):
        raise invalid(where, f"owner {owner} already has one with that name", "choose another name")


def owner_mark(owner: str) -> str:
    """Return the mark (`use_key`) by which simultaneous allocations of an owner's elastic IPs conflict."""
    return f"eip/{owner}"


def release_address(store: Store, caller: Caller, allocation_id: str) -> None:
    """Release an elastic IP that is not associated. The address goes into hold-down.

    Raises:
      ApiError: InvalidAllocationID.NotFound, InvalidIPAddress.InUse while it is associated.
    """

    def decide() -> tuple[Writes, None]:
        held = read_owned(store, caller, ElasticIp, allocation_id)
        record = held.record
        if record.vni:
            before = association_of(store, record)
            of_nat = of_gateway(store, before.record) if before is not None else ""
            why = f", and {of_nat}" if of_nat else f"; first: netorch address disassociate {record.address}"
            raise ApiError("InvalidIPAddress.InUse", f"elastic IP address {record.address}: Address is in use{why}")
        writes = Writes()
        release_writes(writes, held, store.get(keys.public_address(record.address)), caller.now())
        drop_last_mark(writes, store, owner_mark(record.owner), keys.owned_prefix("eip", record.owner))
        return writes, None

    attempt(store, decide)


def release_writes(writes: Writes, held: Stored[ElasticIp], claim: KeyValue | None, now: float) -> None:
    """Add the release of an unassociated elastic IP; `claim` is its address's. The caller handles the owner's mark."""
    record = held.record
    delete_owned(writes, held)
    if claim is not None and holder_of(claim) == record.id:
        writes.claim(release(claim, now, record.owner))


def associate_address(
    store: Store,
    caller: Caller,
    allocation_id: str,
    *,
    instance: str = "",
    interface: str = "",
    private: str = "",
    allow_reassociation: bool = False,
) -> PublicMapping:
    """Map an elastic IP to an address of an interface, or of an instance's only interface, and return the mapping.

    It replaces an ephemeral address, which is given back. With `allow_reassociation` it may leave its current mapping, and
    replace another elastic IP.

    Raises:
      ApiError: InvalidAllocationID.NotFound, InvalidInstanceID.NotFound, InvalidNetworkInterfaceID.NotFound, InvalidInstanceID
        for an instance with several interfaces, Gateway.NotAttached for a VPC without an internet gateway,
        Resource.AlreadyAssociated, InvalidParameterValue for an address that the interface does not have, or a pool of another
        pair, InvalidParameterCombination unless exactly one of instance and interface is named, OperationNotPermitted for an
        interface of a gateway or endpoint, or a NAT gateway's address.
    """

    def decide() -> tuple[Writes, PublicMapping]:
        held = read_owned(store, caller, ElasticIp, allocation_id)
        vpc, eni = _interface(store, caller, instance, interface)
        refuse_managed(eni.record)
        check_end(held.record, vpc.record, gateway_pair(store, vpc.record.vni), pair_of_pool(store, held.record))
        own = private_address(eni.record, private)
        publics = publics_of(store, vpc.record, caller.now())
        before = association_of(store, held.record)
        if before is not None:
            refuse_of_gateway(store, before.record)
        mapping = new_mapping(caller, held.record, eni.record, own)
        writes = Writes()
        if before is not None and not allow_reassociation:
            raise already_associated(f"elastic IP address {held.record.address}", before.record, _REASSOCIATE)
        _replace(writes, publics, mapping, allow_reassociation=allow_reassociation)
        associate_writes(writes, vpc, eni, held, mapping, before)
        return writes, mapping

    return attempt(store, decide)


def new_mapping(caller: Caller, elastic: ElasticIp, eni: NetworkInterface, private: str) -> PublicMapping:
    """Return the mapping of an elastic IP to an address of an interface."""
    return PublicMapping(
        vni=eni.vni,
        address=elastic.address,
        association=caller.new_id("eipassoc", eni.vni),
        eni=eni.id,
        private_address=private,
        pool=elastic.pool,
        allocation=elastic.id,
    )


def _interface(store: Store, caller: Caller, instance: str, interface: str) -> tuple[Stored[Vpc], Stored[NetworkInterface]]:
    """Return the named interface, or an instance's only one. Raises ApiError."""
    if bool(instance) == bool(interface):
        text = "elastic IP address: name either the instance or the interface to associate it with"
        raise ApiError("InvalidParameterCombination", text)
    if interface:
        return read(store, caller, NetworkInterface, interface)
    vpc, found = read(store, caller, Instance, instance)
    enis = attached_to(store, found.record)
    if len(enis) > 1:
        what = f"There are multiple interfaces attached to instance '{instance}'"
        raise ApiError("InvalidInstanceID", f"{what}; name one of them instead: {', '.join(eni.record.id for eni in enis)}")
    return vpc, enis[0]


def check_end(elastic: ElasticIp, vpc: Vpc, pair: str, arrives: str) -> None:
    """Refuse an address that cannot arrive in a VPC.

    `pair` carries the VPC's gateway, if it has one; the address arrives on the pair `arrives`.

    Raises:
      ApiError: Gateway.NotAttached, InvalidParameterValue.
    """
    where = f"elastic IP address {elastic.address}"
    if elastic.owner != vpc.owner:
        raise invalid(
            where, f"belongs to owner {elastic.owner}, and VPC {vpc.id} to {vpc.owner}", "associate it in a VPC of its owner"
        )
    if not pair:
        text = f"{where}: Network {vpc.id} is not attached to any internet gateway; first: netorch igw create NAME --vpc {vpc.id}"
        raise ApiError("Gateway.NotAttached", text)
    if arrives != pair:
        what = f"is in pool {elastic.pool}, which is not routed to the VPC's internet gateway"
        raise invalid(where, what, "allocate another one, without a pool, and release this one")


def pair_of_pool(store: Store, elastic: ElasticIp) -> str:
    """Return the pair of edges on which an elastic IP arrives."""
    return read_named(store, AddressPool, elastic.pool).record.pair


def _replace(writes: Writes, publics: Publics, mapping: PublicMapping, *, allow_reassociation: bool) -> None:
    """Add the end of another public address's mapping to the same private one. Raises ApiError: Resource.AlreadyAssociated."""
    for other in publics.of(mapping.eni):
        if other.record.private_address != mapping.private_address or other.record.address == mapping.address:
            continue
        if other.record.allocation and not allow_reassociation:
            raise already_associated(f"elastic IP address {other.record.address}", other.record, _REASSOCIATE)
        publics.end(writes, other)


def associate_writes(
    writes: Writes,
    vpc: Stored[Vpc],
    eni: Stored[NetworkInterface],
    held: Stored[ElasticIp],
    mapping: PublicMapping,
    before: Stored[PublicMapping] | None,
) -> None:
    """Add an elastic IP's mapping. It rewrites the interface, so a deletion of that at the same time is decided again."""
    writes.change(keys.resource(eni.record.id), eni.mod_revision, eni.record)
    known = 0
    if before is not None and before.record.vni == mapping.vni:
        known = before.mod_revision
    elif before is not None:
        writes.delete(keys.public_mapping(before.record.vni, before.record.address), before.mod_revision)
    stand_for(writes, vpc, mapping, known)
    changed = msgspec.structs.replace(held.record, vni=mapping.vni)
    writes.change(keys.owned("eip", changed.owner, changed.id), held.mod_revision, changed)


def disassociate_address(store: Store, caller: Caller, allocation_id: str) -> ElasticIp:
    """End an elastic IP's mapping and return the elastic IP; its owner keeps it.

    Raises:
      ApiError: InvalidAllocationID.NotFound, InvalidAssociationID.NotFound if it is not associated, OperationNotPermitted for
        an address of a NAT gateway.
    """

    def decide() -> tuple[Writes, ElasticIp]:
        held = read_owned(store, caller, ElasticIp, allocation_id)
        before = association_of(store, held.record)
        if before is None:
            text = f"elastic IP address {held.record.address}: is not associated; there is nothing to disassociate"
            raise ApiError("InvalidAssociationID.NotFound", text)
        refuse_of_gateway(store, before.record)
        idle = msgspec.structs.replace(held.record, vni=0)
        writes = Writes()
        writes.delete(keys.public_mapping(before.record.vni, before.record.address), before.mod_revision)
        writes.change(keys.owned("eip", idle.owner, idle.id), held.mod_revision, idle)
        return writes, idle

    return attempt(store, decide)


def allocation_of(store: Store, caller: Caller, text: str) -> str:
    """Return the id of an elastic IP by id, address, association or name (`name`, `owner/name`).

    Raises:
      ApiError: InvalidAllocationID.NotFound, InvalidAddress.NotFound, InvalidAssociationID.NotFound, InvalidParameterValue for
        a name that several elastic IPs have.
    """
    if is_id(text, "eipalloc"):
        return read_owned(store, caller, ElasticIp, text).record.id
    if is_id(text, "eipassoc"):
        mappings = listed(store, keys.public_mapping(vni_of(text), ""), PublicMapping).values()
        found = [stored.record.allocation for stored in mappings if stored.record.association == text]
        return _seen(store, caller, found, ApiError("InvalidAssociationID.NotFound", f"association {text!r}: does not exist"))
    try:
        address = canonical_ip(text)
    except AddressError:
        return owned_id(store, caller, "eipalloc", text)
    missing = ApiError("InvalidAddress.NotFound", f"address {address}: is not an elastic IP; `netorch address list` lists them")
    return _seen(store, caller, [holder_of(store.get(keys.public_address(address)))], missing)


def _seen(store: Store, caller: Caller, ids: list[str], missing: ApiError) -> str:
    """Return the first id of an elastic IP if the caller sees it. Raises ApiError: `missing`."""
    for found in ids:
        try:
            return read_owned(store, caller, ElasticIp, found).record.id
        except ApiError:
            raise missing from None
    raise missing


class AddressInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An elastic IP and its mapping."""

    elastic: ElasticIp
    mapping: PublicMapping | None
    vpc: Vpc | None
    instance: str = ""  # id of the interface's instance
    use: PublicUse = PublicUse()


def describe_addresses(store: Store, caller: Caller) -> list[AddressInfo]:
    """Return the elastic IPs that the caller sees, by owner and address. Raises UnreadableRecord."""
    found = read_all_owned(store, caller, ElasticIp)
    return [_info(store, elastic) for elastic in sorted(found, key=lambda elastic: (elastic.owner, elastic.address))]


def describe_address(store: Store, caller: Caller, allocation_id: str) -> AddressInfo:
    """Return one elastic IP. Raises ApiError: InvalidAllocationID.NotFound."""
    return _info(store, read_owned(store, caller, ElasticIp, allocation_id).record)


def _info(store: Store, elastic: ElasticIp) -> AddressInfo:
    before = association_of(store, elastic)
    if before is None:
        return AddressInfo(elastic=elastic, mapping=None, vpc=None)
    vpc = get(store, keys.vpc(elastic.vni), Vpc)
    eni = get(store, keys.resource(before.record.eni), NetworkInterface)
    return AddressInfo(
        elastic=elastic,
        mapping=before.record,
        vpc=vpc.record if vpc is not None else None,
        instance=eni.record.instance if eni is not None else "",
        use=use_of(store, elastic.vni, elastic.address),
    )
