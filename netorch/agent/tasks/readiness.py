"""Readiness: whether an edge says that it is fit to carry packets, so that hypervisors send to it.

It says so by an element of its kernel's tables (edges.readiness), which hypervisors' probes ask for. So an edge that has just
booted, or whose tables somebody has emptied, is left alone, and one whose agent is killed goes on.

An edge that somebody has drained does not say so either, though it is fit, and forwards what still comes: no packet is lost.

The decision is made when a turn has applied what there is, and carried out by the next one, which follows at once. A restarted
agent begins with what the kernel says.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.agent.reconcile import Reconciler
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostView
from netorch.drivers.base import Kernel
from netorch.errors import KernelError
from netorch.model.eni import Role

_NAMED: Final = 3  # VPCs in a sentence


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent knows of its edge after a turn."""

    ready: bool = False  # whether it is ready until now
    uplink: str = ""  # its device; nothing: the edge has none
    carrier: bool = False
    trouble: str = ""  # why the host's own objects, e.g. the outside's default route, are not all there
    unapplied: tuple[int, ...] = ()  # VNIs of VPCs of which not all is there


def why_not_ready(facts: Facts) -> str:
    """Return why an edge is not fit to carry packets, or nothing.

    VPCs count only for an edge that is about to be ready: one that is would leave all others alone for the sake of a new one.
    """
    if not facts.uplink:
        return "it has no uplink; delete the host and create it again with --uplink"
    if facts.trouble:
        return facts.trouble
    if not facts.carrier:
        return f"uplink {facts.uplink} has no carrier"
    if facts.unapplied and not facts.ready:
        named = ", ".join(map(str, facts.unapplied[:_NAMED])) + (", ..." if len(facts.unapplied) > _NAMED else "")
        return f"{len(facts.unapplied)} VPC(s) are not applied yet: VNI {named}"
    return ""


class Readiness(Task):
    """The readiness of one host."""

    def __init__(self, reconciler: Reconciler, kernel: Kernel) -> None:
        self.why = ""  # the host, an edge, is not ready; nothing: it is, or it is none
        self._reconciler = reconciler
        self._kernel = kernel

    def wake_at(self, now: float) -> float | None:
        """Return now if the kernel is yet to be changed."""
        host = self._reconciler.host_view
        return now if host is not None and host.ready != self._reconciler.ready else None

    def turn(self, turn: Turn) -> None:
        """Decide, now that all is applied; without a look at the host everything stays."""
        host = self._reconciler.host_view
        if host is None:
            return
        is_edge = host.host.role is Role.EDGE
        self.why = self._why(host, in_sync=turn.store is not None) if is_edge else ""
        self._reconciler.ready = is_edge and not self.why and not host.drained

    def _why(self, host: HostView, *, in_sync: bool) -> str:
        reconciler, device = self._reconciler, host.host.uplink.device if host.host.uplink is not None else ""
        try:
            carrier = bool(device) and self._kernel.has_carrier(device)
        except KernelError as error:
            return str(error)
        return why_not_ready(
            Facts(
                ready=reconciler.ready,
                uplink=device,
                carrier=carrier,
                trouble=reconciler.host_trouble,
                unapplied=() if reconciler.ready else reconciler.unapplied(in_sync=in_sync),
            )
        )
