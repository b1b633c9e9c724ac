"""The consistency check of public addresses: holders, elastic IPs, mappings and pools.

    alloc/eip/<address>      holder: an elastic IP, or the association of an ephemeral address
    eip/<owner>/<id>         the elastic IP
    map/<vni>/eip/<address>  the private address of a public address
    pool/<name>              the pair of edges that it is routed to
    vpc/<vni>/vpc            a VPC's IPv6 ranges from pools; alloc/eip/ has a key for the first address of each

These records refer to each other and must agree. An address that no resource can use any more has leaked; an address with two
mappings is used twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.errors import UnreadableRecord
from netorch.model import rules
from netorch.model.addr import first_overlaps, parse_ip, parse_prefix, version_of
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.records import keys
from netorch.records.inventory import Inventory
from netorch.records.read import get
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import holder_of
from netorch.store.base import Store


def wrong_addresses(inventory: Inventory) -> Iterator[UnreadableRecord]:
    """Yield inconsistent records of public addresses, as far as the VPCs are readable. Cost: O(their number)."""
    mappings: dict[str, list[PublicMapping]] = {}
    for records in inventory.vpcs.values():
        for mapping in records.each(PublicMapping):
            mappings.setdefault(mapping.address, []).append(mapping)
    for records in inventory.vpcs.values():
        yield from _wrong_mappings(inventory, records, mappings)
        yield from _wrong_ranges(inventory, records)
    yield from _wrong_elastic_ips(inventory, mappings)
    yield from _wrong_claims(inventory, mappings)
    ranges = [(parse_prefix(text), name) for name, pool in inventory.pools.items() for text in pool.record.cidrs]
    for one, other in first_overlaps(ranges):
        yield UnreadableRecord(keys.pool(one), f"overlaps pool {other}", keys.pool(other))


def vni_of_address(store: Store, address: str) -> int:
    """Return the VNI of the VPC that uses a public address, by its holder; 0 for none."""
    if version_of(address) == 6:  # the first address holds the whole range
        address = str(parse_prefix(f"{address}/{rules.IPV6_VPC_LENGTH}", strict=False)).partition("/")[0]
    holder = holder_of(store.get(keys.public_address(address)))
    if is_id(holder, "eipassoc") or is_id(holder, "vpc"):
        return vni_of(holder)
    owners = [kv.key.split("/")[3] for kv in store.list(keys.named("eipalloc", holder)).kvs] if is_id(holder, "eipalloc") else []
    found = (get(store, keys.owned("eip", owner, holder), ElasticIp) for owner in owners)
    return next((elastic.record.vni for elastic in found if elastic is not None), 0)


def _wrong_mappings(
    inventory: Inventory, records: VpcRecords, mappings: dict[str, list[PublicMapping]]
) -> Iterator[UnreadableRecord]:
    interfaces = records.of(NetworkInterface)
    owner, pair = records.vpc.record.owner, _pair(inventory, records)  # of the VPC's gateway, else of its first address
    seen: dict[tuple[str, str], str] = {}
    for mapping in records.each(PublicMapping):
        key = keys.public_mapping(mapping.vni, mapping.address)
        if len(mappings[mapping.address]) > 1:
            yield UnreadableRecord(key, "is used twice: the address maps to several private addresses")
        if (other := seen.setdefault((mapping.eni, mapping.private_address), mapping.address)) != mapping.address:
            yield UnreadableRecord(key, f"maps to {mapping.private_address} of {mapping.eni}, as {other} does")
        if mapping.eni in interfaces and mapping.private_address not in interfaces[mapping.eni].record.addresses:
            yield UnreadableRecord(key, f"maps to {mapping.private_address}, which {mapping.eni} does not have")
        if _holder(inventory, mapping.address) != (mapping.allocation or mapping.association):
            yield UnreadableRecord(key, f"is not held by {mapping.allocation or mapping.association}")
        if mapping.allocation:
            elastic = inventory.elastic_ips.get(mapping.allocation)
            if elastic is None or (elastic.record.vni, elastic.record.address) != (mapping.vni, mapping.address):
                yield UnreadableRecord(key, f"names {mapping.allocation}, which does not name it")
            elif elastic.record.owner != owner:
                yield UnreadableRecord(key, f"belongs to {elastic.record.owner}, and the VPC to {owner}")
        pool = inventory.pools.get(mapping.pool)
        if pool is not None and (pair := pair or pool.record.pair) != pool.record.pair:
            yield UnreadableRecord(
                key, f"is routed to pair {pool.record.pair}, and the VPC's gateway or other addresses to pair {pair}"
            )


def _wrong_ranges(inventory: Inventory, records: VpcRecords) -> Iterator[UnreadableRecord]:
    vpc, pair = records.vpc.record, _pair(inventory, records)
    key = keys.vpc(vpc.vni)
    for cidr, name in vpc.ipv6_pools.items():
        address, pool = cidr.partition("/")[0], inventory.pools.get(name)
        if _holder(inventory, address) != vpc.id:
            yield UnreadableRecord(key, f"does not hold {cidr}")
        if pool is None or not _has(pool.record, address):
            yield UnreadableRecord(key, f"says that {cidr} is in pool {name}, but it is not")
        elif (pair := pair or pool.record.pair) != pool.record.pair:
            yield UnreadableRecord(
                key, f"has {cidr}, which is routed to pair {pool.record.pair}, and its gateway or other addresses to pair {pair}"
            )


def _pair(inventory: Inventory, records: VpcRecords) -> str:
    seats = [seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats]
    return next((inventory.hosts[host].host.pair for host in seats if host in inventory.hosts), "")


def _wrong_elastic_ips(inventory: Inventory, mappings: dict[str, list[PublicMapping]]) -> Iterator[UnreadableRecord]:
    for stored in inventory.elastic_ips.values():
        elastic = stored.record
        key = keys.owned("eip", elastic.owner, elastic.id)
        if _holder(inventory, elastic.address) != elastic.id:
            yield UnreadableRecord(key, f"does not hold {elastic.address}")
        if not _is_of(inventory, elastic):
            yield UnreadableRecord(key, f"says that {elastic.address} is in pool {elastic.pool}, but it is not")
        stands = any(found.allocation == elastic.id for found in mappings.get(elastic.address, ()))
        if elastic.vni and elastic.vni not in inventory.isolated and not stands:
            yield UnreadableRecord(key, f"claims an association in the VPC with VNI {elastic.vni}, which does not exist")


def _is_of(inventory: Inventory, elastic: ElasticIp) -> bool:
    pool = inventory.pools.get(elastic.pool)
    return pool is not None and _has(pool.record, elastic.address)


def _has(pool: AddressPool, address: str) -> bool:
    return any(parse_prefix(text).holds(*parse_ip(address)) for text in pool.cidrs)


def _wrong_claims(inventory: Inventory, mappings: dict[str, list[PublicMapping]]) -> Iterator[UnreadableRecord]:
    prefix = keys.public_address("")
    for key, kv in inventory.raw.items():
        if not key.startswith(prefix) or not (holder := holder_of(kv)):
            continue
        address = key.removeprefix(prefix)
        if is_id(holder, "eipalloc"):
            elastic = inventory.elastic_ips.get(holder)
            if elastic is None or elastic.record.address != address:
                yield UnreadableRecord(key, f"has leaked: {holder} holds it, but does not exist or has another address")
        elif is_id(holder, "eipassoc"):
            known = vni_of(holder) in inventory.isolated or any(m.association == holder for m in mappings.get(address, ()))
            if not known:
                yield UnreadableRecord(key, f"has leaked: {holder} holds it, but is not associated")
        elif is_id(holder, "vpc"):
            yield from _leaked_range(inventory, key, address, holder)
        else:
            yield UnreadableRecord(key, f"is held by {holder}, which is not an elastic IP, an association or a VPC")


def _leaked_range(inventory: Inventory, key: str, address: str, holder: str) -> Iterator[UnreadableRecord]:
    """Yield an allocation of an IPv6 range that the VPC does not have."""
    records = inventory.vpcs.get(vni_of(holder))
    ranges = records.vpc.record.ipv6_pools if records is not None and records.vpc.record.id == holder else {}
    if vni_of(holder) not in inventory.isolated and not any(cidr.partition("/")[0] == address for cidr in ranges):
        yield UnreadableRecord(key, f"has leaked: {holder} holds it, but has no such range")


def _holder(inventory: Inventory, address: str) -> str:
    return holder_of(inventory.raw.get(keys.public_address(address)))
