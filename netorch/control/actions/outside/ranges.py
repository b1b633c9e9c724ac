"""IPv6 ranges that VPCs get out of address pools: EC2's "Amazon-provided IPv6 CIDR block".

Internet gateways let these ranges pass, and no others: a range of the customer's own is the customer's word only, and what the
internet sends there may be somebody else's. So no such range may lie in a pool. If a pool gets a range later that a VPC has as
its own, the VPC keeps it: edges go by the pool that the VPC's record names.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.base.pools import Addresses, Chosen, Claims, Pools, gives, open_addresses
from netorch.control.base.public import gateway_pair, mapped_in, mark_revision, pair_of_addresses
from netorch.control.base.writes import Writes
from netorch.model.addr import parse_prefix
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, not_found
from netorch.store.alloc import holder_of, release
from netorch.store.base import Store


class Provided(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an IPv6 range out of an address pool."""

    pool: str = ""  # nothing: any that will do


def provide(writes: Writes, store: Store, caller: Caller, vpc: Vpc, asked: Provided) -> Vpc:
    """Return a VPC with a range of a pool, and add what takes it. The VPC's record is the caller's to write.

    It arrives at the pair of edges that carries the VPC's gateway, or at which its other public addresses arrive.

    Raises:
      ApiError: InvalidPublicIpv4PoolID.NotFound, InvalidParameterValue for a pool without IPv6 ranges or of another pair,
        InsufficientAddressCapacity.
    """
    writes.expect(keys.public_mark(vpc.vni), mark_revision(store, vpc.vni))
    addresses = open_addresses(store, caller)
    pair = gateway_pair(store, vpc.vni) or pair_of_addresses(addresses.pools, vpc, mapped_in(store, vpc.vni))
    if asked.pool:
        _check_pool(f"VPC {vpc.name!r}", addresses.pools, asked.pool, pair)
    chosen = choose_range(addresses, vpc, pair, asked.pool)
    chosen.take(writes)
    pools = {**vpc.ipv6_pools, chosen.cidr: chosen.pool.record.name}
    return msgspec.structs.replace(vpc, ipv6_cidrs=(*vpc.ipv6_cidrs, chosen.cidr), ipv6_pools=pools)


def choose_range(addresses: Addresses, vpc: Vpc, pair: str, pool: str = "") -> Chosen:
    """Return a free range for a VPC, of one pool or of any, that arrives at a pair of edges; no pair: at any.

    Raises:
      ApiError: InsufficientAddressCapacity, AddressLimitExceeded.
    """
    fit = [stored for name, stored in addresses.pools.items() if pool in ("", name) and pair in ("", stored.record.pair)]
    return addresses.next(f"VPC {vpc.name!r}", fit, vpc.id, vpc.owner, 6)


def _check_pool(where: str, pools: Pools, name: str, pair: str) -> None:
    if name not in pools:
        raise not_found("pool", name)
    pool = pools[name].record
    if not gives(pool, 6):
        raise invalid(where, f"address pool {name} has no IPv6 ranges", "name another pool, or none")
    if pair not in ("", pool.pair):
        what = f"address pool {name} arrives at pair {pool.pair}, and the VPC's gateway or public addresses are on pair {pair}"
        raise invalid(where, what, f"name a pool of pair {pair}, or none")


def refuse_pooled(where: str, cidrs: Iterable[str], pools: Pools) -> None:
    """Refuse ranges of the customer's own that lie in a pool. Raises ApiError: InvalidParameterValue."""
    for cidr in cidrs:
        own = parse_prefix(cidr)
        for name, stored in pools.items():
            if any(parse_prefix(text).overlaps(own) for text in stored.record.cidrs):
                fix = "let netorch choose a range of the pool (--provided-ipv6), or choose one that is in no pool"
                raise invalid(where, f"{cidr} is in address pool {name}", fix)


def kept_pools(vpc: Vpc, cidrs: Iterable[str]) -> dict[str, str]:
    """Return the pools of those ranges that a VPC keeps."""
    return {cidr: vpc.ipv6_pools[cidr] for cidr in cidrs if cidr in vpc.ipv6_pools}


def give_back(writes: Writes, vpc: Vpc, cidrs: Iterable[str], claims: Claims, now: float) -> None:
    """Add that those of some ranges that a VPC has out of pools are nobody's from `now` on (Unix seconds)."""
    for cidr in cidrs:
        known = claims(cidr.partition("/")[0]) if cidr in vpc.ipv6_pools else None
        if known is not None and holder_of(known) == vpc.id:
            writes.claim(release(known, now, vpc.owner))
