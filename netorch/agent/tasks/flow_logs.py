"""Flow logs: the records decide what is logged, and lines are written when due."""

from __future__ import annotations

from collections.abc import Set

from netorch.agent.flowlog.ledger import Target
from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.flowlog.targets import targets_of
from netorch.agent.indexes.dirty import Dirty
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.tasks.base import Task, Turn
from netorch.model.flow_log import FlowLog


class FlowLogs(Task):
    """The flow logs of one host."""

    def __init__(self, logger: FlowLogger, records: Records, reconciler: Reconciler, namespaces: Set[str]) -> None:
        """Log as the records say; `namespaces` are those with connection tracking now, a live view."""
        self._logger = logger
        self._records = records
        self._reconciler = reconciler
        self._namespaces = namespaces
        self._targets: dict[int, tuple[Target, ...]] = {}  # by VPC, for those with flow logs
        self._known: frozenset[str] = frozenset()  # namespaces at the last look

    def fileno(self) -> int | None:
        """Return the descriptor of the traffic sources."""
        return self._logger.fileno()

    def wake_at(self, now: float) -> float | None:
        """Return when lines are due."""
        wait_s = self._logger.wait_s()
        return None if wait_s is None else now + wait_s

    def turn(self, turn: Turn) -> None:
        """Update the targets of logs that may have changed, then log."""
        changed = self._changed(turn.dirty)
        for vni in changed:
            self._targets.pop(vni, None)
            if vni in self._records.logged:
                self._targets[vni] = targets_of(self._records, vni, self._reconciler.phases, self._namespaces)
        if changed:
            targets = [target for _, found in sorted(self._targets.items()) for target in found]
            tracked = {each.vni for target in targets for each in target.interfaces if not each.gateway}
            zones = {vni: self._reconciler.zone_of(vni) for vni in tracked}
            self._logger.configure(targets, zones)
        self._logger.turn()

    def _changed(self, dirty: Dirty) -> set[int]:
        """Return the VPCs whose logs or their targets may have changed."""
        changed = {vni for vni, kinds in dirty.kinds.items() if FlowLog in kinds or vni in self._targets}
        changed |= self._targets.keys() - self._records.logged
        if dirty.host or self._known != self._namespaces:
            self._known = frozenset(self._namespaces)
            changed |= self._targets.keys()
        return changed

    def close(self) -> None:
        """Write the recorded lines, and stop."""
        self._logger.close()
