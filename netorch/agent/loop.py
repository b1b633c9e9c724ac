"""The agent's loop: wait, pull, compile, apply, report. One thread; the store's and the kernel's descriptors wake it.

pull      store events edit the records, kernel events edit the slices: memory only
compile   what became dirty
apply     the only writes to the kernel
observe   traffic, for the flow logs
report    what this host says of itself, moves that are complete
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Callable, Sequence

from netorch import __version__
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.flowlog.targets import targets_of
from netorch.agent.follow import Follower
from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Dirty, Records
from netorch.agent.report import COUNT_EVERY_S, LEASE_RENEW_S, StatusPublisher
from netorch.agent.snapshot import Snapshot, SnapshotFile
from netorch.agent.tasks.allowance import Allowance
from netorch.agent.tasks.connections import Connections
from netorch.compiler.base import Compiler, Phase
from netorch.control.actions.moves import complete_arrival, finish_departure
from netorch.drivers.base import Kernel
from netorch.errors import KernelError, StoreError
from netorch.model.drop_reason import VIOLATIONS
from netorch.model.eni import EniState, EniStatus, VpcStatus
from netorch.model.flow_log import FlowLog
from netorch.model.ids import port_name, vni_of
from netorch.model.mapping import Mapping
from netorch.model.status import AgentStatus, HostMtu
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import UNREADABLE
from netorch.state.base import HOST_SLICE, OVERLAY, link_key
from netorch.state.link import VethPort
from netorch.store.base import Store

log = logging.getLogger(__name__)

STORE_PATIENCE_S = 0.05  # repair waits behind the store: a lock that somebody holds is asked for again in another turn
AUDIT_EVERY_S = 60.0
SNAPSHOT_EVERY_S = 1.0
READ_AGAIN_S = 2.0  # after the kernel could not be read
# An audit or a snapshot costs O(state): it may take this part of the time, so a large host does them less often.
SHARE = 50
FOREIGN_NAMED = 20  # foreign things in our namespace: a status names so many


class Agent:
    """One host's agent. `step` is one turn of the loop, for tests and for `run`."""

    def __init__(
        self,
        host_name: str,
        kernel: Kernel,
        open_store: Callable[[], Store],
        snapshot: SnapshotFile,
        compilers: Sequence[Compiler],
        clock: Callable[[], float] = time.monotonic,
        flow_logger: FlowLogger | None = None,
    ) -> None:
        self.host_name = host_name
        self.records = Records(host_name)
        self.moves = Moves(self.records)
        self.kernel = kernel
        self.reconciler = Reconciler(self.records, self.moves, kernel, compilers)
        self.follower = Follower(self.records, open_store, self._prefixes)
        self.publisher = StatusPublisher(host_name, kernel.identity)
        self.connections = Connections(self.records, self.reconciler, kernel.trackers[OVERLAY], self.publisher)
        self.allowance = Allowance(kernel.trackers[OVERLAY], self._vpcs)
        self.flow_logger = flow_logger  # None: this agent writes no flow logs
        self._clock = clock
        self._snapshot = snapshot
        self._saved_changes = self._saved_revision = -1
        self._save_at = 0.0
        self._audit_at = 0.0
        self._count_at = 0.0
        self._counters: dict[str, int] = {}
        self._violated_at = 0.0
        self._kernel_trouble = ""
        self._started_at = time.time()
        self._connected: Store | None = None
        self._enis_published: dict[int, set[str]] = {}
        self._logged: set[int] = set()  # VPCs with flow logs, when they were last looked at

    def start(self) -> None:
        """Read the kernel, then the store, or the snapshot of the last run while the store is away."""
        now = self._clock()
        self.reconciler.read_kernel()
        self._audit_at = now + AUDIT_EVERY_S
        saved = self._snapshot.load()
        if saved is not None:
            self.follower.history.recall(saved)
        self.follower.pull(now)
        if not self.follower.in_sync and saved is not None:
            self.follower.boot(saved)
            log.info("booting from the snapshot revision=%d reason=%r", saved.revision, self.follower.trouble)
        if saved is not None:
            self.connections.recall(saved)
        self.records.dirty.host |= self.follower.in_sync  # so that a host that the store does not know is told at once
        self.turn()

    def step(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Wait for something to do, at most `timeout_s` or until `wake_fd` is readable, and do it."""
        wait_s = max(0.0, min(timeout_s, self._next_deadline() - self._clock()))
        poller = select.poll()
        poller.register(self.kernel.fileno(), select.POLLIN)
        flows_fd = self.flow_logger.fileno() if self.flow_logger is not None else None
        for descriptor in (self.follower.fileno(), flows_fd, wake_fd):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        poller.poll(wait_s * 1000)
        self.turn()

    def turn(self) -> None:
        """Take in what has happened and act on it; never blocks for long."""
        now = self._clock()
        self._take_kernel_events(now)
        self.follower.pull(now)
        dirty = self.records.take_dirty()
        if dirty.host:  # a host that was deleted has lost all that it had said; and once an audit
            self._connected = None
        self.reconciler.compile(dirty, now)
        applied = self.reconciler.apply(now, may_delete=self.follower.in_sync)
        self.connections.turn(dirty)
        self.allowance.turn(now)
        self._complete_moves(now)
        self._observe(dirty)
        self._tell(applied, now)
        self._save(now)

    def close(self) -> None:
        """Save what is known and let go; the kernel keeps everything."""
        self._save(float("inf"))
        self._save_what_was_seen()
        if self.flow_logger is not None:
            self.flow_logger.close()
        self.kernel.close()
        self.follower.close()

    def _vpcs(self) -> dict[int, Vpc]:
        """Return the VPCs of this host by conntrack zone. Cost: O(VPCs)."""
        known = ((zone, self.records.vpcs.get(vni)) for zone, vni in self.reconciler.vnis().items())
        return {zone: vpc for zone, records in known if records is not None for vpc in records.each(Vpc)}

    # --- in ------------------------------------------------------------------------------------------------------------------

    def _prefixes(self) -> set[str]:
        return self.records.prefixes | self.moves.watched_prefixes()

    def _take_kernel_events(self, now: float) -> None:
        retry = self.reconciler.retry_due(now)
        try:
            self.reconciler.on_kernel(self.kernel.events())
            if now >= self._audit_at or retry:
                self._read_kernel(now)
        except KernelError as error:
            log.warning("the kernel cannot be read reason=%r", str(error))
            self._kernel_trouble = str(error)
            self._audit_at = now + READ_AGAIN_S  # whatever was to be read is owed until then

    def _read_kernel(self, now: float) -> None:
        started = self._clock()
        differing = self.reconciler.read_kernel()
        if differing and now >= self._audit_at:
            log.info("audit found objects that differ count=%d", differing)
        self.records.dirty.host = True  # no dump shows the underlay device
        self._kernel_trouble = ""
        self._audit_at = now + max(AUDIT_EVERY_S, SHARE * (self._clock() - started))

    def _next_deadline(self) -> float:
        deadlines = [self._audit_at, self._count_at, self.allowance.look_at, self._clock() + LEASE_RENEW_S]
        if self.follower.store is None:
            deadlines.append(self.follower.retry_at)
        wait_s = self.flow_logger.wait_s() if self.flow_logger is not None else None
        flows_at = self._clock() + wait_s if wait_s is not None else None
        others = (self.moves.next_deadline(self.follower.in_sync), self.reconciler.next_retry(), flows_at)
        return min(*deadlines, *(deadline for deadline in others if deadline is not None))

    def _observe(self, dirty: Dirty) -> None:
        if self.flow_logger is None:
            return
        if any(FlowLog in kinds or vni in self._logged for vni, kinds in dirty.kinds.items()) or (dirty.host and self._logged):
            targets = targets_of(self.records, self.reconciler.phases)
            self._logged = set(self.records.logged)
            zones = {vni: self.reconciler.zone_of(vni) for vni in {target.log.vni for target in targets}}
            self.flow_logger.configure(targets, zones)
        self.flow_logger.turn()

    # --- out -----------------------------------------------------------------------------------------------------------------

    def _complete_moves(self, now: float) -> None:
        store = self.follower.store
        if store is None or not self.follower.in_sync:
            return
        try:
            for mapping in self.moves.incoming():
                if self._has_arrived(mapping):
                    complete_arrival(store, self.host_name, mapping.eni)
            for eni_id in self.moves.departures_due(now):
                finish_departure(store, self.host_name, eni_id)
        except (StoreError, *UNREADABLE) as error:  # the store's records are read anew there, whatever stands in them
            log.warning("a move waits for the store reason=%r", str(error))

    def _has_arrived(self, mapping: Mapping) -> bool:
        phase = self.reconciler.phases.get(mapping.vni, {}).get(mapping.eni)
        return phase is Phase.ACTIVE and self.reconciler.port_is_up(port_name(mapping.eni), mapping.vni)

    def _tell(self, applied: set[int], now: float) -> None:
        for slice_id in applied | self.reconciler.problems.keys():
            if slice_id != HOST_SLICE:
                self._tell_vpc(slice_id)
        host_view = self.reconciler.host_view
        if host_view is not None:
            self.publisher.publish(keys.host_mtu(self.host_name), HostMtu(mtu=host_view.underlay_mtu))
        if now >= self._count_at:
            self._count_at = now + COUNT_EVERY_S
            self._count()
            self.publisher.publish(keys.agent_status(self.host_name), self._status())
        store = self.follower.store
        if store is None or not self.follower.in_sync:
            self._connected = None
            return
        try:
            if store is not self._connected:
                self.publisher.adopt(store)
                self._connected = store
            if self.publisher.stay_alive(store, now):
                self.publisher.flush(store)
        except StoreError as error:
            self._connected = None  # what of it was written is for the store to say
            log.warning("status not written reason=%r", str(error))

    def _count(self) -> None:
        try:
            counters = self.kernel.counters()
            if self._counters and any(counters.get(name, 0) > self._counters.get(name, 0) for name in VIOLATIONS):
                self._violated_at = time.time()
            self._counters = counters
        except KernelError as error:
            log.warning("packets not counted reason=%r", str(error))

    def _tell_vpc(self, vni: int) -> None:
        problem = self.reconciler.problems.get(vni, "")
        self.publisher.publish(keys.vpc_status(self.host_name, vni), VpcStatus(reason=problem) if problem else None)
        phases = self.reconciler.phases.get(vni, {})
        for eni_id in self._enis_published.pop(vni, set()) - phases.keys():
            self.publisher.publish(keys.eni_status(self.host_name, eni_id), None)
        for eni_id, phase in phases.items():
            status = self._eni_status(eni_id, phase, problem)
            if status is not None:
                self.publisher.publish(keys.eni_status(self.host_name, eni_id), status)
        if phases:
            self._enis_published[vni] = set(phases)

    def _eni_status(self, eni_id: str, phase: Phase, problem: str) -> EniStatus | None:
        if phase is Phase.INCOMING:
            return None
        if phase is Phase.OUTGOING and not problem:
            return EniStatus(state=EniState.OUTGOING)
        if self.reconciler.port_is_up(port_name(eni_id), vni_of(eni_id)):
            return EniStatus(state=EniState.ATTACHED, reason=self._left_alone(eni_id))
        why = self.reconciler.refusal_of(port_name(eni_id), vni_of(eni_id)) or problem or "the port is not up"
        return EniStatus(state=EniState.FAILED, reason=why)

    def _left_alone(self, eni_id: str) -> str:
        """Return what the namespace that an interface was plugged into had already, or nothing."""
        target = self.reconciler.slices.get(vni_of(eni_id))
        port = target.desired.get(link_key(port_name(eni_id))) if target is not None else None
        if not isinstance(port, VethPort) or port.make_netns:
            return ""
        return self.kernel.left_alone(port.ifname)

    def _status(self) -> AgentStatus:
        reconciler = self.reconciler
        return AgentStatus(
            version=__version__,
            pid=os.getpid(),
            started_at=self._started_at,
            objects=reconciler.object_count(),
            writes=reconciler.writes,
            repaired=reconciler.repaired,
            counters=self._counters,
            table_percent=self.allowance.percent,
            refused=self.allowance.vnis,
            violated_at=self._violated_at,
            foreign=reconciler.foreign()[:FOREIGN_NAMED],
            trouble=self.follower.trouble
            or reconciler.problems.get(HOST_SLICE, "")
            or self._kernel_trouble
            or self.records.strange(),
        )

    def _save(self, now: float) -> None:
        follower = self.follower
        if follower.refused:
            self._save_what_was_seen()
        # The store's revision alone is no reason: it rises with every host's every word.
        if not follower.in_sync or self.records.changes == self._saved_changes or now < self._save_at:
            return
        started = self._clock()
        owed = tuple(sorted(self.records.dirty.terminations))  # `connections.turn` put them back
        snapshot = Snapshot(uid="", revision=0, records=self.records.raw, terminations=owed)
        self._snapshot.save(follower.history.stamp(snapshot))
        self._saved_changes, self._saved_revision = self.records.changes, follower.history.revision
        self._save_at = self._clock() + max(SNAPSHOT_EVERY_S, SHARE * (self._clock() - started))

    def _save_what_was_seen(self) -> None:
        """Keep up to where the store was followed, so that another one is refused after a restart, too."""
        history = self.follower.history
        if history.revision != self._saved_revision and (saved := self._snapshot.load()) is not None:
            self._snapshot.save(history.stamp(saved))
        self._saved_revision = history.revision
