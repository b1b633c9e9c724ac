"""Draining addresses of NAT gateways: an address is removed when no connection uses it any longer, or when its time is over.

The edge in use decides, because it has the connections. Both edges may briefly consider themselves in use, and then an address
may be removed early: the other edge would have reset its connections anyway.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Final

from netorch.agent.records import Records
from netorch.agent.tasks.base import Task, Turn
from netorch.control.actions.outside.nat_addresses import DRAIN_LAST_S, end_drain
from netorch.drivers.base import Kernel
from netorch.errors import Conflict, KernelError, StoreError
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import NatGateway
from netorch.records.codec import UNREADABLE
from netorch.state.names import vni_of_netns

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0


class NatDrains(Task):
    """The ends of drains on this host."""

    def __init__(self, records: Records, kernel: Kernel) -> None:
        self._records = records
        self._kernel = kernel
        self._look_at = 0.0
        self._over_at: dict[tuple[str, str, float], float] = {}  # gateway, address, end in the record -> end by the agent's clock
        self._waits = False  # whether the last look found draining addresses

    def wake_at(self, now: float) -> float | None:
        """Return when to look at draining addresses again. New ones come with a change that wakes the loop anyway."""
        return self._look_at if self._waits else None

    def turn(self, turn: Turn) -> None:
        """Report to the store the addresses that have drained."""
        store = turn.writable
        if store is None:
            self._waits = False  # the turn in which the store is back looks again
            return
        if turn.now < self._look_at:
            return
        self._look_at = turn.now + LOOK_EVERY_S
        draining = list(self._draining())
        self._waits = bool(draining)
        self._learn_ends(draining, turn.now)
        for nat in draining:
            try:
                ended = self._ended(nat, turn.now)
                if ended:
                    end_drain(store, nat.id, ended, time.time())
            except (StoreError, Conflict, KernelError, *UNREADABLE) as error:
                log.warning("addresses drain on gateway=%s reason=%r", nat.id, str(error))

    def _draining(self) -> Iterator[NatGateway]:
        """Yield the gateways in use on this host that have draining addresses. Cost: O(gateways on this host)."""
        for label in self._kernel.trackers:
            records = self._records.vpcs.get(vni_of_netns(label))
            nat = records.one(NatGateway, label) if records is not None else None
            mapping = records.one(GatewayMapping, label) if records is not None else None
            if nat is None or not nat.draining or mapping is None:
                continue
            if self._records.seats.is_at(self._records.host_name, mapping):
                yield nat

    def _learn_ends(self, draining: Sequence[NatGateway], now: float) -> None:
        """Note when each drain is over, once: the wall clock may be set while connections still use the address."""
        left = {(nat.id, address, until): until - time.time() for nat in draining for address, until in nat.draining.items()}
        self._over_at = {drain: self._over_at.get(drain, now + min(left_s, DRAIN_LAST_S)) for drain, left_s in left.items()}

    def _ended(self, nat: NatGateway, now: float) -> list[str]:
        over = [address for address, until in nat.draining.items() if self._over_at[nat.id, address, until] <= now]
        waiting = nat.draining.keys() - set(over)
        tracker = self._kernel.trackers.get(nat.id)
        if tracker is None or not waiting:
            return over
        return [*over, *(waiting - tracker.answered_at(waiting))]
