"""Counters of NAT gateways on this edge. A few are read per turn, so the length of a turn does not grow with their number."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.rounds import Rounds
from netorch.drivers.base import Kernel
from netorch.errors import KernelError
from netorch.model.outside.nat_metrics import drops_of, metrics_of
from netorch.model.status import NatUse
from netorch.records import keys

log = logging.getLogger(__name__)


class NatUses(Task):
    """Publishes the use of each NAT gateway with a namespace on this host."""

    def __init__(self, host_name: str, kernel: Kernel, publisher: StatusPublisher) -> None:
        self._host_name = host_name
        self._kernel = kernel
        self._publisher = publisher
        self._rounds = Rounds[str]()
        self._published: set[str] = set()

    def wake_at(self, now: float) -> float | None:
        """Return when the next gateways are due."""
        is_any = self._published or any(_is_nat(label) for label in self._kernel.trackers)
        return self._rounds.next_at if is_any else None

    def turn(self, turn: Turn) -> None:
        """Read the next few gateways, and forget those that are gone."""
        if not self._rounds.is_due(turn.now):
            return
        here = self._here()
        for gone in self._published - set(here):
            self._publisher.publish(keys.nat_use(self._host_name, gone), None)
        self._published &= set(here)
        self._read(self._rounds.few(here))

    def _here(self) -> list[str]:
        return sorted(label for label in self._kernel.trackers if _is_nat(label))

    def _read(self, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            try:
                use = self._use_of(gateway)
            except (KeyError, KernelError) as error:  # the gateway may have gone since the round began
                log.warning("use of gateway not read gateway=%s reason=%r", gateway, str(error))
                continue
            self._publisher.publish(keys.nat_use(self._host_name, gateway), use)
            self._published.add(gateway)

    def _use_of(self, gateway: str) -> NatUse:
        counts = self._kernel.gateway_counters(gateway)
        packets = {name: count.packets for name, count in counts.items()}
        sizes = {name: count.bytes for name, count in counts.items()}
        active = self._kernel.trackers[gateway].use().held
        return NatUse(metrics=metrics_of(packets, sizes, active), dropped=drops_of(packets))


def _is_nat(label: str) -> bool:
    """Return whether a namespace belongs to a NAT gateway."""
    return label.startswith("nat-")
