"""The records of one VPC, the input of plans, lists, exports and agents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import msgspec

from netorch.model.eni import NetworkInterface
from netorch.model.mapping import Mapping
from netorch.model.vpc import RouteTable, Vpc
from netorch.records import keys
from netorch.records.read import Stored

T = TypeVar("T")


class MissingRecord(LookupError):
    """A record that another record refers to does not exist."""


class VpcRecords(msgspec.Struct):
    """The records of one VPC by type, then by id; mappings by address."""

    vni: int
    tables: dict[type, dict[str, Stored[Any]]] = msgspec.field(default_factory=dict)

    def of(self, kind: type[T]) -> dict[str, Stored[T]]:
        """Return the records of one type, in a mutable table."""
        found = self.tables.get(kind)
        if found is None:
            found = self.tables[kind] = {}
        return cast("dict[str, Stored[T]]", found)

    def each(self, kind: type[T]) -> Iterator[T]:
        """Return the records of one type without their revisions."""
        return (stored.record for stored in self.of(kind).values())

    def one(self, kind: type[T], name: str) -> T | None:
        """Return a record of one type by id, or a mapping by address, or None."""
        stored = self.of(kind).get(name)
        return stored.record if stored is not None else None

    def copied(self) -> VpcRecords:
        """Return a copy with its own tables and the same records."""
        return VpcRecords(self.vni, {kind: dict(table) for kind, table in self.tables.items()})

    @property
    def vpc(self) -> Stored[Vpc]:
        """Return the VPC's own record. Raises MissingRecord, e.g. if an agent does not have the record yet."""
        for found in self.of(Vpc).values():
            return found
        raise MissingRecord(f"the record {keys.vpc(self.vni)} is missing")

    @vpc.setter
    def vpc(self, changed: Stored[Vpc]) -> None:
        self.tables[Vpc] = {changed.record.id: changed}

    @property
    def mappings(self) -> dict[str, Stored[Mapping]]:
        """Return the mappings by address."""
        return self.of(Mapping)

    def main_table(self) -> RouteTable | None:
        """Return the main route table."""
        return next((table for table in self.each(RouteTable) if table.main), None)

    def mappings_of(self, eni: NetworkInterface) -> dict[str, Stored[Mapping]]:
        """Return an interface's mappings by store key."""
        found = {}
        for address in eni.addresses:
            mapping = self.mappings.get(address)
            if mapping is not None and mapping.record.eni == eni.id:
                found[keys.mapping(self.vni, address)] = mapping
        return found
