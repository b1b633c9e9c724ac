"""Addresses of NAT gateways that drain: they go when no connection has them any more, or when their time is over.

The edge decides that the gateway is at: it has the connections. Both may take themselves for it for a moment, and then an address
may go early: the other edge would have reset its connections anyway.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Final

from netorch.agent.records import Records
from netorch.agent.tasks.base import Task, Turn
from netorch.control.actions.outside.nat_addresses import end_drain
from netorch.drivers.base import Kernel
from netorch.errors import Conflict, KernelError, StoreError
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import NatGateway
from netorch.records.codec import UNREADABLE
from netorch.state.names import vni_of_netns

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0


class NatDrains(Task):
    """The ends of drains at this host."""

    def __init__(self, records: Records, kernel: Kernel) -> None:
        self._records = records
        self._kernel = kernel
        self._look_at = 0.0
        self._waits = False  # whether the last look found addresses that drain

    def wake_at(self, now: float) -> float | None:
        """Return when draining addresses are to be looked at again. New ones are seen with what else wakes the loop."""
        return self._look_at if self._waits else None

    def turn(self, turn: Turn) -> None:
        """Tell the store of addresses that have drained."""
        if turn.store is None or turn.now < self._look_at:
            return
        self._look_at = turn.now + LOOK_EVERY_S
        draining = list(self._draining())
        self._waits = bool(draining)
        for nat in draining:
            try:
                ended = self._ended(nat, time.time())
                if ended:
                    end_drain(turn.store, nat.id, ended, time.time())
            except (StoreError, Conflict, KernelError, *UNREADABLE) as error:
                log.warning("addresses drain on gateway=%s reason=%r", nat.id, str(error))

    def _draining(self) -> Iterator[NatGateway]:
        """Yield the gateways with draining addresses that are at this host. Cost: O(gateways here)."""
        for label in self._kernel.trackers:
            records = self._records.vpcs.get(vni_of_netns(label))
            nat = records.one(NatGateway, label) if records is not None else None
            mapping = records.one(GatewayMapping, label) if records is not None else None
            if nat is None or not nat.draining or mapping is None:
                continue
            if self._records.seats.is_at(self._records.host_name, mapping):
                yield nat

    def _ended(self, nat: NatGateway, now: float) -> list[str]:
        over = [address for address, until in nat.draining.items() if until <= now]
        waiting = nat.draining.keys() - set(over)
        tracker = self._kernel.trackers.get(nat.id)
        if tracker is None or not waiting:
            return over
        return [*over, *(waiting - tracker.answered_at(waiting))]
