"""Live connections on this machine, and dropped packets with their reason: of one host, or of all hosts of a lab.

A new connection has passed all checks of its host. A dropped packet comes with its reason. A packet without a route is
neither: the router answers it with an ICMP error before any rule is evaluated, and the sender sees the error.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import structs

from netorch.diagnose.drop import explain_drop
from netorch.drivers import netns
from netorch.drivers.conntrack.attrs import OFFLOADED, Connection, Tuple, address_text
from netorch.drivers.conntrack.events import FlowDump, FlowEvents, Happening
from netorch.drivers.conntrack.nflog import DroppedPacket, DroppedPackets
from netorch.errors import KernelError, NetorchError
from netorch.model.drop_reason import text_of
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.security import ICMP, ICMPV6
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.state.base import HOST_SLICE, OVERLAY
from netorch.state.names import vni_of_ifname
from netorch.state.nft import LIVE_GROUP, ZONES, NftElement
from netorch.state.owner import overlay_netns

_LIMIT: Final = 200  # events read from one source in a row
_OF_UNDERLAY: Final = frozenset({"unverified", "unknown_vtep"})


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new connection, or a dropped packet."""

    at_s: float
    host: str
    verdict: str  # accept or drop
    vpc: str  # owner/name; empty: of no VPC
    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp: str = ""  # type/code
    source_instance: str = ""
    destination_instance: str = ""
    reason: str = ""  # the name of the counter
    why: str = ""
    offloaded: bool | None = None  # of a connection: whether a flowtable of this host forwards its packets
    lost: int = 0  # number of events left out before this one


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A filter; empty: everything that the caller may see."""

    verdict: str = ""
    vni: int = 0
    instance: str = ""  # a name


class Watcher:
    """The flows of the hosts on this machine."""

    def __init__(self, inventory: Inventory, caller: Caller, wanted: Wanted) -> None:
        """Find the hosts. Raises NetorchError if there is none on this machine."""
        self._inventory = inventory
        self._caller = caller
        self._wanted = wanted
        self._hosts = [name for name in sorted(inventory.hosts) if (netns.RUN_NETNS / overlay_netns(name)).exists()]
        if not self._hosts:
            problem = f"none of {len(inventory.hosts)} hosts has its overlay namespace on this machine"
            advice = "run it on a host whose agent has started (systemctl status netorch-agent), or with --lab"
            raise NetorchError(f"flows: {problem}; {advice}")
        self._lost: dict[str, int] = {}
        self._zones: dict[str, dict[int, int]] = {}
        self._begins: dict[int, tuple[str, FlowEvents]] = {}
        self._drops: dict[int, tuple[str, DroppedPackets]] = {}

    def living(self) -> Iterator[Seen]:
        """Yield the current connections. Raises NetorchError."""
        for host in self._hosts:
            fd = netns.find(overlay_netns(host))
            try:
                dump = FlowDump(fd, None, taking=False)
                try:
                    while not dump.done:
                        select.select([dump.fileno()], [], [])
                        yield from self._accepted(host, dump.read(_LIMIT).connections)
                finally:
                    dump.close()
            finally:
                os.close(fd)

    def listen(self) -> None:
        """Start to receive the events for `follow`. Raises NetorchError if another process already watches a host."""
        for host in self._hosts:
            try:
                self._listen(host)
            except KernelError as error:
                self.close()
                hint = "run it as root, and only one `netorch flows -f` per host at a time"
                raise NetorchError(f"flows: host {host}: {error}; {hint}") from error

    def follow(self, silence_s: float | None = None) -> Iterator[Seen]:
        """Yield the events since `listen`, for ever or until there is none for `silence_s` seconds."""
        poller = select.poll()
        for descriptor in (*self._begins, *self._drops):
            poller.register(descriptor, select.POLLIN)
        while ready := poller.poll(silence_s * 1000 if silence_s is not None else None):
            for descriptor, _ in ready:
                if descriptor in self._begins:
                    host, events = self._begins[descriptor]
                    yield from self._accepted(host, events.read(_LIMIT).connections)
                else:
                    host, packets = self._drops[descriptor]
                    told = packets.read(_LIMIT)
                    self._lost[host] = self._lost.get(host, 0) + told.lost
                    yield from self._dropped(host, told.packets)

    def close(self) -> None:
        """Stop listening."""
        for _, events in self._begins.values():
            events.close()
        for _, packets in self._drops.values():
            packets.close()
        self._begins, self._drops = {}, {}

    def _listen(self, host: str) -> None:
        overlay = netns.find(overlay_netns(host))
        underlay = netns.find(host) if (netns.RUN_NETNS / host).exists() else netns.current()
        try:
            if self._wanted.verdict != "drop":
                events = FlowEvents(overlay, Happening.BEGIN, None)
                self._begins[events.fileno()] = (host, events)
            if self._wanted.verdict != "accept":
                for fd in (overlay, underlay):
                    packets = DroppedPackets(fd, LIVE_GROUP)
                    self._drops[packets.fileno()] = (host, packets)
        finally:
            os.close(overlay)
            os.close(underlay)

    def _accepted(self, host: str, connections: Sequence[Connection]) -> Iterator[Seen]:
        for connection in connections:
            vni = self._vni_of(host, connection.zone)
            records = self._inventory.vpcs.get(vni)
            if records is not None:
                is_offloaded = bool(connection.status & OFFLOADED)
                for seen in self._shown(host, records, connection.original, "", connection.started_s):
                    yield structs.replace(seen, offloaded=is_offloaded)

    def _dropped(self, host: str, packets: Sequence[DroppedPacket]) -> Iterator[Seen]:
        for packet in packets:
            vni, headers = vni_of_ifname(packet.indev), packet.headers
            if packet.reason in _OF_UNDERLAY and (inner := packet.inner) is not None:
                vni, headers = inner.vni, inner.headers or headers
            if headers is not None:
                yield from self._shown(host, self._inventory.vpcs.get(vni), headers.tuple, packet.reason, packet.at_s)

    def _vni_of(self, host: str, zone: int) -> int:
        """Return the VPC of a zone. A new zone is looked up in the kernel."""
        known = self._zones.setdefault(host, {})
        if zone not in known:
            known.update(read_zones(overlay_netns(host)))
            known.setdefault(zone, HOST_SLICE)
        return known[zone]

    def _shown(self, host: str, records: VpcRecords | None, flow: Tuple, reason: str, at_s: float) -> Iterator[Seen]:
        """Yield the event if the filter and the caller's rights permit it. Errors of hosts and strangers are for operators."""
        vpc = records.vpc.record if records is not None else None
        if not self._caller.operator and (vpc is None or reason in _OF_UNDERLAY or not self._caller.sees(vpc.owner)):
            return
        source, destination = address_text(flow.source), address_text(flow.destination)
        ends = [instance_at(records, address) if records is not None else "" for address in (source, destination)]
        if self._wanted.vni and (vpc is None or vpc.vni != self._wanted.vni):
            return
        if self._wanted.instance and self._wanted.instance not in ends:
            return
        icmp = flow.protocol in (ICMP, ICMPV6)
        yield Seen(
            at_s=at_s or time.time(),
            host=host,
            verdict="drop" if reason else "accept",
            vpc=f"{vpc.owner}/{vpc.name}" if vpc is not None else "",
            source=source,
            destination=destination,
            protocol=flow.protocol,
            source_port=0 if icmp else flow.source_port,
            destination_port=0 if icmp else flow.destination_port,
            icmp=f"{flow.destination_port >> 8}/{flow.destination_port & 0xFF}" if icmp else "",
            source_instance=ends[0],
            destination_instance=ends[1],
            reason=reason,
            why=self._why(records, flow, reason),
            lost=self._lost.pop(host, 0),
        )

    def _why(self, records: VpcRecords | None, flow: Tuple, reason: str) -> str:
        if not reason:
            return ""
        culprit = explain_drop(records, flow, reason) if records is not None else ""
        return f"{text_of(reason)}: {culprit}" if culprit else text_of(reason)


def read_zones(overlay: str) -> dict[int, int]:
    """Return the VPC of each connection tracking zone in an overlay. Raises KernelError. Cost: a dump of its ruleset."""
    from netorch.drivers.nft.tables import Nft

    fd = netns.find(overlay)
    try:
        nft = Nft(OVERLAY, fd)
    finally:
        os.close(fd)
    try:
        elements = [obj for obj in nft.dump().values() if isinstance(obj, NftElement) and obj.set == ZONES]
    finally:
        nft.close()
    return {int(element.value, 0): element.vni for element in elements}


def instance_at(records: VpcRecords, address: str) -> str:
    """Return the name of the instance with an address, or ""."""
    mapping = records.mappings.get(address)
    eni = records.of(NetworkInterface).get(mapping.record.eni) if mapping is not None else None
    instance = records.of(Instance).get(eni.record.instance) if eni is not None else None
    return instance.record.name if instance is not None else ""
