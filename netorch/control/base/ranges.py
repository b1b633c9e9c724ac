"""Keep the ranges of pools apart from the addresses and networks of hosts: a public address leads to one place only.

A change of a pool's ranges rewrites the pools' key and compares the hosts' key. An added host compares the pools' key and
writes the hosts' key. So each detects the other, and hosts that are added at the same time do not conflict.

Every new or changed uplink rewrites the uplinks' key: two edges never get one address at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from netorch.control.base.writes import ABSENT, Writes
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.endpoints.endpoint import GatewayService
from netorch.model.eni import Host
from netorch.model.outside.public import AddressPool
from netorch.model.outside.uplink import networks_of, own_addresses
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.read import listed, read_named
from netorch.store.base import Store


def add_host(writes: Writes, host: Host, pools: Iterable[AddressPool], pool_revision: int) -> None:
    """Add the guard of a new host with the pools' key at `pool_revision`. Raises ApiError for an address or network of a pool."""
    for pool in pools:
        for text in pool.cidrs:
            if found := _overlap(parse_prefix(text), host):
                raise invalid(f"host {host.name!r}", f"{found} overlaps {text} of address pool {pool.name}", "choose another one")
    writes.expect(keys.pool_ranges(), pool_revision)
    writes.put(keys.host_ranges(), True)


def add_uplink(writes: Writes, host: Host, edges: Iterable[Host], uplink_revision: int) -> None:
    """Add the guard of an edge's uplink; `uplink_revision` is the revision of the uplinks' key, read before `edges`.

    Raises:
      ApiError: InvalidParameterValue for an address that another edge has on its uplink.
    """
    if host.uplink is None:
        return
    own = own_addresses(host.uplink)
    for other in edges:
        for address in own_addresses(other.uplink) if other.uplink is not None and other.name != host.name else ():
            if address in own:
                fix = "give each edge its own"
                raise invalid(f"host {host.name!r}", f"edge {other.name} has the uplink address {address}", fix)
    writes.change(keys.uplinks(), uplink_revision, True)


def remove_host(writes: Writes, store: Store) -> None:
    """Add the deletion of the hosts' and uplinks' keys if this is the last host."""
    known = store.get(keys.host_ranges())
    if known is not None and len(store.list(keys.vteps()).kvs) == 1:
        writes.delete(keys.host_ranges(), known.mod_revision)
        writes.drop(keys.uplinks())


def change_pools(writes: Writes, revision_of: Callable[[str], int]) -> None:
    """Add the guard of a change of a pool's ranges. Call it before you read hosts and pools."""
    writes.expect(keys.host_ranges(), revision_of(keys.host_ranges()))
    writes.change(keys.pool_ranges(), revision_of(keys.pool_ranges()), True)


def read_taken(writes: Writes, store: Store) -> tuple[list[AddressPool], list[Host], list[GatewayService]]:
    """Return the holders of ranges that a new range of a pool or a service must not overlap, and add their guard."""
    change_pools(writes, partial(revision_of, store))
    pools = [stored.record for stored in listed(store, keys.pool_prefix(), AddressPool).values()]
    names = [decode(kv, str) for kv in store.list(keys.vteps()).kvs]
    services = [stored.record for stored in listed(store, keys.service_prefix(), GatewayService).values()]
    return pools, [read_named(store, Host, name).record for name in names], services


def remove_pool(writes: Writes, store: Store) -> None:
    """Add the guard of a pool's deletion; the pools' key is deleted with the last pool."""
    change_pools(writes, partial(revision_of, store))
    if len(store.list(keys.pool_prefix()).kvs) == 1:
        writes.drop(keys.pool_ranges())


def revision_of(store: Store, key: str) -> int:
    """Return the revision of a key's last write, 0 if the key does not exist."""
    kv = store.get(key)
    return ABSENT if kv is None else kv.mod_revision


def refuse_taken(where: str, new: Prefix, pools: Iterable[AddressPool], hosts: Iterable[Host]) -> None:
    """Refuse a pool's range that overlaps another pool's range or a host's. Raises ApiError: InvalidParameterValue."""
    for pool in pools:
        for text in pool.cidrs:
            if parse_prefix(text).overlaps(new):
                raise invalid(where, f"{new} overlaps {text} of address pool {pool.name}", "choose another range")
    for host in hosts:
        if found := _overlap(new, host):
            raise invalid(where, f"{new} overlaps {found} of host {host.name}", "choose another range")


def refuse_services(where: str, new: Prefix, services: Iterable[GatewayService]) -> None:
    """Refuse a range that overlaps a service's prefix. Raises ApiError: InvalidParameterValue."""
    for service in services:
        for text in service.prefixes:
            if parse_prefix(text).overlaps(new):
                raise invalid(where, f"{new} overlaps {text} of service {service.name}", "choose another range")


def _overlap(block: Prefix, host: Host) -> Prefix | None:
    return next((network for network in networks_of(host.underlay, host.uplink) if network.overlaps(block)), None)
