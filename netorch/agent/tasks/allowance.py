"""All VPCs share a host's connection table: no VPC may fill it, and packets of known connections do not pay for that.

    a VPC that holds more connections than its host's table has free cannot open new ones;
    nor may an owner's VPCs that hold more than four times as many together

Nobody is refused while the table is at most half full, so nobody need be counted then. One greedy VPC gets half of the table, two
get a third each, k get a part in k + 1, and as much as that stays free: it is the threshold by which switches share their buffers
(Choudhury and Hahne, Dynamic queue length thresholds, 1998). An owner of many VPCs gets four fifths. Somebody may be quicker than
we look, so that nothing is free; or a greedy VPC may have a modest sister. So a VPC that holds little is left alone: an eighth of
the table, divided by all VPCs of the host. In a full table the kernel makes room for it by ending what nobody has answered. A
refused VPC begins connections again when it holds a fifth less than it might, so that it does not flap.

The kernel refuses (policy.skeleton) and forgets: elements expire, so without an agent everybody may fill the table again, and
nobody is locked out. Their set is the only memory, so an agent that is restarted goes on where the last one was.

Refused alternatives: `ct count` walks the connections of a zone for every new one, and grows with them; a fixed part for each
VPC is waste on a host with few of them and too much on one with many.
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

# A look costs the kernel's two numbers. From a quarter on it comes oftener: nobody opens a quarter of a table in that time.
LOOK_EVERY_S: Final = 1.0
LOOK_SOON_S: Final = 0.1
REFRESH_S: Final = 3.0  # elements expire after 10
SAMPLE: Final = 2000  # connections, some 2 ms; what is estimated from them is wrong by 1 % of the table
_OF_OWNER: Final = 4  # times what is free: what an owner's VPCs may hold together
_LITTLE: Final = 1 / 8  # of the table: so much is for those who hold little, all together
_AGAIN: Final = 0.8  # of the allowance: a refused VPC that holds no more may begin connections again


def over_allowance(held: Mapping[int, float], owners: Mapping[int, str], most: int, refused: Set[int]) -> frozenset[int]:
    """Return the VPCs that hold too many connections, by VNI.

    `held` says how many each holds, `owners` whose each VPC of the host is, `most` how many connections the table holds at most,
    and `refused` who is refused now. A VPC without an owner is its own.
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
    """Return how many of the `wanted` connections each VPC may have beside those that it holds, by VNI: small VPCs come first.

    So many that none of its owner's VPCs holds too many then (`over_allowance`); any number while the table is at most half full.
    Cost: O(VPCs).
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
        # The least number of which one more does not fit.
        granted[vni] = count = bisect_left(range(wanted[vni]), 1, key=lambda count: not fits(vni, count + 1))
        owner = owners.get(vni, vni)
        total += count
        together[owner] += count
        largest[owner] = max(largest[owner], held.get(vni, 0) + count)
    return granted


def _little(most: int, vpcs: int) -> float:
    return _LITTLE * most / (vpcs + 1)


def _is_over(held: float, together: float, free: float, little: float) -> bool:
    """Return whether a VPC holds too many connections, whose owner's VPCs hold so many together."""
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
        self._read = False  # whether it is known who was refused when we came
        self._refresh_at = 0.0
        self._trouble = ""

    @property
    def percent(self) -> int:
        """Return how full the table is, where it is more than half; else 0."""
        use = self.use
        return 100 * use.held // use.most if 2 * use.held > use.most > 0 else 0

    @property
    def vnis(self) -> tuple[int, ...]:
        """Return the VPCs that may begin no connection now, in any of their zones."""
        return tuple(sorted({vpc.vni for zone, vpc in self._vpcs().items() if zone in self.refused})) if self.refused else ()

    def wake_at(self, now: float) -> float | None:
        """Return when the table is to be looked at."""
        return self.look_at

    def turn(self, turn: Turn) -> None:
        """Look at the table when it is time to, and let the kernel refuse those who hold too much of it."""
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
        """Return all zones of the VPCs that hold too many connections. Each inlet has a zone of its own beside its VPC's."""
        vpcs, held = self._vpcs(), self._held(use)
        of = {zone: vpcs[zone].vni if zone in vpcs else -zone for zone in (*vpcs, *held, *self.refused)}
        together: defaultdict[int, float] = defaultdict(float)
        for zone, count in held.items():
            together[of[zone]] += count
        owners = {vpc.vni: vpc.owner for vpc in vpcs.values()}
        over = over_allowance(together, owners, use.most, {of[zone] for zone in self.refused})
        return frozenset(zone for zone in of if of[zone] in over)

    def _held(self, use: TableUse) -> dict[int, float]:
        """Return how many connections each zone holds, as far as a sample tells.

        A sample of everything is taken as it is: the table holds what has expired, too, until the kernel comes by.
        """
        sample = self._table.sample(SAMPLE)
        scale = use.held / sum(sample.values()) if sum(sample.values()) >= SAMPLE else 1
        return {zone: count * scale for zone, count in sample.items()}
