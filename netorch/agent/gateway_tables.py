"""The connection tables of an edge's gateways as one that VPCs share.

Each gateway that tracks connections has a namespace, and so a table, of its own. The kernel counts each by itself, up to the one
`nf_conntrack_max` of the machine; memory and the hash table are the machine's. So all of them together are taken for one table
with that limit, in which a VPC is the zone with the number of its VNI. What a VPC may hold, in all its gateways, follows as on
hypervisors (netorch.agent.tasks.allowance). Nothing is estimated: the kernel knows how many connections each namespace has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Final

from netorch.drivers.base import ConnectionTracker, TableUse
from netorch.state.base import HOST_SLICE
from netorch.state.names import vni_of_netns

_ZONE: Final = 0  # of all connections in a gateway's namespace


class GatewayTables:
    """Implements `netorch.drivers.base.SharedTable`."""

    def __init__(self, trackers: Mapping[str, ConnectionTracker]) -> None:
        """Take connection tracking by namespace; gateways come and go in it."""
        self._trackers = trackers
        self._held: Counter[int] = Counter()  # by VNI, as `use` has found it

    def use(self) -> TableUse:
        """Return how many connections all gateways hold. Cost: a question for each gateway, 8 µs. Raises KernelError."""
        self._held, most = Counter(), 0
        for vni, tracker in self._gateways():
            found = tracker.use()
            self._held[vni] += found.held
            most = found.most
        return TableUse(held=self._held.total(), most=most)

    def sample(self, size: int) -> dict[int, int]:
        """Return how many connections each VPC has, all of them, as `use` has found it."""
        return dict(self._held)

    def refused(self) -> frozenset[int]:
        """Return the VPCs that may begin no connection now. Cost: a question for each gateway. Raises KernelError."""
        return frozenset(vni for vni, tracker in self._gateways() if tracker.refused())

    def refuse(self, zones: Set[int]) -> None:
        """Let these VPCs, and no others, begin no connection for some seconds from now on. Raises KernelError."""
        for vni, tracker in self._gateways():
            if vni in zones:
                tracker.refuse({_ZONE})
            elif tracker.refused():
                tracker.refuse(frozenset())

    def vnis(self) -> dict[int, int]:
        """Return the VPCs with gateways here, by zone."""
        return {vni: vni for vni, _ in self._gateways()}

    def _gateways(self) -> Iterator[tuple[int, ConnectionTracker]]:
        return ((vni_of_netns(label), tracker) for label, tracker in self._trackers.items() if vni_of_netns(label) != HOST_SLICE)
