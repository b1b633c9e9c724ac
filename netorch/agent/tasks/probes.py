"""Probes: the host asks the edges that carry gateways of its VPCs whether they live, and sends to others when they do not.

Nothing of this is in the store, and no daemon of an edge takes part: its kernel answers, and says whether it is ready (`ready`,
policy.underlay). The store being away changes nothing. While no gateway is known nothing is sent.

An edge counts itself as the others count it, without an echo: once it is not ready any more it falls silent for itself when it
does for them, and sends what its partner is to have there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from netorch.agent.liveness import ANSWER_S, ROUND_S, Liveness, passed_over
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostView
from netorch.drivers.base import Echoes, Kernel
from netorch.errors import KernelError
from netorch.model.mapping import GatewayMapping
from netorch.model.routing.next_hop import gateway_mac
from netorch.state.l2 import Fdb
from netorch.state.names import vxlan_name

log = logging.getLogger(__name__)


class Probes(Task):
    """The probes of one host."""

    def __init__(self, records: Records, reconciler: Reconciler, kernel: Kernel, clock: Callable[[], float]) -> None:
        self._records = records
        self._reconciler = reconciler
        self._kernel = kernel
        self._clock = clock
        self._readiness = Liveness()  # who says that it is ready
        self._presence = Liveness()  # who answers at all
        self._echoes: Echoes | None = None
        self._source = ""  # of the echoes
        self._asked: frozenset[str] = frozenset()
        self._round_at = 0.0
        self._trouble = ""

    def recall(self) -> None:
        """Take for silent whom the kernel passes over, as an earlier run of the agent had found, and an unready edge itself."""
        own = self._records.host.underlay if self._records.host is not None else ""
        silent = {own} & self._records.seats.vteps() if not self._reconciler.ready else set()
        for vni, records in self._records.vpcs.items():
            target = self._reconciler.slices.get(vni)
            for mapping in records.each(GatewayMapping) if target is not None else ():
                key = Fdb(ifname=vxlan_name(vni), lladdr=gateway_mac(mapping.gateway), dst="").key
                found = target.actual.get(key) if target is not None else None
                if isinstance(found, Fdb):
                    silent |= passed_over(self._records.host_name, mapping, found.dst)
        self._records.set_silent(silent)

    def wake_at(self, now: float) -> float | None:
        """Return when a round is due, or now if an edge was found silent, or back, in this turn."""
        if self._records.dirty.kinds:
            return now
        return self._round_at if self._records.seats.vteps() else None

    def turn(self, turn: Turn) -> None:
        """Evaluate the last round and send another one, when it is time to."""
        host = self._reconciler.host_view
        known = frozenset(self._records.seats.vteps()) - ({host.vtep} if host is not None else set())
        if host is None or not known:
            self._stop()
        elif self._clock() >= self._round_at or host.vtep != self._source:
            self._round(host, known)

    def _round(self, host: HostView, known: frozenset[str]) -> None:
        source, seats = host.vtep, self._records.seats
        silent, dead, all_seats = seats.silent, seats.dead, frozenset(seats.vteps())
        try:
            if source != self._source:
                self._stop()
                self._echoes, self._source = self._kernel.echoes(source), source
            assert self._echoes is not None
            heard = self._echoes.heard() | {source: host.ready}
            asked, ready = self._asked & all_seats, {vtep for vtep, is_ready in heard.items() if is_ready}
            silent = self._readiness.evaluate(silent, asked, ready) & all_seats
            dead = self._presence.evaluate(dead, asked, heard.keys()) & silent
            for liveness in (self._readiness, self._presence):
                liveness.forget(all_seats)
            self._echoes.send(known)
        except KernelError as error:
            self._stop()
            if str(error) != self._trouble:
                log.warning("edges are not probed reason=%r", str(error))
            self._trouble = str(error)
        else:
            self._asked, self._trouble = all_seats, ""
            if silent != seats.silent:
                log.info("edges silent=%s back=%s", sorted(silent - seats.silent), sorted(seats.silent - silent))
            if (silent, dead) != (seats.silent, seats.dead):
                self._records.set_silent(silent, dead)
        # Behind the sending, which may have been late in this turn: a round is never evaluated before its time.
        self._round_at = max(self._round_at + ROUND_S, self._clock() + ANSWER_S)

    def _stop(self) -> None:
        if self._echoes is not None:
            self._echoes.close()
        self._echoes, self._source, self._asked = None, "", frozenset()

    def close(self) -> None:
        """Close the socket."""
        self._stop()
