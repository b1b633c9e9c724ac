"""Public addresses and what they map to, in the caller's own transaction: what creates and ends a public mapping.

All public addresses of a VPC are on one pair of edges: that of its gateway, if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from netorch.control.base.pairs import pair_of
from netorch.control.base.pools import EPHEMERAL, Addresses, Claims, Pools, claims_of, open_addresses
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import NetworkInterface
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.model.outside.gateway import ONLY_GATEWAYS
from netorch.model.outside.public import ElasticIp
from netorch.model.status import PublicUse
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.read import Stored, get, listed, read_all
from netorch.store.alloc import holder_of, release
from netorch.store.base import Store


class Publics:
    """The public addresses of one VPC and their holders, as read for one decision."""

    def __init__(
        self,
        vpc: Vpc,
        mappings: Iterable[Stored[PublicMapping]],
        claims: Claims,
        elastic: Callable[[str], Stored[ElasticIp] | None],
        now: float,
    ) -> None:
        """`elastic` returns an elastic IP of the VPC's owner by its id."""
        self.vpc = vpc
        self._by_interface: dict[str, list[Stored[PublicMapping]]] = {}
        for mapping in mappings:
            self._by_interface.setdefault(mapping.record.eni, []).append(mapping)
        self._claims = claims
        self._elastic = elastic
        self._now = now

    def __bool__(self) -> bool:
        return bool(self._by_interface)

    def of(self, eni_id: str) -> list[Stored[PublicMapping]]:
        """Return the public mappings of an interface."""
        return self._by_interface.get(eni_id, [])

    def end(self, writes: Writes, ended: Stored[PublicMapping]) -> None:
        """Add the end of a public mapping: an ephemeral address is given back, an elastic IP stays held."""
        mapping = ended.record
        writes.delete(keys.public_mapping(mapping.vni, mapping.address), ended.mod_revision)
        if not mapping.allocation:
            claim = self._claims(mapping.address)
            if claim is not None:
                writes.claim(release(claim, self._now, EPHEMERAL + self.vpc.owner))
        elif (held := self._elastic(mapping.allocation)) is not None:
            idle = msgspec.structs.replace(held.record, vni=0)
            writes.change(keys.owned("eip", idle.owner, idle.id), held.mod_revision, idle)

    def end_all(self, writes: Writes, eni_id: str) -> None:
        """Add the end of all public mappings of a deleted interface."""
        for mapping in self.of(eni_id):
            self.end(writes, mapping)


def publics_of(store: Store, vpc: Vpc, now: float) -> Publics:
    """Return the public addresses of a VPC. Cost: O(public addresses of the VPC)."""
    return Publics(
        vpc,
        listed(store, keys.public_mapping(vpc.vni, ""), PublicMapping).values(),
        claims_of(store),
        lambda allocation: get(store, keys.owned("eip", vpc.owner, allocation), ElasticIp),
        now,
    )


def stand_for(writes: Writes, vpc: Stored[Vpc], mapping: PublicMapping, mod_revision: int = ABSENT) -> None:
    """Add a mapping from a public address to an interface. A creation or deletion of the VPC's gateway detects it.

    `mod_revision` is the revision of the address's previous mapping in the same VPC.
    """
    writes.expect(keys.vpc(mapping.vni), vpc.mod_revision)
    writes.put(keys.public_mark(mapping.vni), True)
    writes.change(keys.public_mapping(mapping.vni, mapping.address), mod_revision, mapping)


def use_of(store: Store, vni: int, address: str) -> PublicUse:
    """Return what the edges of a VPC's gateways translated for an elastic IP, up to a few seconds ago."""
    said = (get(store, keys.public_use(edge, address), PublicUse) for edge in sorted({*_edges(store, vni)}))
    return sum((found.record for found in said if found is not None), PublicUse())


def gateway_pair(store: Store, vni: int) -> str:
    """Return the pair of edges that carries a VPC's gateways; nothing if the VPC has no gateway."""
    return pair_of(store, _edges(store, vni))


def _edges(store: Store, vni: int) -> Iterator[str]:
    """Yield the edges that carry a VPC's gateways, perhaps several times."""
    known = (found for kind in (*ONLY_GATEWAYS, VpcEndpoint) for found in read_all(store, kind, vni))
    mappings = (get(store, keys.gateway_mapping(vni, found), GatewayMapping) for found in known)
    return (seat.host for found in mappings if found is not None for seat in found.record.seats)


def owner_pair(store: Store, owner: str) -> str:
    """Return the pair that carries all gateways of an owner; nothing if there are none, or several pairs do."""
    vpcs = (holder_of(kv) for kv in store.list(keys.name(owner, "vpc", "")).kvs)
    return only_pair(gateway_pair(store, vni_of(vpc)) for vpc in vpcs if vpc)


def only_pair(pairs: Iterable[str]) -> str:
    """Return the only pair among some names, ignoring empty ones; nothing if there are several pairs or none."""
    found = set(pairs) - {""}
    return found.pop() if len(found) == 1 else ""


def pair_of_addresses(pools: Pools, vpc: Vpc, mappings: Iterable[PublicMapping]) -> str:
    """Return the pair on which a VPC's public addresses and pool ranges arrive; nothing if the VPC has neither."""
    names = (*vpc.ipv6_pools.values(), *(mapping.pool for mapping in mappings))
    return next((pools[name].record.pair for name in names if name in pools), "")


class Ephemeral:
    """Gives ephemeral addresses to new interfaces of one VPC, all from one pair.

    While the VPC has no gateway, only its addresses determine the pair. Then two commands that add addresses at the same time
    conflict on the VPC's mark.
    """

    def __init__(self, addresses: Addresses, caller: Caller, vpc: Stored[Vpc], pair: str, mark: int | None) -> None:
        """`pair` is empty if any pair will do. `mark` is the revision of the VPC's mark, None if its gateway has a pair."""
        self._addresses = addresses
        self._caller = caller
        self._vpc = vpc
        self._pair = pair
        self._mark = mark

    def give(self, writes: Writes, eni: NetworkInterface) -> PublicMapping:
        """Add a public address for an interface's own address, and return its mapping. Raises ApiError: as `Addresses.next`."""
        association = self._caller.new_id("eipassoc", eni.vni)
        fit = [pool for pool in self._addresses.pools.values() if self._pair in ("", pool.record.pair)]
        chosen = self._addresses.next(f"network interface {eni.id}", fit, association, self._vpc.record.owner)
        self._pair = chosen.pool.record.pair
        chosen.take(writes)
        mapping = PublicMapping(
            vni=eni.vni,
            address=chosen.address,
            association=association,
            eni=eni.id,
            private_address=eni.address,
            pool=chosen.pool.record.name,
        )
        stand_for(writes, self._vpc, mapping)
        if self._mark is not None:
            writes.expect(keys.public_mark(eni.vni), self._mark)
            self._mark = None  # written now; the next address of a plan may be in another transaction
        return mapping


def ephemeral_of(store: Store, caller: Caller, vpc: Stored[Vpc]) -> Ephemeral:
    """Return the source of ephemeral addresses in a VPC: its gateway's pair, else its public addresses' pair, else any."""
    addresses, vni = open_addresses(store, caller), vpc.record.vni
    if pair := gateway_pair(store, vni):
        return Ephemeral(addresses, caller, vpc, pair, None)
    mark = mark_revision(store, vni)
    return Ephemeral(addresses, caller, vpc, pair_of_addresses(addresses.pools, vpc.record, mapped_in(store, vni)), mark)


def mapped_in(store: Store, vni: int) -> list[PublicMapping]:
    """Return the public mappings of a VPC."""
    return [found.record for found in listed(store, keys.public_mapping(vni, ""), PublicMapping).values()]


def mark_revision(store: Store, vni: int) -> int:
    """Return the revision of a VPC's mark, 0 if it never had a public address. Read it before the public addresses."""
    kv = store.get(keys.public_mark(vni))
    return ABSENT if kv is None else kv.mod_revision


def private_address(eni: NetworkInterface, text: str) -> str:
    """Return the requested address of an interface, or its only one. Raises ApiError: InvalidParameterValue."""
    if text and text != eni.address:
        raise invalid(f"network interface {eni.id}", f"{text} is not its private IPv4 address", f"that is {eni.address}")
    return eni.address
