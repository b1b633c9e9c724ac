"""What is to be done about the SAs of a tunnel, as they are now; pure but for what is remembered between two looks.

charon carries out what it was told when the SAs were made. So this is looked at again and again:

- An SA that the connection must not have any more (other networks, identities, another peer) is ended at once.
- One that was made by other options carries packets until there is one by those of now, which is begun here; for a while only.
- One that has been followed by another of the same connection is ended a little later: the peer has begun again.
- A tunnel that this side is to begin is begun, again and again. Of hundreds a few are under way at a time.
- A peer has a few SAs at a time. charon would let it make as many as it likes, in the memory that all customers share.
- What a killed charon has left in the kernel carries packets until the peer is back; for a while only.
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

RETRY_S: Final = 10.0  # between two attempts to begin a tunnel
MOST_BEGUN: Final = 50  # tunnels that are under way: with hundreds charon would have no time for anything else
BEGUN_S: Final = 2.0  # after which one that is not up yet counts no longer: it waits for a peer, which costs charon nothing
TAKE_OVER_S: Final = 30.0  # for which SAs by former options are kept
SETTLED_S: Final = 5.0  # after which an SA of the kernel that charon does not name is nobody's: it names a new one a little later
MOST_SAS: Final = 8  # IKE_SAs of a connection, of which one carries packets; the others are followed for a moment
MOST_CHILDREN: Final = 16  # CHILD_SAs of an IKE_SA, likewise
GRACE_S: Final = 300.0  # for which SAs of a killed charon are kept


class Begin(msgspec.Struct, frozen=True):
    """Begin a CHILD_SA, with an IKE_SA if there is none by these options."""

    name: str
    child: str


class EndIke(msgspec.Struct, frozen=True):
    """End an IKE_SA with all of its CHILD_SAs."""

    id: str


class EndChild(msgspec.Struct, frozen=True):
    """End a CHILD_SA."""

    id: str


Step = Begin | EndIke | EndChild


class Memory(msgspec.Struct):
    """Since when things are as they are, by a clock that does not jump."""

    begun: dict[str, float] = {}  # name -> when its tunnel was begun last
    waits: set[str] = set()  # names of tunnels that were begun a moment ago and are not up yet
    owed: dict[str, Begin] = {}  # name -> how to begin a tunnel that has to wait until there is room, in the order of turns
    former: dict[str, float] = {}  # name -> since when there are SAs by former options and none by those of now
    followed: dict[str, float] = {}  # id of an IKE_SA -> since when there is a younger one that carries packets
    restarts: set[str] = set()  # names of tunnels whose peer fell silent, and that this side is to begin then
    nobodys: dict[KernelSa, float] = {}  # SAs of the kernel that charon does not name

    def room(self, now: float) -> int:
        """Return how many of the tunnels that have to wait may be begun now."""
        self.waits = {name for name in self.waits if now - self.begun[name] < BEGUN_S}
        return max(0, min(MOST_BEGUN - len(self.waits), len(self.owed)))

    def is_up(self, name: str) -> None:
        """Take note that a tunnel is up: it makes room for another."""
        self.waits.discard(name)
        self.owed.pop(name, None)

    def forget(self, name: str) -> None:
        """Forget a tunnel: it is looked at as if for the first time."""
        self.begun.pop(name, None)
        self.is_up(name)
        self.former.pop(name, None)
        self.restarts.discard(name)


def steps(connection: IkeConnection, sas: Sequence[IkeSa], left: bool, memory: Memory, now: float) -> list[Step]:
    """Return what is to be done about the SAs of a tunnel; `left` says whether a killed charon has left some in the kernel."""
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
    """Return the steps of all tunnels that are to be taken now: of those that begin one a few, who have waited longest."""
    begins = sorted((step for step in wanted if isinstance(step, Begin)), key=lambda step: memory.begun.get(step.name, -math.inf))
    memory.owed = {step.name: step for step in begins}
    return [*(step for step in wanted if not isinstance(step, Begin)), *more(memory, now)]


def more(memory: Memory, now: float) -> list[Begin]:
    """Return the tunnels that are begun now, of those that had to wait."""
    first = list(islice(memory.owed.values(), memory.room(now)))
    for step in first:
        del memory.owed[step.name]
        memory.begun[step.name] = now
        memory.waits.add(step.name)
    return first


def unnamed(sas: Iterable[IkeSa], kernel: Iterable[KernelSa], if_ids: set[int], memory: Memory, now: float) -> list[KernelSa]:
    """Return the kernel's SAs of tunnels that charon has not named for a moment. `kernel` must have been read before `sas`."""
    named = {spi for sa in sas for child in sa.children for spi in (child.spi_in, child.spi_out)}
    found = {sa for sa in kernel if sa.if_id in if_ids and sa.spi not in named}
    memory.nobodys = {sa: memory.nobodys.get(sa, now) for sa in found}
    return [sa for sa, since in memory.nobodys.items() if now - since >= SETTLED_S]


def stale(left: Iterable[KernelSa], carried: set[int], memory: Memory, now: float) -> list[KernelSa]:
    """Return those of them to be taken away: the tunnel has a CHILD_SA (its if_id is in `carried`), or the time is over."""
    return [sa for sa in left if sa.if_id in carried or now - memory.nobodys[sa] >= GRACE_S]


def _excess(sas: Sequence[IkeSa]) -> list[Step]:
    """Return the steps that end the IKE_SAs that have too many CHILD_SAs, and those beyond the youngest few."""
    established = sorted((sa for sa in sas if sa.state == ESTABLISHED), key=lambda sa: int(sa.id))
    crowded = [EndIke(sa.id) for sa in sas if len(sa.children) > MOST_CHILDREN]
    return _once([*crowded, *(EndIke(sa.id) for sa in established[:-MOST_SAS])])


def _followed(sas: Sequence[IkeSa], memory: Memory, now: float) -> list[Step]:
    """Return the steps that end the IKE_SAs which younger ones have followed for a moment."""
    youngest = max((int(sa.id) for sa in sas if any(child.state == INSTALLED for child in sa.children)), default=0)
    older = [sa.id for sa in sas if int(sa.id) < youngest and sa.state == ESTABLISHED]
    for id_ in older:
        memory.followed.setdefault(id_, now)
    over = [id_ for id_ in older if now - memory.followed[id_] >= SETTLED_S]
    for id_ in over:
        del memory.followed[id_]
    return [EndIke(id_) for id_ in over]


def _ending(sa: IkeSa, child: ChildSa, wanted: str) -> Step:
    """Return the step that ends a CHILD_SA, with its IKE_SA if nothing else is in that."""
    return EndChild(child.id) if any(other.name == wanted for other in sa.children) else EndIke(sa.id)


def _once(found: Iterable[Step]) -> list[Step]:
    return list(dict.fromkeys(found))
