"""Pairs of edges: which edges a pair has, and which pair carries the gateways of a VPC.

A pair has two places, each a key that says which edge has it: so no pair ever has three edges, and its edges are found without
looking at all hosts. A gateway that is put on a pair compares the places: so it gets seats on all edges that the pair has then,
and an edge that joins later finds all others among what its partner carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

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
from netorch.records.hosts import HostState, is_ready, read_host, read_loaded
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
    """Return the edges that have places of pairs, by the keys of the places."""
    return {kv.key: decode(kv, str) for kv in kvs if kv.key.startswith(keys.pair_prefix())}


def free_places(pair: str, taken: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys of a pair's places that no edge has; `taken` are those that are taken, as `places` has them."""
    return tuple(key for key in (keys.pair_place(pair, place) for place in PLACES) if key not in taken)


def join(writes: Writes, host: Host, taken: Mapping[str, str]) -> str:
    """Add that a new edge takes a place of its pair, and return its key; `taken` are those that are taken, as `places` has them.

    An edge that joins another one is drained: it has none of the other's gateways yet, and
    `netorch.control.actions.outside.drains.admit` gives it these.

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
    """Add that an edge gives up its place."""
    for kv in store.list(keys.pair_prefix(host.pair)).kvs if host.pair else ():
        if decode(kv, str) == host.name:
            writes.delete(kv.key, kv.mod_revision)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of edges that a gateway may be put on."""

    name: str
    edges: tuple[HostState, ...]  # by name
    free: tuple[str, ...]  # the keys of the places that no edge has
    ready: int = 0  # how many of its edges are ready
    has_addresses: bool = False  # whether an IPv4 address of its pools is free

    @property
    def gateways(self) -> int:
        """Return how many gateways it carries."""
        return max(edge.placements for edge in self.edges)

    def seats(self) -> tuple[Seat, ...]:
        """Return seats for one more gateway; from gateway to gateway another edge comes first."""
        first = self.gateways % len(self.edges)
        return tuple(Seat(host=edge.host.name, vtep=edge.host.underlay) for edge in self.edges[first:] + self.edges[:first])


def fit_pairs(store: Store, caller: Caller, only: str = "") -> list[Pair]:
    """Return the pairs that a gateway may be put on, the best first (`best_first`), or `only` one of them.

    Cost: O(edges and what they carry).
    """
    taken = places(store.list(keys.pair_prefix(only)).kvs)
    addresses = open_addresses(store, caller)
    return best_first(_read(store, name, edges, free_places(name, taken), addresses) for name, edges in _by_pair(taken).items())


def best_first(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that a gateway may be put on, the best first: none of their edges is being deleted or changed.

    A pair without an edge that is ready would carry nothing, and one without a free address could serve no instance. Then one
    comes first whose edges are both ready, then one with fewer gateways, then the first by name.
    """
    fit = [pair for pair in pairs if not any(edge.deleting for edge in pair.edges)]
    return sorted(
        fit,
        key=lambda pair: (not pair.ready, not pair.has_addresses, pair.ready < len(pair.edges), pair.gateways, pair.name),
    )


def choose_pair(store: Store, caller: Caller, where: str, only: str = "") -> Pair:
    """Return the best pair for a gateway; `only` names the one that will do. Raises ApiError: InsufficientInstanceCapacity."""
    return first_of(fit_pairs(store, caller, only), where, only)


def first_of(fit: Sequence[Pair], where: str, only: str = "") -> Pair:
    """Return the first pair of those that a gateway may be put on. Raises ApiError: InsufficientInstanceCapacity."""
    if not fit:
        what = f"pair {only}, whose public addresses the VPC has, has no edges" if only else "there is no pair of edges"
        fix = f"netorch host create NAME --underlay IP --role edge --pair {only or 'PAIR'} --uplink DEVICE,ADDRESS/LENGTH,GATEWAY"
        raise ApiError("InsufficientInstanceCapacity", f"{where}: {what} that could carry it; the operator makes one: {fix}")
    return fit[0]


def _read(store: Store, name: str, edges: Iterable[str], free: tuple[str, ...], addresses: Addresses) -> Pair:
    states = tuple(read_loaded(store, edge) for edge in sorted(edges))
    return make_pair(name, states, free, addresses, lambda edge: _said(store, edge))


def make_pair(
    name: str,
    edges: tuple[HostState, ...],
    free: tuple[str, ...],
    addresses: Addresses,
    said: Callable[[str], AgentStatus | None],
) -> Pair:
    """Return a pair with what decides whether it comes first; `said` returns what the agent of an edge has said last."""
    pools = [pool for pool in addresses.pools.values() if pool.record.pair == name]
    ready = sum(is_ready(state, said(state.host.name)) for state in edges)
    return Pair(name=name, edges=edges, free=free, ready=ready, has_addresses=addresses.has_free(pools))


def _said(store: Store, edge: str) -> AgentStatus | None:
    found = store.get(keys.agent_status(edge))
    return decode(found, AgentStatus) if found is not None else None


def pair_of(store: Store, edges: Iterable[str]) -> str:
    """Return the pair of edges that carry one gateway; nothing for no edges. Raises ApiError, UnreadableRecord."""
    return next((read_host(store, edge).host.pair for edge in edges), "")


def carried_by(store: Store, vni: int, gateway_id: str) -> tuple[str, ...]:
    """Return the edges that carry a gateway, in the order of its seats."""
    mapping = get(store, keys.gateway_mapping(vni, gateway_id), GatewayMapping)
    return tuple(seat.host for seat in mapping.record.seats) if mapping is not None else ()


def shown_pair(store: Store, edges: Iterable[str]) -> str:
    """Return the pair of edges that carry one gateway; nothing for no edges, or where it cannot be read. Raises ApiError."""
    with suppress(UnreadableRecord):
        return pair_of(store, edges)
    return ""


def place_gateway(writes: Writes, pair: Pair, vni: int, gateway_id: str) -> GatewayMapping:
    """Add a new gateway's mapping, and its placements on the edges of a pair, which must not be, or be going to be, deleted.

    The edges then count it: another gateway may be put on another pair. No edge may join meanwhile: it would get no seat.
    """
    mapping = GatewayMapping(vni=vni, gateway=gateway_id, seats=pair.seats())
    place_on(writes, pair, gateway_id)
    writes.create(keys.gateway_mapping(vni, gateway_id), mapping)
    return mapping


def place_on(writes: Writes, pair: Pair, gateway_id: str) -> None:
    """Add the placements of a new gateway on the edges of a pair, as `place_gateway` does; read `Pair.seats` before."""
    for edge in pair.edges:
        expect_staying(writes, edge)
        writes.put(keys.placement(edge.host.name, gateway_id), Placement(id=gateway_id))
        edge.placements += 1
    for place in pair.free:
        writes.expect(place, ABSENT)


def seat_records(store: Store, gateway_id: str) -> Iterator[tuple[str, Stored[GatewayMapping] | Stored[PeeringConnection]]]:
    """Yield the records that say at which edges a gateway is, with their keys: both of a mapped peering connection's."""
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
    """Add that a host on which something is placed must not be, or be going to be, deleted. Raises ApiError: IncorrectState."""
    if state.deleting:
        what = "is being deleted, or changed; run that command once more if it was interrupted, or choose another host"
        raise ApiError("IncorrectState", f"host {state.host.name}: {what}")
    writes.expect(keys.host_spec(state.host.name), state.mod_revision)
    writes.expect(keys.host_drain(state.host.name), ABSENT)
