"""The fate of a sequence of packets: tracked and untracked connections, and rules that change meanwhile.

A host remembers the connections of its own interfaces; two interfaces on one host share this memory. A host remembers a
connection from its first packet on, if the packet left the host, or arrived when both ends are on one host. Later packets count
when they reach the host, even if it drops them. Time is not modelled: nothing expires, and nothing is closed.

The initiator of a TCP connection sends only SYNs until the other end has accepted it: its other packets belong to no
connection. Nor does a SYN with ACK that it sends once it has confirmed the connection by a packet without SYN.
Source: net/netfilter/nf_conntrack_proto_tcp.c, tcp_conntracks.

A SYN between the ports of a known connection opens another connection. It is evaluated like a first packet, and decides for
each end that it passes whether that end tracks the connection from now on. A dropped SYN changes nothing there. A SYN from the
end that has accepted the connection belongs to none. No other protocol marks its first packet: packets between the same ends
(addresses, ports, an ICMP identifier) belong to the known connection.

An ICMP error belongs to the connection that it quotes, if it goes from one end of that connection to the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.model.eni import NetworkInterface
from netorch.model.packet import ACK, ERRORS, SYN, Packet
from netorch.model.security import TCP
from policy.evaluate import Memory, Policy, Standing, Verdict, first_sight, verdict_on

FlowKey = tuple[object, ...]


class TrackedFlow(msgspec.Struct):
    """A connection as one host remembers it."""

    begun_by: str
    answered: bool = False
    accepted: bool = False  # TCP only: the other end has sent SYN and ACK
    confirmed: bool = False  # TCP only: then the initiator has sent a packet without SYN
    tracked_by: set[str] = msgspec.field(default_factory=set)  # addresses of the ends that track it

    def takes(self, packet: Packet) -> bool:
        """Return whether it can include a packet: until accepted, the initiator sends only SYNs; then the other end none."""
        if packet.source == self.begun_by:
            accepts = packet.flags & (SYN | ACK) == SYN | ACK
            return packet.protocol != TCP or packet.begins or (self.accepted and not (accepts and self.confirmed))
        return not (packet.is_syn and self.accepted)


class Connections:
    """Predicts the fate of packets of one VPC in sequence. `homes` has each address's host; assign `policy` to change rules."""

    def __init__(self, policy: Policy, homes: Mapping[str, str]) -> None:
        self.policy = policy
        self._homes = homes
        self._flows: dict[tuple[str, FlowKey], TrackedFlow] = {}

    def send(self, packet: Packet, sender: NetworkInterface | None = None) -> Verdict:
        """Return the fate of the next packet, sent by the holder of its source, or by `sender` from that address."""
        start = sender.address if sender is not None else packet.source
        here, there = self._homes.get(start, ""), self._homes.get(packet.destination, "")
        at_sender = self._memory(here, packet.source, packet)
        at_receiver = self._memory(there, packet.destination, packet)
        verdict = verdict_on(self.policy, packet, sender=sender, at_sender=at_sender, at_receiver=at_receiver)
        self._follow(here, packet)
        if not verdict.at_sender:
            self._follow(there, packet)
            arrived = verdict.passed
            if arrived or here != there or (here, _key(packet)) in self._flows:
                self._remember(here, packet, packet.source, tracks=verdict.sender_tracks)
            if arrived:
                self._remember(there, packet, packet.destination, tracks=verdict.receiver_tracks)
        return verdict

    def _memory(self, home: str, end: str, packet: Packet) -> Memory:
        quoted = packet.quoted
        if quoted is not None:
            flow = self._flows.get((home, _key(quoted))) if _is_error_about(packet, quoted) else None
            return Memory(standing=Standing.KNOWN, tracked=end in flow.tracked_by) if flow is not None else first_sight(packet)
        flow = self._flows.get((home, _key(packet)))
        if flow is None:
            return first_sight(packet)
        if not flow.takes(packet):
            return Memory(standing=Standing.STRANGE)
        if packet.is_syn:
            return Memory(standing=Standing.NEW)
        unanswered = not flow.answered and packet.source == flow.begun_by
        return Memory(standing=Standing.NEW if unanswered else Standing.KNOWN, tracked=end in flow.tracked_by)

    def _follow(self, home: str, packet: Packet) -> None:
        flow = self._flows.get((home, _key(packet)))
        if flow is None or packet.quoted is not None:
            return
        if packet.source == flow.begun_by:
            flow.confirmed = flow.confirmed or (flow.accepted and not packet.flags & SYN)
        else:
            flow.answered = True
            flow.accepted = flow.accepted or packet.flags & (SYN | ACK) == SYN | ACK

    def _remember(self, home: str, packet: Packet, end: str, *, tracks: bool) -> None:
        if packet.quoted is not None or not packet.has_connection:
            return
        flow = self._flows.get((home, _key(packet)))
        if flow is None:
            if not packet.begins:
                return
            flow = self._flows[home, _key(packet)] = TrackedFlow(begun_by=packet.source)
        if tracks:
            flow.tracked_by.add(end)
        elif packet.is_syn and flow.takes(packet):
            flow.tracked_by.discard(end)


def _is_error_about(packet: Packet, quoted: Packet) -> bool:
    ends = (packet.source, packet.destination)
    return packet.has_type and packet.icmp_type in ERRORS[packet.version] and ends == (quoted.destination, quoted.source)


def _key(packet: Packet) -> FlowKey:
    """Return the key of a connection, common to its packets in both directions.

    TCP and UDP: both addresses and ports. ICMP: requester, target, type and code. Other protocols: both addresses.
    """
    if packet.has_type:
        if packet.begins:
            return (packet.protocol, packet.source, packet.destination, packet.answer().icmp_type, packet.icmp_code)
        return (packet.protocol, packet.destination, packet.source, packet.icmp_type, packet.icmp_code)
    ends = sorted([(packet.source, packet.source_port), (packet.destination, packet.destination_port)])
    return (packet.protocol, *ends)
