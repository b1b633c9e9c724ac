"""Flow logs: what is to be recorded follows the records, and lines are written when they are due."""

from __future__ import annotations

from netorch.agent.flowlog.logger import FlowLogger
from netorch.agent.flowlog.targets import targets_of
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Dirty, Records
from netorch.agent.tasks.base import Task, Turn
from netorch.model.flow_log import FlowLog


class FlowLogs(Task):
    """The flow logs of one host."""

    def __init__(self, logger: FlowLogger, records: Records, reconciler: Reconciler) -> None:
        self._logger = logger
        self._records = records
        self._reconciler = reconciler
        self._logged: set[int] = set()  # VPCs with flow logs, when they were last looked at

    def fileno(self) -> int | None:
        """Return the descriptor of what is recorded."""
        return self._logger.fileno()

    def wake_at(self, now: float) -> float | None:
        """Return when lines are due."""
        wait_s = self._logger.wait_s()
        return None if wait_s is None else now + wait_s

    def turn(self, turn: Turn) -> None:
        """Record what there is, for the logs that there are."""
        if self._may_differ(turn.dirty):
            targets = targets_of(self._records, self._reconciler.phases)
            self._logged = set(self._records.logged)
            zones = {vni: self._reconciler.zone_of(vni) for vni in {target.log.vni for target in targets}}
            self._logger.configure(targets, zones)
        self._logger.turn()

    def _may_differ(self, dirty: Dirty) -> bool:
        changed = any(FlowLog in kinds or vni in self._logged for vni, kinds in dirty.kinds.items())
        return changed or (dirty.host and bool(self._logged))

    def close(self) -> None:
        """Write what was recorded, and stop."""
        self._logger.close()
