"""Handover of stateful gateways with their connections between the edges of a pair: when one is drained, and when it is back.

  giver    opens no new connection in its gateways (the ban expires after 10 s), publishes the known ones, says `gives`
  taker    restores them in its kernel, becomes active, says `took`
  giver    after a drain: goes on standby; after a return: sees that the other edge is active
  hosts    learn this from their probes, within 250 ms; the giver still translates packets that reach it as before

Both kernels translate a connection alike, so packets may come through either of them meanwhile, as long as one of the two keeps
the state: the taker has it before the giver sends answers there. The first packet of a new connection is lost at the giver, and
accepted at the taker when it is repeated: TCP repeats it after a second.

A drained edge gives all gateways in use on it, and is no longer ready when none is left. An edge that was on standby for a
while (RETURN_S) asks for the gateways that have their first seat on it. If it gets none it asks again after some minutes, and
then less and less often. No gateway holds up others: the giver does not name a gateway that has no namespace on it, and the
taker skips one that has no namespace on the taker. The store carries all of this. While the store is away nothing is handed
over; hosts still leave edges that fail (netorch.agent.liveness).

Either agent may die at any point: nothing is in force before `took`, and a new run publishes everything again. If the taker
does not answer in time (PATIENCE_S, DRAIN_PATIENCE_S), a drained edge goes like a failed one: connections are reset. An edge
that was asked does nothing further.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec

from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.allowance import within_allowance
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import HostView
from netorch.drivers.base import ConnectionTracker, SharedTable
from netorch.errors import KernelError
from netorch.model.endpoints.endpoint_service import EndpointConnection
from netorch.model.eni import NetworkInterface, Role
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside.gateway import NatGateway
from netorch.model.routing.seats import is_stateless
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.flows import HandedOver, HandoverWord
from netorch.records.vpc import VpcRecords
from netorch.state.daemons.services.relay import RELAY_ADDRESS
from netorch.state.flow import Flow, uncounted

log = logging.getLogger(__name__)

RETURN_S = 30.0  # on standby beside a working edge before it asks for gateways, so that a flapping edge does not ask
ASK_S: Final = 15.0  # how long it asks; then it pauses, since new connections are dropped meanwhile
PAUSE_S: Final = 120.0  # the first pause; each pause is twice as long as the last
LONGEST_PAUSE_S: Final = 3600.0
ARRIVE_S: Final = 3.0  # a gateway that is handed over may reach this edge later than the word about it
PATIENCE_S: Final = 10.0  # for the word of a taker that has asked
DRAIN_PATIENCE_S: Final = 30.0  # for the word of a taker that has not asked
LEAVE_S: Final = 1.0  # after the last gateway has gone, until all hosts know
REFRESH_S: Final = 3.0  # elements that stop new connections expire after 10
PART: Final = 1000  # connections in a record: some 400 kB with IPv6
MOST: Final = 60 * PART  # of one gateway: connections with traffic both ways first
REMEMBER_S: Final = 600.0  # how long a loss is reported, for operators who ask why connections were reset
_ALL: Final = frozenset({0})  # the zone of all connections in a gateway's namespace
_ENDED: Final = frozenset({7, 8})  # TIME_WAIT and CLOSE: these connections are over


class Giving(msgspec.Struct, kw_only=True):
    """The handover that an edge gives now."""

    to: str
    token: str
    gateways: tuple[str, ...]
    until: float
    refresh_at: float
    written: dict[str, HandedOver]  # by key


class Handover(Task):
    """Handovers of one edge to the other edge of its pair, and from it."""

    def __init__(
        self,
        records: Records,
        reconciler: Reconciler,
        trackers: Mapping[str, ConnectionTracker],
        table: SharedTable,
        publisher: StatusPublisher,
    ) -> None:
        """Take connection trackers by namespace, and those of all gateways as one table (netorch.agent.gateway_tables)."""
        self.is_under_way = False  # whether this drained edge must still be used
        self.trouble = ""  # what was lost of the last handover to this edge, or nothing
        self._records = records
        self._reconciler = reconciler
        self._trackers = trackers
        self._table = table
        self._publisher = publisher
        self._giving: Giving | None = None
        self._gave_up = False  # for as long as it is drained, or asked
        self._left_at = -LEAVE_S  # when the last gateway had gone
        self._took = ""
        self._heard = ""  # token of the handover to this edge
        self._heard_at = 0.0
        self._lost = ""  # the part that could not be read
        self._lost_at = 0.0
        self._ask_at: float | None = None  # set while another edge works although this one could
        self._pause_s = PAUSE_S

    def watched_prefixes(self) -> set[str]:
        """Return the keys under which the other edge publishes its handovers."""
        host, seats = self._records.host, self._records.seats
        if host is None or host.role is not Role.EDGE:
            return set()
        partner = seats.partner_of(host.underlay)
        return {keys.handover_prefix(partner)} if partner else set()

    def wake_at(self, now: float) -> float | None:
        """Return when a deadline of a handover comes, or when to ask for one."""
        times = []
        if self._giving is not None:
            times += [self._giving.refresh_at, self._giving.until]
        elif self.is_under_way:
            times.append(self._left_at + LEAVE_S)
        if self._ask_at is not None:
            times.append(self._ask_at if now < self._ask_at else self._ask_at + ASK_S)
        if self._heard != self._took:
            times.append(self._heard_at + ARRIVE_S)
        return min((when for when in times if when > now), default=None)

    def turn(self, turn: Turn) -> None:
        """Take the next step of a handover and publish it. Without the store only deadlines pass."""
        host = self._reconciler.host_view
        self.trouble = self._lost if turn.now < self._lost_at + REMEMBER_S else ""
        if host is None or host.host.role is not Role.EDGE:
            return
        partner = self._partner(host)
        word = self._records.handovers.word(partner.host) if partner is not None and turn.store is not None else HandoverWord()
        if turn.store is not None or self._giving is not None:
            self._give(host, partner, word, turn.now)
        if turn.store is not None and partner is not None:
            self._take(host, partner, word, turn.now)
        asks = self._ask(host, partner, turn.now) if turn.store is not None else self._do_not_ask()
        self.is_under_way = host.drained and (self._giving is not None or turn.now < self._left_at + LEAVE_S)
        self._say(host.host.name, asks)

    def _partner(self, host: HostView) -> Seat | None:
        """Return the other edge of the pair, as named by gateways on this host."""
        others = sorted((name, vtep) for vtep, name in self._records.seats.hosts.items() if vtep != host.vtep)
        return next((Seat(host=name, vtep=vtep) for name, vtep in others), None)

    # --- giving --------------------------------------------------------------------------------------------------------------

    def _give(self, host: HostView, partner: Seat | None, word: HandoverWord, now: float) -> None:
        giving, is_asked = self._giving, word.asks == host.host.name
        self._gave_up = self._gave_up and (host.drained or is_asked)
        wanted = self._wanted(host, partner, is_asked=is_asked) if not self._gave_up else None
        if giving is None and wanted is not None and partner is not None:
            until = now + (DRAIN_PATIENCE_S if host.drained else PATIENCE_S)
            self._begin(host.host.name, partner, wanted, now, until)
        elif giving is not None and wanted is None:
            self._end(now)
        elif giving is not None and now >= giving.until:
            log.warning("%s did not take over %d gateway(s) in time", giving.to, len(giving.gateways))
            self._gave_up = True
            self._end(now)
        elif giving is not None and word.took == giving.token and host.drained:
            self._reconciler.active = False
        elif giving is not None and now >= giving.refresh_at:
            giving.refresh_at = now + REFRESH_S
            self._refuse(giving.gateways)

    def _wanted(self, host: HostView, partner: Seat | None, *, is_asked: bool) -> tuple[str, ...] | None:
        """Return the gateways in use on this edge that the other edge should have; None if nothing is to be handed over."""
        if partner is None or partner.vtep in self._records.seats.silent or not (host.drained or is_asked):
            return None
        used = [mapping for mapping in self._shared(host.host.name, partner.host) if self._can_give(mapping, host.host.name)]
        if host.drained:
            return tuple(sorted(mapping.gateway for mapping in used)) or None
        return tuple(sorted(mapping.gateway for mapping in used if mapping.seats[0].host == partner.host))

    def _shared(self, *edges: str) -> list[GatewayMapping]:
        """Return the stateful gateways that have seats at all these edges. Cost: O(gateways)."""
        mappings = (mapping for records in self._records.vpcs.values() for mapping in records.each(GatewayMapping))
        stateful = (mapping for mapping in mappings if not is_stateless(mapping.gateway))
        return [mapping for mapping in stateful if {*edges} <= {seat.host for seat in mapping.seats}]

    def _can_give(self, mapping: GatewayMapping, me: str) -> bool:
        """Return whether a gateway is in use here. Without a namespace, e.g. for lack of an address, it has nothing to give."""
        return mapping.gateway in self._trackers and self._records.seats.is_at(me, mapping)

    def _begin(self, me: str, partner: Seat, gateways: tuple[str, ...], now: float, until: float) -> None:
        self._refuse(gateways)
        written = {}
        for gateway in gateways:
            flows = self._flows(gateway)
            for part, start in enumerate(range(0, len(flows), PART)):
                written[keys.handover_flows(me, gateway, part)] = HandedOver(flows=tuple(flows[start : start + PART]))
        for key, record in written.items():
            self._publisher.publish(key, record)
        count = sum(len(record.flows) for record in written.values())
        log.info("handing over gateways=%d connections=%d to=%s", len(gateways), count, partner.host)
        token = secrets.token_hex(8)
        self._giving = Giving(
            to=partner.host, token=token, gateways=gateways, until=until, refresh_at=now + REFRESH_S, written=written
        )

    def _flows(self, gateway: str) -> list[Flow]:
        """Return the connections of a gateway that are worth restoring elsewhere."""
        try:
            known = self._trackers[gateway].flows(0)
        except KernelError as error:
            log.warning("connections of %s are not handed over reason=%r", gateway, str(error))
            return []
        # Relayed connections end with their sockets on this host.
        moving = (flow for flow in known if RELAY_ADDRESS not in (flow.source, flow.nat_destination))
        flows = [uncounted(flow) for flow in moving if flow.tcp_state not in _ENDED]
        if len(flows) > MOST:
            log.warning("gateway %s: %d of %d connections are not handed over", gateway, len(flows) - MOST, len(flows))
        return sorted(flows, key=lambda flow: (not flow.assured, -flow.timeout_s))[:MOST]

    def _refuse(self, gateways: Sequence[str]) -> None:
        """Stop gateways from opening connections for some seconds."""
        for gateway in gateways:
            try:
                if gateway in self._trackers:
                    self._trackers[gateway].hand_over(_ALL)
            except KernelError as error:
                log.warning("gateway %s opens connections that are not handed over reason=%r", gateway, str(error))

    def _end(self, now: float) -> None:
        """End the handover that this edge gives; the ban on new connections expires in the kernel."""
        assert self._giving is not None
        for key in self._giving.written:
            self._publisher.publish(key, None)
        self._giving, self._left_at = None, now

    # --- taking --------------------------------------------------------------------------------------------------------------

    def _take(self, host: HostView, partner: Seat, word: HandoverWord, now: float) -> None:
        """Take over what the other edge gives, once all parts have arrived."""
        if word.gives != host.host.name:
            self._heard = self._took = ""
            return
        if word.token != self._heard:
            self._heard, self._heard_at = word.token, now
        flows = self._records.handovers.flows(partner.host)
        if word.token == self._took or flows is None or not host.ready or host.drained:
            return
        mappings = {mapping.gateway: mapping for mapping in self._shared(host.host.name, partner.host)}
        here = mappings.keys() & self._trackers.keys() & {*word.gateways}
        missing = [gateway for gateway in word.gateways if gateway not in here]
        if now < self._heard_at + ARRIVE_S and self._is_arriving(missing, mappings):
            return
        for gateway in missing:
            log.warning("gateway %s is not on this edge: its connections are not handed over", gateway)
        self._know(
            {gateway: flows[gateway] for gateway in here if not self._records.seats.is_at(host.host.name, mappings[gateway])}
        )
        self._reconciler.active = True
        self._records.set_standby(self._records.seats.standby - {host.vtep})  # at once: the giver learns it in its next round
        self._took = word.token
        log.info("took over gateways=%d from=%s", len(here), partner.host)
        self._note_lost(partner.host, word.parts, now)

    def _note_lost(self, giver: str, parts: int, now: float) -> None:
        """Report which parts of a handover were unreadable: their connections must start again, all others go on."""
        unreadable = self._records.handovers.unreadable(giver)
        self._lost, self._lost_at = "", now
        if unreadable:
            which = f"{len(unreadable)} of {parts} records of connections that {giver} handed over"
            self._lost = f"{which} are unreadable, so these connections are lost: {unreadable[0]}"
            log.warning("connections are not handed over reason=%r", self._lost)
        self.trouble = self._lost

    def _is_arriving(self, missing: Sequence[str], known: Container[str]) -> bool:
        """Return whether a missing gateway may still arrive: the gateway or its VPC may be newer than this host's state."""
        if not missing:
            return False
        unapplied = self._reconciler.unapplied(in_sync=True)
        return any(gateway not in known or vni_of(gateway) in unapplied for gateway in missing)

    def _know(self, handed: Mapping[str, Sequence[Flow]]) -> None:
        """Restore these connections, and no others, in the gateways' kernels, as far as their VPCs may hold so many."""
        own = {gateway: self._own(gateway, flows) for gateway, flows in handed.items() if self._clear(gateway)}
        allowed = self._allowed(own)
        for gateway in sorted(own, key=lambda gateway: (len(own[gateway]), gateway)):
            flows, vni = own[gateway], vni_of(gateway)
            count = min(len(flows), allowed[vni])
            allowed[vni] -= count
            if count < len(flows):
                log.warning(
                    "gateway %s: %d of %d connections are not handed over: the VPC's share",
                    gateway,
                    len(flows) - count,
                    len(flows),
                )
            try:
                self._trackers[gateway].restore(flows[:count])
            except KernelError as error:
                log.warning("connections of %s are not handed over reason=%r", gateway, str(error))

    def _clear(self, gateway: str) -> bool:
        """Let a gateway open connections, and forget its kernel's old connections; return whether this succeeded."""
        tracker = self._trackers[gateway]
        try:
            tracker.hand_over(frozenset())
            tracker.forget(tracker.flows(0))
        except KernelError as error:
            log.warning("connections of %s are not handed over reason=%r", gateway, str(error))
            return False
        return True

    def _allowed(self, own: Mapping[str, Sequence[Flow]]) -> dict[int, int]:
        """Return how many connections each VPC may take over, by VNI."""
        wanted: Counter[int] = Counter()
        for gateway, flows in own.items():
            wanted[vni_of(gateway)] += len(flows)
        try:
            use = self._table.use()
            held = self._table.sample(use.held)
        except KernelError as error:
            log.warning("connections that were taken over are not limited reason=%r", str(error))
            return wanted
        owners = {vpc.vni: vpc.owner for vni in held if vni in self._records.vpcs for vpc in self._records.vpcs[vni].each(Vpc)}
        return within_allowance(wanted, held, owners, use.most)

    def _own(self, gateway: str, flows: Sequence[Flow]) -> list[Flow]:
        """Return the connections that the gateway itself translates so, as its namespace tracks them: the giver may lie."""
        records = self._records.vpcs[vni_of(gateway)]
        connection = records.one(EndpointConnection, gateway)
        if connection is None:
            names = self._names_of(gateway, records)
            own = [flow for flow in flows if flow.nat_source in names and not (flow.nat_destination or flow.original_zone)]
        else:  # to interfaces of the service's VPC; a target that is one no longer keeps its connections
            provider = self._records.vpcs.get(connection.provider)
            ends = provider.mappings if provider is not None else {}
            own = [flow for flow in flows if flow.nat_source == connection.address and flow.nat_destination in ends]
        return [msgspec.structs.replace(flow, zone=0, mark=0) for flow in own]

    def _names_of(self, gateway: str, records: VpcRecords) -> set[str]:
        """Return the addresses from which a gateway sends; the empty string stands for each sender's own address."""
        nat = records.one(NatGateway, gateway)
        eni = records.one(NetworkInterface, nat.eni) if nat is not None else None
        return {"", *(eni.addresses if eni is not None else ())}

    # --- asking, and publishing ----------------------------------------------------------------------------------------------

    def _ask(self, host: HostView, partner: Seat | None, now: float) -> str:
        """Return the edge to ask for gateways, once this edge has been on standby beside it for a while.

        The request stands for a while. If it fails it is repeated after growing pauses.
        """
        seats = self._records.seats
        works = partner is not None and partner.vtep not in seats.silent | seats.standby
        if partner is None or not works or self._reconciler.active or not host.ready or host.drained:
            return self._do_not_ask()
        if self._ask_at is None:
            self._ask_at = now + RETURN_S
        if now >= self._ask_at + ASK_S:
            log.warning("%s handed nothing over retry_in_s=%d", partner.host, self._pause_s)
            self._ask_at = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return partner.host if now >= self._ask_at else ""

    def _do_not_ask(self) -> str:
        """Return no edge, and reset the pauses."""
        self._ask_at, self._pause_s = None, PAUSE_S
        return ""

    def _say(self, me: str, asks: str) -> None:
        giving = self._giving
        word = HandoverWord(asks=asks, took=self._took)
        if giving is not None:
            parts = len(giving.written)
            word = HandoverWord(
                asks=asks, took=self._took, gives=giving.to, token=giving.token, gateways=giving.gateways, parts=parts
            )
        self._publisher.publish(keys.handover_word(me), word if word != HandoverWord() else None)
