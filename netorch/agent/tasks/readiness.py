"""Readiness: whether an edge says that it is fit to carry packets, so that hypervisors send to it.

It says so by an element of its kernel's tables (edges.readiness), which hypervisors' probes ask for. So an edge that has just
booted, or whose tables somebody has emptied, is left alone, and one whose agent is killed goes on.

An edge that somebody has drained does not say so either, though it is fit, and forwards what still comes: no packet is lost. It
says so until it has handed over the gateways that keep state (netorch.agent.tasks.handover).

An edge that speaks BGP is fit only while it has a session: without one nothing from outside arrives there, and most likely what
it sends gets nowhere. It leaves at once and comes back only after the session has held for some time, so that a session that
comes and goes does not move hypervisors each time.

The decision is made when a turn has applied what there is, and carried out by the next one, which follows at once. A restarted
agent begins with what the kernel says.
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

_NAMED: Final = 3  # VPCs in a sentence
LOOK_EVERY_S: Final = 1.0  # at the sessions: the daemon does not say by itself when one ends
HOLD_S: Final = 5.0  # how long a session must have been established before the edge becomes ready


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent knows of its edge after a turn."""

    ready: bool = False  # whether it is ready until now
    uplink: str = ""  # its device; nothing: the edge has none
    carrier: bool = False
    connected: bool = True  # whether its underlay carries packets
    border: str = ""  # why no session with the border router counts; nothing: one does, or the edge does not speak BGP
    trouble: str = ""  # why the host's own objects, e.g. the outside's default route, are not all there
    unapplied: tuple[int, ...] = ()  # VNIs of VPCs of which not all is there


def why_not_ready(facts: Facts) -> str:
    """Return why an edge is not fit to carry packets, or nothing.

    VPCs count only for an edge that is about to be ready: one that is would leave all others alone for the sake of a new one.
    """
    if not facts.uplink:
        return "it has no uplink; netorch host update --pair PAIR --uplink UPLINK gives it one"
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
        """Decide for a host; `handing_over` returns whether its gateways are being moved to the other edge of its pair."""
        self.why = ""  # the host, an edge, is not ready; nothing: it is, or it is none
        self.sessions: tuple[BorderSession, ...] = ()  # with the border router, as of the last look
        self._reconciler = reconciler
        self._kernel = kernel
        self._handing_over = handing_over
        self._look_at = 0.0
        self._established_at = math.inf  # since when a session has been established

    def wake_at(self, now: float) -> float | None:
        """Return now if the kernel is yet to be changed, or when to look at the sessions."""
        host = self._reconciler.host_view
        reconciler = self._reconciler
        if host is not None and (host.ready, host.announces) != (reconciler.ready, reconciler.announces):
            return now
        return self._look_at if host is not None and _speaks(host) else None

    def turn(self, turn: Turn) -> None:
        """Decide, now that all is applied; without a look at the host everything stays."""
        host = self._reconciler.host_view
        if host is None:
            return
        self._look(turn.now)
        facts = self._facts(host, turn.now, in_sync=turn.store is not None) if host.host.role is Role.EDGE else None
        self.why = why_not_ready(facts) if facts is not None else ""
        serves = facts is not None and not (host.drained and not self._handing_over())
        self._reconciler.ready = serves and not self.why
        # Without a session, announcements reach nobody: they are there for the next one.
        self._reconciler.announces = serves and not (facts and why_not_ready(msgspec.structs.replace(facts, border="")))

    def _look(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        self.sessions = self._kernel.border_sessions()
        if all(session.state != ESTABLISHED for session in self.sessions):
            self._established_at = math.inf
        elif self._established_at == math.inf:
            self._established_at = now

    def _facts(self, host: HostView, now: float, *, in_sync: bool) -> Facts:
        reconciler, device = self._reconciler, host.host.uplink.device if host.host.uplink is not None else ""
        carrier, trouble = False, reconciler.host_trouble
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
