"""Look-ups in the mapping service: the host of a VPC's address, and the edges of its gateways.

The prefixes that these edges reach through a virtual private gateway are a kind of mapping, too.
"""

from __future__ import annotations

from netorch.control.base import checks
from netorch.errors import ApiError
from netorch.model.addr import packed, version_of
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Reach
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import not_found
from netorch.records.kinds import mapped
from netorch.records.read import Stored, get, read_vpc, seen_vpc, stored
from netorch.store.base import Store


def vpc_of(store: Store, caller: Caller, vni_or_id: int | str) -> Vpc:
    """Return the VPC of a VNI or an id. Raises ApiError: InvalidVpcID.NotFound."""
    if isinstance(vni_or_id, str):
        return read_vpc(store, caller, vni_or_id).record
    found = seen_vpc(store, caller, vni_or_id)
    if found is None:
        raise not_found("vpc", str(vni_or_id))
    return found.record


def lookup_mapping(store: Store, caller: Caller, vpc: int | str, address: str) -> Stored[Mapping]:
    """Return the mapping of an address; its `mod_revision` is the mapping's generation.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidParameterValue for an invalid address, InvalidAddress.NotFound for an unmapped
        one.
    """
    vni = vpc_of(store, caller, vpc).vni
    canonical = checks.address(address, f"VPC {vpc}", version_of(address))
    found = get(store, keys.mapping(vni, canonical), Mapping)
    if found is None:
        text = f"VPC {vpc}: {canonical} is not mapped; `netorch map list` lists the mappings"
        raise ApiError("InvalidAddress.NotFound", text)
    return found


OfOutside = GatewayMapping | PublicMapping | Reach


def list_outside(store: Store, caller: Caller, vpc: int | str) -> list[Stored[OfOutside]]:
    """Return a VPC's gateways, public addresses and reached prefixes. Raises ApiError: InvalidVpcID.NotFound."""
    prefix = keys.map_prefix(vpc_of(store, caller, vpc).vni)
    kvs = store.list(prefix).kvs
    kinds: tuple[type[OfOutside], ...] = (GatewayMapping, PublicMapping, Reach)
    return [stored(kv, kind) for kind in kinds for kv in kvs if mapped(kv.key.removeprefix(prefix)) is kind]


def list_mappings(store: Store, caller: Caller, vpc: int | str) -> list[Stored[Mapping]]:
    """Return a VPC's address mappings in address order, IPv4 first. Raises ApiError: InvalidVpcID.NotFound."""
    vni = vpc_of(store, caller, vpc).vni
    prefix = keys.map_prefix(vni)
    of_addresses = [kv for kv in store.list(prefix).kvs if mapped(kv.key.removeprefix(prefix)) is Mapping]
    found = [stored(kv, Mapping) for kv in of_addresses]
    return sorted(found, key=lambda mapping: (len(packed(mapping.record.address)), packed(mapping.record.address)))
