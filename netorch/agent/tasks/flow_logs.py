"""Flow logs: the records decide what is logged, and lines are written when due."""

from __future__ import annotations

from collections.abc import Set

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
        self._logged: set[int] = set()  # VPCs with flow logs, at the last look
        self._known: frozenset[str] = frozenset()  # namespaces, likewise

    def fileno(self) -> int | None:
        """Return the descriptor of the traffic sources."""
        return self._logger.fileno()

    def wake_at(self, now: float) -> float | None:
        """Return when lines are due."""
        wait_s = self._logger.wait_s()
        return None if wait_s is None else now + wait_s

    def turn(self, turn: Turn) -> None:
        """Update the logs' targets if they may have changed, then log."""
        if self._may_differ(turn.dirty):
            targets = targets_of(self._records, self._reconciler.phases, self._namespaces)
            self._logged, self._known = set(self._records.logged), frozenset(self._namespaces)
            tracked = {each.vni for target in targets for each in target.interfaces if not each.gateway}
            zones = {vni: self._reconciler.zone_of(vni) for vni in tracked}
            self._logger.configure(targets, zones)
        self._logger.turn()

    def _may_differ(self, dirty: Dirty) -> bool:
        changed = any(FlowLog in kinds or vni in self._logged for vni, kinds in dirty.kinds.items())
        return changed or (bool(self._logged) and (dirty.host or self._known != self._namespaces))

    def close(self) -> None:
        """Write the recorded lines, and stop."""
        self._logger.close()
