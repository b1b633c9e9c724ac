"""Virtual private gateways on an edge: which tunnels are up, what the edge reaches, and the state of tunnels and sessions.

  SAs       -> Records: static routes lead into tunnels that are up
  routes    -> `map/<vni>/reach/<gateway>/<edge>`: every host that carries the VPC routes by it
  sessions  -> `hoststat/<edge>/<vpn or vif>`: the state shown to customers

The edge reaches the prefixes in a gateway's routing table on this edge: BGP routes installed by a bird, and netorch's static
routes. Their metrics show their origin (netorch.model.routing.metrics).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.bursts import Bursts
from netorch.agent.tasks.rounds import Rounds
from netorch.compiler.private import LocalTunnel, LocalVif
from netorch.drivers.base import CustomerSession, Kernel, KernelEvent, LearnedChanged, LearnedRoute, TunnelsChanged
from netorch.errors import KernelError, StoreError
from netorch.model.eni import Role
from netorch.model.mapping import GatewayMapping, Reach, ReachedPrefix
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.effective import Origin
from netorch.model.routing.metrics import origin_of
from netorch.model.routing.reach import best
from netorch.model.status import Sealed, SealingKey, TunnelStatus, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.vpc import VpcRecords
from netorch.state.daemons.bgp import session_name
from netorch.state.names import VPN_GATEWAY_NUMBER, vni_of_table, vrf_table
from netorch.store.base import Compare, Delete, Put, Store

log = logging.getLogger(__name__)

ASK_EVERY_S: Final = 1.0
HOLD_S: Final = 5.0  # how long the underlay must have carried packets before sites may send to this edge again
SHARE: Final = 5  # querying tunnels costs O(tunnels), and many may change in a row: queries take 1/SHARE of the time
# Kinds of changes that may change what an edge reaches.
_MATTERING: Final = frozenset({GatewayMapping, Reach, VpnConnection, VirtualInterface, Sealed, LocalTunnel, LocalVif})

T = TypeVar("T")


class PrivateGateways(Task):
    """The gateways of all VPCs whose virtual private gateway has a seat on this host."""

    def __init__(
        self,
        records: Records,
        reconciler: Reconciler,
        kernel: Kernel,
        publisher: StatusPublisher,
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._reconciler = reconciler
        self._kernel = kernel
        self._publisher = publisher
        self._tunnels: Mapping[str, TunnelStatus] = {}
        self._owed: set[int] = set()  # VNIs for which the reached prefixes may have changed
        self._bursts = Bursts[int]()  # a customer's router may flap without limit
        self._rounds = Rounds[int]()
        self._clock = clock
        self._ask_at = 0.0
        self._invite_at = -math.inf  # when sites may learn the ranges of VPCs
        self._changed, self._may_ask_at = False, 0.0  # whether a tunnel changed since the last query
        self._published: dict[int, set[str]] = {}  # VNI -> the ids of connections and interfaces

    def recall(self) -> None:
        """Note which tunnels and ports are up before the first turn, so that a starting agent changes no route.

        Raises KernelError: they are unknown, so the agent must not start.
        """
        self._look_at_tunnels()

    def wake_at(self, now: float) -> float | None:
        """Return when to query tunnels again, if there are any, or when a delayed reach may be written."""
        if not self._records.private_ends.gateways:
            return None
        soon = self._may_ask_at if self._changed else math.inf
        return min(self._ask_at, soon, *(at for vni in self._owed if (at := self._bursts.may_at(vni)) > now), math.inf)

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """Note changes of tunnels or learned routes before anything is compiled."""
        self._changed |= any(isinstance(event, TunnelsChanged) for event in events)
        if self._changed and self._clock() >= self._may_ask_at:
            self._ask_for_tunnels()
        self._owed |= {vni_of_table(event.table) for event in events if isinstance(event, LearnedChanged)}

    def turn(self, turn: Turn) -> None:
        """Publish what this edge reaches where that may have changed, and the tunnels and sessions of a few VPCs."""
        host, here = self._records.host, self._records.private_ends.gateways
        if host is None or host.role is not Role.EDGE:
            return
        if turn.dirty.host:
            key = self._kernel.public_key
            self._publisher.publish(keys.edge_key(host.name), SealingKey(public=key) if key else None)
        self._owed |= {vni for vni, kinds in turn.dirty.kinds.items() if not kinds.isdisjoint(_MATTERING)}
        if not self._reconciler.connected:
            self._invite_at = turn.now + HOLD_S
            if self._records.private_ends.invites:  # at once
                self._changed, self._may_ask_at = True, turn.now
        if turn.writable is not None:
            self._say_all_reach(turn.writable, turn.now)
        for gone in self._published.keys() - here.keys():
            self._publish(gone, {})
        if here and turn.now >= self._ask_at:
            self._ask_at = turn.now + ASK_EVERY_S
            self._ask_for_tunnels()
            self._say_status(turn.now, sorted(here))

    def _ask_for_tunnels(self) -> None:
        """Query which tunnels and ports are up. If that fails, nothing changes, and the agent asks again."""
        try:
            self._look_at_tunnels()
        except KernelError as error:
            log.warning("tunnels not read reason=%r", str(error))
            self._may_ask_at = self._clock() + ASK_EVERY_S

    def _look_at_tunnels(self) -> None:
        """Note which tunnels and ports are up; whatever depends on them is compiled next. Raises KernelError."""
        begin = self._clock()
        self._tunnels = self._kernel.tunnels()
        end = self._clock()
        self._changed, self._may_ask_at = False, end + (SHARE - 1) * (end - begin)
        up = {name for name, status in self._tunnels.items() if status.is_up}
        known = (self._records.vpcs[vni] for vni in self._records.private_ends.gateways if vni in self._records.vpcs)
        vifs = [vif for each in known for vif in each.each(VirtualInterface) if vif.edge == self._records.host_name]
        carriers = {device for device in {vif.device for vif in vifs} if self._has_carrier(device)}
        ends = up | {vif.id for vif in vifs if vif.device in carriers}
        self._records.set_up(ends, invites=begin >= self._invite_at)

    def _has_carrier(self, device: str) -> bool:
        try:
            return self._kernel.has_carrier(device)
        except KernelError:
            return False

    def _of(self, vni: int, kind: type[T]) -> tuple[T, ...]:
        view = self._reconciler.view(vni)
        return view.of(kind) if view is not None else ()

    # --- what this edge reaches ----------------------------------------------------------------------------------------------

    def _say_all_reach(self, store: Store, now: float) -> None:
        """Write what is owed. It stays owed if the store fails, or if it was written too often recently."""
        self._bursts.keep(self._records.private_ends.gateways)
        try:
            for vni in sorted(vni for vni in self._owed if self._bursts.may_at(vni) <= now):
                if self._say_reach(store, vni):
                    self._bursts.said(vni, now)
                self._owed.discard(vni)
        except StoreError as error:
            log.warning("reach not written reason=%r", str(error))

    def _say_reach(self, store: Store, vni: int) -> bool:
        """Write what this edge reaches through a VPC's gateway if that changed; return whether it was written."""
        records, me = self._records.vpcs.get(vni), self._records.host_name
        gateway = self._records.private_ends.gateways.get(vni)
        for stale in self._stale(records, gateway):
            store.txn((), [Delete(keys.reach(vni, stale.gateway, me))])
        if records is None or gateway is None:
            return False
        try:
            learned = self._kernel.learned(vrf_table(vni, VPN_GATEWAY_NUMBER))
        except KernelError as error:
            log.warning("learned routes not read vni=%d reason=%r", vni, str(error))
            return False
        reach = Reach(vni=vni, gateway=gateway, edge=me, prefixes=best([*_learned(learned), *self._static(vni)]))
        if any(said == reach for said in records.each(Reach)):
            return False
        # Not if the gateway goes at the same time: the record would never be deleted.
        mapping = records.of(GatewayMapping)[gateway]
        at = keys.gateway_mapping(vni, gateway)
        store.txn([Compare(at, mapping.mod_revision)], [Put(keys.reach(vni, gateway, me), encode(reach))])
        return True

    def _stale(self, records: VpcRecords | None, gateway: str | None) -> list[Reach]:
        """Return this edge's records of a VPC's gateways that it no longer carries."""
        said = records.each(Reach) if records is not None else ()
        return [reach for reach in said if reach.edge == self._records.host_name and reach.gateway != gateway]

    def _static(self, vni: int) -> Iterator[ReachedPrefix]:
        """Yield the prefixes of netorch's own routes to sites: those of tunnels and ports that are up."""
        for tunnel in self._of(vni, LocalTunnel):
            yield from (ReachedPrefix(prefix=prefix, origin=Origin.VPN_STATIC) for prefix in tunnel.static_prefixes)
        for local in self._of(vni, LocalVif):
            yield from (ReachedPrefix(prefix=prefix, origin=Origin.DIRECT_CONNECT) for prefix in local.static_prefixes)

    # --- state of tunnels and sessions ---------------------------------------------------------------------------------------

    def _say_status(self, now: float, here: Sequence[int]) -> None:
        if not self._rounds.is_due(now):
            return
        try:
            sessions = self._kernel.customer_sessions()
        except KernelError as error:
            log.warning("sessions with customers not read reason=%r", str(error))
            return
        few = self._rounds.few(here)
        for vni in few:
            self._publish(vni, dict(self._statuses(vni, sessions)))
        self._owed |= set(few)  # in case a kernel event was lost

    def _statuses(self, vni: int, sessions: Mapping[str, CustomerSession]) -> Iterator[tuple[str, VpnStatus | VifStatus]]:
        tunnels: dict[str, dict[int, TunnelStatus]] = {}
        for local in self._of(vni, LocalTunnel):
            status = self._tunnels.get(local.name, TunnelStatus())
            session = sessions.get(session_name(local.name))
            if session is not None:
                bgp = {"bgp": session.state, "bgp_reason": session.reason, "accepted": session.accepted}
                status = msgspec.structs.replace(status, **bgp)
            tunnels.setdefault(local.connection.id, {})[local.place + 1] = status
        for vpn_id, each in tunnels.items():
            yield vpn_id, VpnStatus(tunnels=each)
        for interface in self._of(vni, LocalVif):
            vif = interface.vif
            session = sessions.get(session_name(vif.id), CustomerSession(state=""))
            carrier = interface.is_up
            yield vif.id, VifStatus(carrier=carrier, bgp=session.state, bgp_reason=session.reason, accepted=session.accepted)

    def _publish(self, vni: int, said: Mapping[str, VpnStatus | VifStatus]) -> None:
        me = self._records.host_name
        for gone in self._published.pop(vni, set()) - said.keys():
            self._publisher.publish(keys.tunnel_status(me, gone), None)
        for resource_id, status in said.items():
            self._publisher.publish(keys.tunnel_status(me, resource_id), status)
        if said:
            self._published[vni] = set(said)


def _learned(routes: Iterable[LearnedRoute]) -> Iterator[ReachedPrefix]:
    """Yield the prefixes of a bird's routes, except those whose metric is not one of netorch's."""
    for route in routes:
        if (found := origin_of(route.metric)) is not None:
            yield ReachedPrefix(prefix=route.prefix, origin=found[0], as_path_length=found[1])
