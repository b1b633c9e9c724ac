"""What the records of a VPC refer to: whoever lists, plans or exports takes for granted that it exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from netorch.control.enis import primary_eni_id
from netorch.errors import UnreadableRecord
from netorch.model import keys

if TYPE_CHECKING:
    from netorch.control.read import VpcRecords


def first_missing(records: VpcRecords) -> UnreadableRecord | None:
    """Return a record that does not exist and that another one refers to, or None. Cost: O(records of the VPC)."""
    for table, of, key, referring in _references(records):
        if key not in table:
            where = keys.mapping(records.vni, key) if of == "map" else keys.resource(records.vni, of, key)
            return UnreadableRecord(where, f"is missing, and {referring} refers to it")
    return None


def _references(records: VpcRecords) -> Iterator[tuple[Mapping[str, object], str, str, str]]:
    """Yield the records among which something must be, their kind, what it is, and who refers to it."""
    for eni_id, stored in records.enis.items():
        eni = stored.record
        yield records.subnets, "subnet", eni.subnet, eni_id
        for group_id in eni.groups:
            yield records.groups, "sg", group_id, eni_id
        if eni.instance:
            yield records.instances, "i", eni.instance, eni_id
            yield records.mappings, "map", eni.address, eni_id
    for instance_id in records.instances:
        yield records.enis, "eni", primary_eni_id(instance_id), instance_id
    for subnet_id, subnet in records.subnets.items():
        if subnet.record.route_table:
            yield records.route_tables, "rtb", subnet.record.route_table, subnet_id
        if subnet.record.acl:
            yield records.acls, "acl", subnet.record.acl, subnet_id
