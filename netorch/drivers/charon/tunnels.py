"""The tunnels of a charon over time: their states, why a tunnel is down, and the upkeep at each poll."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from netorch.drivers.charon import complaints
from netorch.drivers.charon.control import Control, Section, sections, text
from netorch.drivers.charon.loading import list_sas
from netorch.drivers.charon.news import UNNAMED, Finding, News
from netorch.drivers.charon.sas import IkeSa, best, status_of
from netorch.drivers.charon.traffic import QUIET_S, Traffic
from netorch.drivers.charon.upkeep import SETTLED_S, Begin, EndIke, Memory, Step, bounded, more, stale, steps, unnamed
from netorch.drivers.charon.xfrm import KernelSa, Xfrm
from netorch.errors import KernelError
from netorch.model.outside import tunnel_problems as words
from netorch.model.status import INSTALLED, TunnelStatus
from netorch.state.daemons.ike import IkeConnection

Connections = Mapping[str, IkeConnection]
_DEAD: Final = frozenset({words.SILENT, words.DPD_TIMEOUT})  # no packets are sent by old SAs to a peer known to be dead


class Tunnels:
    """The state of tunnels. Without `acts`, it only reads."""

    def __init__(self, xfrm: Xfrm, acts: bool) -> None:
        self._xfrm = xfrm
        self._acts = acts
        self._news = News()
        self._memory = Memory()
        self._traffic: dict[str, Traffic] = {}
        self._since: dict[str, float] = {}  # by IKE_SA id: charon reports an age, which jumps by a second
        self._problems: dict[str, tuple[str, dict[str, str]]] = {}
        self._wary = True  # the kernel may have SAs unknown to charon

    def restarted(self) -> None:
        """Record that charon starts without SAs: all kernel SAs are left from an earlier one. Raises KernelError."""
        now = time.monotonic()
        self._news, self._memory, self._wary = News(), Memory(), True
        self._memory.nobodys = dict.fromkeys(self._xfrm.sas(), now - SETTLED_S)
        self._since, self._problems = {}, {}

    def changed(self, name: str) -> None:
        """Record that a connection's options changed."""
        self._memory.forget(name)
        self._problems.pop(name, None)

    def hear(self, events: Iterable[tuple[str, Section]], connections: Connections) -> bool:
        """Process charon's events; return whether a tunnel's state changed."""
        changed = False
        for event, message in events:
            if event == "log":
                finding = self._news.read(message)
                changed |= finding is not None and self._find(finding, connections)
                continue
            names = sections(message).keys() - {UNNAMED}
            changed |= bool(names)
            if event == "child-updown" and text(message, "up"):
                for name in names:
                    self._problems.pop(name, None)
                    self._memory.is_up(name)
        return changed

    def has_room(self) -> bool:
        """Return whether tunnels that had to wait for others can be initiated now."""
        return self._memory.room(time.monotonic()) > 0

    def begin_more(self, control: Control) -> None:
        """Initiate a few waiting tunnels. Raises CharonError."""
        self._carry_out(control, more(self._memory, time.monotonic()))

    def look(self, control: Control, connections: Connections) -> dict[str, TunnelStatus]:
        """Return the states of tunnels, and carry out their upkeep. Raises CharonError, KernelError."""
        now = time.monotonic()
        kernel = self._xfrm.sas() if self._acts and self._wary else []  # before charon's: see `unnamed`
        sas = list_sas(control)
        by_name: dict[str, list[IkeSa]] = {name: [] for name in connections}
        for sa in sas:
            by_name.setdefault(sa.name, []).append(sa)
        left = unnamed(sas, kernel, {connection.if_id for connection in connections.values()}, self._memory, now)
        left_ids = {sa.if_id for sa in left}
        found = {
            name: self._status(connection, by_name[name], connection.if_id in left_ids, now)
            for name, connection in connections.items()
        }
        if self._acts:
            wanted: list[Step] = []
            for name, connection in connections.items():
                wanted += steps(connection, by_name[name], connection.if_id in left_ids, self._memory, now)
            self._carry_out(control, bounded(wanted, self._memory, now))
            self._clear(left, by_name, connections, now)
        self._since = {sa.id: self._since[sa.id] for sa in sas if sa.id in self._since}
        self._wary = bool(self._memory.nobodys) or any(not status.child for status in found.values())
        return found

    def by_kernel(self, connections: Connections, reason: str) -> dict[str, TunnelStatus]:
        """Return the states of tunnels while charon does not answer: packets flow as long as the kernel has SAs."""
        try:
            carried = {sa.if_id for sa in self._xfrm.sas()}
        except KernelError:
            carried = set()
        return {
            name: TunnelStatus(
                child=INSTALLED if connection.if_id in carried else "", problem=words.NO_DAEMON, facts={"reason": reason}
            )
            for name, connection in connections.items()
        }

    def _status(self, connection: IkeConnection, sas: Sequence[IkeSa], is_left: bool, now: float) -> TunnelStatus:
        name = connection.name
        traffic = self._traffic.setdefault(name, Traffic())
        traffic.count((child for sa in sas for child in sa.children if child.carries), now)
        status, first = traffic.put_into(status_of(sas)), best(sas)
        if first is not None and first.age >= 0 and status.ike not in ("", "CONNECTING"):
            status = msgspec.structs.replace(status, since=self._since.setdefault(first.id, time.time() - first.age))
        if status.is_up:
            self._problems.pop(name, None)
            quiet = traffic.quiet(now) > 0
            return _with(status, words.NO_INBOUND, {"seconds": f"{QUIET_S:.0f}"}) if quiet else status
        problem, facts = self._problems.get(name, ("", {}))
        if is_left and problem not in _DEAD:
            return _with(msgspec.structs.replace(status, child=INSTALLED), problem or words.RESTARTED, facts)
        return _with(status, problem or (words.WAITING if not status.ike else ""), facts)

    def _find(self, finding: Finding, connections: Connections) -> bool:
        changed = False
        for connection, word, facts in complaints.about(finding, connections.values()):
            former = self._problems.get(connection.name, ("", {}))
            if complaints.follows(word, former[0]) or former == (word, facts):
                continue
            self._problems[connection.name] = (word, facts)
            if word == words.DPD_TIMEOUT and connection.dpd_action == "restart":
                self._memory.restarts.add(connection.name)
            changed = True
        return changed

    def _carry_out(self, control: Control, found: Iterable[Step]) -> None:
        for step in found:
            if isinstance(step, Begin):
                command, message = "initiate", {"ike": step.name, "child": step.child}
            elif isinstance(step, EndIke):
                command, message = "terminate", {"ike-id": step.id, "force": "yes"}
            else:
                command, message = "terminate", {"child-id": step.id}
            control.tell(command, {**message, "timeout": "-1"})  # do not wait for completion

    def _clear(
        self, left: Iterable[KernelSa], by_name: Mapping[str, Sequence[IkeSa]], connections: Connections, now: float
    ) -> None:
        """Delete the kernel SAs that a killed charon left and that are no longer needed. Raises KernelError."""
        carried = {
            connection.if_id
            for name, connection in connections.items()
            if any(child.carries for sa in by_name[name] for child in sa.children)
        }
        self._xfrm.delete(stale(left, carried, self._memory, now))


def _with(status: TunnelStatus, problem: str, facts: dict[str, str]) -> TunnelStatus:
    return msgspec.structs.replace(status, problem=problem, facts=facts)
