"""Aggregate observed traffic: at the end of each interval, one line per interface, flow, direction and action.

  a connection's counts      ACCEPT lines of both ends on this host, for both directions; at a NAT gateway four of them
  a dropped packet           a REJECT line of the end that refused it
  nothing                    NODATA, a line per interface
  something was left out     SKIPDATA, a line per interface beside the lines of known traffic

Conntrack counts packets before policy decides. So a dropped packet of a known connection is subtracted from the counts of the
ends that it did not pass. In EC2's example, a group accepts a ping and an ACL rejects its reply: this gives an ACCEPT line for
the request and a REJECT line for the reply.

No I/O and no clock: the caller passes the time. Memory is bounded by the number of lines, see `Limits`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from netorch.agent.flowlog.endpoints import dropped_half, halves_of
from netorch.agent.flowlog.gateways import Dropped, GatewayDrop, Leg, directions_of, dropped_legs
from netorch.agent.flowlog.lines import Ends, FlowRecord, Interface, flow_line, status_line
from netorch.agent.flowlog.unlogged import is_unlogged
from netorch.drivers.conntrack.attrs import SEEN_REPLY, Connection, Tuple
from netorch.drivers.conntrack.headers import ACK, FIN, RST, SYN, Headers
from netorch.model.flow_log import FlowLog, Traffic
from netorch.model.security import ICMP, ICMPV6, TCP

_CLOSING: Final = range(4, 8)  # enum tcp_conntrack: FIN_WAIT to TIME_WAIT
_RESET: Final = 8  # CLOSE

_OF_OWNER: Final = 4  # times the free entries: limit for all VPCs of one owner

K = TypeVar("K")


class Limits(msgspec.Struct, frozen=True):
    """How many flows are kept at a time: on a host, and for one interface.

    A VPC that holds as many of the host's entries as are free gets no more. Neither does an owner whose VPCs together hold four
    times as many as are free. netorch.agent.tasks.allowance divides connections by the same rule. So a single VPC gets half of
    the entries, two VPCs get a third each, and a VPC that comes later always finds as many free as the largest holds.
    """

    host: int = 100_000
    interface: int = 10_000


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A flow log, the interfaces on this host that it covers, and the service addresses whose traffic is not logged."""

    log: FlowLog
    interfaces: tuple[Interface, ...]
    services: frozenset[bytes]


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one log's interval."""

    log: FlowLog
    owner: str
    vpc: str
    lines: tuple[str, ...]


class FlowCounts(msgspec.Struct):
    """Counts of one flow in an interval. `off_` counts packets of the connection that other ends refused."""

    packets: int
    bytes: int
    start_s: float
    end_s: float
    tcp_flags: int
    off_packets: int = 0
    off_bytes: int = 0


FlowKey = tuple[str, Tuple, bool, str, Ends | None]  # interface, flow, egress, reason, the packet's addresses if others


class LogFlows:
    """The current interval of one log."""

    def __init__(self, target: Target, now: float, *, counting: bool) -> None:
        self.target = target
        self.counting = counting  # counts belong to the log's time; until then they include older traffic
        self.start_s = now
        self.interfaces: dict[str, Interface] = {}  # on this host now, or at some time in the interval
        self.entries: dict[FlowKey, FlowCounts] = {}
        self.dropped: dict[Tuple, Dropped] = {}  # at NAT gateways, packets that their connections counted
        self.skipped: set[str] = set()  # interfaces with data left out

    @property
    def vni(self) -> int:
        """Return the VNI of the log's VPC."""
        return self.target.interfaces[0].vni

    @property
    def owner(self) -> str:
        """Return the log's owner."""
        return self.target.interfaces[0].owner

    def end_s(self) -> float:
        """Return when the interval ends. Intervals begin at multiples of their length, except the first."""
        length = self.target.log.interval_s
        return (self.start_s // length + 1) * length

    def is_over(self, now: float) -> bool:
        """Return whether the interval has ended. One that has not begun has, too: the clock was set back."""
        return not self.start_s <= now < self.end_s()


class Ledger:
    """All flow logs of a host."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._limits = limits
        self._logs: dict[str, LogFlows] = {}
        self._at: dict[tuple[int, bytes], list[tuple[LogFlows, Interface]]] = {}
        self._of_gateways: dict[str, list[tuple[LogFlows, Interface]]] = {}
        self._count = 0
        self._of_interface: Counter[str] = Counter()
        self._of_vpc: Counter[int] = Counter()
        self._of_owner: Counter[str] = Counter()

    @property
    def logs(self) -> dict[str, LogFlows]:
        """Return the running intervals by log."""
        return self._logs

    def configure(self, targets: Iterable[Target], now: float, resumed: frozenset[str] = frozenset()) -> list[Finished]:
        """Log these from now on, and return the last lines of the logs that are gone.

        An earlier run has written to the logs in `resumed`: the time between the runs is missing, and the log says so.
        """
        wanted = {target.log.id: target for target in targets}
        finished = []
        for gone in sorted(self._logs.keys() - wanted.keys()):
            finished.append(_write(self._logs[gone], now))
            self._forget(self._logs.pop(gone))
        for log_id, target in wanted.items():
            flows = self._logs.get(log_id)
            if flows is None:
                flows = self._logs[log_id] = LogFlows(target, now, counting=log_id in resumed)
                if log_id in resumed:
                    self.skip(log_id)
            flows.target = target
        self._index()
        return finished

    def _index(self) -> None:
        self._at, self._of_gateways = {}, {}
        for flows in self._logs.values():
            flows.interfaces |= {interface.id: interface for interface in flows.target.interfaces}
            for interface in flows.target.interfaces:
                if interface.gateway:
                    self._of_gateways.setdefault(interface.gateway, []).append((flows, interface))
                    continue
                for address in interface.addresses:
                    self._at.setdefault((interface.vni, address), []).append((flows, interface))

    def accept(self, vni: int, connection: Connection, now: float) -> None:
        """Add what a connection has counted since it was last read."""
        for flow, counts in ((connection.original, connection.original_counts), (connection.reply, connection.reply_counts)):
            if not counts.packets:
                continue
            plain = _without_icmp_ports(flow)
            for address, egress in ((flow.source, True), (flow.destination, False)):
                for flows, interface in self._at.get((vni, address), ()):
                    if flows.counting and not is_unlogged(flow, flows.target.services):
                        start_s = max(flows.start_s, connection.started_s)
                        flags = _flags_of(connection, flow, fresh=connection.started_s >= flows.start_s)
                        entry = FlowCounts(counts.packets, counts.bytes, start_s, connection.ended_s or now, flags)
                        self._add(flows, (interface.id, plain, egress, "", None), entry)

    def drop(self, vni: int, packet: Headers, reason: str, now: float, *, established: bool) -> None:
        """Add a dropped packet; `established`: its connection has counted it."""
        flow = packet.tuple
        plain = _without_icmp_ports(flow)
        here = (vni, flow.source) in self._at
        by_sender = not reason.endswith("_ingress") and here
        flags = _flags_in(packet)
        for address, egress in ((flow.source, True), (flow.destination, False)):
            for flows, interface in self._at.get((vni, address), ()):
                if is_unlogged(flow, flows.target.services):
                    continue
                if egress == by_sender:
                    seen = FlowCounts(1, packet.length, now, now, flags)
                    self._add(flows, (interface.id, plain, egress, reason, None), seen)
                if established and (by_sender or not egress):  # the packet did not pass this end
                    off = FlowCounts(0, 0, now, now, 0, off_packets=1, off_bytes=packet.length)
                    self._add(flows, (interface.id, plain, egress, "", None), off)

    def accept_translated(self, gateway: str, connection: Connection, now: float) -> None:
        """Add what a connection translated by a NAT gateway or an endpoint has counted since it was last read."""
        counted = (connection.original, connection.original_counts), (connection.reply, connection.reply_counts)
        for flows, interface in self._of_gateways.get(gateway, ()):
            start_s, fresh = max(flows.start_s, connection.started_s), connection.started_s >= flows.start_s
            directions = halves_of(connection, interface) if interface.end else directions_of(connection)
            for direction, (flow, counts) in zip(directions, counted, strict=True):
                dropped = [flows.dropped.pop(seen) for seen in direction.seen if seen in flows.dropped]
                flags = _flags_of(connection, flow, fresh=fresh)
                for leg in direction.legs if flows.counting and counts.packets else ():
                    off = [found.before(leg) for found in dropped]
                    entry = FlowCounts(counts.packets, counts.bytes, start_s, connection.ended_s or now, flags)
                    entry.off_packets, entry.off_bytes = sum(one.packets for one in off), sum(one.bytes for one in off)
                    self._add(flows, _key_of(interface, leg, ""), entry)

    def drop_at_gateway(self, gateway: str, packet: Headers, drop: GatewayDrop, now: float) -> None:
        """Add a packet that was dropped in a gateway's namespace, as it arrived there or as translated back."""
        for flows, interface in self._of_gateways.get(gateway, ()):
            seen = FlowCounts(1, packet.length, now, now, _flags_in(packet))
            refused, accepted = _refused_and_accepted(packet.tuple, interface, drop)
            if refused is not None:
                self._add(flows, _key_of(interface, refused, drop.reason), seen)
            if drop.established:
                self._take_off(flows, interface.id, packet, drop)
            elif accepted is not None:  # it was let in, but conntrack did not keep it
                self._add(flows, _key_of(interface, accepted, ""), structs.replace(seen))

    def _take_off(self, flows: LogFlows, interface: str, packet: Headers, drop: GatewayDrop) -> None:
        """Keep a dropped packet that its connection has counted, until the connection is read."""
        if packet.tuple not in flows.dropped and len(flows.dropped) >= self._limits.interface:
            flows.skipped.add(interface)
            return
        flows.dropped.setdefault(packet.tuple, Dropped()).add(packet.length, leaving=drop.leaving)

    def lose(self) -> None:
        """Note that data of unknown flows was left out."""
        for log_id in self._logs:
            self.skip(log_id)

    def lose_of(self, vni: int) -> None:
        """Note that data of one VPC was left out."""
        for log_id, flows in self._logs.items():
            if flows.target.log.vni == vni:
                self.skip(log_id)

    def skip(self, log_id: str) -> None:
        """Note that data of one log was left out."""
        flows = self._logs[log_id]
        flows.skipped.update(interface.id for interface in flows.target.interfaces)

    def count_from_now(self, log_ids: Iterable[str]) -> None:
        """Start to use connections' counts: earlier counts were just read off, so later ones belong to the log's time."""
        for log_id in log_ids:
            if log_id in self._logs:
                self._logs[log_id].counting = True

    def next_end(self) -> float | None:
        """Return when the next interval ends; None without flow logs."""
        return min((flows.end_s() for flows in self._logs.values()), default=None)

    def is_due(self, now: float) -> bool:
        """Return whether an interval has ended."""
        return any(flows.is_over(now) for flows in self._logs.values())

    def finish(self, now: float, *, everything: bool = False) -> list[Finished]:
        """Return the lines of the intervals that have ended (with `everything`: of all), and begin new ones."""
        finished = []
        for log_id, flows in list(self._logs.items()):
            if not (everything or flows.is_over(now)):
                continue
            end_s = flows.end_s()
            until = end_s if not everything and 0 <= now - end_s <= flows.target.log.interval_s else now  # now: it was set
            finished.append(_write(flows, until))
            self._forget(flows)
            self._logs[log_id] = LogFlows(flows.target, until, counting=flows.counting)
        if finished:
            self._index()
        return finished

    def _add(self, flows: LogFlows, key: FlowKey, seen: FlowCounts) -> None:
        if flows.target.log.traffic is not Traffic.ALL and (flows.target.log.traffic is Traffic.REJECT) != bool(key[3]):
            return
        entry = flows.entries.get(key)
        if entry is None:
            if (
                self._of_interface[key[0]] >= self._limits.interface
                or max(self._of_vpc[flows.vni], self._of_owner[flows.owner] / _OF_OWNER) >= self._limits.host - self._count
            ):
                flows.skipped.add(key[0])
                return
            self._count += 1
            self._of_interface[key[0]] += 1
            self._of_vpc[flows.vni] += 1
            self._of_owner[flows.owner] += 1
            flows.entries[key] = seen
            return
        entry.packets += seen.packets
        entry.bytes += seen.bytes
        entry.off_packets += seen.off_packets
        entry.off_bytes += seen.off_bytes
        entry.start_s = min(entry.start_s, seen.start_s)
        entry.end_s = max(entry.end_s, seen.end_s)
        entry.tcp_flags |= seen.tcp_flags

    def _forget(self, flows: LogFlows) -> None:
        self._count -= len(flows.entries)
        self._of_interface.subtract(key[0] for key in flows.entries)
        self._of_interface += Counter()  # drop zero counts
        self._of_vpc[flows.vni] -= len(flows.entries)
        self._of_owner[flows.owner] -= len(flows.entries)


def _write(flows: LogFlows, until: float) -> Finished:
    log, interfaces, silent = flows.target.log, flows.interfaces, set(flows.interfaces)
    lines = []
    start_s, end_s = int(flows.start_s), int(max(until, flows.start_s))
    for (eni, flow, egress, reason, ends), entry in flows.entries.items():
        packets = entry.packets - entry.off_packets
        if packets <= 0:
            continue
        silent.discard(eni)
        record = FlowRecord(
            tuple=flow,
            egress=egress,
            reason=reason,
            packets=packets,
            bytes=max(entry.bytes - entry.off_bytes, 0),
            start_s=min(max(int(entry.start_s), start_s), end_s),
            end_s=min(max(int(entry.end_s), start_s), end_s),
            tcp_flags=entry.tcp_flags,
            packet=ends,
        )
        lines.append(flow_line(log, interfaces[eni], record))
    skipped = flows.skipped & interfaces.keys()
    lines += [status_line(log, interfaces[eni], start_s, end_s, "SKIPDATA") for eni in sorted(skipped)]
    lines += [status_line(log, interfaces[eni], start_s, end_s, "NODATA") for eni in sorted(silent - skipped)]
    first = flows.target.interfaces[0]
    return Finished(log=log, owner=first.owner, vpc=first.vpc, lines=tuple(lines))


def _without_icmp_ports(flow: Tuple) -> Tuple:
    if flow.protocol in (ICMP, ICMPV6):
        return Tuple(flow.source, flow.destination, flow.protocol, 0, 0)
    return flow


def _refused_and_accepted(flow: Tuple, interface: Interface, drop: GatewayDrop) -> tuple[Leg | None, Leg | None]:
    """Return the leg on which a customer's rules refused a packet, if they did, and the leg on which it was let in."""
    if interface.end:
        return dropped_half(flow, interface, drop)
    arrives, leaves = dropped_legs(flow, interface.addresses, drop)
    refused = (leaves if drop.leaving else arrives) if drop.by_acl else None
    return refused, arrives if drop.leaving or not drop.by_acl else None


def _key_of(interface: Interface, leg: Leg, reason: str) -> FlowKey:
    return interface.id, _without_icmp_ports(leg.flow), leg.egress, reason, leg.packet


def _flags_in(packet: Headers) -> int:
    """Return the TCP flags that a line gets from one packet."""
    return packet.tcp_flags & (FIN | SYN | RST | (ACK if packet.tcp_flags & SYN else 0))


def _flags_of(connection: Connection, flow: Tuple, *, fresh: bool) -> int:
    """Return the TCP flags that a connection's packets must have had, derived from its state: packets are not inspected."""
    if flow.protocol != TCP:
        return 0
    flags = 0
    if fresh and flow is connection.original:
        flags |= SYN
    if fresh and flow is connection.reply and connection.status & SEEN_REPLY:
        flags |= SYN | ACK
    if connection.tcp_state in _CLOSING:
        flags |= FIN
    return flags | (RST if connection.tcp_state == _RESET else 0)
