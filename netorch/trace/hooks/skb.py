"""A packet as a hook of the kernel sees it, and the names of its fields in nft rules."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from typing import Final

import msgspec

from netorch.model.addr import packed
from netorch.model.packet import ACK, FIN, RST, SYN, Packet
from netorch.model.security import ICMP, ICMPV6, TCP, UDP
from netorch.state.link import VXLAN_PORT

Value = int | str
ETHERTYPE: Final = {4: 0x0800, 6: 0x86DD}
# Source: linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT and IP_CT_NEW ...
CT_STATES: Final = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_KNOWN: Final = CT_STATES["established"] | CT_STATES["related"]
_PORT_BITS: Final = 16
_TTL: Final = 64  # of all packets in a trace: their number of routers does not matter
_ASSURED: Final = 4  # IPS_ASSURED: both ends have sent packets of its connection; UDP, for two seconds
_CONFIRMED: Final = 8  # IPS_CONFIRMED: it is not the first packet of its connection
_DST_NAT: Final = 32  # IPS_DST_NAT: the connection's destination is translated
CT_DIRECTIONS: Final = {"original": 0, "reply": 1}


class Skb(msgspec.Struct, kw_only=True):
    """A packet on its way through one host. Fields that rules may set are changed in place."""

    packet: Packet
    iifname: str = ""
    oifname: str = ""
    sdifname: str = ""  # the receiving device, if that is in a VRF
    iifgroup: int = 0
    oifgroup: int = 0
    returns: bool = True  # whether the route to its source uses the device by which it came
    next_hop: str = ""  # of its route; empty: its destination
    ether_source: str = ""
    pkttype: int = 0
    mark: int = 0
    priority: int = 0
    ct_state: int = CT_STATES["new"]
    ct_direction: int = 0
    ct_mark: int = 0
    ct_zone: int = 0
    ct_assured: bool = False
    flowtable: str = ""  # the one to which a rule has added its connection
    original: Packet | None = None  # the connection's first packet, if this is another one
    ct_dnat: bool = False  # whether a rule has translated the connection's destination
    th: bytes = b""  # from the transport header on, for rules that read raw bytes

    @property
    def begins_connection(self) -> bool:
        """Return whether connection tracking sees it as the first packet of a connection."""
        return self.ct_state == CT_STATES["new"]

    @property
    def is_tracked(self) -> bool:
        """Return whether connection tracking processes it."""
        return self.ct_state != CT_STATES["untracked"]


class Kind(Enum):
    """How a field of a packet is compared."""

    NUMBER = "number"  # addresses, too
    NAME = "name"  # of a device; a pattern may end with `*`
    MAC = "mac"


class Field(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A field of a packet. `read` returns None if the packet has no such field: a rule that reads it does not match."""

    words: str
    read: Callable[[Skb], Value | None]
    names: dict[str, int] = {}  # symbolic values
    kind: Kind = Kind.NUMBER
    shift: int = 0  # of the number in a 32-bit register, which starts with its highest byte


_PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "icmpv6": 58, "sctp": 132}
_ICMP: Final = {"echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11}
_ICMPV6: Final = {
    "destination-unreachable": 1,
    "packet-too-big": 2,
    "time-exceeded": 3,
    "parameter-problem": 4,
    "echo-request": 128,
    "echo-reply": 129,
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
}


def _address(end: str, version: int) -> Callable[[Skb], int | None]:
    def read(skb: Skb) -> int | None:
        return number_of(getattr(skb.packet, end)) if skb.packet.version == version else None

    return read


def _next_hop(version: int) -> Callable[[Skb], int | None]:
    def read(skb: Skb) -> int | None:
        return number_of(skb.next_hop or skb.packet.destination) if skb.packet.version == version else None

    return read


def _ports(end: str, *protocols: int) -> Callable[[Skb], int | None]:
    def read(skb: Skb) -> int | None:
        return getattr(skb.packet, end) if skb.packet.protocol in protocols else None

    return read


def _icmp(part: str, protocol: int) -> Callable[[Skb], int | None]:
    def read(skb: Skb) -> int | None:
        return getattr(skb.packet, part) if skb.packet.has_type and skb.packet.protocol == protocol else None

    return read


def _flags(skb: Skb) -> int | None:
    """Return FIN, SYN, RST and ACK. Rules also match the protocol, so these bits of other protocols do not matter."""
    return skb.packet.flags & (FIN | SYN | RST | ACK) if skb.packet.protocol == TCP else None


def _flags_in_word(skb: Skb) -> int | None:
    """Return the same where the flags are the second byte of four."""
    flags = _flags(skb)
    return flags << 16 if flags is not None else None


def _syn_and_fin(skb: Skb) -> int | None:
    """Return SYN and FIN in the same place."""
    flags = _flags(skb)
    return (flags & (FIN | SYN)) << 16 if flags is not None else None


def _original_destination(skb: Skb) -> int | None:
    """Return the IPv4 destination of the connection's first packet, before translation."""
    packet = skb.original or skb.packet
    return number_of(packet.destination) if packet.version == 4 else None


def _status(skb: Skb) -> int:
    """Return the bits of `enum ip_conntrack_status` that rules use."""
    bits = {_CONFIRMED: bool(skb.ct_state & _KNOWN), _ASSURED: skb.ct_assured, _DST_NAT: skb.ct_dnat}
    return sum(bit for bit, is_set in bits.items() if is_set)


def _end_of_mark(bit: int) -> Callable[[Skb], int | None]:
    """Return the reader of one end's bit in a connection's mark."""
    return lambda skb: skb.ct_mark & bit if skb.is_tracked else None


def _never(skb: Skb) -> None:
    """Return None: traced packets are neither ARP nor fragments."""


_FIELDS: Final = (
    Field(words="meta nfproto", read=lambda skb: {4: 2, 6: 10}[skb.packet.version], names={"ipv4": 2, "ipv6": 10}),
    Field(
        words="meta protocol", read=lambda skb: ETHERTYPE[skb.packet.version], names={"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD}
    ),
    Field(words="meta l4proto", read=lambda skb: skb.packet.protocol, names=_PROTOCOLS),
    Field(words="meta mark", read=lambda skb: skb.mark),
    Field(words="meta mark & 0xffff", read=lambda skb: skb.mark & 0xFFFF),
    Field(words="meta priority", read=lambda skb: skb.priority, names={"1:4e54": 0x14E54, "1:4e50": 0x14E50, "1:4e5c": 0x14E5C}),
    Field(words="meta pkttype", read=lambda skb: skb.pkttype, names={"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2}),
    Field(words="meta sdifname", read=lambda skb: skb.sdifname, kind=Kind.NAME),
    Field(words="iifname", read=lambda skb: skb.iifname, kind=Kind.NAME),
    Field(words="oifname", read=lambda skb: skb.oifname, kind=Kind.NAME),
    Field(words="iifgroup", read=lambda skb: skb.iifgroup),
    Field(words="oifgroup", read=lambda skb: skb.oifgroup),
    Field(words="fib saddr . iif oif", read=lambda skb: int(skb.returns), names={"missing": 0}),
    Field(words="rt ip nexthop", read=_next_hop(4)),
    Field(words="rt ip6 nexthop", read=_next_hop(6)),
    Field(words="ct state", read=lambda skb: skb.ct_state, names=CT_STATES),
    Field(words="ct original ip daddr", read=_original_destination),
    Field(words="ct direction", read=lambda skb: skb.ct_direction if skb.is_tracked else None, names=CT_DIRECTIONS),
    Field(words="ct status", read=_status, names={"confirmed": _CONFIRMED, "dnat": _DST_NAT}),
    Field(words="ct zone", read=lambda skb: skb.ct_zone),
    Field(words="ct reply zone", read=lambda skb: 0),  # no rule sets it
    Field(words="ct mark", read=lambda skb: skb.ct_mark if skb.is_tracked else None),
    *(Field(words=f"ct mark & {bit:#x}", read=_end_of_mark(bit)) for bit in (1, 2)),
    Field(words="ether saddr", read=lambda skb: skb.ether_source, kind=Kind.MAC),
    Field(words="arp saddr ether", read=_never, kind=Kind.MAC),
    Field(words="arp saddr ip", read=_never),
    Field(words="ip protocol", read=lambda skb: skb.packet.protocol if skb.packet.version == 4 else None, names=_PROTOCOLS),
    Field(words="ip ttl", read=lambda skb: _TTL if skb.packet.version == 4 else None),
    Field(words="ip saddr", read=_address("source", 4)),
    Field(words="ip daddr", read=_address("destination", 4)),
    Field(words="@nh,32,32 & 0x3fff", read=lambda skb: 0),  # no fragments
    Field(words="ip frag-off & 16383", read=lambda skb: 0 if skb.packet.version == 4 else None),
    Field(words="ip frag-off & 8191", read=lambda skb: 0 if skb.packet.version == 4 else None),
    Field(words="frag frag-off", read=_never),  # no fragment headers
    Field(words="frag more-fragments", read=_never),
    Field(words="exthdr frag", read=lambda skb: 0 if skb.packet.version == 6 else None),
    Field(words="ip6 nexthdr", read=lambda skb: skb.packet.protocol if skb.packet.version == 6 else None, names=_PROTOCOLS),
    Field(words="ip6 saddr", read=_address("source", 6)),
    Field(words="ip6 daddr", read=_address("destination", 6)),
    Field(words="th sport", read=_ports("source_port", TCP, UDP)),
    Field(words="th dport", read=_ports("destination_port", TCP, UDP)),
    Field(words="tcp sport", read=_ports("source_port", TCP), shift=_PORT_BITS),
    Field(words="udp sport", read=_ports("source_port", UDP), shift=_PORT_BITS),
    Field(words="tcp dport", read=_ports("destination_port", TCP)),
    Field(words="udp dport", read=_ports("destination_port", UDP)),
    Field(words="@th,104,8 & 0x17", read=_flags),
    Field(words="@th,96,32 & 0x170000", read=_flags_in_word),
    Field(words="@th,96,32 & 0x30000", read=_syn_and_fin),
    Field(words="icmp type", read=_icmp("icmp_type", ICMP), names=_ICMP),
    Field(words="icmp code", read=_icmp("icmp_code", ICMP)),
    Field(words="icmpv6 type", read=_icmp("icmp_type", ICMPV6), names=_ICMPV6),
    Field(words="icmpv6 code", read=_icmp("icmp_code", ICMPV6)),
)
FIELDS: Final[dict[tuple[str, ...], Field]] = {tuple(field.words.split()): field for field in _FIELDS}


@cache
def raw_field(word: str, mask: str = "") -> Field:
    """Return the field of a word such as `@th,16,16`: a header (ll, nh or th), and offset and length in bits from it on.

    A mask, as a number, keeps some of its bits.
    """
    base, offset, length = word.split(",")
    header = _HEADERS[base]
    first, last = int(offset), int(offset) + int(length)
    kept = int(mask, 0) if mask else (1 << (last - first)) - 1

    def read(skb: Skb) -> int | None:
        held = header(skb)
        bits = len(held) * 8
        if last > bits:
            return None
        return int.from_bytes(held, "big") >> (bits - last) & kept

    return Field(words=f"{word} & {mask}" if mask else word, read=read)


@lru_cache(maxsize=65536)
def number_of(address: str) -> int:
    """Return an address as a number."""
    return int.from_bytes(packed(address), "big")


def _quotation(packet: Packet) -> bytes:
    """Return an ICMP error from its type up to the addresses of the packet that it quotes, or b"" for other packets."""
    about = packet.quoted
    if about is None:
        return b""
    return struct.pack("!BB6x", packet.icmp_type, packet.icmp_code) + _network(about)


def _ethernet(skb: Skb) -> bytes:
    """Return an Ethernet header. The destination is zero: no rule reads it."""
    return bytes(6) + bytes.fromhex(skb.ether_source.replace(":", "")) + struct.pack("!H", ETHERTYPE[skb.packet.version])


def _network(packet: Packet) -> bytes:
    """Return an IP header without options, with the fields that rules read."""
    if packet.version == 4:
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20, 0, 0, 63, packet.protocol, 0)
    else:
        fixed = struct.pack("!IHBB", 6 << 28, 0, packet.protocol, 63)
    return fixed + packed(packet.source) + packed(packet.destination)


_HEADERS: Final[dict[str, Callable[[Skb], bytes]]] = {
    "@ll": _ethernet,
    "@nh": lambda skb: _network(skb.packet),
    "@th": lambda skb: skb.th or _quotation(skb.packet),
}


def encapsulated(packet: Packet, vni: int) -> bytes:
    """Return a packet in VXLAN, from the UDP header up to its inner addresses. Source: RFC 7348 section 5."""
    udp = struct.pack("!HHHH", 49152, VXLAN_PORT, 0, 0)
    vxlan = struct.pack("!II", 0x08000000, vni << 8)
    ethernet = bytes(12) + struct.pack("!H", ETHERTYPE[packet.version])
    return udp + vxlan + ethernet + _network(packet)


def arriving(packet: Packet, outer_source: str, outer_destination: str, vni: int) -> Skb:
    """Return the VXLAN packet around another one, as the receiving host's underlay sees it."""
    outer = Packet(
        source=outer_source, destination=outer_destination, protocol=UDP, source_port=49152, destination_port=VXLAN_PORT
    )
    return Skb(packet=outer, th=encapsulated(packet, vni))
