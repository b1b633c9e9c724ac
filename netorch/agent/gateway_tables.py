"""The connection tables of an edge's gateways as one table that VPCs share.

Each gateway that tracks connections has its own namespace and conntrack table. The kernel limits each table by the machine's
single `nf_conntrack_max`, but memory and hash table are shared. So the agent treats all of them as one table with that limit,
in which a VPC is the zone numbered by its VNI. A VPC's allowance over all its gateways follows the rule of hypervisors
(netorch.agent.tasks.allowance). Nothing is estimated: the kernel counts the connections of each namespace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Final

from netorch.drivers.base import ConnectionTracker, TableUse
from netorch.state.base import HOST_SLICE
from netorch.state.names import vni_of_netns

_ZONE: Final = 0  # the zone of all connections in a gateway's namespace


class GatewayTables:
    """Implements `netorch.drivers.base.SharedTable`."""

    def __init__(self, trackers: Mapping[str, ConnectionTracker]) -> None:
        """Take connection trackers by namespace; the mapping changes as gateways come and go."""
        self._trackers = trackers
        self._held: Counter[int] = Counter()  # by VNI, as found by `use`

    def use(self) -> TableUse:
        """Return how many connections all gateways hold. Cost: one query per gateway, 8 µs. Raises KernelError."""
        self._held, most = Counter(), 0
        for vni, tracker in self._gateways():
            found = tracker.use()
            self._held[vni] += found.held
            most = found.most
        return TableUse(held=self._held.total(), most=most)

    def sample(self, size: int) -> dict[int, int]:
        """Return the number of connections of each VPC, counted completely, as found by `use`."""
        return dict(self._held)

    def refused(self) -> frozenset[int]:
        """Return the VPCs that may not open connections now. Cost: one query per gateway. Raises KernelError."""
        return frozenset(vni for vni, tracker in self._gateways() if tracker.refused())

    def refuse(self, zones: Set[int]) -> None:
        """Stop these VPCs, and no others, from opening connections for some seconds. Raises KernelError."""
        for vni, tracker in self._gateways():
            if vni in zones:
                tracker.refuse({_ZONE})
            elif tracker.refused():
                tracker.refuse(frozenset())

    def vnis(self) -> dict[int, int]:
        """Return the VPCs with gateways on this host, by zone."""
        return {vni: vni for vni, _ in self._gateways()}

    def _gateways(self) -> Iterator[tuple[int, ConnectionTracker]]:
        return ((vni_of_netns(label), tracker) for label, tracker in self._trackers.items() if vni_of_netns(label) != HOST_SLICE)
