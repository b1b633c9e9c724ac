"""Connections that the kernel tracks, and that a customer's request or a move affects.

Terminations   A group's `terminations` has grown: connections that its members track and no rule permits any longer must end.
               The kernel forgets them, and does not pick up connections in the middle. The snapshot holds each group's last
               `terminations` and those still owed, so an agent that dies in between ends the connections when it is back.

Moves          The permissions of an interface's connections are known on its old host. The old host publishes the connections
               together with the status that the interface may be taken, and again when the interface has left. The new host
               restores them in its kernel. A packet of a connection that opened in between is lost until its sender repeats
               it; it is never let through.
               The old host may lie, so the new host takes over connections of the interface only, of their marks only that of
               the interface's own ends, no translation, and no more than one record holds and the VPC's share permits.

Ends           An address that its interface has lost has no connections either: the next holder has opened none of them. This
               includes connections through an interface that is a route target, and connections in peers. When a peering
               connection ends, connections with all addresses of the peer end. The agent finds what ended while it was not
               running by comparison with the snapshot.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Final

import msgspec

from netorch.agent.moves import deciding, has_left
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.snapshot import Snapshot
from netorch.agent.tasks.allowance import held_by_zone, within_allowance
from netorch.agent.tasks.base import Task, Turn
from netorch.compiler.base import Phase
from netorch.decoding import decoder_of
from netorch.drivers.base import ConnectionTracker
from netorch.errors import KernelError, UnreadableRecord
from netorch.model.eni import NetworkInterface
from netorch.model.ids import vni_of
from netorch.model.mapping import Mapping as EniMapping
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import UNREADABLE, parse_value
from netorch.records.flows import HandedOver
from netorch.records.kinds import mapped
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow, FlowKey, uncounted
from netorch.trace.attribute import ask_groups
from netorch.trace.policy_index import PolicyIndex

log = logging.getLogger(__name__)

HANDED_OVER: Final = 3000  # connections of one interface: the limit of one record in the store


class Connections(Task):
    """Pending work on connections of this host."""

    def __init__(self, records: Records, reconciler: Reconciler, tracker: ConnectionTracker, publisher: StatusPublisher) -> None:
        self._records = records
        self._reconciler = reconciler
        self._tracker = tracker
        self._publisher = publisher
        self._published: dict[str, bool] = {}  # outgoing interface -> whether it had left when published
        # Interface -> connections taken over. Kept until it leaves this host: its old host can end the move and begin it again.
        self._taken: dict[str, set[FlowKey]] = {}

    def recall(self, saved: Snapshot) -> None:
        """Note the terminations that the last run owed or missed, and the addresses that ended since its snapshot."""
        self._records.dirty.terminations |= set(saved.terminations)
        parted = set(self._parted(saved))
        for key, (_, value) in saved.records.items():
            root, vni, kind, *rest = [*key.split("/"), "", "", ""]
            if root == "map" and mapped(key.split("/", 2)[2]) is EniMapping:
                self._records.dirty.ended |= {(other, kind) for other, peer in parted if peer == int(vni, 16)}
                if self._has_ended(int(vni, 16), kind, value):
                    self._records.address_ended(int(vni, 16), kind)
            records = self._records.vpcs.get(int(vni, 16)) if root == "vpc" and kind == "sg" else None
            group = records.one(SecurityGroup, rest[0]) if records is not None else None
            if group is not None and _terminations(key, value) < group.terminations:
                self._records.dirty.terminations.add((group.vni, group.id))

    def _parted(self, saved: Snapshot) -> Iterator[tuple[int, int]]:
        """Yield the VNIs of VPCs and peers whose connection was active then, and no longer is."""
        for key, (_, value) in saved.records.items():
            root, vni, kind, *_ = [*key.split("/"), "", "", ""]
            peer = _active_peer(value) if root == "vpc" and kind == "pcx" else None
            if peer is not None and peer not in self._records.peerings.of(int(vni, 16)):
                yield int(vni, 16), peer

    def _has_ended(self, vni: int, address: str, value: bytes) -> bool:
        records = self._records.vpcs.get(vni)
        now = records.one(EniMapping, address) if records is not None else None
        return now is None or now.eni != _owner(value)

    def turn(self, turn: Turn) -> None:
        """Do what became necessary since the last turn, where the rules are in force; keep the rest for a later turn."""
        dirty = turn.dirty
        for vni in sorted({vni for vni, _ in dirty.ended}):
            addresses = {address for owner, address in dirty.ended if owner == vni}
            if not self._tried(partial(self._forget, vni, addresses)):
                self._records.dirty.ended |= {(vni, address) for address in addresses}
        for vni, group in sorted(dirty.terminations):
            if not self._in_force(vni) or not self._tried(partial(self._terminate, vni, group)):
                self._records.dirty.terminations.add((vni, group))
        for eni_id in self._taken.keys() - self._records.placements:
            del self._taken[eni_id]
        for eni_id in sorted(dirty.handed_over):
            if not self._in_force(vni_of(eni_id)) or not self._tried(partial(self._take_over, eni_id)):
                self._records.dirty.handed_over.add(eni_id)
        self._publish_outgoing()

    def _in_force(self, vni: int) -> bool:
        return self._reconciler.in_force(vni)

    def _tried(self, act: Callable[[], None]) -> bool:
        """Return whether the action succeeded; a failure is logged and retried."""
        try:
            act()
        except KernelError as error:
            log.warning("connections reason=%r", str(error))
            return False
        return True

    def _terminate(self, vni: int, group_id: str) -> None:
        records = self._records.vpcs.get(vni)
        if records is None:
            return
        local = [eni for name in self._reconciler.phases.get(vni, ()) if (eni := records.one(NetworkInterface, name)) is not None]
        if not any(group_id in eni.groups for eni in local):
            return
        grouped = self._records.peerings.of(vni).keys() - self._reconciler.peers_left_out(vni)  # as the rules on this host do
        peers = (self._records.vpcs[peer] for peer in grouped if peer in self._records.vpcs)
        index = PolicyIndex(
            records.each(Subnet),
            (eni for vpc in (records, *peers) for eni in vpc.each(NetworkInterface) if eni.address in vpc.mappings),
            records.each(SecurityGroup),
            records.each(NetworkAcl),
            records.each(PrefixList),
        )
        ended = [*self._outlived(vni, index, local, group_id)]
        self._tracker.forget(ended)
        log.info("ended connections count=%d group=%s", len(ended), group_id)

    def _outlived(self, vni: int, index: PolicyIndex, local: Sequence[NetworkInterface], group_id: str) -> Iterator[Flow]:
        """Yield connections of a group's local members that no rule permits any longer: their own, and those through them.

        Packets that an interface without source/destination check sends with other sources are in the VPC's zone, whichever
        such interface sent them. Such a connection is yielded if none of these interfaces may send it.
        """
        zone, members = self._reconciler.zone_of(vni), [eni for eni in local if group_id in eni.groups]
        own = {address: eni for eni in members for address in eni.addresses}
        yield from (flow for flow in self._tracker.flows(zone, own) if _has_outlived(index, own, flow))
        for eni in members:
            inlet = self._reconciler.inlet_zone(vni, eni.id)
            for flow in self._tracker.flows(inlet) if inlet is not None else ():
                if flow.mark & OTHER_END_TRACKS and not _permits(index, eni, Direction.INGRESS, flow):
                    yield flow
        senders = [eni for eni in local if not eni.source_dest_check]
        known = {address for eni in local for address in eni.addresses}
        for flow in self._tracker.flows(zone) if any(eni in senders for eni in members) else ():
            passes = flow.mark & BEGINNER_TRACKS and flow.source not in known
            if passes and not any(_permits(index, eni, Direction.EGRESS, flow) for eni in senders):
                yield flow

    def _forget(self, vni: int, addresses: Set[str]) -> None:
        """End a VPC's connections with addresses. If the VPC left this host, the kernel has forgotten them with the zone."""
        for zone in self._reconciler.zones_of(vni) if vni in self._records.carried() else ():
            self._tracker.forget(self._tracker.flows(zone, addresses))

    def _take_over(self, eni_id: str) -> None:
        """Restore the connections published by an interface's old host, limited to the interface: the host may lie."""
        said = self._records.handed_over.get(eni_id)
        eni = self._interface(eni_id)
        if said is None or eni is None or eni_id not in self._records.placements:
            return
        zone = self._reconciler.zone_of(eni.vni)
        own = [part for flow in said.flows if (part := _own_part(flow, eni, zone)) is not None]
        taken = self._taken.setdefault(eni_id, set())
        new = [*dict.fromkeys(flow.key for flow in own if flow.key not in taken)]
        count = min(len(new), HANDED_OVER - len(taken), self._room(eni.vni, len(new)))
        if count < len(new):
            log.warning("interface %s: %d of %d connections are not taken over", eni_id, len(new) - count, len(new))
        taken.update(new[:count])
        self._tracker.restore([flow for flow in own if flow.key in taken])

    def _room(self, vni: int, wanted: int) -> int:
        """Return how many of the wanted connections a VPC may add to the host's table. Raises KernelError."""
        use, vnis = self._tracker.use(), self._reconciler.vnis()
        held: Counter[int] = Counter()
        for zone, count in held_by_zone(self._tracker, use).items():
            held[vnis.get(zone, -zone)] += round(count)
        known = (self._records.vpcs.get(each) for each in vnis.values())
        owners = {vpc.vni: vpc.owner for records in known if records is not None for vpc in records.each(Vpc)}
        return within_allowance({vni: wanted}, held, owners, use.most)[vni]

    def _interface(self, eni_id: str) -> NetworkInterface | None:
        """Return an interface's record, or None if its VPC has gone meanwhile."""
        records = self._records.vpcs.get(vni_of(eni_id))
        return records.one(NetworkInterface, eni_id) if records is not None else None

    def _publish_outgoing(self) -> None:
        leaving = dict(self._leaving())
        for eni_id, left in leaving.items():
            if self._published.get(eni_id) is not left and self._tried(partial(self._publish_flows, eni_id)):
                self._published[eni_id] = left
        for eni_id in self._published.keys() - leaving.keys():
            del self._published[eni_id]
            self._publisher.publish(keys.eni_flows(self._records.host_name, eni_id), None)

    def _leaving(self) -> Iterator[tuple[str, bool]]:
        """Yield the interfaces that are leaving this host, and whether they have left. Cost: O(moves)."""
        me = self._records.host_name
        for mapping in deciding(self._records):
            if has_left(mapping, me):
                yield mapping.eni, True
            elif self._reconciler.phases.get(mapping.vni, {}).get(mapping.eni) is Phase.OUTGOING:
                yield mapping.eni, False

    def _publish_flows(self, eni_id: str) -> None:
        vni = vni_of(eni_id)
        eni = self._interface(eni_id)
        own = eni.addresses if eni is not None else ()
        flows = self._tracker.flows(self._reconciler.zone_of(vni), own)
        if len(flows) > HANDED_OVER:
            log.warning("interface %s: %d of %d connections could not be moved", eni_id, len(flows) - HANDED_OVER, len(flows))
        best = sorted(flows, key=lambda flow: (not flow.assured, -flow.timeout_s))[:HANDED_OVER]
        said = HandedOver(flows=tuple(map(uncounted, best)))
        self._publisher.publish(keys.eni_flows(self._records.host_name, eni_id), said)


def _own_part(flow: Flow, eni: NetworkInterface, zone: int) -> Flow | None:
    """Return a connection with only the marks of an interface's own ends: the old host does not decide for the other end.

    Return None if none is left, or if it is translated: only gateways translate, and it would send with others' addresses.
    """
    begins = BEGINNER_TRACKS if flow.source in eni.addresses else 0
    answers = OTHER_END_TRACKS if flow.destination in eni.addresses else 0
    mark = flow.mark & (begins | answers)
    return msgspec.structs.replace(flow, zone=zone, mark=mark) if mark and not flow.is_translated else None


def _has_outlived(index: PolicyIndex, members: Mapping[str, NetworkInterface], flow: Flow) -> bool:
    """Return whether a member tracks a connection of its own that no rule of its groups permits any longer."""
    ends = (flow.source, BEGINNER_TRACKS, Direction.EGRESS), (flow.destination, OTHER_END_TRACKS, Direction.INGRESS)
    return any(
        flow.mark & bit and not _permits(index, members[address], direction, flow)
        for address, bit, direction in ends
        if address in members
    )


def _permits(index: PolicyIndex, eni: NetworkInterface, direction: Direction, flow: Flow) -> bool:
    """Return whether a rule of an interface's groups permits a connection to open."""
    return ask_groups(index, eni, direction, flow.first_packet).rule is not None


def _owner(value: bytes) -> str:
    try:
        return decoder_of(EniMapping).decode(value).eni
    except UNREADABLE:
        return ""


def _active_peer(value: bytes) -> int | None:
    try:
        found = parse_value("", value, PeeringConnection)
    except UnreadableRecord:
        return None
    return found.peer_vni if found.is_native else None


def _terminations(key: str, value: bytes) -> int:
    try:
        return parse_value(key, value, SecurityGroup).terminations
    except UnreadableRecord:
        return 0
