"""The agent's loop: wait, pull, compile, apply, report. One thread; the store's and the kernel's descriptors wake it.

pull      store events edit the records, kernel events edit the slices: memory only
compile   the dirty parts
apply     the only writes to the kernel
tasks     other work of a host (`netorch/agent/tasks/`): connections, completed moves, flow logs, probes, gateway handovers,
          readiness, status
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Mapping, Sequence

from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.following.follower import Follower
from netorch.agent.gateway_tables import GatewayTables
from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.snapshot import Snapshot, SnapshotFile
from netorch.agent.tasks.allowance import Allowance
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.connections import Connections
from netorch.agent.tasks.flow_logs import FlowLogs
from netorch.agent.tasks.handover import Handover
from netorch.agent.tasks.moves import MoveEnds
from netorch.agent.tasks.nat_drains import NatDrains
from netorch.agent.tasks.nat_use import NatUses
from netorch.agent.tasks.private_gateways import PrivateGateways
from netorch.agent.tasks.probes import Probes
from netorch.agent.tasks.public_use import PublicUses
from netorch.agent.tasks.readiness import Readiness
from netorch.agent.tasks.status import Status
from netorch.agent.tasks.targets.checks import TargetChecks
from netorch.compiler.base import Compiler
from netorch.drivers.base import Kernel, Underlay
from netorch.errors import KernelError
from netorch.model.vpc import Vpc
from netorch.state.base import BORDER_SLICE, OVERLAY, PORTS
from netorch.store.base import Store

log = logging.getLogger(__name__)

STORE_PATIENCE_S = 0.05  # repair must not wait for the store: if the store is locked, the agent tries again in another turn
AUDIT_EVERY_S = 60.0
SNAPSHOT_EVERY_S = 1.0
READ_AGAIN_S = 2.0  # after a failed read of the kernel
SAVE_AGAIN_S = 5.0  # after a snapshot that could not be written
# An audit or a snapshot costs O(state). Each may take 1/SHARE of the time, so a large host does them less often.
SHARE = 50


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
        gateway_tables = GatewayTables(kernel.trackers)
        allowances = (
            Allowance(kernel.trackers[OVERLAY], self._vpcs),
            Allowance(gateway_tables, lambda: self._vpcs_of(gateway_tables.vnis())),
        )
        self.probes = Probes(self.records, self.reconciler, kernel, clock)
        self.handover = Handover(self.records, self.reconciler, kernel.trackers, gateway_tables, self.publisher)
        self.readiness = Readiness(self.reconciler, kernel, lambda: self.handover.is_under_way)
        self.status = Status(
            host_name, kernel, self.reconciler, self.publisher, allowances, self.records.seats, self.readiness, self._trouble
        )
        self.private_gateways = PrivateGateways(self.records, self.reconciler, kernel, self.publisher, clock)
        self.tasks: list[Task] = [
            self.connections,
            *allowances,
            MoveEnds(host_name, self.moves, self.reconciler),
            *([FlowLogs(flow_logger, self.records, self.reconciler, kernel.trackers.keys())] if flow_logger is not None else []),
            self.probes,
            self.handover,
            self.readiness,
            NatDrains(self.records, kernel),
            NatUses(host_name, kernel, self.publisher),
            PublicUses(self.records, self.reconciler, kernel, self.publisher),
            self.private_gateways,
            TargetChecks(self.records, self.reconciler, kernel, self.publisher),
            self.status,  # last, so that it reports what the others did
        ]
        self._clock, self._snapshot, self._kernel_trouble = clock, snapshot, ""
        self._saved_changes = self._saved_revision = -1
        self._save_at = self._audit_at = 0.0
        self._followed: frozenset[str] = frozenset()
        self._followed_at: tuple[int, set[str]] = (-1, set())  # the inputs of `_followed`

    def start(self) -> None:
        """Read the kernel, then the store. While the store is away, read the snapshot of the last run."""
        now = self._clock()
        self.reconciler.read_kernel()
        self._audit_at = now + AUDIT_EVERY_S
        self._follow(now)
        self.probes.recall()
        self.private_gateways.recall()
        self.records.dirty.host |= self.follower.in_sync  # a host that the store does not know is reported at once
        self.turn()

    def _follow(self, now: float) -> None:
        """Follow the store from where the last run stopped. The snapshot is freed before anything is compiled."""
        saved = self._snapshot.load()
        if saved is not None:
            self.follower.recall(saved)
        self.follower.pull(now)
        if not self.follower.in_sync and saved is not None:
            self.follower.boot(saved)
            log.info("booting from the snapshot revision=%d reason=%r", saved.revision, self.follower.trouble)
        if saved is not None:
            self.connections.recall(saved)

    def step(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Wait for work, at most `timeout_s` or until `wake_fd` is readable, and do it."""
        wait_s = max(0.0, min(timeout_s, self._next_deadline() - self._clock()))
        poller = select.poll()
        for descriptor in (*self.descriptors(), wake_fd):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        poller.poll(wait_s * 1000)
        self.turn()

    def descriptors(self) -> list[int]:
        """Return the descriptors that wake the loop, without the kernel's after a failed read, which can leave it readable."""
        kernel = self.kernel.fileno() if not self._kernel_trouble else None
        found = (kernel, self.follower.fileno(), *(task.fileno() for task in self.tasks))
        return [descriptor for descriptor in found if descriptor is not None]

    def turn(self) -> None:
        """Read what has happened and act on it; never blocks for long."""
        now = self._clock()
        self._take_kernel_events(now)
        self.follower.pull(now)
        dirty = self.records.take_dirty()
        self.reconciler.compile(dirty, now)
        applied = self.reconciler.apply(now, may_delete=self.follower.in_sync)
        store = self.follower.store if self.follower.in_sync else None
        turn = Turn(now=now, dirty=dirty, applied=applied, store=store, speaks=self.publisher.speaks(now))
        for task in self.tasks:
            task.turn(turn)
        self.status.write(store, self._clock())  # a long turn must not renew the lease late
        self._save(now)

    def close(self) -> None:
        """Save the records and close everything; the kernel keeps its state."""
        self._save(float("inf"))
        self._save_what_was_seen()
        for task in self.tasks:
            task.close()
        self.kernel.close()
        self.follower.close()

    def _vpcs(self) -> dict[int, Vpc]:
        """Return the VPCs of this host by conntrack zone. Cost: O(VPCs)."""
        return self._vpcs_of(self.reconciler.vnis())

    def _vpcs_of(self, vnis: Mapping[int, int]) -> dict[int, Vpc]:
        """Return the known VPCs of these zones. Cost: O(zones)."""
        known = ((zone, self.records.vpcs.get(vni)) for zone, vni in vnis.items())
        return {zone: vpc for zone, records in known if records is not None for vpc in records.each(Vpc)}

    # --- in ------------------------------------------------------------------------------------------------------------------

    def _prefixes(self) -> frozenset[str]:
        """Return the prefixes to follow: the same set while nothing changed, at O(1)."""
        stamp = (self.records.prefix_changes, self.moves.watched_prefixes() | self.handover.watched_prefixes())
        if stamp != self._followed_at:
            self._followed_at, self._followed = stamp, frozenset(self.records.prefixes | stamp[1])
        return self._followed

    def _take_kernel_events(self, now: float) -> None:
        retry = self.reconciler.retry_due(now)
        try:
            events = self.kernel.events()
            self.reconciler.on_kernel(events)
            for task in self.tasks:
                task.on_kernel(events)
            if now >= self._audit_at or retry:
                self._read_kernel(now)
        except KernelError as error:
            log.warning("the kernel cannot be read reason=%r", str(error))
            self._kernel_trouble = str(error)
            self._audit_at = now + READ_AGAIN_S  # the failed read is repeated then

    def _read_kernel(self, now: float) -> None:
        started = self._clock()
        differing = self.reconciler.read_kernel()
        if differing and now >= self._audit_at:
            log.info("audit found changed objects count=%d", differing)
        self.records.dirty.host = True  # no dump shows the underlay device
        self._kernel_trouble = ""
        self._audit_at = now + max(AUDIT_EVERY_S, SHARE * (self._clock() - started))

    def _next_deadline(self) -> float:
        deadlines = [self._audit_at, self.reconciler.next_retry(), self.follower.wake_at()]
        deadlines += [task.wake_at(self._clock()) for task in self.tasks]
        return min(deadline for deadline in deadlines if deadline is not None)

    def _trouble(self) -> str:
        """Return a problem of the whole host, or nothing."""
        troubles = (
            self.follower.trouble,
            self.reconciler.host_trouble,
            self.reconciler.problems.get(BORDER_SLICE, ""),
            self.reconciler.problems.get(PORTS, ""),
            self._kernel_trouble,
            self._snapshot.trouble,
            self.publisher.trouble,
            *(task.trouble for task in self.tasks),
        )
        return next(filter(None, troubles), "") or self.records.strange()

    # --- out -----------------------------------------------------------------------------------------------------------------

    def _save(self, now: float) -> None:
        follower = self.follower
        if self._snapshot.trouble and now < self._save_at:
            return
        if follower.refused:
            self._save_what_was_seen()
        # The store's revision alone is no reason to save: every write of every host raises it.
        if not follower.in_sync or self.records.changes == self._saved_changes or now < self._save_at:
            return
        started = self._clock()
        owed = tuple(sorted(self.records.dirty.terminations))  # put back by `connections.turn`
        host = self.reconciler.host_view
        underlay = Underlay(ifname=host.underlay_ifname, mtu=host.underlay_mtu, carries=False) if host is not None else None
        snapshot = Snapshot(uid="", revision=0, records=self.records.raw, terminations=owed, underlay=underlay)
        saved = self._snapshot.save(follower.history.stamp(snapshot))
        if saved:
            self._saved_changes, self._saved_revision = self.records.changes, follower.history.revision
        pause_s = SNAPSHOT_EVERY_S if saved else SAVE_AGAIN_S
        self._save_at = self._clock() + max(pause_s, SHARE * (self._clock() - started))

    def _save_what_was_seen(self) -> None:
        """Save how far the store was followed, so that a different store is refused after a restart, too."""
        history = self.follower.history
        if history.revision == self._saved_revision:
            return
        if (saved := self._snapshot.load()) is not None and not self._snapshot.save(history.stamp(saved)):
            self._save_at = self._clock() + SAVE_AGAIN_S
            return
        self._saved_revision = history.revision
