"""Probes: the host probes the edges that carry gateways of its VPCs, and sends to other edges when one does not answer.

Other hosts probe an edge in the same way; from their echoes the edge decides whether it is active
(netorch.agent.liveness.Standing).

Probing needs neither the store nor a daemon on the edge: the edge's kernel answers, and reports whether it is ready (`ready`,
policy.underlay). While the store is away nothing changes. While no gateway is known no echo is sent.

An edge rates itself as other hosts rate it, without an echo. Once it is no longer ready it becomes silent for itself when it
does for the others, and then sends to its partner what the partner should have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from netorch.agent.indexes.endpoint_ends import address_at
from netorch.agent.liveness import ANSWER_S, MISSES, ROUND_S, Liveness, Standing, passed_over
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostView
from netorch.drivers.base import Answer, Echoes, Kernel
from netorch.errors import KernelError
from netorch.model.eni import Role
from netorch.model.mapping import GatewayMapping
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.routing.seats import is_stateless
from netorch.records.mirror import WatchedVpc
from netorch.state.l2 import Fdb
from netorch.state.l3 import Route
from netorch.state.names import vxlan_name
from netorch.state.netns import Namespace

log = logging.getLogger(__name__)


class Probes(Task):
    """The probes of one host."""

    def __init__(self, records: Records, reconciler: Reconciler, kernel: Kernel, clock: Callable[[], float]) -> None:
        self._records = records
        self._reconciler = reconciler
        self._kernel = kernel
        self._clock = clock
        self._readiness = Liveness()  # which edges report ready
        self._presence = Liveness()  # which edges answer at all
        self._standing = Standing()
        self._idle = 0  # rounds since this host, an edge, was last active
        self._echoes: Echoes | None = None
        self._source = ""  # of the echoes
        self._asked: frozenset[str] = frozenset()
        self._round_at = 0.0
        self._trouble = ""

    def recall(self) -> None:
        """Take edges that the kernel passes over as silent or on standby: an earlier run of the agent had found them so.

        If the kernel passes over an edge for a stateful gateway, the edge may be either. It counts as on standby until it
        reports otherwise. An edge that is not ready is silent for itself; one that is not active is on standby.
        """
        own = {self._records.host.underlay if self._records.host is not None else ""} & self._records.seats.vteps()
        silent = own if not self._reconciler.ready else set()
        standby = own if not self._reconciler.active else set()
        for records in self._records.vpcs.values():
            for mapping in records.each(GatewayMapping):
                passed = passed_over(self._records.host_name, mapping, self._used_seat(records, mapping))
                silent, standby = (silent | passed, standby) if is_stateless(mapping.gateway) else (silent, standby | passed)
        self._records.set_silent(silent)
        self._records.set_standby(standby)

    def _used_seat(self, records: WatchedVpc, mapping: GatewayMapping) -> str:
        """Return the VTEP of the seat that the kernel sends to, or nothing.

        On a seat that is not in use, the gateway's MAC or its private address leads to the other seat.
        """
        vni, target = records.vni, self._reconciler.slices.get(records.vni)
        if target is None:
            return ""
        found = target.actual.get(Fdb(ifname=vxlan_name(vni), lladdr=gateway_mac(mapping.gateway), dst="").key)
        if isinstance(found, Fdb):
            return found.dst
        address = address_at(records, mapping.gateway)
        way = target.actual.get(Route(table=vni, dst=f"{address}/32").key) if address else None
        if isinstance(way, Route) and way.via:
            return way.via
        own = next((seat.vtep for seat in mapping.seats if seat.host == self._records.host_name), "")
        return own if Namespace(vni=vni, label=mapping.gateway).key in target.actual else ""

    def wake_at(self, now: float) -> float | None:
        """Return when a round is due, or now if this turn changed which edges are silent."""
        host = self._reconciler.host_view
        if self._records.dirty.kinds or (host is not None and host.active != self._reconciler.active):
            return now
        return self._round_at if self._records.seats.vteps() else None

    def turn(self, turn: Turn) -> None:
        """Evaluate the last round and send the next one, when due."""
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
            heard, own = self._echoes.heard(), _own_answer(host)
            answers, was_asked = heard | {source: own}, self._echoes.asked()
            asked, ready = self._asked & all_seats, {vtep for vtep, said in answers.items() if said is not Answer.NOT_READY}
            silent = self._readiness.evaluate(silent, asked, ready) & all_seats
            dead = self._presence.evaluate(dead, asked, answers.keys()) & silent
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
            self._evaluate_standing(host, heard, was_asked)
        # After sending, which may have been late in this turn: a round is never evaluated before its time.
        self._round_at = max(self._round_at + ROUND_S, self._clock() + ANSWER_S)

    def _evaluate_standing(self, host: HostView, heard: Mapping[str, Answer], was_asked: bool) -> None:
        """Note which edges are active: others by their answers, this host, if it is an edge, by its own decision."""
        reconciler, seats = self._reconciler, self._records.seats
        active = {vtep for vtep, said in heard.items() if said is Answer.ACTIVE}
        standby = (seats.standby & seats.vteps() | {v for v, said in heard.items() if said is Answer.STANDBY}) - active
        if host.host.role is Role.EDGE:
            # Agents on other hosts may all restart at once and send no echoes for a while; their kernels still answer.
            reachable, rival = host.ready and (was_asked or bool(heard)), not active.isdisjoint(seats.vteps())
            reconciler.active = self._standing.evaluate(reconciler.active, reachable=reachable, rival=rival)
            self._idle = 0 if reconciler.active else self._idle + 1
            if reconciler.active:
                standby -= {host.vtep}
            elif self._idle > MISSES:  # the other edge knows by then: otherwise answers could loop between the two
                standby |= {host.vtep}
        if standby != seats.standby:
            log.info("edges on standby=%s active=%s", sorted(standby - seats.standby), sorted(seats.standby - standby))
            self._records.set_standby(standby)

    def _stop(self) -> None:
        if self._echoes is not None:
            self._echoes.close()
        self._echoes, self._source, self._asked = None, "", frozenset()

    def close(self) -> None:
        """Close the socket."""
        self._stop()


def _own_answer(host: HostView) -> Answer:
    """Return the answer that an edge would get from itself."""
    return (Answer.ACTIVE if host.active else Answer.STANDBY) if host.ready else Answer.NOT_READY
