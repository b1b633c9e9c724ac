"""Connections as the kernel tracks them, one of which says who talks to whom in a VPC, and how much."""

from __future__ import annotations

from typing import Final

import msgspec

BEGINNER_TRACKS: Final = 1  # bits of a connection's mark, see policy.nftgen: the end that began it tracks it
OTHER_END_TRACKS: Final = 2

FlowKey = tuple[int, int, str, str, int, int, int, int, int]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A tracked connection, seen from the one who began it. Nothing is translated: replies have the same ends, turned round."""

    zone: int  # the conntrack zone of its VPC on this host
    protocol: int
    source: str
    destination: str
    sport: int = 0
    dport: int = 0
    icmp_id: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    mark: int = 0  # bit 1: who began it tracks it; bit 2: the other end does
    timeout_s: int = 0  # until the kernel forgets it, unless a packet comes
    replied: bool = False
    assured: bool = False  # the last to be dropped when the table is full
    tcp_state: int = 0  # source: linux/netfilter/nf_conntrack_tcp.h; 3 is established
    packets: int = 0  # from the source
    bytes: int = 0
    reply_packets: int = 0
    reply_bytes: int = 0
    started_ns: int = 0  # since 1970, where net.netfilter.nf_conntrack_timestamp is on; else 0

    @property
    def key(self) -> FlowKey:
        """Return what tells it from all others."""
        ports = (self.sport, self.dport)
        return (self.zone, self.protocol, self.source, self.destination, *ports, self.icmp_id, self.icmp_type, self.icmp_code)


def uncounted(flow: Flow) -> Flow:
    """Return a connection as a kernel knows it that has not seen a packet of it."""
    return msgspec.structs.replace(flow, packets=0, bytes=0, reply_packets=0, reply_bytes=0, started_ns=0)


class HandedOver(msgspec.Struct, frozen=True):
    """The connections of an interface that is on its way from a host. Stored at `hoststat/<host>/flows/<eni>`."""

    flows: tuple[Flow, ...]
