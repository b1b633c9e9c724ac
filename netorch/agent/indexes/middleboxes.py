"""Interfaces that may pass packets to and from addresses other than their own, indexed so that a change costs O(change)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netorch.model.eni import NetworkInterface
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.vpc import RouteTable


class Middleboxes:
    """The interfaces of one VPC that are route targets or have no source/destination check."""

    def __init__(self) -> None:
        self.unchecked: set[str] = set()
        self._targets: dict[str, frozenset[str]] = {}  # route table -> the interfaces that its routes target
        self._tables: Counter[str] = Counter()  # interface -> how many route tables target it

    def set_interface(self, eni_id: str, eni: NetworkInterface | None) -> bool:
        """Record an interface, or its removal; return whether it is, or was, in the index."""
        before = self.holds(eni_id)
        if eni is None or eni.source_dest_check:
            self.unchecked.discard(eni_id)
        else:
            self.unchecked.add(eni_id)
        return before or self.holds(eni_id)

    def set_table(self, table_id: str, table: RouteTable | None) -> bool:
        """Record a route table, or its removal; return whether its routes target other interfaces than before."""
        before = self._targets.pop(table_id, frozenset())
        after = frozenset(_interfaces(table)) if table is not None else frozenset()
        if after:
            self._targets[table_id] = after
        self._tables.update(after - before)
        for eni_id in before - after:
            self._tables[eni_id] -= 1
            if not self._tables[eni_id]:
                del self._tables[eni_id]
        return before != after

    def is_target(self, eni_id: str) -> bool:
        """Return whether a route targets an interface."""
        return self._tables[eni_id] > 0

    def holds(self, eni_id: str) -> bool:
        """Return whether an interface is in the index."""
        return eni_id in self.unchecked or self.is_target(eni_id)

    def ids(self) -> list[str]:
        """Return the ids of all indexed interfaces, sorted."""
        return sorted(self.unchecked | self._tables.keys())


def _interfaces(table: RouteTable) -> Iterator[str]:
    for route in table.routes:
        target = target_of(route.target)
        if target.kind is TargetKind.INTERFACE:
            yield target.id
