"""Packets that internet gateways have translated on this edge for elastic IPs. A few VPCs are read per turn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final, NamedTuple

from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.rounds import Rounds
from netorch.drivers.base import Count, Kernel
from netorch.errors import KernelError
from netorch.model.eni import Role
from netorch.model.status import PublicUse
from netorch.records import keys
from netorch.state.base import Key
from netorch.state.tc import EGRESS, Nat, TcFilter

log = logging.getLogger(__name__)

_ETHERNET_BYTES: Final = 14  # of each packet counted by an egress filter


class Translation(NamedTuple):
    """A filter that translates one address."""

    ifname: str
    key: Key
    address: str  # the public one
    outward: bool


class PublicUses(Task):
    """Publishes the use of each elastic IP that maps to something in a VPC with an internet gateway on this host."""

    def __init__(self, records: Records, reconciler: Reconciler, kernel: Kernel, publisher: StatusPublisher) -> None:
        self._records = records
        self._reconciler = reconciler
        self._kernel = kernel
        self._publisher = publisher
        self._rounds = Rounds[int]()  # of VPCs
        self._published: dict[int, set[str]] = {}  # VNI -> its addresses

    def turn(self, turn: Turn) -> None:
        """Read the next few VPCs, about once a second: the agent's status wakes the loop as often.

        Cost: O(VPCs with elastic IPs on this edge). Hypervisors know the same elastic IPs, but count nothing.
        """
        host = self._reconciler.host_view
        if host is None or host.host.role is not Role.EDGE or not self._rounds.is_due(turn.now):
            return
        here = self._records.elastic_ips.vnis() & self._reconciler.slices.keys()
        for gone in self._published.keys() - here:
            self._publish(gone, {})
        for vni in self._rounds.few(sorted(here)):
            try:
                self._publish(vni, self._uses_of(vni))
            except KernelError as error:
                log.warning("use of addresses not read vni=%d reason=%r", vni, str(error))

    def _uses_of(self, vni: int) -> dict[str, PublicUse]:
        elastic, found, counts = self._records.elastic_ips.of(vni), dict[str, PublicUse](), dict[str, dict[Key, Count]]()
        for each in self._translations(vni):
            if each.address not in elastic:
                continue
            if each.ifname not in counts:
                counts[each.ifname] = self._kernel.filter_counts(each.ifname)
            count = counts[each.ifname].get(each.key)
            if count is not None:
                found[each.address] = found.get(each.address, PublicUse()) + _use(count, outward=each.outward)
        return found

    def _translations(self, vni: int) -> Iterator[Translation]:
        """Yield the filters that translate public addresses of a VPC. Cost: O(its objects on this host)."""
        target = self._reconciler.slices.get(vni)  # the VPC may have gone since the round began
        for key, obj in target.desired.items() if target is not None else ():
            action = obj.actions[0] if isinstance(obj, TcFilter) and obj.actions else None
            if isinstance(obj, TcFilter) and isinstance(action, Nat):
                outward = action.direction == EGRESS
                public = action.new if outward else action.old.partition("/")[0]
                yield Translation(obj.ifname, key, public, outward)

    def _publish(self, vni: int, uses: dict[str, PublicUse]) -> None:
        me = self._records.host_name
        for gone in self._published.pop(vni, set()) - uses.keys():
            self._publisher.publish(keys.public_use(me, gone), None)
        for address, use in uses.items():
            self._publisher.publish(keys.public_use(me, address), use)
        if uses:
            self._published[vni] = set(uses)


def _use(count: Count, *, outward: bool) -> PublicUse:
    if outward:
        return PublicUse(packets_out=count.packets, bytes_out=count.bytes - _ETHERNET_BYTES * count.packets)
    return PublicUse(packets_in=count.packets, bytes_in=count.bytes)
