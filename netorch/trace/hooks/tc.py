"""The effect of a device's filters on a packet. Source: netorch.state.tc, tc-flower(8)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from netorch.errors import TraceError
from netorch.model.addr import BITS, Prefix, format_ip, parse_ip, parse_prefix
from netorch.model.packet import Packet
from netorch.state.tc import ALL, INGRESS, IP, IPV6, Match, Nat, StrangeFilter, TcFilter

_PROTOCOLS = {4: IP, 6: IPV6}


def deciding(filters: Iterable[TcFilter | StrangeFilter], packet: Packet, lladdr: str, priority: int) -> TcFilter | None:
    """Return the filter that matches a packet with a destination MAC and a priority, or None.

    Raises:
      TraceError: there is a filter that is not netorch's.
    """
    found = list(filters)
    for obj in found:
        if isinstance(obj, StrangeFilter):
            raise TraceError(f"{obj.text()}: it is not netorch's; the host's kernel has drifted")
    ours = (obj for obj in found if isinstance(obj, TcFilter) and _takes(obj, packet, lladdr, priority))
    return min(ours, key=lambda obj: obj.pref, default=None)


def _takes(obj: TcFilter, packet: Packet, lladdr: str, priority: int) -> bool:
    match = obj.match
    if not isinstance(match, Match):
        return match.priority != priority
    if match.protocol not in (ALL, _PROTOCOLS[packet.version]) or match.dst_mac not in ("", lladdr):
        return False
    if match.ip_proto not in (0, packet.protocol):
        return False
    ends = ((match.src, packet.source), (match.dst, packet.destination))
    return all(parse_prefix(prefix).holds(*parse_ip(address)) for prefix, address in ends if prefix)


def translated(packet: Packet, action: Nat) -> Packet:
    """Return a packet with its source or destination translated. If the action does not match its address, it is unchanged."""
    end = "destination" if action.direction == INGRESS else "source"
    address = getattr(packet, end)
    old = parse_prefix(action.old)
    version, value = parse_ip(address)
    if not old.holds(version, value):
        return packet
    return structs.replace(packet, **{end: _moved(old, value, parse_ip(action.new)[1])})


def _moved(old: Prefix, value: int, new: int) -> str:
    """Return the address in the other range with the same host bits."""
    host_bits = (1 << BITS[old.version] - old.length) - 1
    return format_ip(old.version, new & ~host_bits | value & host_bits)
