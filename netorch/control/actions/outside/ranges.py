"""IPv6 ranges that VPCs get from address pools: EC2's "Amazon-provided IPv6 CIDR block".

Internet gateways pass only these ranges. A range of the customer's own is only the customer's claim: on the internet the range
may belong to somebody else. So a customer's own range may not lie in a pool. If a pool later gets a range that a VPC has as its
own, the VPC keeps it: edges follow the pool that the VPC's record names.
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
    """A request for an IPv6 range from an address pool."""

    pool: str = ""  # empty: any suitable one


def provide(writes: Writes, store: Store, caller: Caller, vpc: Vpc, asked: Provided) -> Vpc:
    """Add the claim of a pool's range for a VPC, and return the VPC with the range. The caller writes the VPC's record.

    The range arrives on the pair of edges of the VPC's gateway, else of its other public addresses.

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
    """Return a free range for a VPC from one pool or any, on a pair of edges; an empty pair means any.

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
        what = f"address pool {name} is routed to pair {pool.pair}, and the VPC's gateway or public addresses are on pair {pair}"
        raise invalid(where, what, f"name a pool of pair {pair}, or none")


def refuse_pooled(where: str, cidrs: Iterable[str], pools: Pools) -> None:
    """Refuse customers' own ranges that overlap a pool. Raises ApiError: InvalidParameterValue."""
    for cidr in cidrs:
        own = parse_prefix(cidr)
        for name, stored in pools.items():
            if any(parse_prefix(text).overlaps(own) for text in stored.record.cidrs):
                fix = "let netorch choose a range of the pool (--provided-ipv6), or choose one that is in no pool"
                raise invalid(where, f"{cidr} is in address pool {name}", fix)


def kept_pools(vpc: Vpc, cidrs: Iterable[str]) -> dict[str, str]:
    """Return the pools of the ranges that a VPC keeps."""
    return {cidr: vpc.ipv6_pools[cidr] for cidr in cidrs if cidr in vpc.ipv6_pools}


def give_back(writes: Writes, vpc: Vpc, cidrs: Iterable[str], claims: Claims, now: float) -> None:
    """Add the release of the VPC's pool ranges among `cidrs` at `now` (Unix seconds)."""
    for cidr in cidrs:
        known = claims(cidr.partition("/")[0]) if cidr in vpc.ipv6_pools else None
        if known is not None and holder_of(known) == vpc.id:
            writes.claim(release(known, now, vpc.owner))
