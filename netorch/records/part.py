"""Some VPCs of the cloud, with the hosts that carry them and these hosts' status: the input of a command about one resource."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from netorch.errors import UnreadableRecord
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Reach
from netorch.model.services.zones import VpcZone
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.inventory import Inventory, decoded
from netorch.records.kind import Kind
from netorch.records.kinds import mapped, of_vpc
from netorch.store.base import KeyValue, Store


def read_part(store: Store, vnis: Iterable[int]) -> Inventory:
    """Return these VPCs at one revision. Their hosts' placements for other VPCs are not counted.

    Cost: O(records of these VPCs), whatever the size of the store.
    """
    found: dict[str, KeyValue] = {}
    revision = 0
    for vni in sorted(set(vnis)):
        for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni)):
            listing = store.list(prefix, revision)
            revision = revision or listing.revision
            found |= {kv.key: kv for kv in listing.kvs}
    for key in sorted(_beside(found.values())):
        if (kv := store.get(key)) is not None:
            found[key] = kv
    return decoded([found[key] for key in sorted(found)], revision)


def with_neighbours(store: Store, vnis: Iterable[int]) -> set[int]:
    """Return these VNIs, and those of VPCs that share a resource with them, because packets may go there."""
    known = set(vnis)
    return known | {other for vni in known for kind in of_vpc() for other in _sharing(store, kind, vni)}


def _sharing(store: Store, kind: Kind[Any], vni: int) -> Iterator[int]:
    """Yield the VNIs of the VPCs that share a resource of one kind with a VPC."""
    if kind.shared_with is not None:
        for kv in store.list(keys.resources(vni, kind.prefix)).kvs:
            with suppress(UnreadableRecord):  # its VPC is isolated
                yield kind.shared_with(decode(kv, kind.type))


def _beside(kvs: Iterable[KeyValue]) -> set[str]:
    """Return the keys of the mappings' hosts, and of these hosts' status of the mappings' interfaces and VPCs."""
    wanted: set[str] = set()
    for kv in kvs:
        if kv.key.startswith("map/"):
            with suppress(UnreadableRecord):  # its VPC is isolated
                mapping = decode(kv, mapped(kv.key.split("/", 2)[2]))
                for host in hosts_of(mapping):
                    wanted |= {keys.host_spec(host), keys.host_live(host), keys.host_drain(host), keys.host_mtu(host)}
                    wanted.add(keys.agent_status(host))
                    wanted.add(keys.vpc_status(host, mapping.vni))
                    if isinstance(mapping, Mapping):
                        wanted.add(keys.eni_status(host, mapping.eni))
    return wanted


def hosts_of(mapping: Mapping | GatewayMapping | PublicMapping | Reach | VpcZone) -> Iterator[str]:
    """Yield the hosts that a mapping names."""
    match mapping:
        case Mapping():
            yield mapping.host
            if mapping.move is not None:
                yield mapping.move.host
        case GatewayMapping():
            yield from (seat.host for seat in mapping.seats)
