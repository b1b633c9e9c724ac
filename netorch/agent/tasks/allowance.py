"""Shares of a host's connection table: no VPC may fill it, and packets of known connections do not pay for the check.

  a VPC that holds more connections than its host's table has free cannot open new ones;
  nor may an owner's VPCs that hold more than four times as many together

No VPC is refused while the table is at most half full, so the agent need not count then. One greedy VPC gets half of the table,
two get a third each, k get 1/(k + 1) each, and as much stays free. Switches share their buffers by the same threshold
(Choudhury and Hahne, Dynamic queue length thresholds, 1998). An owner of many VPCs gets four fifths. If a VPC is quicker than
the agent's looks, nothing may be free; and a greedy VPC may have a modest sister. So a VPC that holds little is never refused:
little is an eighth of the table, divided by the host's VPCs plus one. In a full table the kernel makes room for it by ending
unanswered connections. To avoid flapping, a refused VPC may open connections again only when it holds a fifth less than its
allowance.

The kernel refuses (policy.skeleton) and forgets: elements expire, so without an agent any VPC may fill the table again, and no
VPC is locked out. The set of elements is the only memory, so a restarted agent goes on where the last run stopped.

Rejected alternatives: `ct count` walks the connections of a zone for every new connection, and its cost grows with them. A
fixed share for each VPC is waste on a host with few VPCs and too much on a host with many.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Set
from typing import Final

from netorch.agent.tasks.base import Task, Turn
from netorch.drivers.base import SharedTable, TableUse
from netorch.errors import KernelError
from netorch.model.vpc import Vpc

log = logging.getLogger(__name__)

# A look costs two numbers from the kernel. Above a quarter full, looks are more frequent: no VPC can open a quarter of a table
# between two looks.
LOOK_EVERY_S: Final = 1.0
LOOK_SOON_S: Final = 0.1
REFRESH_S: Final = 3.0  # elements expire after 10
SAMPLE: Final = 2000  # connections, some 2 ms; the estimate's error is 1 % of the table
_OF_OWNER: Final = 4  # times the free connections: limit for all VPCs of one owner
_LITTLE: Final = 1 / 8  # of the table: reserved for all VPCs that hold little
_AGAIN: Final = 0.8  # of the allowance: a refused VPC below this may open connections again


def over_allowance(held: Mapping[int, float], owners: Mapping[int, str], most: int, refused: Set[int]) -> frozenset[int]:
    """Return the VPCs that hold too many connections, by VNI.

    `held` is the number of connections of each VPC, `owners` the owner of each VPC on the host, `most` the limit of the table,
    and `refused` the VPCs refused now. A VPC without an owner counts as its own owner.
    """
    together: defaultdict[str | int, float] = defaultdict(float)
    for vni, count in held.items():
        together[owners.get(vni, vni)] += count
    free, little = most - sum(held.values()), _little(most, len(owners.keys() | held.keys()))

    def is_over(vni: int) -> bool:
        part = _AGAIN if vni in refused else 1
        return _is_over(held[vni], together[owners.get(vni, vni)], free * part, little * part)

    return frozenset(filter(is_over, held))


def within_allowance(wanted: Mapping[int, int], held: Mapping[int, int], owners: Mapping[int, str], most: int) -> dict[int, int]:
    """Return how many of the `wanted` connections each VPC may add to those that it holds, by VNI: small VPCs come first.

    No VPC of the same owner may then hold too many (`over_allowance`). Any number is allowed while the table is at most half
    full. Cost: O(VPCs).
    """
    total, little = sum(held.values()), _little(most, len(owners.keys() | held.keys() | wanted.keys()))
    together: defaultdict[str | int, int] = defaultdict(int)
    largest: defaultdict[str | int, int] = defaultdict(int)  # of an owner's VPCs

    def fits(vni: int, count: int) -> bool:
        owner, free = owners.get(vni, vni), most - total - count
        most_of_owner = max(largest[owner], held.get(vni, 0) + count)
        return total + count <= free or not _is_over(most_of_owner, together[owner] + count, free, little)

    for vni, count in held.items():
        owner = owners.get(vni, vni)
        together[owner] += count
        largest[owner] = max(largest[owner], count)
    granted = {}
    for vni in sorted(wanted, key=lambda vni: (wanted[vni], vni)):
        # The smallest count that cannot be raised by one.
        granted[vni] = count = bisect_left(range(wanted[vni]), 1, key=lambda count: not fits(vni, count + 1))
        owner = owners.get(vni, vni)
        total += count
        together[owner] += count
        largest[owner] = max(largest[owner], held.get(vni, 0) + count)
    return granted


def held_by_zone(table: SharedTable, use: TableUse) -> dict[int, float]:
    """Return how many connections each zone holds, estimated from a sample. Raises KernelError.

    A sample of the whole table is not scaled: the table also counts expired connections until the kernel removes them.
    """
    sample = table.sample(SAMPLE)
    scale = use.held / sum(sample.values()) if sum(sample.values()) >= SAMPLE else 1
    return {zone: count * scale for zone, count in sample.items()}


def _little(most: int, vpcs: int) -> float:
    return _LITTLE * most / (vpcs + 1)


def _is_over(held: float, together: float, free: float, little: float) -> bool:
    """Return whether a VPC holds too many connections; `together` is what its owner's VPCs hold."""
    return held > little and max(held, together / _OF_OWNER) > free


class Allowance(Task):
    """Watches one table of a host: that of its overlay, or those of its gateways as one (netorch.agent.gateway_tables)."""

    def __init__(self, table: SharedTable, vpcs: Callable[[], Mapping[int, Vpc]]) -> None:
        """Watch a table of connections; `vpcs` returns the VPCs of the host by zone."""
        self.look_at = 0.0
        self.refused: frozenset[int] = frozenset()  # zones
        self.use = TableUse(held=0, most=0)
        self._table = table
        self._vpcs = vpcs
        self._read = False  # whether the zones refused by an earlier run were read
        self._refresh_at = 0.0
        self._trouble = ""

    @property
    def percent(self) -> int:
        """Return how full the table is if it is more than half full, else 0."""
        use = self.use
        return 100 * use.held // use.most if 2 * use.held > use.most > 0 else 0

    @property
    def vnis(self) -> tuple[int, ...]:
        """Return the VPCs that may not open connections now, in any of their zones."""
        return tuple(sorted({vpc.vni for zone, vpc in self._vpcs().items() if zone in self.refused})) if self.refused else ()

    def wake_at(self, now: float) -> float | None:
        """Return when to look at the table."""
        return self.look_at

    def turn(self, turn: Turn) -> None:
        """Look at the table when due, and let the kernel refuse the VPCs that hold too much of it."""
        now = turn.now
        if now < self.look_at:
            return
        self.look_at = now + LOOK_EVERY_S
        try:
            self._look(now)
        except KernelError as error:
            if str(error) != self._trouble:
                log.warning("connections are not limited reason=%r", str(error))
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _look(self, now: float) -> None:
        self.use = use = self._table.use()
        if not self._read:
            self.refused, self._read = self._table.refused(), True
        if 4 * use.held > use.most > 0:
            self.look_at = now + LOOK_SOON_S
        over: frozenset[int] = frozenset()
        if 2 * use.held > use.most > 0 or (self.refused and use.most):
            over = self._over(use)
        if over != self.refused or (over and now >= self._refresh_at):
            self._table.refuse(over)
            self._refresh_at = now + REFRESH_S
        if over != self.refused:
            self.refused = over
            log.info("new connections refused vnis=%s table=%d/%d", self.vnis, use.held, use.most)

    def _over(self, use: TableUse) -> frozenset[int]:
        """Return all zones of the VPCs that hold too many connections. Each inlet has its own zone beside its VPC's."""
        vpcs, held = self._vpcs(), held_by_zone(self._table, use)
        of = {zone: vpcs[zone].vni if zone in vpcs else -zone for zone in (*vpcs, *held, *self.refused)}
        together: defaultdict[int, float] = defaultdict(float)
        for zone, count in held.items():
            together[of[zone]] += count
        owners = {vpc.vni: vpc.owner for vpc in vpcs.values()}
        over = over_allowance(together, owners, use.most, {of[zone] for zone in self.refused})
        return frozenset(zone for zone in of if of[zone] in over)
