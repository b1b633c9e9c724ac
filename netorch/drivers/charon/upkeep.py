"""Upkeep of a tunnel's SAs in their present state; pure, except for memory between polls.

charon follows the options with which SAs were made. So these rules are applied at each poll:

- An SA that the connection must not have any more (other networks, identities, or peer) is terminated at once.
- An SA made with other options carries packets, for a limited time, until one with the present options exists. The edge
  initiates that one.
- An IKE_SA followed by a younger one of the same connection is terminated slightly later: the peer has started again.
- Tunnels that this side must initiate are retried forever. Of hundreds, only a few are in progress at a time.
- A peer has a limited number of SAs. charon itself has no limit, and all customers share its memory.
- Kernel SAs left by a killed charon carry packets until the peer is back, for a limited time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec

from netorch.drivers.charon.messages import child_name, outlived
from netorch.drivers.charon.sas import CONNECTING, ESTABLISHED, ChildSa, IkeSa
from netorch.drivers.charon.xfrm import KernelSa
from netorch.model.status import INSTALLED
from netorch.state.daemons.ike import IkeConnection

RETRY_S: Final = 10.0  # between two attempts to initiate a tunnel
MOST_BEGUN: Final = 50  # tunnels in progress: hundreds would leave charon no time for anything else
BEGUN_S: Final = 2.0  # a tunnel not up after this no longer counts: it waits for a peer, which costs charon nothing
TAKE_OVER_S: Final = 30.0  # for which SAs with former options are kept
SETTLED_S: Final = 5.0  # after which a kernel SA that charon does not list is orphaned: charon lists a new one slightly later
MOST_SAS: Final = 8  # IKE_SAs per connection. One carries packets; the others are about to be replaced
MOST_CHILDREN: Final = 16  # CHILD_SAs per IKE_SA, likewise
GRACE_S: Final = 300.0  # for which SAs of a killed charon are kept


class Begin(msgspec.Struct, frozen=True):
    """Initiate a CHILD_SA, with an IKE_SA if none with these options exists."""

    name: str
    child: str


class EndIke(msgspec.Struct, frozen=True):
    """Terminate an IKE_SA with all its CHILD_SAs."""

    id: str


class EndChild(msgspec.Struct, frozen=True):
    """Terminate a CHILD_SA."""

    id: str


Step = Begin | EndIke | EndChild


class Memory(msgspec.Struct):
    """Times at which states began, on the monotonic clock, and pending actions."""

    begun: dict[str, float] = {}  # name -> time of the last attempt to initiate its tunnel
    waits: set[str] = set()  # names of tunnels initiated a moment ago and not up yet
    owed: dict[str, Begin] = {}  # name -> the step for a tunnel that must wait for room, in order
    former: dict[str, float] = {}  # name -> since when it has SAs with former options and none with the present ones
    followed: dict[str, float] = {}  # id of an IKE_SA -> since when a younger one carries packets
    restarts: set[str] = set()  # names of tunnels with a dead peer that this side must restart
    nobodys: dict[KernelSa, float] = {}  # kernel SAs that charon does not list

    def room(self, now: float) -> int:
        """Return how many of the waiting tunnels can be initiated now."""
        self.waits = {name for name in self.waits if now - self.begun[name] < BEGUN_S}
        return max(0, min(MOST_BEGUN - len(self.waits), len(self.owed)))

    def is_up(self, name: str) -> None:
        """Record that a tunnel is up: it makes room for another."""
        self.waits.discard(name)
        self.owed.pop(name, None)

    def forget(self, name: str) -> None:
        """Drop the state of a tunnel."""
        self.begun.pop(name, None)
        self.is_up(name)
        self.former.pop(name, None)
        self.restarts.discard(name)


def steps(connection: IkeConnection, sas: Sequence[IkeSa], left: bool, memory: Memory, now: float) -> list[Step]:
    """Return the steps for a tunnel's SAs; `left`: a killed charon left some of its SAs in the kernel."""
    if excess := _excess(sas):
        return excess
    wanted = child_name(connection)
    ended = [_ending(sa, child, wanted) for sa in sas for child in sa.children if outlived(child.name, connection)]
    if ended:
        return _once(ended)
    former = [(sa, child) for sa in sas for child in sa.children if child.name != wanted and child.carries]
    ready = any(child.name == wanted and child.state == INSTALLED for sa in sas for child in sa.children)
    if ready:
        memory.restarts.discard(connection.name)
    if not former or ready:
        memory.former.pop(connection.name, None)
    if former and (ready or now - memory.former.setdefault(connection.name, now) >= TAKE_OVER_S):
        return _once(_ending(sa, child, wanted) for sa, child in former)
    if not former and (followed := _followed(sas, memory, now)):
        return followed
    begins = former or connection.initiates or connection.name in memory.restarts or (left and connection.remote)
    busy = any(sa.state == CONNECTING for sa in sas)
    if ready:
        memory.is_up(connection.name)
    if ready or busy or not begins or now - memory.begun.get(connection.name, -RETRY_S) < RETRY_S:
        return []
    return [Begin(connection.name, wanted)]


def bounded(wanted: Sequence[Step], memory: Memory, now: float) -> list[Step]:
    """Return the steps to take now: all terminations, and a few initiations, longest waiting first."""
    begins = sorted((step for step in wanted if isinstance(step, Begin)), key=lambda step: memory.begun.get(step.name, -math.inf))
    memory.owed = {step.name: step for step in begins}
    return [*(step for step in wanted if not isinstance(step, Begin)), *more(memory, now)]


def more(memory: Memory, now: float) -> list[Begin]:
    """Return the initiations to start now, and move them out of the waiting ones."""
    first = list(islice(memory.owed.values(), memory.room(now)))
    for step in first:
        del memory.owed[step.name]
        memory.begun[step.name] = now
        memory.waits.add(step.name)
    return first


def unnamed(sas: Iterable[IkeSa], kernel: Iterable[KernelSa], if_ids: set[int], memory: Memory, now: float) -> list[KernelSa]:
    """Return tunnels' kernel SAs that charon has not listed for a while. Read `kernel` before `sas`."""
    named = {spi for sa in sas for child in sa.children for spi in (child.spi_in, child.spi_out)}
    found = {sa for sa in kernel if sa.if_id in if_ids and sa.spi not in named}
    memory.nobodys = {sa: memory.nobodys.get(sa, now) for sa in found}
    return [sa for sa, since in memory.nobodys.items() if now - since >= SETTLED_S]


def stale(left: Iterable[KernelSa], carried: set[int], memory: Memory, now: float) -> list[KernelSa]:
    """Return the SAs of `left` to delete: those of tunnels with a CHILD_SA (if_id in `carried`), and expired ones."""
    return [sa for sa in left if sa.if_id in carried or now - memory.nobodys[sa] >= GRACE_S]


def _excess(sas: Sequence[IkeSa]) -> list[Step]:
    """Return the steps that terminate IKE_SAs with too many CHILD_SAs, and IKE_SAs beyond the youngest few."""
    established = sorted((sa for sa in sas if sa.state == ESTABLISHED), key=lambda sa: int(sa.id))
    crowded = [EndIke(sa.id) for sa in sas if len(sa.children) > MOST_CHILDREN]
    return _once([*crowded, *(EndIke(sa.id) for sa in established[:-MOST_SAS])])


def _followed(sas: Sequence[IkeSa], memory: Memory, now: float) -> list[Step]:
    """Return the steps that terminate IKE_SAs with a younger successor for a while."""
    youngest = max((int(sa.id) for sa in sas if any(child.state == INSTALLED for child in sa.children)), default=0)
    older = [sa.id for sa in sas if int(sa.id) < youngest and sa.state == ESTABLISHED]
    for id_ in older:
        memory.followed.setdefault(id_, now)
    over = [id_ for id_ in older if now - memory.followed[id_] >= SETTLED_S]
    for id_ in over:
        del memory.followed[id_]
    return [EndIke(id_) for id_ in over]


def _ending(sa: IkeSa, child: ChildSa, wanted: str) -> Step:
    """Return the step that terminates a CHILD_SA, or its IKE_SA if that has no wanted one."""
    return EndChild(child.id) if any(other.name == wanted for other in sa.children) else EndIke(sa.id)


def _once(found: Iterable[Step]) -> list[Step]:
    return list(dict.fromkeys(found))
