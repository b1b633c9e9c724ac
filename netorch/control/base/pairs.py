"""Pairs of edges: which edges a pair has, and which pair carries the gateways of a VPC.

A pair has two places, each a key that says which edge has it: so no pair ever has three edges, and its edges are found without
looking at all hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError
from netorch.model.eni import Host, Placement
from netorch.model.mapping import GatewayMapping, Seat
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, read_host, read_loaded
from netorch.store.base import KeyValue, Store

PLACES = (0, 1)


def edges_of(store: Store, pair: str = "") -> dict[str, list[str]]:
    """Return the edges of one pair, or of all pairs, by the pair's name."""
    found: dict[str, list[str]] = {}
    for kv in store.list(keys.pair_prefix(pair)).kvs:
        found.setdefault(kv.key.split("/")[2], []).append(decode(kv, str))
    return found


def places(kvs: Iterable[KeyValue]) -> dict[str, str]:
    """Return the edges that have places of pairs, by the keys of the places."""
    return {kv.key: decode(kv, str) for kv in kvs if kv.key.startswith(keys.pair_prefix())}


def join(writes: Writes, host: Host, taken: Mapping[str, str]) -> str:
    """Add that a new edge takes a place of its pair, and return its key; `taken` are those that are taken, as `places` has them.

    Raises:
      ApiError: InvalidParameterValue for a third edge.
    """
    own = [keys.pair_place(host.pair, place) for place in PLACES]
    for key in own:
        if key not in taken:
            writes.create(key, host.name)
            return key
    names = " and ".join(taken[key] for key in own)
    raise invalid(f"host {host.name!r}", f"pair {host.pair} has two edges, {names}", "name another pair, or delete one of them")


def leave(writes: Writes, store: Store, host: Host) -> None:
    """Add that an edge gives up its place."""
    for kv in store.list(keys.pair_prefix(host.pair)).kvs if host.pair else ():
        if decode(kv, str) == host.name:
            writes.delete(kv.key, kv.mod_revision)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of edges that a gateway may be put on."""

    name: str
    edges: tuple[HostState, ...]  # by name

    @property
    def gateways(self) -> int:
        """Return how many gateways it carries."""
        return max(edge.placements for edge in self.edges)

    def seats(self) -> tuple[Seat, ...]:
        """Return seats for one more gateway; from gateway to gateway another edge comes first."""
        first = self.gateways % len(self.edges)
        return tuple(Seat(host=edge.host.name, vtep=edge.host.underlay) for edge in self.edges[first:] + self.edges[:first])


def fit_pairs(store: Store, only: str = "") -> list[Pair]:
    """Return the pairs that a gateway may be put on, the best first, or `only` one of them.

    None of a pair's edges is being deleted. The best has the fewest gateways; of equals one that lives, then the first by name.
    Cost: O(edges and what they carry).
    """
    return best_first(_read(store, name, edges) for name, edges in edges_of(store, only).items())


def best_first(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that a gateway may be put on, as `fit_pairs` does."""
    fit = [pair for pair in pairs if not any(edge.deleting for edge in pair.edges)]
    return sorted(fit, key=lambda pair: (pair.gateways, not all(edge.live for edge in pair.edges), pair.name))


def choose_pair(store: Store, where: str, only: str = "") -> Pair:
    """Return the best pair for a gateway; `only` names the one that will do. Raises ApiError: InsufficientInstanceCapacity."""
    return first_of(fit_pairs(store, only), where, only)


def first_of(fit: Sequence[Pair], where: str, only: str = "") -> Pair:
    """Return the first pair of those that a gateway may be put on. Raises ApiError: InsufficientInstanceCapacity."""
    if not fit:
        what = f"pair {only}, whose public addresses the VPC has, has no edges" if only else "there is no pair of edges"
        fix = f"netorch host create NAME --underlay IP --role edge --pair {only or 'PAIR'} --uplink DEVICE,ADDRESS/LENGTH,GATEWAY"
        raise ApiError("InsufficientInstanceCapacity", f"{where}: {what} that could carry it; the operator makes one: {fix}")
    return fit[0]


def _read(store: Store, name: str, edges: Iterable[str]) -> Pair:
    return Pair(name=name, edges=tuple(read_loaded(store, edge) for edge in sorted(edges)))


def pair_of(store: Store, edges: Iterable[str]) -> str:
    """Return the pair of edges that carry one gateway; nothing for no edges. Raises ApiError, UnreadableRecord."""
    return next((read_host(store, edge).host.pair for edge in edges), "")


def place_gateway(writes: Writes, pair: Pair, vni: int, gateway_id: str) -> GatewayMapping:
    """Add a new gateway's mapping, and its placements on the edges of a pair, which must not be, or be going to be, deleted.

    The edges then count it: another gateway may be put on another pair.
    """
    mapping = GatewayMapping(vni=vni, gateway=gateway_id, seats=pair.seats())
    for edge in pair.edges:
        writes.expect(keys.host_spec(edge.host.name), edge.mod_revision)
        writes.expect(keys.host_drain(edge.host.name), ABSENT)
        writes.put(keys.placement(edge.host.name, gateway_id), Placement(id=gateway_id))
        edge.placements += 1
    writes.create(keys.gateway_mapping(vni, gateway_id), mapping)
    return mapping
