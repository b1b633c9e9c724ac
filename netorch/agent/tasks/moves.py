"""Completed moves: the host that sees the completion reports it to the store."""

from __future__ import annotations

import logging

from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import Phase
from netorch.control.actions.moves import complete_arrival, finish_departure
from netorch.errors import StoreError
from netorch.model.ids import port_name
from netorch.model.mapping import Mapping
from netorch.records.codec import UNREADABLE

log = logging.getLogger(__name__)


class MoveEnds(Task):
    """The ends of moves from and to one host."""

    def __init__(self, host_name: str, moves: Moves, reconciler: Reconciler) -> None:
        self._host_name = host_name
        self._moves = moves
        self._reconciler = reconciler
        self._has_store = False

    def wake_at(self, now: float) -> float | None:
        """Return when an interface may have arrived, or a relay is no longer needed."""
        return self._moves.next_deadline(self._has_store)

    def turn(self, turn: Turn) -> None:
        """Report to the store the interfaces that have arrived, and those that left long enough ago."""
        store = turn.writable
        self._has_store = store is not None
        if store is None:
            return
        try:
            for mapping in self._moves.incoming():
                if self._has_arrived(mapping):
                    complete_arrival(store, self._host_name, mapping.eni)
            for eni_id in self._moves.departures_due(turn.now):
                finish_departure(store, self._host_name, eni_id)
        except (StoreError, *UNREADABLE) as error:  # these functions read records from the store, which may be unreadable
            log.warning("a move waits for the store reason=%r", str(error))

    def _has_arrived(self, mapping: Mapping) -> bool:
        phase = self._reconciler.phases.get(mapping.vni, {}).get(mapping.eni)
        return phase is Phase.ACTIVE and self._reconciler.port_is_up(port_name(mapping.eni), mapping.vni)
