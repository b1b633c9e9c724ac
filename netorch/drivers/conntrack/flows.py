"""The tracked connections of the overlay, through hand-packed conntrack netlink.

Linux filters a dump by IPv4 address (since 5.8) and by IP version, not by zone. Its filter by IPv6 address is inverted: 6.1
shows all connections except those that match (ctnetlink_filter_match_tuple). A kernel with the fix would behave the other
way, so neither behaviour can be relied on, and for IPv6 all connections are requested. Results are compared again here in any
case: older kernels return everything.
Source: linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_netlink.c of the kernel.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import Final

from netorch.drivers.conntrack.attrs import (
    ASSURED,
    ICMP_PARTS,
    IP,
    MARK,
    MARK_MASK,
    NUMBER,
    OFFLOADED,
    ORIGINAL,
    PROTO,
    PROTOINFO,
    REPLY,
    SEEN_REPLY,
    SOURCE_PORT,
    STATUS,
    TCP_INFO,
    TCP_STATE,
    TIMEOUT,
    TUPLE_ZONE,
    V4_DESTINATION,
    V4_SOURCE,
    V6_SOURCE,
    ZONE,
    Connection,
    address_text,
    parse,
    zone_of,
)
from netorch.drivers.netlink import ABSENT, F_CREATE, F_EXCL, Channel, Message, NetlinkError, attr, attr_u32, nested
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.errors import KernelError
from netorch.model.addr import packed
from netorch.state.base import OVERLAY
from netorch.state.flow import Flow
from netorch.state.sysctls import idle_timeouts

_CONNTRACK: Final = 1  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE = (_CONNTRACK << 8 | number for number in range(3))
_FILTER, _FILTER_ORIGINAL = 25, 1  # CTA_FILTER, CTA_FILTER_ORIG_FLAGS
_FILTER_SOURCE, _FILTER_DESTINATION = 1, 2  # CTA_FILTER_FLAG(CTA_IP_SRC), (CTA_IP_DST)
_FEW: Final = 8  # addresses: with more, one dump of everything is cheaper than a dump for each end of each address
_TCP_FLAGS, _TCP_REPLY_FLAGS = 4, 5  # CTA_PROTOINFO_TCP_FLAGS_*
_NAT_SOURCE, _NAT_DESTINATION = 6, 13  # CTA_NAT_SRC, CTA_NAT_DST
# Attributes of these: CTA_NAT_V4_MINIP, _MAXIP, CTA_NAT_PROTO with CTA_PROTONAT_PORT_MIN, _MAX
_NAT_FIRST, _NAT_LAST, _NAT_PROTO, _PORT_FIRST, _PORT_LAST = 1, 2, 3, 1, 2
_CONFIRMED: Final = 8  # IPS_CONFIRMED
_LIBERAL: Final = 0x08  # IP_CT_TCP_FLAG_BE_LIBERAL: the table does not know the windows, so no packet is out of window
_ANSWERS: Final = {8: 0, 13: 14, 128: 129}  # echo and timestamp, by ICMP type


class Conntrack:
    """A socket in one namespace. Only one thread at a time may use it."""

    def __init__(self, netns_fd: int, netns: str = OVERLAY) -> None:
        """Open the namespace with this label. Raises OSError."""
        self._idle_timeouts = idle_timeouts(netns)
        self._channel = Channel(netns_fd, NETLINK_NETFILTER)

    def dump(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the connections of a zone with one of these addresses as an end; None means all connections.

        Cost: for a few IPv4 addresses, two kernel scans of the table each; otherwise about 1 us per connection of the host.

        Raises:
          KernelError: the kernel does not show connections.
        """
        ends = None if addresses is None else {packed(address) for address in addresses}
        try:
            answers = [answer for request in _requests(ends) for answer in self._channel.dump(_GET, request)]
        except OSError as error:
            raise KernelError(f"dump conntrack zone {zone}", error.errno or 0, str(error)) from error
        bodies = (body for _, _, body in answers if zone_of(body) == zone)
        found = (known for known in map(parse, bodies) if known is not None)
        flows = (flow_of(known, self._idle_timeouts) for known in found if ends is None or not ends.isdisjoint(_ends(known)))
        return tuple({flow.key: flow for flow in flows}.values())

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return those of the IPv4 addresses that replies of connections are sent to. Raises KernelError.

        Cost: about 0.5 us per connection of the namespace: messages are not decoded, but searched for the attribute.
        """
        try:
            bodies = [body for _, _, body in self._channel.dump(_GET, bytes(4))]
        except OSError as error:
            raise KernelError("dump conntrack", error.errno or 0, str(error)) from error
        ends = {address: attr(V4_DESTINATION, packed(address)) for address in addresses}
        return {address for address, end in ends.items() if any(end in body for body in bodies)}

    def forget(self, flows: Iterable[Flow]) -> None:
        """Delete connections; absence is fine. Raises KernelError."""
        self._send("forget", [(_DELETE, 0, _identity(flow)) for flow in flows], ABSENT)

    def restore(self, flows: Iterable[Flow]) -> None:
        """Add connections whose beginning the kernel has not seen. Raises KernelError.

        For those already in the table, set the mark bits that say which ends track them. Packet and byte counters start at
        zero.
        """
        unseen = list(flows)
        refused = self._channel.batch([(_NEW, F_CREATE | F_EXCL, whole(flow)) for flow in unseen])
        known = [unseen[place] for place, refusal in refused.items() if refusal.errno == errno.EEXIST]
        _check("restore", [refusal for refusal in refused.values() if refusal.errno != errno.EEXIST], len(unseen))
        self._send("mark", [(_NEW, 0, _identity(flow) + _marked(flow)) for flow in known if flow.mark], ABSENT)

    def flush_zone(self, zone: int) -> None:
        """Delete all connections of a zone. Raises KernelError."""
        self.forget(self.dump(zone))

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _send(self, verb: str, messages: list[Message], fine: Iterable[int]) -> None:
        refused = [refusal for refusal in self._channel.batch(messages).values() if refusal.errno not in fine]
        _check(verb, refused, len(messages))


def _requests(ends: Set[bytes] | None) -> Iterator[bytes]:
    """Yield the bodies of dump requests that together return every connection with one of these ends at least once."""
    if ends is None or len(ends) > _FEW:
        yield bytes(4)
        return
    for end in sorted(end for end in ends if len(end) == 4):
        for flag, kind in ((_FILTER_SOURCE, V4_SOURCE), (_FILTER_DESTINATION, V4_DESTINATION)):
            like = nested(ORIGINAL, nested(IP, attr(kind, end)))
            yield bytes((socket.AF_INET, 0, 0, 0)) + like + nested(_FILTER, attr_u32(_FILTER_ORIGINAL, flag))
    if any(len(end) == 16 for end in ends):
        yield bytes((socket.AF_INET6, 0, 0, 0))


def _ends(found: Connection) -> tuple[bytes, bytes]:
    return found.original.source, found.original.destination


def _check(verb: str, refused: list[NetlinkError], count: int) -> None:
    if refused:
        raise KernelError(f"{verb} {len(refused)} of {count} connections", refused[0].errno, refused[0].detail)


def _marked(flow: Flow) -> bytes:
    """Return the attributes that set a connection's mark bits and keep the others."""
    bits = struct.pack(">I", flow.mark)
    return attr(MARK, bits) + attr(MARK_MASK, bits)


def _identity(flow: Flow) -> bytes:
    """Return the header and the attributes that identify a connection."""
    family = socket.AF_INET6 if ":" in flow.source else socket.AF_INET
    return bytes((family, 0, 0, 0)) + _tuple(ORIGINAL, flow) + attr(ZONE, struct.pack(">H", flow.zone))


def whole(flow: Flow) -> bytes:
    """Return the header and the attributes that restore a connection. A restored connection is not offloaded."""
    status = _CONFIRMED | (SEEN_REPLY if flow.replied else 0) | (ASSURED if flow.assured else 0)
    parts = [_identity(flow), _tuple(REPLY, flow)]
    parts += [attr(kind, struct.pack(">I", value)) for kind, value in _numbers(flow, status)]
    for kind, end, port in (
        (_NAT_DESTINATION, flow.nat_destination, flow.nat_dport),
        (_NAT_SOURCE, flow.nat_source, flow.nat_port),
    ):
        parts += [_translation(kind, end, port)] if end else []
    if flow.protocol == socket.IPPROTO_TCP:
        flags = bytes((_LIBERAL, _LIBERAL))  # value, mask
        state = attr(TCP_STATE, bytes((flow.tcp_state,)))
        parts.append(nested(PROTOINFO, nested(TCP_INFO, state, attr(_TCP_FLAGS, flags), attr(_TCP_REPLY_FLAGS, flags))))
    return b"".join(parts)


def _translation(kind: int, end: str, port: int) -> bytes:
    """Return the translation of an end to exactly this address and port; the kernel derives the other direction from it."""
    address, packed_port = socket.inet_aton(end), struct.pack(">H", port)
    ports = nested(_NAT_PROTO, attr(_PORT_FIRST, packed_port), attr(_PORT_LAST, packed_port))
    return nested(kind, attr(_NAT_FIRST, address), attr(_NAT_LAST, address), ports)


def _numbers(flow: Flow, status: int) -> tuple[tuple[int, int], ...]:
    return (STATUS, status), (TIMEOUT, flow.timeout_s), (MARK, flow.mark)


def _tuple(kind: int, flow: Flow) -> bytes:
    """Return one direction of a connection: the original, or the reply to it."""
    reply = kind == REPLY
    ends = (flow.destination, flow.source) if reply else (flow.source, flow.destination)
    ports = (flow.dport, flow.sport) if reply else (flow.sport, flow.dport)
    family, first = (socket.AF_INET6, V6_SOURCE) if ":" in flow.source else (socket.AF_INET, V4_SOURCE)
    addresses = [attr(first + place, socket.inet_pton(family, end)) for place, end in enumerate(ends)]
    proto = [attr(NUMBER, bytes((flow.protocol,)))]
    if flow.protocol in ICMP_PARTS:
        kinds = ICMP_PARTS[flow.protocol]
        icmp_type = _ANSWERS.get(flow.icmp_type, flow.icmp_type) if reply else flow.icmp_type
        values = (struct.pack(">H", flow.icmp_id), bytes((icmp_type,)), bytes((flow.icmp_code,)))
        proto += [attr(part, value) for part, value in zip(kinds, values, strict=True)]
    else:
        proto += [attr(SOURCE_PORT + place, struct.pack(">H", port)) for place, port in enumerate(ports)]
    zone = [attr(TUPLE_ZONE, struct.pack(">H", flow.original_zone))] if flow.original_zone and not reply else []
    return nested(kind, nested(IP, *addresses), nested(PROTO, *proto), *zone)


def flow_of(found: Connection, idle: Mapping[int, int]) -> Flow:
    """Return an entry as a connection of a VPC.

    Args:
      idle: The idle timeouts of established connections by protocol. They replace the timeout of an offloaded connection, which
        the kernel does not show: it has just been used, or will leave the flowtable.
    """
    ends, answers = found.original, found.reply
    is_translated, is_elsewhere = answers.destination != ends.source, answers.source != ends.destination
    icmp = ends.protocol in ICMP_PARTS
    kind, code = divmod(ends.destination_port, 256) if icmp else (0, 0)
    return Flow(
        zone=found.zone,
        protocol=ends.protocol,
        source=address_text(ends.source),
        destination=address_text(ends.destination),
        sport=0 if icmp else ends.source_port,
        dport=0 if icmp else ends.destination_port,
        icmp_id=ends.source_port if icmp else 0,
        icmp_type=kind,
        icmp_code=code,
        mark=found.mark,
        timeout_s=found.timeout_s or (idle.get(ends.protocol, 0) if found.status & OFFLOADED else 0),
        replied=bool(found.status & SEEN_REPLY),
        assured=bool(found.status & ASSURED),
        tcp_state=found.tcp_state,
        packets=found.original_counts.packets,
        bytes=found.original_counts.bytes,
        reply_packets=found.reply_counts.packets,
        reply_bytes=found.reply_counts.bytes,
        nat_source=address_text(answers.destination) if is_translated else "",
        nat_port=(answers.source_port if icmp else answers.destination_port) if is_translated else 0,
        nat_destination=address_text(answers.source) if is_elsewhere else "",
        nat_dport=answers.source_port if is_elsewhere else 0,
        original_zone=found.original_zone,
        started_ns=round(found.started_s * 1e9),
    )
