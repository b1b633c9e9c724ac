"""Pools of public addresses: the operator's ranges. Each pool arrives at the edges of one pair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

import msgspec

from netorch.control.base import checks
from netorch.control.base.edge_users import unheard_by
from netorch.control.base.pairs import edges_of
from netorch.control.base.pools import capacity, each_claim, hold_down
from netorch.control.base.ranges import change_pools, read_taken, refuse_services, refuse_taken, remove_pool, revision_of
from netorch.control.base.uses import use_key
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.endpoints.endpoint import GatewayService
from netorch.model.eni import Host
from netorch.model.outside.public import AddressPool
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import Stored, listed, read_named
from netorch.store.alloc import holder_of, take
from netorch.store.base import KeyValue, Store


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The use of a pool: its addresses or IPv6 ranges."""

    total: int
    held: int
    held_down: int  # in hold-down: given back recently, not available yet

    @property
    def free(self) -> int:
        """Return how many are available now."""
        return self.total - self.held - self.held_down


class PoolInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A pool and its use."""

    pool: AddressPool
    ipv4: Use  # addresses
    ipv6: Use  # ranges of a VPC's size


def create_pool(
    store: Store, caller: Caller, *, name: str, pair: str, cidrs: Sequence[str], tags: Tags | None = None
) -> AddressPool:
    """Create a pool whose addresses arrive at the edges of a pair, and return it.

    Raises:
      ApiError: InvalidParameterValue for a bad or taken name, a pair without edges, a bad range, or one that overlaps another
        pool, the address or uplink of a host, or a service's prefix; MissingParameter without a range.
    """
    del caller  # pools have no owner; the CLI admits only operators
    where = f"address pool {name!r}"

    def decide() -> tuple[Writes, AddressPool]:
        checks.name(where, name)
        if store.get(keys.pool(name)) is not None:
            raise invalid(where, "the name is in use", "choose another name, or add ranges to that one")
        check_pair(where, pair, edges_of(store, checks.name(f"{where}: pair", pair)))
        if not cidrs:
            raise ApiError("MissingParameter", f"{where}: has no range; give it one, e.g. 198.51.100.0/24")
        writes = Writes()
        ranges = new_ranges(where, cidrs, *read_taken(writes, store))
        pool = AddressPool(name=name, pair=pair, cidrs=ranges, tags=checks.tags(where, tags))
        writes.create(keys.pool(name), pool)
        return writes, pool

    return attempt(store, decide)


def check_pair(where: str, pair: str, pairs: Collection[str]) -> None:
    """Refuse a pair without edges; `pairs` are those with edges. Raises ApiError: InvalidParameterValue."""
    if pair not in pairs:
        fix = f"create one first: netorch host create NAME --underlay IP --role edge --pair {pair} --uplink ..."
        raise invalid(where, f"pair {pair} has no edges", fix)


def new_ranges(
    where: str,
    cidrs: Iterable[str],
    pools: Collection[AddressPool],
    hosts: Collection[Host],
    services: Collection[GatewayService],
) -> tuple[str, ...]:
    """Return new ranges in canonical form if they overlap no other range. Raises ApiError for a bad or taken range."""
    found: list[Prefix] = []
    for text in cidrs:
        new = checks.cidr(text, where, "InvalidParameterValue", rules.public_cidr)
        refuse_taken(where, new, pools, hosts)
        refuse_services(where, new, services)
        if any(new.overlaps(other) for other in found):
            raise invalid(where, f"{new} is named twice, or overlaps another range of the same pool", "name each address once")
        found.append(new)
    return tuple(map(str, found))


def range_notes(name: str, cidrs: Iterable[str]) -> Iterator[str]:
    """Yield notes about a pool's new ranges for the operator."""
    for text in cidrs:
        if note := rules.private_note(parse_prefix(text)):
            yield f"address pool {name}: {note}"


def add_ranges(store: Store, caller: Caller, name: str, cidrs: Sequence[str]) -> AddressPool:
    """Add ranges to a pool and return the pool.

    Raises:
      ApiError: InvalidPublicIpv4PoolID.NotFound, InvalidParameterValue as in `create_pool`.
    """
    del caller

    def decide() -> tuple[Writes, AddressPool]:
        stored = read_named(store, AddressPool, name)
        writes = Writes()
        new = new_ranges(f"address pool {name}", cidrs, *read_taken(writes, store))
        changed = msgspec.structs.replace(stored.record, cidrs=stored.record.cidrs + new)
        writes.change(keys.pool(name), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def remove_ranges(store: Store, caller: Caller, name: str, cidrs: Sequence[str]) -> AddressPool:
    """Remove ranges without held addresses from a pool and return the pool.

    Raises:
      ApiError: InvalidPublicIpv4PoolID.NotFound, InvalidParameterValue for a range that the pool does not have,
        DependencyViolation while an address is held, OperationNotPermitted for its last range.
    """
    del caller
    where = f"address pool {name}"

    def decide() -> tuple[Writes, AddressPool]:
        stored = read_named(store, AddressPool, name)
        gone = {str(checks.cidr(text, where, "InvalidParameterValue", rules.public_cidr)) for text in cidrs}
        for text in sorted(gone - set(stored.record.cidrs)):
            raise invalid(where, f"{text} is not one of its ranges", f"choose among {', '.join(stored.record.cidrs)}")
        kept = tuple(text for text in stored.record.cidrs if text not in gone)
        if not kept:
            raise ApiError("OperationNotPermitted", f"{where}: these are all its ranges; delete the pool instead")
        changed = msgspec.structs.replace(stored.record, cidrs=kept)
        writes = Writes()
        _refuse_held(writes, store, name, gone)
        change_pools(writes, partial(revision_of, store))
        writes.change(keys.pool(name), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def delete_pool(store: Store, caller: Caller, name: str) -> None:
    """Delete a pool without held addresses.

    Raises:
      ApiError: InvalidPublicIpv4PoolID.NotFound, DependencyViolation while an address is held.
    """
    del caller

    def decide() -> tuple[Writes, None]:
        stored = read_named(store, AddressPool, name)
        writes = Writes()
        _refuse_held(writes, store, name, stored.record.cidrs)
        remove_pool(writes, store)
        writes.delete(keys.pool(name), stored.mod_revision)
        writes.drop(use_key(f"pool/{name}"))
        return writes, None

    attempt(store, decide)


def _refuse_held(writes: Writes, store: Store, name: str, cidrs: Iterable[str]) -> None:
    """Refuse to remove ranges with a held address; every claim writes the pool's mark. Raises ApiError."""
    refuse_held(writes, name, cidrs, partial(revision_of, store), lambda: store.list(keys.public_address("")).kvs)


def refuse_held(
    writes: Writes, name: str, cidrs: Iterable[str], revision_of: Callable[[str], int], claims: Callable[[], Iterable[KeyValue]]
) -> None:
    """As `_refuse_held`, with functions that read: first revisions of keys, then the keys of public addresses."""
    mark = use_key(f"pool/{name}")
    writes.expect(mark, revision_of(mark))
    blocks = [parse_prefix(text) for text in cidrs]
    held = [address for address, kv in each_claim(claims()) if holder_of(kv) and _is_in(blocks, address)]
    if held:
        fix = "`netorch address list` lists them"
        if ":" in held[0]:
            fix = "`netorch vpc list -o wide` shows whose range it is"
        raise in_use("pool", name, f"{len(held)} address(es) in use, e.g. {held[0]}", fix)


def _claims(store: Store) -> Iterable[tuple[str, KeyValue]]:
    return each_claim(store.list(keys.public_address("")).kvs)


def _is_in(blocks: Iterable[Prefix], address: str) -> bool:
    return any(block.holds(*parse_ip(address)) for block in blocks)


def describe_pools(store: Store, caller: Caller) -> list[PoolInfo]:
    """Return all pools by name. Raises UnreadableRecord. Cost: O(held public addresses)."""
    return [_info(store, caller, stored) for _, stored in sorted(listed(store, keys.pool_prefix(), AddressPool).items())]


def describe_pool(store: Store, caller: Caller, name: str) -> PoolInfo:
    """Return one pool. Raises ApiError: InvalidPublicIpv4PoolID.NotFound."""
    return _info(store, caller, read_named(store, AddressPool, name))


def _info(store: Store, caller: Caller, stored: Stored[AddressPool]) -> PoolInfo:
    blocks = [parse_prefix(text) for text in stored.record.cidrs]
    claims = list(_claims(store))
    held_down_s = hold_down(unheard_by(store)(stored.record.pair))
    ipv4, ipv6 = (
        _use([block for block in blocks if block.version == version], claims, caller.now(), held_down_s) for version in (4, 6)
    )
    return PoolInfo(pool=stored.record, ipv4=ipv4, ipv6=ipv6)


def _use(blocks: list[Prefix], claims: Iterable[tuple[str, KeyValue]], now: float, held_down_s: float) -> Use:
    own = [kv for address, kv in claims if _is_in(blocks, address)]
    held = sum(bool(holder_of(kv)) for kv in own)
    busy = sum(take(kv.key, kv, "", now, held_down_s) is None for kv in own)
    return Use(total=sum(map(capacity, blocks)), held=held, held_down=busy - held)
