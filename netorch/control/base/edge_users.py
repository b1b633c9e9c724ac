"""Find hosts and edges that may still act on old state: hosts that send to an edge, edges that deliver to a last holder.

The sources are the records of who carries what, and the agents' status. An agent that never ran has configured no kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netorch.model.mapping import GatewayMapping
from netorch.model.routing.peering import PeeringConnection
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.inventory import Inventory
from netorch.store.base import KeyValue, Store

Unheard = Callable[[str], tuple[str, ...]]  # name of a pair -> its edges that may not know that an address was given back


def users_of(inventory: Inventory, name: str) -> tuple[str, ...]:
    """Return the hosts, by name, that may still send to an edge. Cost: O(mappings).

    These are the hosts of the VPCs with a gateway on the edge, and the partner edge, unless they report that they no longer use
    the edge. A host with a dead agent counts, because its kernel goes on forwarding. A host whose agent never ran sends
    nothing.
    """
    edge = inventory.hosts[name].host
    found: set[str] = set()
    for records in inventory.vpcs.values():
        mappings = [*records.each(GatewayMapping), *(found.gateway for found in records.each(PeeringConnection))]
        seats = {seat.host for mapping in mappings if mapping is not None for seat in mapping.seats}
        if name in seats:
            found |= seats | {mapping.record.host for mapping in records.mappings.values()}
    known = ((host, inventory.agents[host]) for host in sorted(found - {name}) if host in inventory.agents)
    return tuple(host for host, status in known if edge.underlay not in status.silent)


def unheard_by(store: Store) -> Unheard:
    """Return a function that finds the edges of a pair that may not know that an address was given back. Cost: O(1) for a pair.

    An edge with a live agent has read the store within the time of its lease. The lease is far shorter than the hold-down of an
    address, so the edge knows. An edge whose agent is down, or cannot reach the store, goes on as before, because traffic must
    not depend on the store. The operator may drain such an edge: then no host sends to it, or the operator knows it is off.
    """

    def has(key: str) -> bool:
        return store.get(key) is not None

    def has_run(edge: str) -> bool:
        return has(keys.agent_status(edge))

    def is_known(edge: str) -> bool:
        return has(keys.host_live(edge)) or has(keys.host_drained(edge))

    return lambda pair: _unheard(store.list(keys.pair_prefix(pair)).kvs, has_run, is_known)


def unheard_in(inventory: Inventory) -> Unheard:
    """Return the same function as `unheard_by`, for records that were read already."""
    places = [kv for key, kv in inventory.raw.items() if key.startswith(keys.pair_prefix())]

    def has_run(edge: str) -> bool:
        return edge in inventory.agents

    def is_known(edge: str) -> bool:
        return keys.host_live(edge) in inventory.raw or keys.host_drained(edge) in inventory.raw

    return lambda pair: _unheard((kv for kv in places if kv.key.startswith(keys.pair_prefix(pair))), has_run, is_known)


def _unheard(places: Iterable[KeyValue], has_run: Callable[[str], bool], is_known: Callable[[str], bool]) -> tuple[str, ...]:
    edges = (decode(kv, str) for kv in places)
    return tuple(edge for edge in sorted(edges) if has_run(edge) and not is_known(edge))
