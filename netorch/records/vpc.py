"""The records of one VPC at one revision: what plans, lists and exports are made of."""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.model.eni import Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.read import Stored

TABLES: Final = {  # the kind in a key below `vpc/<vni>/` -> the field of VpcRecords
    "subnet": "subnets",
    "rtb": "route_tables",
    "eni": "enis",
    "i": "instances",
    "sg": "groups",
    "acl": "acls",
    "pl": "prefix_lists",
    "fl": "flow_logs",
}


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

    def copied(self) -> VpcRecords:
        """Return the same records, in tables that may be changed."""
        return VpcRecords(vpc=self.vpc, mappings=dict(self.mappings), **{f: dict(getattr(self, f)) for f in TABLES.values()})

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
