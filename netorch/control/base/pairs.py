"""Pairs of edges: which edges a pair has, and which pair carries the gateways of a VPC.

A pair has two places. Each place is a key that names its edge. So no pair ever has three edges, and the edges of a pair are
found without a scan of all hosts. The transaction that puts a gateway on a pair compares the places. So the gateway gets seats
on all edges of the pair, and an edge that joins later finds all other gateways among those that its partner carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from netorch.control.base.pools import Addresses, open_addresses
from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.eni import Host, Placement
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, is_ready, read_host, read_loaded, read_said
from netorch.records.read import Stored, get
from netorch.store.base import KeyValue, Store

PLACES = (0, 1)


def edges_of(store: Store, pair: str = "") -> dict[str, list[str]]:
    """Return the edges of one pair, or of all pairs, by the pair's name."""
    return _by_pair(places(store.list(keys.pair_prefix(pair)).kvs))


def _by_pair(taken: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, edge in taken.items():
        found.setdefault(key.split("/")[2], []).append(edge)
    return found


def places(kvs: Iterable[KeyValue]) -> dict[str, str]:
    """Return the edges that have places in pairs, by the keys of the places."""
    return {kv.key: decode(kv, str) for kv in kvs if kv.key.startswith(keys.pair_prefix())}


def free_places(pair: str, taken: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys of a pair's free places; `taken` are the taken places, as `places` returns them."""
    return tuple(key for key in (keys.pair_place(pair, place) for place in PLACES) if key not in taken)


def join(writes: Writes, host: Host, taken: Mapping[str, str]) -> str:
    """Add that a new edge takes a place of its pair, and return the place's key; `taken` as `places` returns it.

    An edge that joins another edge is drained: it has none of the partner's gateways yet.
    `netorch.control.actions.outside.drains.admit` gives it these gateways.

    Raises:
      ApiError: InvalidParameterValue for a third edge.
    """
    free = free_places(host.pair, taken)
    if not free:
        names = " and ".join(taken[keys.pair_place(host.pair, place)] for place in PLACES)
        fix = "name another pair, or delete one of them"
        raise invalid(f"host {host.name!r}", f"pair {host.pair} has two edges, {names}", fix)
    writes.create(free[0], host.name)
    if len(free) < len(PLACES):
        writes.put(keys.host_drained(host.name), host.name)
    return free[0]


def leave(writes: Writes, store: Store, host: Host) -> None:
    """Add that an edge gives up its place in its pair."""
    for kv in store.list(keys.pair_prefix(host.pair)).kvs if host.pair else ():
        if decode(kv, str) == host.name:
            writes.delete(kv.key, kv.mod_revision)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of edges that may carry a gateway."""

    name: str
    edges: tuple[HostState, ...]  # by name
    free: tuple[str, ...]  # the keys of the free places
    ready: int = 0  # number of ready edges
    has_addresses: bool = False  # an IPv4 address of its pools is free

    @property
    def gateways(self) -> int:
        """Return how many gateways the pair carries."""
        return max(edge.placements for edge in self.edges)

    def seats(self) -> tuple[Seat, ...]:
        """Return seats for one more gateway; the edges take turns as the first seat."""
        first = self.gateways % len(self.edges)
        return tuple(Seat(host=edge.host.name, vtep=edge.host.underlay) for edge in self.edges[first:] + self.edges[:first])


def fit_pairs(store: Store, caller: Caller, only: str = "") -> list[Pair]:
    """Return the pairs that may carry a gateway, the best first (`best_first`), or only the pair `only`.

    Cost: O(edges and what they carry).
    """
    taken = places(store.list(keys.pair_prefix(only)).kvs)
    addresses = open_addresses(store, caller)
    return best_first(_read(store, name, edges, free_places(name, taken), addresses) for name, edges in _by_pair(taken).items())


def best_first(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that may carry a gateway, the best first. No edge of theirs is being deleted or changed.

    A pair without a ready edge would carry nothing, so it comes last. A pair without a free address could serve no instance.
    Next in order come pairs with two ready edges, then pairs with fewer gateways, then the name.
    """
    fit = [pair for pair in pairs if not any(edge.deleting for edge in pair.edges)]
    return sorted(
        fit,
        key=lambda pair: (not pair.ready, not pair.has_addresses, pair.ready < len(pair.edges), pair.gateways, pair.name),
    )


def choose_pair(store: Store, caller: Caller, where: str, only: str = "") -> Pair:
    """Return the best pair for a gateway, or `only` that pair. Raises ApiError: InsufficientInstanceCapacity."""
    return first_of(fit_pairs(store, caller, only), where, only)


def first_of(fit: Sequence[Pair], where: str, only: str = "") -> Pair:
    """Return the first of the pairs that may carry a gateway. Raises ApiError: InsufficientInstanceCapacity."""
    if not fit:
        what = f"pair {only}, which has the VPC's public addresses, has no edges" if only else "there is no pair of edges"
        fix = f"netorch host create NAME --underlay IP --role edge --pair {only or 'PAIR'} --uplink DEVICE,ADDRESS/LENGTH,GATEWAY"
        raise ApiError("InsufficientInstanceCapacity", f"{where}: {what} to carry it; ask the operator to create one: {fix}")
    return fit[0]


def _read(store: Store, name: str, edges: Iterable[str], free: tuple[str, ...], addresses: Addresses) -> Pair:
    states = tuple(read_loaded(store, edge) for edge in sorted(edges))
    return make_pair(name, states, free, addresses, partial(read_said, store))


def make_pair(
    name: str,
    edges: tuple[HostState, ...],
    free: tuple[str, ...],
    addresses: Addresses,
    said: Callable[[str], AgentStatus | None],
) -> Pair:
    """Return a pair with the facts that rank it; `said` returns the last status of an edge's agent."""
    pools = [pool for pool in addresses.pools.values() if pool.record.pair == name]
    ready = sum(is_ready(state, said(state.host.name)) for state in edges)
    return Pair(name=name, edges=edges, free=free, ready=ready, has_addresses=addresses.has_free(pools))


def pair_of(store: Store, edges: Iterable[str]) -> str:
    """Return the pair of the edges that carry one gateway; nothing for no edges. Raises ApiError, UnreadableRecord."""
    return next((read_host(store, edge).host.pair for edge in edges), "")


def carried_by(store: Store, vni: int, gateway_id: str) -> tuple[str, ...]:
    """Return the edges that carry a gateway, in the order of its seats."""
    mapping = get(store, keys.gateway_mapping(vni, gateway_id), GatewayMapping)
    return tuple(seat.host for seat in mapping.record.seats) if mapping is not None else ()


def shown_pair(store: Store, edges: Iterable[str]) -> str:
    """Return the pair of the edges that carry one gateway; nothing for no edges or an unreadable record. Raises ApiError."""
    with suppress(UnreadableRecord):
        return pair_of(store, edges)
    return ""


def place_gateway(writes: Writes, pair: Pair, vni: int, gateway_id: str) -> GatewayMapping:
    """Add a new gateway's mapping and its placements on the edges of a pair. No edge of the pair may be in deletion.

    The edges then count the gateway, so the next gateway may go to another pair. No edge may join meanwhile: it would get no
    seat.
    """
    mapping = GatewayMapping(vni=vni, gateway=gateway_id, seats=pair.seats())
    place_on(writes, pair, gateway_id)
    writes.create(keys.gateway_mapping(vni, gateway_id), mapping)
    return mapping


def place_on(writes: Writes, pair: Pair, gateway_id: str) -> None:
    """Add the placements of a new gateway on the edges of a pair, as `place_gateway` does. Read `Pair.seats` before this call."""
    for edge in pair.edges:
        expect_staying(writes, edge)
        writes.put(keys.placement(edge.host.name, gateway_id), Placement(id=gateway_id))
        edge.placements += 1
    for place in pair.free:
        writes.expect(place, ABSENT)


def seat_records(store: Store, gateway_id: str) -> Iterator[tuple[str, Stored[GatewayMapping] | Stored[PeeringConnection]]]:
    """Yield the records that hold a gateway's seats, with their keys; for a mapped peering connection both records."""
    vni = vni_of(gateway_id)
    if gateway_kind(gateway_id) is not TargetKind.PEERING:
        key = keys.gateway_mapping(vni, gateway_id)
        if (mapping := get(store, key, GatewayMapping)) is not None:
            yield key, mapping
        return
    requester = get(store, keys.member(vni, gateway_id), PeeringConnection)
    if requester is None:
        return
    accepter = get(store, keys.member(requester.record.peer_vni, gateway_id), PeeringConnection)
    for half in (requester, accepter):
        if half is not None and half.record.seats:
            yield keys.member(half.record.vni, gateway_id), half


def expect_staying(writes: Writes, state: HostState) -> None:
    """Add the condition that a host that gets a placement is not in deletion. Raises ApiError: IncorrectState."""
    if state.deleting:
        what = "is being deleted or changed; repeat that command if it was interrupted, or choose another host"
        raise ApiError("IncorrectState", f"host {state.host.name}: {what}")
    writes.expect(keys.host_spec(state.host.name), state.mod_revision)
    writes.expect(keys.host_drain(state.host.name), ABSENT)
