"""The whole cloud at one revision of the store, decoded, for lists, plans and exports.

A VPC with an unreadable record, or with a reference to a missing record, is isolated: it is not in `vpcs`, requests for it
return an error with the record's key, and no plan changes it. The same applies to hosts. Unreadable status of hosts
(`hoststat/`, `underlay/`) is ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from netorch.errors import NewerRecord, UnreadableRecord
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.eni import EniStatus, Host, VpcStatus
from netorch.model.ids import is_id, vni_of
from netorch.model.outside.direct_connect import Connection
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.outside.vpn import CustomerGateway
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone
from netorch.model.status import AgentStatus, HostMtu, NatUse, VifStatus, VpnStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import UNKNOWN_KIND, check_sound, decode
from netorch.records.hosts import HostState, vni_of_placement
from netorch.records.kinds import BY_PREFIX, mapped
from netorch.records.read import Stored, stored
from netorch.records.references import contradictions_in
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import holder_of
from netorch.store.base import KeyValue, Store

# The operator's resources: the first part of their keys -> their type, and the inventory's field that holds them by name.
_OPERATORS: Final[dict[str, tuple[type, str]]] = {
    "pool": (AddressPool, "pools"),
    "dxcon": (Connection, "connections"),
    "gwsvc": (GatewayService, "services"),
    "bucket": (BucketPolicy, "buckets"),
}
_VNI: Final = re.compile("[0-9a-f]{6}")


class IsolatedVpc(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC with an unreadable or missing record."""

    vni: int
    owner: str  # like the name, empty if the VPC's own record and its name's record are both damaged
    name: str
    error: UnreadableRecord  # the first, if several
    rest: VpcRecords | None  # the readable records; None if the VPC's own record is unreadable

    @property
    def path(self) -> str:
        """Return the VPC's owner/name, or its VNI if they are unknown."""
        return f"{self.owner}/{self.name}" if self.name else f"with VNI {self.vni}"

    def is_known_to(self, caller: Caller) -> bool:
        """Return whether the caller may see this VPC."""
        return caller.operator or (bool(self.owner) and caller.sees(self.owner))


class Inventory:
    """All records at `revision`. `raw` holds the records that are not decoded: names, allocations, quotas."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.vpcs: dict[int, VpcRecords] = {}
        self.hosts: dict[str, HostState] = {}
        self.eni_status: dict[tuple[str, str], EniStatus] = {}  # (host, interface)
        self.vpc_status: dict[tuple[str, int], VpcStatus] = {}  # (host, VNI)
        self.nat_use: dict[tuple[str, str], NatUse] = {}  # (host, NAT gateway)
        self.vpn_status: dict[tuple[str, str], VpnStatus] = {}  # (host, VPN connection)
        self.vif_status: dict[tuple[str, str], VifStatus] = {}  # (host, virtual interface)
        self.agents: dict[str, AgentStatus] = {}
        self.pools: dict[str, Stored[AddressPool]] = {}  # by name
        self.connections: dict[str, Stored[Connection]] = {}  # of Direct Connect, by name
        self.services: dict[str, Stored[GatewayService]] = {}  # of gateway endpoints, by name
        self.buckets: dict[str, Stored[BucketPolicy]] = {}  # by name
        self.elastic_ips: dict[str, Stored[ElasticIp]] = {}  # by id
        self.customer_gateways: dict[str, Stored[CustomerGateway]] = {}  # by id
        self.dhcp_options: dict[str, Stored[DhcpOptionsSet]] = {}  # by id
        self.zones: dict[str, Stored[PrivateZone]] = {}  # by id
        self.mtus: dict[str, int] = {}  # MTU of the underlay, by host, if reported
        self.raw: dict[str, KeyValue] = {}
        self.candidates: Collection[str] | None = None  # hosts whose placements are all known; None: every host
        self.isolated: dict[int, IsolatedVpc] = {}
        self.isolated_hosts: dict[str, UnreadableRecord] = {}
        self.unreadable: list[UnreadableRecord] = []  # all, including status records

    def check_vpc(self, caller: Caller, vni: int) -> None:
        """Raise UnreadableRecord for an isolated VPC that the caller may see."""
        found = self.isolated.get(vni)
        if found is not None and found.is_known_to(caller):
            raise found.error

    def check_host(self, name: str) -> None:
        """Raise UnreadableRecord for an isolated host."""
        if name in self.isolated_hosts:
            raise self.isolated_hosts[name]


def read_inventory(store: Store) -> Inventory:
    """Return the inventory of the whole store. Cost: O(store), about 25 us per record."""
    listing = store.list("")
    return decoded(listing.kvs, listing.revision)


def decoded(kvs: Sequence[KeyValue], revision: int) -> Inventory:
    """Return the inventory of records that are sorted by key, at one revision."""
    inventory = Inventory(revision)
    placements: dict[str, Counter[int]] = {}
    damaged: dict[int, UnreadableRecord] = {}  # VNI -> its first damaged record by key
    for kv in _vpcs_first(kvs):
        root, _, rest = kv.key.partition("/")
        owner, _, what = rest.partition("/")
        try:
            if root == "vpc" and _VNI.fullmatch(owner):
                _take_vpc(inventory, kv, int(owner, 16), what, int(owner, 16) in damaged)
            elif root == "map" and _VNI.fullmatch(owner):
                _take_mapping(inventory, kv, int(owner, 16), what)
            elif root == "host":
                _take_host(inventory, placements, kv, owner, what)
            elif root == "hoststat":
                _take_status(inventory, kv, owner, what)
            elif kv.key.startswith(keys.mtu_prefix()):
                inventory.mtus[what] = decode(kv, HostMtu).mtu
            elif root in _OPERATORS:
                of, field = _OPERATORS[root]
                getattr(inventory, field)[owner] = stored(kv, of)
            elif root == "eip":
                inventory.elastic_ips[what] = stored(kv, ElasticIp)
            elif root == "cgw":
                inventory.customer_gateways[what] = stored(kv, CustomerGateway)
            elif root == "dopt":
                inventory.dhcp_options[what] = stored(kv, DhcpOptionsSet)
            elif root == "zone":
                inventory.zones[what] = stored(kv, PrivateZone)
            else:
                inventory.raw[kv.key] = kv
        except UnreadableRecord as error:
            inventory.unreadable.append(error)
            if root == "host":
                inventory.isolated_hosts[owner] = error
            elif root in ("vpc", "map") and _VNI.fullmatch(owner):
                damaged[int(owner, 16)] = error
    hosts = {name: state.host for name, state in inventory.hosts.items()}
    for vni, records in inventory.vpcs.items():
        if vni not in damaged and (contradictions := contradictions_in(records, hosts)):
            inventory.unreadable += contradictions
            damaged[vni] = contradictions[0]
    _isolate(inventory, damaged)
    _complete_hosts(inventory, placements)
    return inventory


def _complete_hosts(inventory: Inventory, placements: Mapping[str, Counter[int]]) -> None:
    for name, state in inventory.hosts.items():
        state.in_vpcs = placements.get(name, Counter())
        state.placements = state.in_vpcs.total()
        state.seen = name in inventory.agents
        state.accepts = found.mod_revision if (found := inventory.raw.get(keys.accepts(name))) is not None else 0
        state.deleting = keys.host_drain(name) in inventory.raw
        state.drained = keys.host_drained(name) in inventory.raw
        state.live = keys.host_live(name) in inventory.raw


def _vpcs_first(kvs: Sequence[KeyValue]) -> Iterator[KeyValue]:
    """Yield records so that a VPC's own record comes before the VPC's other records."""
    rest = []
    for kv in reversed(kvs):
        if kv.key.startswith("vpc/") and kv.key.endswith("/vpc"):
            yield kv
        else:
            rest.append(kv)
    yield from rest


def _isolate(inventory: Inventory, damaged: dict[int, UnreadableRecord]) -> None:
    """Move VPCs with damaged records to `isolated`. If the VPC's own record is damaged, the name keys supply owner and name."""
    named: dict[int, tuple[str, str]] = {}
    for key, kv in inventory.raw.items() if damaged else ():
        root, *path = key.split("/")
        if root == "name" and len(path) == 3 and path[1] == "vpc" and is_id(holder := holder_of(kv), "vpc"):
            named[vni_of(holder)] = path[0], path[2]
        elif root == "named" and len(path) == 4 and is_id(path[3], "vpc"):
            named.setdefault(vni_of(path[3]), (path[2], path[1]))
    for vni, error in damaged.items():
        rest = inventory.vpcs.pop(vni, None)
        owner, name = (rest.vpc.record.owner, rest.vpc.record.name) if rest is not None else named.get(vni, ("", ""))
        inventory.isolated[vni] = IsolatedVpc(vni=vni, owner=owner, name=name, error=error, rest=rest)


def _take_vpc(inventory: Inventory, kv: KeyValue, vni: int, rest: str, is_damaged: bool) -> None:
    prefix, _, resource_id = rest.partition("/")
    kind = BY_PREFIX.get(prefix)
    if kind is None:
        raise NewerRecord(kv.key, UNKNOWN_KIND)
    if kind.type is Vpc:
        vpc = stored(kv, Vpc)
        inventory.vpcs[vni] = VpcRecords(vni, {Vpc: {vpc.record.id: vpc}})
    elif (records := inventory.vpcs.get(vni)) is None:
        check_sound(kv.key, kv.value)
        inventory.raw[kv.key] = kv
        if not is_damaged:
            raise UnreadableRecord(keys.vpc(vni), f"is missing, and {resource_id} refers to it")
    else:
        records.of(kind.type)[resource_id] = stored(kv, kind.type)


def _take_mapping(inventory: Inventory, kv: KeyValue, vni: int, name: str) -> None:
    records = inventory.vpcs.get(vni)
    if records is None:
        check_sound(kv.key, kv.value)
        inventory.raw[kv.key] = kv
    else:
        of = mapped(name)
        table: dict[str, Stored[Any]] = records.of(of)
        table[name] = stored(kv, of)


def _take_host(inventory: Inventory, placements: dict[str, Counter[int]], kv: KeyValue, name: str, kind: str) -> None:
    if kind.startswith("placement/"):
        check_sound(kv.key, kv.value)
        placements.setdefault(name, Counter())[vni_of_placement(kind.removeprefix("placement/"))] += 1
    elif kind == "spec":
        inventory.hosts[name] = HostState(host=decode(kv, Host), mod_revision=kv.mod_revision)
    else:
        inventory.raw[kv.key] = kv


def _take_status(inventory: Inventory, kv: KeyValue, host: str, what: str) -> None:
    if what == "agent":
        inventory.agents[host] = decode(kv, AgentStatus)
    elif what.startswith("vpc-") and _VNI.fullmatch(what[4:]):
        inventory.vpc_status[host, int(what[4:], 16)] = decode(kv, VpcStatus)
    elif is_id(what, "eni"):
        inventory.eni_status[host, what] = decode(kv, EniStatus)
    elif is_id(what, "nat"):
        inventory.nat_use[host, what] = decode(kv, NatUse)
    elif is_id(what, "vpn"):
        inventory.vpn_status[host, what] = decode(kv, VpnStatus)
    elif is_id(what, "dxvif"):
        inventory.vif_status[host, what] = decode(kv, VifStatus)
    else:
        inventory.raw[kv.key] = kv
