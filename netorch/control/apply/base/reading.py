"""The records that a plan needs, whatever else the store holds: those of the file's owners, and of their VPCs' neighbours.

A file may have made resources of owners that it no longer names. So a file that changes anything leaves a key for each owner that
it names, `alloc/source/<file>/<owner>`. The key is only a hint, and stays: the marks on the resources decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, groupby
from typing import Final

from netorch.control.apply.sources import Source
from netorch.control.base.addresses import cursor_key
from netorch.control.base.quotas import quota_key
from netorch.control.base.uses import use_key
from netorch.control.base.writes import MOST_OPS, Writes
from netorch.control.placement.choice import CHOICES, Accepting, accepting_of, marked_full, sample, unlisted
from netorch.errors import UnreadableRecord
from netorch.model.check.peerings import peer_path
from netorch.model.cloud import Cloud, VpcDecl, declared_gateways
from netorch.model.endpoints.declared import service_path
from netorch.model.eni import Attachment, Host, Role
from netorch.model.ids import is_id, vni_of
from netorch.model.vpc import DEFAULT_OWNER
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.inventory import Inventory, decoded, read_inventory
from netorch.records.kind import Scope
from netorch.records.kinds import BY_PREFIX, BY_TYPE, mapped
from netorch.records.names import vnis_of
from netorch.records.part import hosts_of
from netorch.store.alloc import holder_of, vni_key
from netorch.store.base import KeyValue, Store

_DIGITS: Final = 6  # of a VNI in keys
_MOST_CHOOSERS: Final = 32  # a plan chooses among 128 hosts at most, however many instances it creates
_SPARSE: Final = 4  # VNIs that one listing may return for each wanted one: many small listings cost more
# What belongs to no owner and no VPC, or is found by address, host or edge.
_COMMON: Final = (
    *("alloc/eip/", "alloc/netns/", "alloc/use/dxcon/", "alloc/use/gwsvc/", "alloc/use/pool/", "alloc/ranges/"),
    *(keys.ike_peers(), keys.connection_vlans(), keys.ports(), keys.service_uses(), keys.pair_prefix()),
    *(keys.pool_prefix(), keys.connection_prefix(), keys.service_prefix(), keys.bucket_prefix()),
)
_OWNED: Final = tuple(kind.root for kind in BY_TYPE.values() if kind.scope is Scope.OWNER)
# What belongs to one VPC, without the VNI's digits that follow. Uses of three kinds leave a mark.
_OF_VPC: Final = (
    *("vpc/", "map/", "alloc/vni/", "alloc/public/", "alloc/ip/"),
    *(cursor_key("subnet-"), use_key("vpc-"), use_key("sg-"), use_key("pl-")),
)


def read_for(store: Store, caller: Caller, cloud: Cloud, source: Source) -> Inventory:
    """Return the records that planning a file needs, at one revision.

    Cost: O(records of the owners that the file names or once named, and of their VPCs' neighbours). A file that declares hosts,
    pools, connections or the operator's services concerns all VPCs: O(store).
    """
    if cloud.hosts or cloud.address_pools or cloud.connections or cloud.gateway_services:
        return read_inventory(store)
    reader = _Reader(store)
    for prefix in _COMMON:
        reader.take(prefix)
    owners = owners_of(cloud) | {owner for label in source.labels for owner in reader.below(_hint(label))}
    vnis = reader.owners(owners if caller.operator else {caller.owner})
    vnis |= {vni for decl in cloud.vpcs for vni in _named_by(store, caller, decl)}
    reader.vpcs(vnis)
    for decl in cloud.vpcs:
        if decl.vni is not None:
            reader.take(vni_key(decl.vni))
    instances = [*cloud.instances, *(instance for decl in cloud.vpcs for instance in decl.instances)]
    hosts = {instance.host for instance in instances}
    free = sum(not instance.host for instance in instances)
    candidates = reader.candidates(free, source.label)
    holders = {instance.host for instance in instances if instance.attachment is Attachment.EXISTING}
    reader.vpcs(reader.carried(holders))  # one of them may have the namespace, and no claim
    seats = bool(cloud.instances) or any(_has_seats(decl) for decl in cloud.vpcs)
    reader.hosts(hosts - {""} | candidates, seats=seats)
    inventory = reader.inventory()
    inventory.candidates = candidates
    return inventory


def read_around(store: Store, owners: Collection[str]) -> Inventory:
    """Return the records that deleting VPCs of these owners needs, at one revision. Cost: as `read_for`."""
    reader = _Reader(store)
    for prefix in _COMMON:
        reader.take(prefix)
    reader.vpcs(reader.owners(owners))
    reader.hosts((), seats=False)
    return reader.inventory()


def owners_of(cloud: Cloud) -> set[str]:
    """Return the owners of what a file declares."""
    declared = (cloud.vpcs, cloud.elastic_ips, cloud.customer_gateways, cloud.dhcp_options, cloud.buckets, cloud.private_zones)
    found = {decl.owner for decls in declared for decl in decls}
    return found | {DEFAULT_OWNER} if cloud.instances else found


def hints(store: Store, source: Source, owners: Iterable[str]) -> list[Writes]:
    """Return the steps that note these owners for the file's later plans; none if all are noted, or the file owns nothing."""
    if not source.label:
        return []
    known = {kv.key for kv in store.list(_hint(source.label)).kvs}
    missing = [key for owner in sorted(owners) if (key := _hint(source.label) + owner) not in known]
    steps = []
    for first in range(0, len(missing), MOST_OPS):
        steps.append(Writes())
        for key in missing[first : first + MOST_OPS]:
            steps[-1].put(key, True)
    return steps


def cover(vnis: Iterable[int]) -> list[str]:
    """Return prefixes of VNIs in hexadecimal that cover these VNIs by few listings, and few other VNIs."""
    return _cover("", sorted(f"{vni:0{_DIGITS}x}" for vni in set(vnis)))


def _cover(prefix: str, found: Sequence[str]) -> list[str]:
    if len(found) * _SPARSE >= 16 ** (_DIGITS - len(prefix)):
        return [prefix]
    depth = len(prefix) + 1
    return [each for head, group in groupby(found, lambda vni: vni[:depth]) for each in _cover(head, list(group))]


def _hint(label: str) -> str:
    """Return the prefix of a file's hints; a label may be long, and have slashes."""
    return f"alloc/source/{hashlib.sha256(label.encode()).hexdigest()[:16]}/"


def _named_by(store: Store, caller: Caller, decl: VpcDecl) -> Iterator[int]:
    """Yield the VNIs of other VPCs that a declaration names: peers, and providers of services."""
    paths: list[tuple[str, ...] | str | None] = [peer_path(decl.owner, peering.peer) for peering in decl.peerings]
    services = [endpoint.service for endpoint in decl.interface_endpoints]
    paths += [service if is_id(service) else service_path(decl.owner, service) for service in services]
    for path in paths:
        if isinstance(path, str):
            yield from (vni_of(path),) if is_id(path) else ()
        elif path is not None:
            yield from vnis_of(store, caller, "vpc", "/".join(path[:2]))


def _has_seats(decl: VpcDecl) -> bool:
    """Return whether a VPC may have something that needs a pair of edges: the one with the fewest gateways gets it."""
    of_gateways = (declared_gateways(decl), decl.nat_gateways, decl.gateway_endpoints, decl.interface_endpoints)
    return any((*of_gateways, decl.peerings))  # a peering may be mapped, also if only its peer's declaration says so


class _Reader:
    """Reads parts of a store at one revision."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, KeyValue] = {}
        self._vnis: set[int] = set()
        self._revision = 0

    def take(self, prefix: str) -> list[str]:
        """Read all keys with a prefix; return them."""
        listing = self._store.list(prefix, self._revision)
        self._revision = self._revision or listing.revision
        self._found |= {kv.key: kv for kv in listing.kvs}
        return [kv.key for kv in listing.kvs]

    def below(self, prefix: str) -> list[str]:
        """Return the rest of each key with a prefix."""
        return [key.removeprefix(prefix) for key in self.take(prefix)]

    def owners(self, owners: Iterable[str]) -> set[int]:
        """Read what these owners have outside VPCs; return the VNIs of their VPCs."""
        vnis = set()
        for owner in owners:
            for name in self.take(f"name/{owner}/"):
                vnis |= self._holders(name) if name.split("/")[2] == "vpc" else set()
            for root in _OWNED:
                self.take(keys.owned_prefix(root, owner))
                self.take(use_key(f"{root}/{owner}"))
            for prefix in (f"alloc/dopt/{owner}/", f"alloc/zone/{owner}/", keys.addresses_of(owner), keys.vpn_use(owner)):
                self.take(prefix)
            self.take(use_key(f"vpn/{owner}"))
            self.take(quota_key(owner))
        return vnis

    def _holders(self, name: str) -> set[int]:
        """Return the VNI of the VPC that has a name; if the name's key is damaged, as the index of names says."""
        if is_id(holder := holder_of(self._found[name]), "vpc"):
            return {vni_of(holder)}
        _, owner, _, text = name.split("/", 3)
        return {vni_of(key) for key in self.take(keys.named("vpc", text, owner)) if is_id(key.rpartition("/")[2], "vpc")}

    def vpcs(self, vnis: Iterable[int]) -> None:
        """Read these VPCs and those that share a resource with them."""
        self._vpcs(set(vnis))
        self._vpcs(set(self._sharing()) - self._vnis)

    def _vpcs(self, vnis: set[int]) -> None:
        self._vnis |= vnis
        for head in cover(vnis):
            for root in _OF_VPC:
                self.take(root + head)

    def _sharing(self) -> Iterator[int]:
        """Yield the VNIs of the VPCs that share a resource with those that were read."""
        for key, kv in self._found.items():
            root, _, rest = key.partition("/")
            kind = BY_PREFIX.get(rest.split("/")[1]) if root == "vpc" else None
            if kind is not None and kind.shared_with is not None:
                try:
                    yield kind.shared_with(decode(kv, kind.type))
                except UnreadableRecord:
                    continue  # its VPC is isolated

    def carried(self, hosts: set[str]) -> set[int]:
        """Return the VNIs of the VPCs that hosts carry."""
        return {vni_of(carried) for host in hosts - {""} for carried in self.below(f"host/{host}/placement/") if is_id(carried)}

    def candidates(self, instances: int, label: str) -> set[str]:
        """Read hypervisors among which a plan chooses for so many instances, with what they carry; return their names.

        The same file finds the same ones as long as the store is unchanged. Those that seem dead or are full do not count.
        Cost: O(what these hosts carry), whatever the number of hosts. If nearly all are full, O(hosts) keys in one listing.
        """
        wanted = CHOICES * min(instances, _MOST_CHOOSERS)
        found: set[str] = set()
        fit = room = 0
        accepting, seed = cache(self._accepting), f"{label}/{self._revision}"
        for name in chain(sample(accepting, seed), marked_full(accepting, seed)) if wanted else ():
            read = {*self.take(f"host/{name}/"), *self.take(keys.agent_status(name))}
            found.add(name)
            if keys.host_live(name) in read or keys.agent_status(name) not in read:
                here = self._room(name, read, instances)
                fit, room = fit + (here > 0), room + here
            if fit >= wanted and room >= instances:
                break
        return found

    def _room(self, name: str, read: Collection[str], most: int) -> int:
        """Return how many more interfaces a hypervisor accepts, `most` if any number; `read` are its keys."""
        host = self._host(name)
        if host is None or host.role is not Role.HYPERVISOR or keys.host_drained(name) in read:
            return 0
        carried = sum(key.startswith(keys.placement(name, "")) for key in read)
        return max(host.capacity - carried, 0) if host.capacity else most

    def _accepting(self, digits: str) -> Accepting:
        found = accepting_of(self.take(keys.accepting(digits)))
        if found.open or found.full or digits:
            return found
        self.take("host/")
        return Accepting(unlisted(kv for key, kv in self._found.items() if key.startswith("host/")), [])

    def hosts(self, named: Iterable[str], *, seats: bool) -> None:
        """Read these hosts, the edges, and the hosts of the VPCs that were read; with `seats` also what edges carry."""
        wanted, edges = {*named}, set[str]()
        for key, kv in self._found.items():
            try:
                if key.startswith("map/"):
                    wanted |= set(hosts_of(decode(kv, mapped(key.split("/", 2)[2]))))
                elif key.startswith(keys.pair_prefix()):
                    edges.add(decode(kv, str))
            except UnreadableRecord:
                continue  # its VPC is isolated
        for edge in edges if seats else ():
            self.take(f"host/{edge}/placement/")
        of_host = (keys.host_spec, keys.host_live, keys.host_drained, keys.host_drain, keys.host_mtu)
        for host in sorted(wanted | edges):
            for key_of in (*of_host, keys.agent_status, keys.accepts):
                self.take(key_of(host))
            record = self._host(host)
            if record is not None and record.capacity:  # what it carries counts
                self.take(keys.placement(host, ""))

    def _host(self, name: str) -> Host | None:
        """Return a host's record; None if it is missing or damaged, which the plan reports."""
        with suppress(KeyError, UnreadableRecord):
            return decode(self._found[keys.host_spec(name)], Host)
        return None

    def inventory(self) -> Inventory:
        """Return everything that was read, without VPCs beside the wanted ones."""
        kvs = [self._found[key] for key in sorted(self._found) if key[:4] not in ("vpc/", "map/") or self._is_wanted(key)]
        return decoded(kvs, self._revision)

    def _is_wanted(self, key: str) -> bool:
        try:
            return int(key[4:10], 16) in self._vnis
        except ValueError:
            return False
