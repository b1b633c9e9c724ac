"""Readiness: whether an edge reports that it is fit to carry packets, so that hypervisors send to it.

The report is an element in its kernel's tables (edges.readiness), queried by hypervisors' probes. So hypervisors avoid an edge
that has just booted or whose tables were flushed, and an edge whose agent is killed goes on.

A drained edge does not report ready either, though it is fit, and forwards the packets that still arrive: no packet is lost. It
reports ready until it has handed over the stateful gateways (netorch.agent.tasks.handover).

An edge that speaks BGP is fit only while it has a session. Without one no packets from outside reach it, and most likely its
packets get nowhere. It leaves at once and comes back only after the session has held for some time, so that a flapping session
does not move hypervisors each time.

A turn decides after it has applied everything, and the next turn, which follows at once, applies the decision. A restarted
agent starts with the kernel's state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from netorch.agent.reconcile import Reconciler
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostView
from netorch.drivers.base import Kernel
from netorch.errors import KernelError
from netorch.model.eni import Role
from netorch.model.status import ESTABLISHED, BorderSession

_NAMED: Final = 3  # VPCs named in a message
LOOK_EVERY_S: Final = 1.0  # at the sessions: the daemon does not report when one ends
HOLD_S: Final = 5.0  # how long a session must have been established before the edge becomes ready


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an edge after a turn."""

    ready: bool = False  # whether the edge was ready so far
    uplink: str = ""  # the uplink's device; empty: the edge has none
    carrier: bool = False
    connected: bool = True  # whether the underlay carries packets
    border: str = ""  # why no session with the border router counts; empty: one does, or the edge does not speak BGP
    trouble: str = ""  # why the host's own objects, e.g. the outside's default route, are incomplete
    unapplied: tuple[int, ...] = ()  # VNIs of VPCs whose objects are incomplete


def why_not_ready(facts: Facts) -> str:
    """Return why an edge is not fit to carry packets, or nothing.

    VPCs count only until the edge is ready: a ready edge must not leave all other VPCs because of a new one.
    """
    if not facts.uplink:
        return "it has no uplink; set one: netorch host update --pair PAIR --uplink UPLINK"
    if facts.trouble:
        return facts.trouble
    if not facts.carrier:
        return f"uplink {facts.uplink} has no carrier"
    if not facts.connected:
        return "its underlay has no carrier, so no hypervisor reaches it"
    if facts.border:
        return facts.border
    if facts.unapplied and not facts.ready:
        named = ", ".join(map(str, facts.unapplied[:_NAMED])) + (", ..." if len(facts.unapplied) > _NAMED else "")
        return f"{len(facts.unapplied)} VPC(s) are not applied yet: VNI {named}"
    return ""


def why_no_session(sessions: Collection[BorderSession], established_s: float, *, ready: bool) -> str:
    """Return why an edge that speaks BGP does not reach the border router, or nothing.

    `established_s` is how long there has been an established session without a break; it counts while the edge is not ready.
    """
    routers = ", ".join(session.router for session in sessions)
    if all(session.state != ESTABLISHED for session in sessions):
        return f"it has no BGP session with {routers or 'the border router'}"
    if not ready and established_s < HOLD_S:
        return f"its BGP session with {routers} was established less than {HOLD_S:.0f} s ago"
    return ""


class Readiness(Task):
    """The readiness of one host."""

    def __init__(self, reconciler: Reconciler, kernel: Kernel, handing_over: Callable[[], bool]) -> None:
        """Decide for a host; `handing_over` returns whether its gateways are moving to the other edge of its pair."""
        self.why = ""  # why the host, an edge, is not ready; empty: it is ready, or no edge
        self.sessions: tuple[BorderSession, ...] = ()  # with the border router, at the last look
        self._unreadable = ""  # why they are unknown
        self._reconciler = reconciler
        self._kernel = kernel
        self._handing_over = handing_over
        self._look_at = 0.0
        self._established_at = math.inf  # since when a session has been established

    def wake_at(self, now: float) -> float | None:
        """Return now if the kernel still needs the change, or when to look at the sessions."""
        host = self._reconciler.host_view
        reconciler = self._reconciler
        if host is not None and (host.ready, host.announces) != (reconciler.ready, reconciler.announces):
            return now
        return self._look_at if host is not None and _speaks(host) else None

    def turn(self, turn: Turn) -> None:
        """Decide after everything was applied; without a host view nothing changes."""
        host = self._reconciler.host_view
        if host is None:
            return
        self._look(turn.now)
        facts = self._facts(host, turn.now, in_sync=turn.store is not None) if host.host.role is Role.EDGE else None
        self.why = why_not_ready(facts) if facts is not None else ""
        serves = facts is not None and not (host.drained and not self._handing_over())
        self._reconciler.ready = serves and not self.why
        # Without a session announcements reach no router: they wait for the next session.
        self._reconciler.announces = serves and not (facts and why_not_ready(msgspec.structs.replace(facts, border="")))

    def _look(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        self._unreadable = ""
        try:
            self.sessions = self._kernel.border_sessions()
        except KernelError as error:  # the sessions are unknown, and so is whether this edge can carry packets
            self._unreadable = str(error)
        if all(session.state != ESTABLISHED for session in self.sessions):
            self._established_at = math.inf
        elif self._established_at == math.inf:
            self._established_at = now

    def _facts(self, host: HostView, now: float, *, in_sync: bool) -> Facts:
        reconciler, device = self._reconciler, host.host.uplink.device if host.host.uplink is not None else ""
        carrier, trouble = False, reconciler.host_trouble or self._unreadable
        try:
            carrier = bool(device) and self._kernel.has_carrier(device)
        except KernelError as error:
            trouble = trouble or str(error)
        return Facts(
            ready=reconciler.ready,
            uplink=device,
            carrier=carrier,
            connected=reconciler.connected,
            border=why_no_session(self.sessions, now - self._established_at, ready=reconciler.ready) if _speaks(host) else "",
            trouble=trouble,
            unapplied=() if reconciler.ready else reconciler.unapplied(in_sync=in_sync),
        )


def _speaks(host: HostView) -> bool:
    return host.host.uplink is not None and host.host.uplink.speaks_bgp
