"""The whole cloud as the store holds it at one revision, decoded: what lists, plans and exports are made of."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from netorch.control.hosts import HostState, drain_key
from netorch.control.records import Stored
from netorch.errors import StoreUnavailable
from netorch.model import keys
from netorch.model.eni import EniStatus, Host, Instance, NetworkInterface, VpcStatus
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.status import AgentStatus
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.store.base import KeyValue, Store

_TYPES: Final[dict[str, type]] = {
    "vpc": Vpc,
    "subnet": Subnet,
    "rtb": RouteTable,
    "eni": NetworkInterface,
    "i": Instance,
    "sg": SecurityGroup,
    "acl": NetworkAcl,
    "pl": PrefixList,
    "fl": FlowLog,
    "map": Mapping,
    "host": Host,
    "eni-status": EniStatus,
    "vpc-status": VpcStatus,
    "agent": AgentStatus,
}
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {kind: msgspec.json.Decoder(of) for kind, of in _TYPES.items()}


class VpcRecords(msgspec.Struct, kw_only=True):
    """The records of one VPC by id, mappings by address."""

    vpc: Stored[Vpc]
    subnets: dict[str, Stored[Subnet]] = msgspec.field(default_factory=dict)
    route_tables: dict[str, Stored[RouteTable]] = msgspec.field(default_factory=dict)
    enis: dict[str, Stored[NetworkInterface]] = msgspec.field(default_factory=dict)
    instances: dict[str, Stored[Instance]] = msgspec.field(default_factory=dict)
    groups: dict[str, Stored[SecurityGroup]] = msgspec.field(default_factory=dict)
    acls: dict[str, Stored[NetworkAcl]] = msgspec.field(default_factory=dict)
    prefix_lists: dict[str, Stored[PrefixList]] = msgspec.field(default_factory=dict)
    flow_logs: dict[str, Stored[FlowLog]] = msgspec.field(default_factory=dict)
    mappings: dict[str, Stored[Mapping]] = msgspec.field(default_factory=dict)

    @property
    def vni(self) -> int:
        """Return the VPC's network identifier."""
        return self.vpc.record.vni

    def main_table(self) -> RouteTable | None:
        """Return the main route table."""
        return next((table.record for table in self.route_tables.values() if table.record.main), None)

    def mappings_of(self, eni: NetworkInterface) -> dict[str, Stored[Mapping]]:
        """Return an interface's mappings by the store's key."""
        found = {}
        for address in eni.addresses:
            mapping = self.mappings.get(address)
            if mapping is not None and mapping.record.eni == eni.id:
                found[keys.mapping(self.vni, address)] = mapping
        return found


class Inventory:
    """Everything, as it stood at `revision`. `raw` holds what is not decoded: names, allocations, quotas."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.vpcs: dict[int, VpcRecords] = {}
        self.hosts: dict[str, HostState] = {}
        self.eni_status: dict[tuple[str, str], EniStatus] = {}  # (host, interface)
        self.vpc_status: dict[tuple[str, int], VpcStatus] = {}  # (host, VNI)
        self.agents: dict[str, AgentStatus] = {}
        self.raw: dict[str, KeyValue] = {}


def read_inventory(store: Store) -> Inventory:
    """Return everything. Cost: O(store), about 2 us a record.

    Raises:
      StoreUnavailable: a record cannot be decoded; the text names it.
    """
    listing = store.list("")
    inventory = Inventory(listing.revision)
    wants: dict[str, int] = {}
    for kv in reversed(listing.kvs):  # a VPC's own record sorts behind what is in it, mappings and wants before it
        root, _, rest = kv.key.partition("/")
        if root == "vpc":
            _take_vpc(inventory, kv, rest)
        elif root == "map":
            _take_mapping(inventory, kv, rest)
        elif root == "host":
            _take_host(inventory, wants, kv, *rest.split("/", 1))
        elif root == "hoststat":
            _take_status(inventory, kv, *rest.split("/", 1))
        else:
            inventory.raw[kv.key] = kv
    for name, state in inventory.hosts.items():
        state.wants = wants.get(name, 0)
        state.draining = drain_key(name) in inventory.raw
        state.live = keys.host_live(name) in inventory.raw
    return inventory


def _stored(kv: KeyValue, kind: str) -> Stored[Any]:
    try:
        return Stored(_DECODERS[kind].decode(kv.value), kv.mod_revision)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"{kv.key}: the record cannot be read: {error}; put back what a backup holds") from error


def _take_vpc(inventory: Inventory, kv: KeyValue, rest: str) -> None:
    kind, _, resource_id = rest[7:].partition("/")
    vni = int(rest[:6], 16)
    if kind == "vpc":
        inventory.vpcs[vni] = VpcRecords(vpc=_stored(kv, "vpc"))
    elif (records := inventory.vpcs.get(vni)) is None or kind not in _TYPES:
        inventory.raw[kv.key] = kv
    elif kind == "subnet":
        records.subnets[resource_id] = _stored(kv, kind)
    elif kind == "rtb":
        records.route_tables[resource_id] = _stored(kv, kind)
    elif kind == "eni":
        records.enis[resource_id] = _stored(kv, kind)
    elif kind == "i":
        records.instances[resource_id] = _stored(kv, kind)
    elif kind == "sg":
        records.groups[resource_id] = _stored(kv, kind)
    elif kind == "acl":
        records.acls[resource_id] = _stored(kv, kind)
    elif kind == "pl":
        records.prefix_lists[resource_id] = _stored(kv, kind)
    elif kind == "fl":
        records.flow_logs[resource_id] = _stored(kv, kind)


def _take_mapping(inventory: Inventory, kv: KeyValue, rest: str) -> None:
    records = inventory.vpcs.get(int(rest[:6], 16))
    if records is None:
        inventory.raw[kv.key] = kv
    else:
        records.mappings[rest[7:]] = _stored(kv, "map")


def _take_host(inventory: Inventory, wants: dict[str, int], kv: KeyValue, name: str, kind: str) -> None:
    if kind.startswith("want/"):
        wants[name] = wants.get(name, 0) + 1
    elif kind == "spec":
        inventory.hosts[name] = HostState(host=_stored(kv, "host").record, mod_revision=kv.mod_revision)
    else:
        inventory.raw[kv.key] = kv


def _take_status(inventory: Inventory, kv: KeyValue, host: str, what: str) -> None:
    if what == "agent":
        inventory.agents[host] = _stored(kv, "agent").record
    elif what.startswith("vpc-"):
        inventory.vpc_status[host, int(what[4:], 16)] = _stored(kv, "vpc-status").record
    elif what.startswith("flows/"):
        inventory.raw[kv.key] = kv
    else:
        inventory.eni_status[host, what] = _stored(kv, "eni-status").record
