"""Reading of records for actions, each with the revision that the action's transaction compares."""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from netorch.errors import UnreadableRecord
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import not_found
from netorch.records.kind import Kind
from netorch.records.kinds import kind_of
from netorch.store.base import KeyValue, Store

T = TypeVar("T")


class Stored(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A record with its revision."""

    record: T
    mod_revision: int


def stored(kv: KeyValue, kind: type[T]) -> Stored[T]:
    """Return the record of a key-value pair. Raises UnreadableRecord."""
    return Stored(decode(kv, kind), kv.mod_revision)


def get(store: Store, key: str, kind: type[T]) -> Stored[T] | None:
    """Return one record, or None. Raises UnreadableRecord."""
    kv = store.get(key)
    return None if kv is None else stored(kv, kind)


def listed(store: Store, prefix: str, kind: type[T]) -> dict[str, Stored[T]]:
    """Return the records below a prefix by the rest of their key, in key order. Raises UnreadableRecord."""
    return {kv.key[len(prefix) :]: stored(kv, kind) for kv in store.list(prefix).kvs}


def read_vpc(store: Store, caller: Caller, vpc_id: str) -> Stored[Vpc]:
    """Return a VPC that the caller may see. Raises ApiError: InvalidVpcID.NotFound."""
    found = seen_vpc(store, caller, vni_of(vpc_id)) if is_id(vpc_id, "vpc") else None
    if found is None or found.record.id != vpc_id:
        raise not_found("vpc", vpc_id)
    return found


def seen_vpc(store: Store, caller: Caller, vni: int) -> Stored[Vpc] | None:
    """Return the VPC of a VNI if the caller may see it. Raises UnreadableRecord for the operator only: its owner is unknown."""
    try:
        found = get(store, keys.vpc(vni), Vpc)
    except UnreadableRecord:
        if caller.operator:
            raise
        return None
    return found if found is not None and caller.sees(found.record.owner) else None


def read(store: Store, caller: Caller, of: type[T], resource_id: str) -> tuple[Stored[Vpc], Stored[T]]:
    """Return a resource and its VPC. Raises ApiError: EC2's NotFound code of its kind, also for another owner's resource."""
    kind = kind_of(of)
    vpc = _vpc_with(store, caller, kind, resource_id) if is_id(resource_id, kind.prefix) else None
    found = get(store, keys.member(vpc.record.vni, resource_id), of) if vpc is not None else None
    if vpc is None or found is None:
        raise not_found(kind.prefix, resource_id)
    return vpc, found


def _vpc_with(store: Store, caller: Caller, kind: Kind[T], resource_id: str) -> Stored[Vpc] | None:
    """Return the VPC in which the caller may see a resource: the VPC in the id, or the other VPC of a shared resource."""
    vpc = seen_vpc(store, caller, vni_of(resource_id))
    if vpc is not None or kind.shared_with is None:
        return vpc
    with suppress(UnreadableRecord):  # another owner's record: only the operator may see the error
        shared = get(store, keys.resource(resource_id), kind.type)
        return seen_vpc(store, caller, kind.shared_with(shared.record)) if shared is not None else None
    return None


def read_named(store: Store, of: type[T], name: str) -> Stored[T]:
    """Return an operator's resource by name, e.g. a host. Raises ApiError: EC2's NotFound code of its kind."""
    kind = kind_of(of)
    assert kind.at is not None
    found = get(store, kind.at(name), of)
    if found is None:
        raise not_found(kind.prefix, name)
    return found


def read_owned(store: Store, caller: Caller, of: type[T], resource_id: str) -> Stored[T]:
    """Return an owner's resource outside VPCs. Raises ApiError: NotFound, also for another owner's resource."""
    kind = kind_of(of)
    owners = _owners_of(store, caller, kind, resource_id) if is_id(resource_id, kind.prefix) else []
    found = [stored for owner in owners if (stored := get(store, keys.owned(kind.root, owner, resource_id), of)) is not None]
    if not found:
        raise not_found(kind.prefix, resource_id)
    return found[0]


def read_all_owned(store: Store, caller: Caller, of: type[T]) -> list[T]:
    """Return the resources of one kind outside VPCs that the caller sees, by owner and id. Raises UnreadableRecord."""
    root = kind_of(of).root
    prefix = keys.owned_prefix(root, caller.owner) if not caller.operator else f"{root}/"
    return [stored.record for stored in listed(store, prefix, of).values()]


def _owners_of(store: Store, caller: Caller, kind: Kind[T], resource_id: str) -> list[str]:
    """Return the possible owners of a resource: the caller, or for the operator the owners in the index of ids."""
    if not caller.operator:
        return [caller.owner]
    return [kv.key.split("/")[3] for kv in store.list(keys.named(kind.prefix, resource_id)).kvs]


def read_all(store: Store, of: type[T], vni: int) -> dict[str, Stored[T]]:
    """Return a VPC's resources of one kind by id. Raises UnreadableRecord."""
    return listed(store, keys.resources(vni, kind_of(of).prefix), of)


def mappings_of(store: Store, eni: NetworkInterface) -> dict[str, Stored[Mapping]]:
    """Return the mappings of an interface by key; empty while it is not attached."""
    found = {}
    for address in eni.addresses:
        key = keys.mapping(eni.vni, address)
        mapping = get(store, key, Mapping)
        if mapping is not None and mapping.record.eni == eni.id:
            found[key] = mapping
    return found
