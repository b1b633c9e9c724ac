"""The tracked connections of the fabric, through conntrack netlink by hand.

Linux 6.1 cannot filter a dump by zone, so the whole table is read: some 3 us a connection.
Source: linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_netlink.c of the kernel.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from typing import Final

from netorch.drivers.nft_monitor import NETLINK_NETFILTER
from netorch.drivers.rtnl import ABSENT, F_CREATE, F_EXCL, Channel, Message, Refusal, attr, attrs, nested
from netorch.errors import KernelError
from netorch.state.flow import Flow

_CONNTRACK: Final = 1  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE = (_CONNTRACK << 8 | number for number in range(3))
# Attributes: CTA_*, CTA_TUPLE_*, CTA_IP_*, CTA_PROTO_*, CTA_PROTOINFO_TCP_*, CTA_COUNTERS_*
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK = 1, 2, 3, 4, 7, 8
_COUNTERS, _REPLY_COUNTERS, _ZONE, _TIMESTAMP, _MARK_MASK = 9, 10, 18, 20, 21
_IP, _PROTO = 1, 2
_V4_SOURCE, _V4_DESTINATION, _V6_SOURCE, _V6_DESTINATION = 1, 2, 3, 4
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_TCP, _TCP_STATE, _TCP_FLAGS, _TCP_REPLY_FLAGS = 1, 1, 4, 5
_PACKETS, _BYTES, _START = 1, 2, 1
_REPLIED, _ASSURED, _CONFIRMED = 2, 4, 8  # IPS_*
_LIBERAL: Final = 0x08  # IP_CT_TCP_FLAG_BE_LIBERAL: nobody told the table the windows, so none is outside of them
_ANSWERS: Final = {8: 0, 13: 14, 128: 129}  # echo and timestamp, by ICMP type

_ICMP: Final = {  # protocol -> the attributes of its id, type and code
    socket.IPPROTO_ICMP: (4, 5, 6),
    socket.IPPROTO_ICMPV6: (7, 8, 9),
}


class Conntrack:
    """A socket in one namespace. One thread at a time may use it."""

    def __init__(self, netns_fd: int) -> None:
        """Open. Raises OSError."""
        self._channel = Channel(netns_fd, NETLINK_NETFILTER)

    def dump(self, zone: int) -> tuple[Flow, ...]:
        """Return the connections of a zone.

        Raises:
          KernelError: the kernel tells nothing of connections.
        """
        try:
            answers = self._channel.dump(_GET, bytes(4))
        except OSError as error:
            raise KernelError(f"dump conntrack zone {zone}", error.errno or 0, str(error)) from error
        wanted = struct.pack(">H", zone)
        bodies = [attrs(body, 4) for _, _, body in answers]
        return tuple(_flow(found, zone) for found in bodies if found.get(_ZONE, b"\0\0")[:2] == wanted)

    def forget(self, flows: Iterable[Flow]) -> None:
        """Let the kernel forget connections; one that is gone already is fine. Raises KernelError."""
        self._send("forget", [(_DELETE, 0, _identity(flow)) for flow in flows], ABSENT)

    def restore(self, flows: Iterable[Flow]) -> None:
        """Let the kernel know connections that it has not seen begin. Raises KernelError.

        Of those that it knows already it learns which ends track them. Counts of packets and bytes begin anew.
        """
        unseen = list(flows)
        refused = self._channel.batch([(_NEW, F_CREATE | F_EXCL, _whole(flow)) for flow in unseen])
        known = [unseen[place] for place, refusal in refused.items() if refusal.errno == errno.EEXIST]
        _check("restore", [refusal for refusal in refused.values() if refusal.errno != errno.EEXIST], len(unseen))
        self._send("mark", [(_NEW, 0, _identity(flow) + _marked(flow)) for flow in known if flow.mark], ABSENT)

    def flush_zone(self, zone: int) -> None:
        """Let the kernel forget all connections of a zone. Raises KernelError."""
        self.forget(self.dump(zone))

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _send(self, verb: str, messages: list[Message], fine: Iterable[int]) -> None:
        refused = [refusal for refusal in self._channel.batch(messages).values() if refusal.errno not in fine]
        _check(verb, refused, len(messages))


def _check(verb: str, refused: list[Refusal], count: int) -> None:
    if refused:
        raise KernelError(f"{verb} {len(refused)} of {count} connections", refused[0].errno, refused[0].detail)


def _marked(flow: Flow) -> bytes:
    """Return the attributes that set a connection's mark bits and leave the others as they are."""
    bits = struct.pack(">I", flow.mark)
    return attr(_MARK, bits) + attr(_MARK_MASK, bits)


def _identity(flow: Flow) -> bytes:
    """Return the header and the attributes that name a connection."""
    family = socket.AF_INET6 if ":" in flow.source else socket.AF_INET
    return bytes((family, 0, 0, 0)) + _tuple(_ORIGINAL, flow) + attr(_ZONE, struct.pack(">H", flow.zone))


def _whole(flow: Flow) -> bytes:
    status = _CONFIRMED | (_REPLIED if flow.replied else 0) | (_ASSURED if flow.assured else 0)
    parts = [_identity(flow), _tuple(_REPLY, flow)]
    parts += [attr(kind, struct.pack(">I", value)) for kind, value in _numbers(flow, status)]
    if flow.protocol == socket.IPPROTO_TCP:
        flags = bytes((_LIBERAL, _LIBERAL))  # value, mask
        state = attr(_TCP_STATE, bytes((flow.tcp_state,)))
        parts.append(nested(_PROTOINFO, nested(_TCP, state, attr(_TCP_FLAGS, flags), attr(_TCP_REPLY_FLAGS, flags))))
    return b"".join(parts)


def _numbers(flow: Flow, status: int) -> tuple[tuple[int, int], ...]:
    return (_STATUS, status), (_TIMEOUT, flow.timeout_s), (_MARK, flow.mark)


def _tuple(kind: int, flow: Flow) -> bytes:
    """Return one direction of a connection: the original, or the reply to it."""
    reply = kind == _REPLY
    ends = (flow.destination, flow.source) if reply else (flow.source, flow.destination)
    ports = (flow.dport, flow.sport) if reply else (flow.sport, flow.dport)
    family, first = (socket.AF_INET6, _V6_SOURCE) if ":" in flow.source else (socket.AF_INET, _V4_SOURCE)
    addresses = [attr(first + place, socket.inet_pton(family, end)) for place, end in enumerate(ends)]
    proto = [attr(_NUMBER, bytes((flow.protocol,)))]
    if flow.protocol in _ICMP:
        kinds = _ICMP[flow.protocol]
        icmp_type = _ANSWERS.get(flow.icmp_type, flow.icmp_type) if reply else flow.icmp_type
        values = (struct.pack(">H", flow.icmp_id), bytes((icmp_type,)), bytes((flow.icmp_code,)))
        proto += [attr(part, value) for part, value in zip(kinds, values, strict=True)]
    else:
        proto += [attr(_SOURCE_PORT + place, struct.pack(">H", port)) for place, port in enumerate(ports)]
    return nested(kind, nested(_IP, *addresses), nested(_PROTO, *proto))


def _flow(found: dict[int, bytes], zone: int) -> Flow:
    original = attrs(found[_ORIGINAL])
    ip, proto = attrs(original[_IP]), attrs(original[_PROTO])
    v6 = _V6_SOURCE in ip
    first, family = (_V6_SOURCE, socket.AF_INET6) if v6 else (_V4_SOURCE, socket.AF_INET)
    protocol = proto[_NUMBER][0]
    icmp = [_number(proto, kind) for kind in _ICMP.get(protocol, (0, 0, 0))]
    status = _number(found, _STATUS)
    counters, reply = attrs(found.get(_COUNTERS, b"")), attrs(found.get(_REPLY_COUNTERS, b""))
    tcp = attrs(attrs(found.get(_PROTOINFO, b"")).get(_TCP, b""))
    return Flow(
        zone=zone,
        protocol=protocol,
        source=socket.inet_ntop(family, ip[first]),
        destination=socket.inet_ntop(family, ip[first + 1]),
        sport=_number(proto, _SOURCE_PORT),
        dport=_number(proto, _DESTINATION_PORT),
        icmp_id=icmp[0],
        icmp_type=icmp[1],
        icmp_code=icmp[2],
        mark=_number(found, _MARK),
        timeout_s=_number(found, _TIMEOUT),
        replied=bool(status & _REPLIED),
        assured=bool(status & _ASSURED),
        tcp_state=_number(tcp, _TCP_STATE),
        packets=_number(counters, _PACKETS),
        bytes=_number(counters, _BYTES),
        reply_packets=_number(reply, _PACKETS),
        reply_bytes=_number(reply, _BYTES),
        started_ns=_number(attrs(found.get(_TIMESTAMP, b"")), _START),
    )


def _number(found: dict[int, bytes], kind: int) -> int:
    """Return a number of any length in network order, 0 when it is not there."""
    return int.from_bytes(found.get(kind, b""), "big")
