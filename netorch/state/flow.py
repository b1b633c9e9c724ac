"""Connections in the kernel's tracking table. Each shows the two ends of a connection in a VPC, and its traffic."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from netorch.model.packet import Packet, packet_of
from netorch.model.security import ICMP, ICMPV6

BEGINNER_TRACKS: Final = 1  # bits of a connection's mark, see policy.skeleton: the end that opened it tracks it
OTHER_END_TRACKS: Final = 2

# Limits for connections received from other hosts: they are packed into netlink messages, and must end like the kernel's own.
_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Word = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=5 * 24 * 3600)]  # nf_conntrack_tcp_timeout_established, the longest timeout
_TcpState = Annotated[int, msgspec.Meta(ge=0, le=9)]  # below TCP_CONNTRACK_MAX

FlowKey = tuple[int, int, str, str, int, int, int, int, int]


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tracked connection, seen from its initiator. Replies have the same ends in reverse, unless translated."""

    zone: _Port  # the conntrack zone of its VPC on this host
    protocol: _Byte
    source: str
    destination: str
    sport: _Port = 0
    dport: _Port = 0
    icmp_id: _Port = 0
    icmp_type: _Byte = 0
    icmp_code: _Byte = 0
    mark: _Word = 0  # bit 1: the initiator's host tracks it; bit 2: the other end's host does
    timeout_s: _Seconds = 0  # until the kernel deletes it, unless a packet arrives
    replied: bool = False
    assured: bool = False  # the last to be evicted when the table is full
    tcp_state: _TcpState = 0  # source: linux/netfilter/nf_conntrack_tcp.h; 3 is established
    packets: int = 0  # from the source
    bytes: int = 0
    reply_packets: int = 0
    reply_bytes: int = 0
    nat_source: str = ""  # the translated source address; empty: none
    nat_port: _Port = 0  # the translated source port, or ICMP identifier
    nat_destination: str = ""  # the translated destination address; empty: none
    nat_dport: _Port = 0  # the translated destination port
    original_zone: _Port = 0  # the zone of the original direction only, if the directions' zones differ
    started_ns: int = 0  # since 1970, if net.netfilter.nf_conntrack_timestamp is on; else 0

    @property
    def key(self) -> FlowKey:
        """Return its unique key."""
        ports = (self.sport, self.dport)
        return (self.zone, self.protocol, self.source, self.destination, *ports, self.icmp_id, self.icmp_type, self.icmp_code)

    @property
    def is_translated(self) -> bool:
        """Return whether its directions differ in more than the order of the ends."""
        return bool(self.nat_source or self.nat_port or self.nat_destination or self.nat_dport or self.original_zone)

    @property
    def first_packet(self) -> Packet:
        """Return its first packet."""
        service = self.icmp_type << 8 | self.icmp_code if self.protocol in (ICMP, ICMPV6) else self.dport
        return packet_of(self.source, self.destination, self.protocol, self.sport, service)


def uncounted(flow: Flow) -> Flow:
    """Return a connection as in a kernel that has seen none of its packets."""
    return msgspec.structs.replace(flow, packets=0, bytes=0, reply_packets=0, reply_bytes=0, started_ns=0)
