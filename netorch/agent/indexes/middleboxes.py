"""Which interfaces packets to and from other addresses than their own may pass: an index, so that a change costs only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from netorch.model.eni import NetworkInterface
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.vpc import RouteTable


class Middleboxes:
    """The interfaces of one VPC that a route leads to, and those without source/destination check."""

    def __init__(self) -> None:
        self.unchecked: set[str] = set()
        self._targets: dict[str, frozenset[str]] = {}  # route table -> the interfaces that its routes lead to
        self._tables: Counter[str] = Counter()  # interface -> how many route tables lead to it

    def set_interface(self, eni_id: str, eni: NetworkInterface | None) -> bool:
        """Take in an interface, or that it is gone; return whether it is, or was, among those meant here."""
        before = self.holds(eni_id)
        if eni is None or eni.source_dest_check:
            self.unchecked.discard(eni_id)
        else:
            self.unchecked.add(eni_id)
        return before or self.holds(eni_id)

    def set_table(self, table_id: str, table: RouteTable | None) -> bool:
        """Take in a route table, or that it is gone; return whether its routes lead to other interfaces than before."""
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
        """Return whether a route leads to an interface."""
        return self._tables[eni_id] > 0

    def holds(self, eni_id: str) -> bool:
        """Return whether an interface is meant here."""
        return eni_id in self.unchecked or self.is_target(eni_id)

    def ids(self) -> list[str]:
        """Return the ids of all of them, sorted."""
        return sorted(self.unchecked | self._tables.keys())


def _interfaces(table: RouteTable) -> Iterator[str]:
    for route in table.routes:
        target = target_of(route.target)
        if target.kind is TargetKind.INTERFACE:
            yield target.id
