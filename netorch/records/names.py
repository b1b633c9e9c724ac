"""The index of names: it finds the VPCs of a name with a few keys, whatever the size of the store.

The index leaves out names that every VPC has, such as that of its default group. They are looked up in all VPCs of the owner. A
resource that two VPCs share may have a different, changeable name in each. Look it up within one VPC, or by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.outside.public import ElasticIp
from netorch.model.outside.vpn import CustomerGateway
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.kind import Kind, Scope
from netorch.records.kinds import BY_PREFIX, BY_TYPE
from netorch.records.read import get
from netorch.store.alloc import holder_of
from netorch.store.base import Store

if TYPE_CHECKING:
    from netorch.records.inventory import Inventory
    from netorch.records.vpc import VpcRecords


def key_of(owner: str, record: Any) -> str:  # noqa: ANN401 - a VPC or any resource of a VPC
    """Return the index key of a resource's name; empty if the resource has none or is shared."""
    kind = BY_TYPE[type(record)]
    return keys.named(kind.prefix, record.name, owner, record.id) if record.name and kind.shared_with is None else ""


def is_indexed(record: Any) -> bool:  # noqa: ANN401 - a VPC or any resource of a VPC
    """Return whether the index has the names of such resources. Older versions indexed all names."""
    return bool(record.name != BY_TYPE[type(record)].given)


def names_of_owned(record: Any) -> list[str]:  # noqa: ANN401 - any resource of an owner outside VPCs
    """Return the index keys of an owner's resource outside VPCs: by name, and by id, which does not contain the owner."""
    prefix = BY_TYPE[type(record)].prefix
    return [keys.named(prefix, text, record.owner, record.id) for text in (record.id, record.name) if text]


def bare_name(kind: str, text: str) -> str:
    """Return a name without the prefix that rules write for some kinds: `web` for `sg-web`. Their names never begin with it."""
    return text.removeprefix(f"{kind}-") if BY_PREFIX[kind].prefixed else text


def name_of(records: VpcRecords, record: Any) -> str:  # noqa: ANN401 - any resource of a VPC
    """Return the name of a resource, or an empty text. An interface without a name has its instance's name."""
    if record.name or (borrows := BY_TYPE[type(record)].borrows) is None:
        return str(record.name)
    of, field = borrows
    lender = records.one(of, getattr(record, field))
    return str(lender.name) if lender is not None else ""


def vnis_of(store: Store, caller: Caller, kind: str, text: str) -> set[int]:
    """Return the VNIs of the VPCs that may contain an id or a name (`owner/vpc/name`, `vpc/name` or `name`)."""
    if is_id(text, kind):
        return {vni_of(text), *_sharing(store, BY_PREFIX[kind], text)}
    *scope, name = text.split("/")
    if kind == "vpc":
        scope, kind, name = scope, "vpc", name
    elif scope:
        scope, kind, name = scope[:-1], "vpc", scope[-1]
    name = bare_name(kind, name)
    owner = scope[0] if scope else "" if caller.operator else caller.owner
    if len(scope) > 1 or not name or (owner and not caller.sees(owner)):
        return set()
    if name == BY_PREFIX[kind].given:
        return set(_vpcs_of(store, owner))
    borrows = BY_PREFIX[kind].borrows
    kinds = (kind, BY_TYPE[borrows[0]].prefix) if borrows is not None else (kind,)
    return {vni for each in kinds for vni in _named(store, each, name, owner)}


def _sharing(store: Store, kind: Kind[Any], resource_id: str) -> Iterator[int]:
    """Yield the VNI of the other VPC that shares a resource."""
    if kind.shared_with is not None:
        with suppress(UnreadableRecord):  # its VPC is isolated
            shared = get(store, keys.resource(resource_id), kind.type)
            yield from [kind.shared_with(shared.record)] if shared is not None else []


def _vpcs_of(store: Store, owner: str) -> Iterator[int]:
    """Yield the VNIs of an owner's VPCs; without an owner, of all VPCs."""
    if owner:
        found = [holder_of(kv) for kv in store.list(keys.name(owner, "vpc", "")).kvs]
    else:
        found = [kv.key.rpartition("/")[2] for kv in store.list(keys.names_of("vpc")).kvs]
    return (vni_of(vpc_id) for vpc_id in found if is_id(vpc_id, "vpc"))


def _named(store: Store, kind: str, name: str, owner: str) -> Iterator[int]:
    for kv in store.list(keys.named(kind, name, owner)).kvs:
        resource_id = kv.key.rpartition("/")[2]
        if is_id(resource_id, kind):
            yield vni_of(resource_id)


def wrong_names(inventory: Inventory) -> Iterator[UnreadableRecord]:
    """Yield index keys that are missing or that refer to missing resources, as far as the VPCs are readable."""
    wanted: dict[str, str] = {}
    older: set[str] = set()
    rests = [found.rest for found in inventory.isolated.values() if found.rest is not None]
    for records in (*inventory.vpcs.values(), *rests):
        owner = records.vpc.record.owner
        for kind in BY_TYPE.values():
            if kind.scope is Scope.VPC:
                for record in records.each(kind.type):
                    if is_indexed(record):
                        wanted[key_of(owner, record)] = record.id
                    else:
                        older.add(key_of(owner, record))
    wanted.pop("", None)
    owned: list[ElasticIp | CustomerGateway | DhcpOptionsSet | PrivateZone] = []
    owned += [stored.record for stored in inventory.elastic_ips.values()]
    owned += [stored.record for stored in inventory.customer_gateways.values()]
    owned += [stored.record for stored in inventory.dhcp_options.values()]
    owned += [stored.record for stored in inventory.zones.values()]
    wanted |= {key: record.id for record in owned for key in names_of_owned(record)}
    damaged = {error.key.rpartition("/")[2] for error in inventory.unreadable}
    known = {key for key in inventory.raw if key.startswith("named/")}
    for key in sorted(wanted.keys() - known):
        yield UnreadableRecord(key, f"is missing, so that {wanted[key]} is not found by its name")
    for key in sorted(known - wanted.keys() - older):
        resource_id = key.rpartition("/")[2]
        if not is_id(resource_id) or (vni_of(resource_id) not in inventory.isolated and resource_id not in damaged):
            yield UnreadableRecord(key, f"names {resource_id}, which is not there")
