"""Pools of public addresses and their free space: single IPv4 addresses, and IPv6 ranges of a VPC's size.

`alloc/eip/<address>` names the holder of an address: an elastic IP, or the association of an ephemeral one. A VPC holds an IPv6
range, which is known by its first address. A returned address stays in hold-down, so that packets for its last holder do not
reach the next one. It also stays there while an edge of its pair may not know that the address was given back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Final, NamedTuple

import msgspec

from netorch.control.base.edge_users import Unheard, unheard_by
from netorch.control.base.quotas import Quotas, check_limit, quotas_of
from netorch.control.base.uses import use
from netorch.control.base.writes import Writes
from netorch.errors import ApiError, UnreadableRecord
from netorch.model import rules
from netorch.model.addr import Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.outside.public import AddressPool
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import Stored, stored
from netorch.store.alloc import HOLD_DOWN_S, Claim, freed_by, holder_of, take
from netorch.store.base import KeyValue, Store

_PROBES: Final = 16  # single look-ups before the code lists all held addresses instead
_UNITS: Final = {4: 1, 6: 1 << (128 - rules.IPV6_VPC_LENGTH)}  # how many addresses make one unit
_WORDS: Final = {4: "address", 6: "IPv6 range"}
_LIMITS: Final = {  # quotas
    4: ("public_addresses", "public addresses, including those that it released within the last hour"),
    6: ("provided_ipv6_ranges", "provided IPv6 ranges, including those that it released within the last hour"),
}

EPHEMERAL: Final = "ephemeral/"  # prefix of the last owner of an ephemeral address: the owner cannot request it back by name

Pools = dict[str, Stored[AddressPool]]
Claims = Callable[[str], KeyValue | None]  # reads the key of a public address


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A free address, or the first address of a free IPv6 range, with the claim that takes it."""

    address: str
    pool: Stored[AddressPool]
    claim: Claim
    owner: str  # owner of the holder
    had: str  # last owner, if there was one

    @property
    def cidr(self) -> str:
        """Return the IPv6 range that starts with this address."""
        return f"{self.address}/{rules.IPV6_VPC_LENGTH}"

    def take(self, writes: Writes) -> None:
        """Add the claim. A transaction that deletes or narrows the pool compares the pool's mark."""
        writes.claim(self.claim)
        if self.had not in ("", self.owner):
            writes.drop(keys.addresses_of(self.had, self.address))
        writes.put(keys.addresses_of(self.owner, self.address), True)
        use(writes, keys.pool(self.pool.record.name), f"pool/{self.pool.record.name}", self.pool.mod_revision)


class Owners(NamedTuple):
    """Looks up what owners have and may have."""

    addresses: Callable[[str], Iterable[str]]  # public addresses and IPv6 ranges listed for an owner
    quotas: Callable[[str], Quotas]


class Addresses:
    """The free addresses of pools during one decision. No address is given out twice."""

    def __init__(
        self,
        pools: Pools,
        claims: Claims,
        listing: Callable[[], Iterable[KeyValue]],
        caller: Caller,
        unheard: Unheard,
        owners: Owners,
        requests: Collection[str] = (),
    ) -> None:
        """`requests` are addresses that the decision requests by name at any point: `next` gives out none of them."""
        self._owners = owners
        self.pools = pools
        self._claims = claims
        self._listing = listing
        self._caller = caller
        self._unheard = cache(unheard)
        self._requests = frozenset(requests)
        self._given: dict[str, str] = {}  # address -> owner

    def next(self, where: str, pools: Sequence[Stored[AddressPool]], holder: str, owner: str, version: int = 4) -> Chosen:
        """Return a free address or IPv6 range from some pools. A pool with more free addresses is more likely.

        `owner` is the owner of the holder.

        Raises:
          ApiError: InsufficientAddressCapacity, AddressLimitExceeded.
        Cost: O(1) while some addresses are free, O(held addresses) when hardly any is.
        """
        space = _Space(pools, version)
        if not space.size:
            fix = "ask the operator to create one: netorch address pool create NAME --pair PAIR --cidr CIDR"
            what = "there is no address pool" if version == 4 else "there is no address pool with IPv6 ranges"
            raise ApiError("InsufficientAddressCapacity", f"{where}: {what} that is suitable; {fix}")
        self._check_room(owner, version)
        for _ in range(_PROBES):
            pool, address = space.at(self._caller.entropy() % space.size)
            if found := self._draw(pool, address, self._claims(address), holder, owner):
                return found
        known = dict(each_claim(self._listing()))
        offset = self._caller.entropy() % space.size
        for step in range(min(space.size, len(known) + len(self._given) + len(self._requests) + 1)):
            pool, address = space.at((offset + step) % space.size)
            if found := self._draw(pool, address, known.get(address), holder, owner):
                return found
        names = ", ".join(pool.record.name for pool in pools)
        what = f"no {_WORDS[version]} of {names} is free, or has been free for long enough"
        unheard = sorted({edge for pool in pools for edge in self._unheard(pool.record.pair)})
        if unheard and self._caller.operator:
            what += f"; {waits_for(unheard)}"
        fix = "release one and wait, or ask the operator to add a range: netorch address pool add POOL CIDR"
        raise ApiError("InsufficientAddressCapacity", f"{where}: {what}; {fix}")

    def has_free(self, pools: Sequence[Stored[AddressPool]]) -> bool:
        """Return whether some pools have a free IPv4 address; none is given out. Cost: as that of `next`."""
        space = _Space(pools, 4)
        spread = (space.at(place * space.size // _PROBES)[1] for place in range(_PROBES if space.size else 0))
        if any(self._is_free(address, self._claims(address)) for address in spread):
            return True
        known = dict(each_claim(self._listing()))
        return any(self._is_free(address, known.get(address)) for address in (space.at(place)[1] for place in range(space.size)))

    def _is_free(self, address: str, known: KeyValue | None) -> bool:
        is_given = address in self._given or address in self._requests
        return not is_given and take(keys.public_address(address), known, "", self._caller.now()) is not None

    def requested(self, where: str, address: str, holder: str, owner: str) -> Chosen:
        """Return the requested address; its last owner may have it at once.

        Raises:
          ApiError: InvalidAddress.NotFound for an address outside all pools, InvalidIPAddress.InUse, AddressLimitExceeded.
        """
        pool = next((pool for pool in self.pools.values() if holds(pool.record, address)), None)
        if pool is None:
            raise ApiError(
                "InvalidAddress.NotFound", f"{where}: {address} is in no address pool; leave it out, or choose another"
            )
        known = self._claims(address)
        is_own = freed_by(known) == owner
        self._check_room(owner, parse_ip(address)[0], more=0 if is_own and self._counts(address, owner) else 1)
        found = self._try(pool, address, known, holder, owner, returns=is_own)
        if found is None:
            # A customer learns neither about edges nor whether the address has a holder.
            unheard = self._unheard(pool.record.pair) if self._caller.operator and not holder_of(known) else ()
            what = f"was released, and {waits_for(unheard)}" if unheard else "is in use, or was until recently"
            raise ApiError("InvalidIPAddress.InUse", f"{where}: {address} {what}; choose another address, or leave it out")
        return found

    def _check_room(self, owner: str, version: int, more: int = 1) -> None:
        """Refuse more than an owner may have, including addresses in hold-down. Cost: O(addresses of the owner)."""
        had = {address for address in self._owners.addresses(owner) if self._counts(address, owner)}
        given = {address for address, of in self._given.items() if of == owner}
        count = sum(parse_ip(address)[0] == version for address in had | given)
        limit, noun = _LIMITS[version]
        check_limit(self._owners.quotas(owner), limit, "AddressLimitExceeded", f"owner {owner}", count + more, noun)

    def _counts(self, address: str, owner: str) -> bool:
        """Return whether an address listed for an owner is held by the owner, or is in hold-down after the owner."""
        known = self._claims(address)
        if known is None or holder_of(known):
            return known is not None
        return last_owner(known) == owner and take(known.key, known, "", self._caller.now()) is None

    def _draw(self, pool: Stored[AddressPool], address: str, known: KeyValue | None, holder: str, owner: str) -> Chosen | None:
        return None if address in self._requests else self._try(pool, address, known, holder, owner)

    def _try(
        self,
        pool: Stored[AddressPool],
        address: str,
        known: KeyValue | None,
        holder: str,
        owner: str,
        *,
        returns: bool = False,
    ) -> Chosen | None:
        """Return an address if it may be taken. With `returns` (back to its last owner), hold-down is skipped."""
        held_down_s = 0.0 if known is None or returns else hold_down(self._unheard(pool.record.pair))
        claim = take(keys.public_address(address), known, holder, self._caller.now(), held_down_s)
        if claim is None or address in self._given:
            return None
        self._given[address] = owner
        return Chosen(address=address, pool=pool, claim=claim, owner=owner, had=last_owner(known))


class _Space:
    """The addresses or IPv6 ranges of several pools, numbered consecutively."""

    def __init__(self, pools: Iterable[Stored[AddressPool]], version: int) -> None:
        ranges = ((pool, parse_prefix(text)) for pool in pools for text in pool.record.cidrs)
        self._ranges = [(pool, prefix) for pool, prefix in ranges if prefix.version == version]
        self._version = version
        self.size = sum(capacity(prefix) for _, prefix in self._ranges)

    def at(self, number: int) -> tuple[Stored[AddressPool], str]:
        for pool, prefix in self._ranges:
            if number < capacity(prefix):
                return pool, format_ip(self._version, prefix.network + number * _UNITS[self._version])
            number -= capacity(prefix)
        raise IndexError(number)


def hold_down(unheard: Sequence[str]) -> float:
    """Return the hold-down of an address in seconds, given the edges that may not know that it was given back."""
    return float("inf") if unheard else HOLD_DOWN_S


def waits_for(unheard: Sequence[str]) -> str:
    """Return an error text that tells the operator how to handle edges that may not know that an address was given back."""
    names = ", ".join(unheard)
    return f"{names} may not know it yet: start the agent there, or drain it if nobody sends to it (netorch host drain)"


def last_owner(known: KeyValue | None) -> str:
    """Return the last owner of a free address; nothing if the address is held, or never had an owner."""
    return freed_by(known).removeprefix(EPHEMERAL)


def capacity(prefix: Prefix) -> int:
    """Return how many addresses or IPv6 ranges a pool's range has."""
    return prefix.size // _UNITS[prefix.version]


def gives(pool: AddressPool, version: int) -> bool:
    """Return whether a pool has ranges of an IP version."""
    return any(parse_prefix(text).version == version for text in pool.cidrs)


def holds(pool: AddressPool, address: str) -> bool:
    """Return whether an address belongs to a pool."""
    version, value = parse_ip(address)
    return any(parse_prefix(text).holds(version, value) for text in pool.cidrs)


def open_addresses(store: Store, caller: Caller) -> Addresses:
    """Return the free public addresses according to the store."""
    owners = Owners(
        addresses=lambda owner: listed_for(store.list(keys.addresses_of(owner)).kvs, owner),
        quotas=lambda owner: quotas_of(store, owner),
    )
    listing = keys.public_address("")
    return Addresses(read_pools(store), claims_of(store), lambda: store.list(listing).kvs, caller, unheard_by(store), owners)


def listed_for(kvs: Iterable[KeyValue], owner: str) -> Iterator[str]:
    """Yield the public addresses among some keys that are listed for an owner."""
    prefix = keys.addresses_of(owner)
    return (kv.key.removeprefix(prefix) for kv in kvs if kv.key.startswith(prefix))


def claims_of(store: Store) -> Claims:
    """Return a function that reads the key of a public address."""
    return lambda address: store.get(keys.public_address(address))


def read_pools(store: Store) -> Pools:
    """Return all readable pools by name. Nothing is taken from an unreadable pool."""
    found = {}
    for kv in store.list(keys.pool_prefix()).kvs:
        with suppress(UnreadableRecord):
            found[kv.key.removeprefix(keys.pool_prefix())] = stored(kv, AddressPool)
    return found


def each_claim(kvs: Iterable[KeyValue]) -> Iterator[tuple[str, KeyValue]]:
    """Yield the public addresses that have or had a holder, with their keys."""
    prefix = keys.public_address("")
    return ((kv.key.removeprefix(prefix), kv) for kv in kvs if kv.key.startswith(prefix))
