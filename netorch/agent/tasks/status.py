"""What a host publishes of itself: its interfaces, its VPCs, its agent, its underlay's MTU."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from netorch import __version__
from netorch.agent.indexes.seats import Seats
from netorch.agent.reconcile import Reconciler
from netorch.agent.report import COUNT_EVERY_S, LEASE_RENEW_S, StatusPublisher
from netorch.agent.tasks.allowance import Allowance
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.readiness import Readiness
from netorch.compiler.base import Phase
from netorch.drivers.base import Kernel
from netorch.errors import KernelError, StoreError
from netorch.model.drop_reason import VIOLATIONS
from netorch.model.eni import EniState, EniStatus, VpcStatus
from netorch.model.ids import port_name, vni_of
from netorch.model.status import AgentStatus, HostMtu
from netorch.records import keys
from netorch.state.base import BORDER_SLICE, HOST_SLICE, PORTS, link_key
from netorch.state.link import VethPort
from netorch.store.base import Store

log = logging.getLogger(__name__)

_UNAVAILABLE: Final = "unavailable"  # requests that the server behind a service did not answer
HANGS_S: Final = 0.5  # a store that takes longer to fail may hold the agent's thread a third of the time
FOREIGN_NAMED: Final = 20  # foreign objects in netorch's namespace that a status names


class Status(Task):
    """The status of one host. `trouble` returns a problem of the whole host, or nothing."""

    def __init__(
        self,
        host_name: str,
        kernel: Kernel,
        reconciler: Reconciler,
        publisher: StatusPublisher,
        allowances: Sequence[Allowance],
        seats: Seats,
        readiness: Readiness,
        trouble: Callable[[], str],
    ) -> None:
        self._host_name = host_name
        self._kernel = kernel
        self._reconciler = reconciler
        self._publisher = publisher
        self._allowances = allowances
        self._seats = seats
        self._readiness = readiness
        self._trouble = trouble
        self.count_at = 0.0  # when packets are counted next
        self._counters: dict[str, int] = {}
        self._violated_at = 0.0
        self._served: Counter[str] | None = None  # None: nothing was read yet
        self._unavailable_at = 0.0
        self._started_at = time.time()
        self._connected: Store | None = None
        self._write_at = 0.0  # when a store that hung is asked again
        self._enis_published: dict[int, set[str]] = {}

    def wake_at(self, now: float) -> float | None:
        """Return when to count packets, or to renew the lease."""
        return min(self.count_at, now + LEASE_RENEW_S)

    def turn(self, turn: Turn) -> None:
        """Queue differences."""
        if turn.dirty.host:  # deleting a host removes its status, so publish again; also at each audit
            self._connected = None
        for slice_id in turn.applied | self._reconciler.problems.keys():
            if slice_id not in (HOST_SLICE, BORDER_SLICE, PORTS):
                self._publish_vpc(slice_id)
        host_view = self._reconciler.host_view
        if host_view is not None:
            self._publisher.publish(keys.host_mtu(self._host_name), HostMtu(mtu=host_view.underlay_mtu))
        if turn.now >= self.count_at:
            self.count_at = turn.now + COUNT_EVERY_S
            self._count()
            self._publisher.publish(keys.agent_status(self._host_name), self.of_agent())

    def write(self, store: Store | None, now: float) -> None:
        """Write what is queued for the store, and renew the lease; None: the store is away."""
        if store is None:
            self._connected, self._write_at = None, 0.0
            self._publisher.lost_store()
            return
        if now < self._write_at:
            return
        started = time.monotonic()
        try:
            if not self._publisher.stay_alive(store, now):
                self._connected = None  # another machine writes
                return
            if store is not self._connected:
                self._publisher.adopt(store)
                self._connected = store
            self._publisher.flush(store)
        except StoreError as error:
            self._connected = None  # read from the store what was written
            log.warning("status not written reason=%r", str(error))
            if (took_s := time.monotonic() - started) > HANGS_S:
                self._write_at = now + 3 * took_s

    def _count(self) -> None:
        try:
            counters = self._kernel.counters()
            if self._counters and any(counters.get(name, 0) > self._counters.get(name, 0) for name in VIOLATIONS):
                self._violated_at = time.time()
            self._counters = counters
            served = sum(map(Counter, self._kernel.service_counts().values()), Counter[str]())
            if self._served is not None and served[_UNAVAILABLE] > self._served[_UNAVAILABLE]:
                self._unavailable_at = time.time()
            self._served = served
        except KernelError as error:
            log.warning("packets not counted reason=%r", str(error))

    def _publish_vpc(self, vni: int) -> None:
        problem = self._reconciler.problems.get(vni, "")
        self._publisher.publish(keys.vpc_status(self._host_name, vni), VpcStatus(reason=problem) if problem else None)
        phases = self._reconciler.phases.get(vni, {})
        for eni_id in self._enis_published.pop(vni, set()) - phases.keys():
            self._publisher.publish(keys.eni_status(self._host_name, eni_id), None)
        for eni_id, phase in phases.items():
            status = self._of_interface(eni_id, phase, problem)
            if status is not None:
                self._publisher.publish(keys.eni_status(self._host_name, eni_id), status)
        if phases:
            self._enis_published[vni] = set(phases)

    def _of_interface(self, eni_id: str, phase: Phase, problem: str) -> EniStatus | None:
        if phase is Phase.INCOMING:
            return None
        if phase is Phase.OUTGOING and self._reconciler.in_force(vni_of(eni_id)):
            return EniStatus(state=EniState.OUTGOING)
        if self._reconciler.port_is_up(port_name(eni_id), vni_of(eni_id)):
            return EniStatus(state=EniState.ATTACHED, reason=self._left_alone(eni_id))
        why = self._reconciler.refusal_of(port_name(eni_id), vni_of(eni_id)) or problem or "the port is not up"
        return EniStatus(state=EniState.FAILED, reason=why)

    def _left_alone(self, eni_id: str) -> str:
        """Return what already existed in the namespace that an interface was plugged into, or nothing."""
        target = self._reconciler.slices.get(vni_of(eni_id))
        port = target.desired.get(link_key(port_name(eni_id))) if target is not None else None
        if not isinstance(port, VethPort) or port.make_netns:
            return ""
        return self._kernel.left_alone(port.ifname)

    def of_agent(self) -> AgentStatus:
        """Return the agent's own status."""
        reconciler = self._reconciler
        return AgentStatus(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            objects=reconciler.object_count(),
            writes=reconciler.writes,
            repaired=reconciler.repaired,
            counters=self._counters,
            table_percent=max(allowance.percent for allowance in self._allowances),
            refused=tuple(sorted({vni for allowance in self._allowances for vni in allowance.vnis})),
            violated_at=self._violated_at,
            not_ready=self._readiness.why,
            silent=tuple(sorted(self._seats.silent)),
            dead=tuple(sorted(self._seats.dead)),
            standby=tuple(sorted(self._seats.standby)),
            foreign=reconciler.foreign()[:FOREIGN_NAMED],
            border=self._readiness.sessions,
            trouble=self._trouble(),
            served=dict(self._served or {}),
            unavailable_at=self._unavailable_at,
        )
