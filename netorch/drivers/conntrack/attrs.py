"""Conntrack entries: the attributes in ctnetlink's events and dumps.

Addresses stay packed bytes: most connections are only compared and counted, few are shown.
Source: linux/netfilter/nfnetlink_conntrack.h, linux/netfilter/nf_conntrack_common.h.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

import msgspec

from netorch.drivers.netlink import attrs
from netorch.model.security import ICMP, ICMPV6, TCP

NFGENMSG_BYTES: Final = 4  # before the attributes
SEEN_REPLY: Final = 0x2  # bits of a connection's status: IPS_SEEN_REPLY, IPS_ASSURED
ASSURED: Final = 0x4
OFFLOADED: Final = 0x4000  # IPS_OFFLOAD: a flowtable forwards its packets

# CTA_*
ORIGINAL, REPLY, STATUS, PROTOINFO, TIMEOUT, MARK = 1, 2, 3, 4, 7, 8
_COUNTS_ORIGINAL, _COUNTS_REPLY, _ID, ZONE, _TIMES, MARK_MASK = 9, 10, 12, 18, 20, 21
IP, PROTO, TUPLE_ZONE = 1, 2, 3  # CTA_TUPLE_*
V4_SOURCE, V4_DESTINATION, V6_SOURCE, _V6_DESTINATION = 1, 2, 3, 4  # CTA_IP_*
NUMBER, SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
ICMP_PARTS: Final = {ICMP: (4, 5, 6), ICMPV6: (7, 8, 9)}  # CTA_PROTO_ICMP_ID, _TYPE, _CODE, and those of ICMPv6
_PACKETS, _BYTES = 1, 2  # CTA_COUNTERS_*
_START, _STOP = 1, 2  # CTA_TIMESTAMP_*
TCP_INFO, TCP_STATE = 1, 1  # CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE

_ESTABLISHED: Final = 3  # TCP_CONNTRACK_ESTABLISHED

_LENGTH: Final = struct.Struct("=H")  # of an attribute, including its header
_ZONE: Final = struct.Struct("=HH2s")


class Tuple(msgspec.Struct, frozen=True):
    """One direction of a connection. For ICMP, the source port is the identifier, the destination port type * 256 + code."""

    source: bytes  # 4 or 16
    destination: bytes
    protocol: int
    source_port: int
    destination_port: int

    def reversed(self) -> Tuple:
        """Return the other direction, for protocols with real ports."""
        return Tuple(self.destination, self.source, self.protocol, self.destination_port, self.source_port)


class Counts(msgspec.Struct, frozen=True):
    """Packets, and bytes from the IP header on."""

    packets: int = 0
    bytes: int = 0


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A conntrack entry. Values that the kernel omits are 0: counters need nf_conntrack_acct, times nf_conntrack_timestamp."""

    original: Tuple
    reply: Tuple
    zone: int
    original_zone: int = 0  # if only this direction has a zone
    mark: int
    id: int
    status: int
    timeout_s: int  # 0 of an offloaded connection: the kernel does not show it
    original_counts: Counts
    reply_counts: Counts
    started_s: float  # since 1970
    ended_s: float  # 0 while the connection exists
    tcp_state: int  # of enum tcp_conntrack: 3 established, 4 to 7 closing, 8 reset


def address_text(address: bytes) -> str:
    """Return an address as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def zone_of(body: bytes) -> int:
    """Return the zone of a message's connection. Cost: a third of a microsecond.

    The zone follows the two directions, which come first. Source: ctnetlink_fill_info, ctnetlink_conntrack_event.
    """
    reply = NFGENMSG_BYTES + _LENGTH.unpack_from(body, NFGENMSG_BYTES)[0]
    _, kind, zone = _ZONE.unpack_from(body, reply + _LENGTH.unpack_from(body, reply)[0])
    return int.from_bytes(zone, "big") if kind == ZONE else 0


def parse(body: bytes) -> Connection | None:
    """Return the connection in a message without its netlink header; None if it has none.

    The kernel does not show the TCP state of an offloaded connection. Only established ones are offloaded, and one that closes
    leaves the flowtable. Source: net/netfilter/nf_conntrack_netlink.c, ctnetlink_dump_info; nf_flow_table_core.c.
    """
    found = attrs(body, NFGENMSG_BYTES)
    if ORIGINAL not in found or REPLY not in found:
        return None
    original, status = _tuple(found[ORIGINAL]), _number(found.get(STATUS))
    times = attrs(found.get(_TIMES, b""))
    protoinfo = attrs(attrs(found.get(PROTOINFO, b"")).get(TCP_INFO, b""))
    hidden = _ESTABLISHED if original.protocol == TCP and status & OFFLOADED else 0
    return Connection(
        original=original,
        reply=_tuple(found[REPLY]),
        zone=_number(found.get(ZONE)),
        original_zone=_number(attrs(found[ORIGINAL]).get(TUPLE_ZONE)),
        mark=_number(found.get(MARK)),
        id=_number(found.get(_ID)),
        status=status,
        timeout_s=_number(found.get(TIMEOUT)),
        original_counts=_counts(found.get(_COUNTS_ORIGINAL)),
        reply_counts=_counts(found.get(_COUNTS_REPLY)),
        started_s=_number(times.get(_START)) / 1e9,
        ended_s=_number(times.get(_STOP)) / 1e9,
        tcp_state=_number(protoinfo.get(TCP_STATE)) or hidden,
    )


def _tuple(data: bytes) -> Tuple:
    parts = attrs(data)
    ip, proto = attrs(parts.get(IP, b"")), attrs(parts.get(PROTO, b""))
    protocol = _number(proto.get(NUMBER))
    if protocol in ICMP_PARTS:
        identifier, kind, code = (_number(proto.get(part)) for part in ICMP_PARTS[protocol])
        ports = identifier, kind << 8 | code
    else:
        ports = _number(proto.get(SOURCE_PORT)), _number(proto.get(_DESTINATION_PORT))
    source = ip.get(V4_SOURCE) or ip.get(V6_SOURCE, b"")
    destination = ip.get(V4_DESTINATION) or ip.get(_V6_DESTINATION, b"")
    return Tuple(source, destination, protocol, *ports)


def _counts(data: bytes | None) -> Counts:
    if data is None:
        return Counts()
    parts = attrs(data)
    return Counts(_number(parts.get(_PACKETS)), _number(parts.get(_BYTES)))


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "big")
