"""Connection tracking in memory."""

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
        self.tracked: dict[FlowKey, Flow] = {}  # the connections, of all zones
        self.most = 1 << 18
        self.translated: set[str] = set()  # addresses that connections are translated to
        self.refused_zones: frozenset[int] = frozenset()  # a test lets their time pass
        self.handed_zones: frozenset[int] = frozenset()  # likewise
        self._host = host
        self._refusing: Key = ("nft-table", netns, "inet")  # the table with the set

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the connections of a zone, or those of some addresses in it. Raises OSError for what is no address."""
        found = (flow for flow in self.tracked.values() if flow.zone == zone)
        if addresses is None:
            return tuple(found)
        ends = {packed(address) for address in addresses}
        return tuple(flow for flow in found if not {packed(flow.source), packed(flow.destination)}.isdisjoint(ends))

    def forget(self, flows: Iterable[Flow]) -> None:
        """Forget connections."""
        for flow in flows:
            self.tracked.pop(flow.key, None)

    def restore(self, flows: Iterable[Flow]) -> None:
        """Know connections that began elsewhere, with nothing counted yet; of known ones, which ends track them."""
        for flow in flows:
            known = self.tracked.setdefault(flow.key, uncounted(flow))
            self.tracked[flow.key] = msgspec.structs.replace(known, mark=known.mark | flow.mark)

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return those that are in `translated`."""
        return self.translated.intersection(addresses)

    def use(self) -> TableUse:
        """Return how many connections there are."""
        return TableUse(held=len(self.tracked), most=self.most)

    def sample(self, size: int) -> dict[int, int]:
        """Return how many of the first connections each zone has."""
        return Counter(flow.zone for flow in islice(self.tracked.values(), size))

    def refused(self) -> frozenset[int]:
        """Return `refused_zones`."""
        return self.refused_zones

    def refuse(self, zones: Set[int]) -> None:
        """Set `refused_zones`, where there is a table for it."""
        self._check_table()
        self.refused_zones = frozenset(zones)

    def hand_over(self, zones: Set[int]) -> None:
        """Set `handed_zones`, where there is a table for it."""
        self._check_table()
        self.handed_zones = frozenset(zones)

    def _check_table(self) -> None:
        if self._refusing not in self._host.objects:
            raise KernelError("change elements", errno.ENOENT)
