"""In-memory connection tracking."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterable, Set
from itertools import islice

import msgspec

from netorch.drivers.base import TableUse
from netorch.drivers.fake.host import FakeHost
from netorch.errors import KernelError
from netorch.model.addr import packed
from netorch.state.base import OVERLAY, Key
from netorch.state.flow import Flow, FlowKey, uncounted


class FakeTracker:
    """Implements `netorch.drivers.base.ConnectionTracker`."""

    def __init__(self, host: FakeHost, netns: str = OVERLAY) -> None:
        self.tracked: dict[FlowKey, Flow] = {}  # the connections of all zones
        self.most = 1 << 18
        self.translated: set[str] = set()  # addresses that connections are translated to
        self.refused_zones: frozenset[int] = frozenset()  # expires only if a test resets it
        self.handed_zones: frozenset[int] = frozenset()  # expires only if a test resets it
        self._host = host
        self._refusing: Key = ("nft-table", netns, "inet")  # the table with the set

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the connections of a zone, or those of some addresses in it. Raises OSError for an invalid address."""
        found = (flow for flow in self.tracked.values() if flow.zone == zone)
        if addresses is None:
            return tuple(found)
        ends = {packed(address) for address in addresses}
        return tuple(flow for flow in found if not {packed(flow.source), packed(flow.destination)}.isdisjoint(ends))

    def forget(self, flows: Iterable[Flow]) -> None:
        """Delete connections."""
        for flow in flows:
            self.tracked.pop(flow.key, None)

    def restore(self, flows: Iterable[Flow]) -> None:
        """Add connections that began elsewhere, with zero counters; for known ones, update the ends that track them."""
        for flow in flows:
            known = self.tracked.setdefault(flow.key, uncounted(flow))
            self.tracked[flow.key] = msgspec.structs.replace(known, mark=known.mark | flow.mark)

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return the addresses in `translated`."""
        return self.translated.intersection(addresses)

    def use(self) -> TableUse:
        """Return the number of connections."""
        return TableUse(held=len(self.tracked), most=self.most)

    def sample(self, size: int) -> dict[int, int]:
        """Return the number of the first `size` connections by zone."""
        return Counter(flow.zone for flow in islice(self.tracked.values(), size))

    def refused(self) -> frozenset[int]:
        """Return `refused_zones`."""
        return self.refused_zones

    def refuse(self, zones: Set[int]) -> None:
        """Set `refused_zones`, if its table exists."""
        self._check_table()
        self.refused_zones = frozenset(zones)

    def hand_over(self, zones: Set[int]) -> None:
        """Set `handed_zones`, if its table exists."""
        self._check_table()
        self.handed_zones = frozenset(zones)

    def _check_table(self) -> None:
        if self._refusing not in self._host.objects:
            raise KernelError("change elements", errno.ENOENT)
