"""Matches of filters as options of classifiers, and back. Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Final

from netorch.drivers.netlink import attr, attr_u32, attrs, nested, u32
from netorch.drivers.tc.strange import Strange
from netorch.drivers.tc.uapi import BASIC, EMATCH, ETH_P_8021AD, ETH_P_8021Q, ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, FLOWER, META
from netorch.model.addr import mac_bytes, packed
from netorch.state.tc import ALL, CUSTOMER_TAG, IP, IPV6, SERVICE_TAG, Match, OtherPriority

PROTOCOLS: Final = {ALL: ETH_P_ALL, IP: ETH_P_IP, IPV6: ETH_P_IPV6, CUSTOMER_TAG: ETH_P_8021Q, SERVICE_TAG: ETH_P_8021AD}
_IN_FLOWER: Final = frozenset({IP, IPV6})  # other protocols are only in the filter's header
FLOWER_KIND: Final = "flower"
BASIC_KIND: Final = "basic"
ACTIONS: Final = FLOWER.ACT  # the attribute of the actions: the same number in both classifiers

_SIDES: Final = {  # attributes of source and destination, each with its mask attribute
    ALL: (),
    CUSTOMER_TAG: (),
    SERVICE_TAG: (),
    IP: ((FLOWER.KEY_IPV4_SRC, FLOWER.KEY_IPV4_SRC_MASK), (FLOWER.KEY_IPV4_DST, FLOWER.KEY_IPV4_DST_MASK)),
    IPV6: ((FLOWER.KEY_IPV6_SRC, FLOWER.KEY_IPV6_SRC_MASK), (FLOWER.KEY_IPV6_DST, FLOWER.KEY_IPV6_DST_MASK)),
}
_WHOLE_MAC: Final = b"\xff" * 6
_ETHERTYPE = struct.Struct("!H")
_TREE = struct.Struct("=HH")  # number of matches, program
_EMATCH = struct.Struct("=HHHH")  # number, kind, flags, padding
_PRIORITY_EQUALS: Final = struct.pack(
    "=HBBHBB", META.PRIORITY, 0, META.EQ, META.VALUE, 0, 0
)  # left and right operand: kind, shift, operator
_NOT_META: Final = (EMATCH.META, EMATCH.INVERT)


def pack_match(match: Match | OtherPriority) -> tuple[str, bytes]:
    """Return the classifier's kind, and its options without the actions."""
    if isinstance(match, OtherPriority):
        compared = attr(META.HDR, _PRIORITY_EQUALS) + attr_u32(META.RVALUE, match.priority)
        only = attr(1, _EMATCH.pack(0, *_NOT_META, 0) + compared)
        return BASIC_KIND, nested(BASIC.EMATCHES, attr(EMATCH.HDR, _TREE.pack(1, 0)), nested(EMATCH.LIST, only))
    parts = []
    if match.protocol in _IN_FLOWER:
        parts.append(attr(FLOWER.KEY_ETH_TYPE, _ETHERTYPE.pack(PROTOCOLS[match.protocol])))
    if match.dst_mac:
        parts.append(attr(FLOWER.KEY_ETH_DST, mac_bytes(match.dst_mac)) + attr(FLOWER.KEY_ETH_DST_MASK, _WHOLE_MAC))
    if match.ip_proto:
        parts.append(attr(FLOWER.KEY_IP_PROTO, bytes([match.ip_proto])))
    for (key, mask), prefix in zip(_SIDES[match.protocol], (match.src, match.dst), strict=False):
        if prefix:
            network, _, length = prefix.partition("/")
            raw = packed(network)
            parts.append(attr(key, raw) + attr(mask, mask_of(int(length), len(raw))))
    return FLOWER_KIND, b"".join(parts)


def read_match(kind: str, protocol: int, options: Mapping[int, bytes]) -> Match | OtherPriority:
    """Return a filter's match. Raises Strange."""
    if kind == FLOWER_KIND:
        return _flower(protocol, options)
    if kind == BASIC_KIND and protocol == ETH_P_ALL:
        return _basic(options)
    raise Strange("of another kind or protocol")


def mask_of(length: int, size: int) -> bytes:
    """Return the mask of a prefix length for addresses of `size` bytes."""
    bits = 8 * size
    return ((1 << bits) - (1 << (bits - length))).to_bytes(size, "big")


def prefix_of(raw: bytes, mask: bytes) -> str:
    """Return an address and mask as a prefix. Raises Strange."""
    length = int.from_bytes(mask, "big").bit_count()
    if not length or mask != mask_of(length, len(raw)):
        raise Strange("of many prefixes")
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, raw)}/{length}"


def _flower(protocol: int, options: Mapping[int, bytes]) -> Match:
    name = next((name for name, number in PROTOCOLS.items() if number == protocol), "")
    if not name or options.get(FLOWER.KEY_ETH_TYPE, b"") != (_ETHERTYPE.pack(protocol) if name in _IN_FLOWER else b""):
        raise Strange("of another protocol")
    ours = {FLOWER.ACT, FLOWER.FLAGS, FLOWER.IN_HW_COUNT, FLOWER.KEY_ETH_TYPE, FLOWER.KEY_ETH_DST, FLOWER.KEY_ETH_DST_MASK}
    within = {FLOWER.KEY_IP_PROTO} if name in _IN_FLOWER else set()
    if not options.keys() <= ours.union(within, *_SIDES[name]):
        raise Strange("with other conditions")
    if options.get(FLOWER.KEY_ETH_DST_MASK, _WHOLE_MAC) != _WHOLE_MAC:
        raise Strange("of many MACs")
    sides = [prefix_of(options[key], options.get(mask, b"")) if key in options else "" for key, mask in _SIDES[name]]
    src, dst = sides or ("", "")
    mac, ip_proto = options.get(FLOWER.KEY_ETH_DST, b"").hex(":"), int.from_bytes(options.get(FLOWER.KEY_IP_PROTO, b""), "big")
    return Match(protocol=name, dst_mac=mac, src=src, dst=dst, ip_proto=ip_proto)


def _basic(options: Mapping[int, bytes]) -> OtherPriority:
    ematches = attrs(options.get(BASIC.EMATCHES, b""))
    matches = attrs(ematches.get(EMATCH.LIST, b""))
    only = matches.get(1, b"").ljust(_EMATCH.size, b"\0")
    compared = attrs(only, _EMATCH.size)
    alone = options.keys() <= {BASIC.EMATCHES, BASIC.ACT, BASIC.PCNT, BASIC.PAD} and len(matches) == 1
    as_ours = compared.keys() == {META.HDR, META.RVALUE} and compared[META.HDR] == _PRIORITY_EQUALS
    if not alone or not as_ours or _EMATCH.unpack_from(only)[1:3] != _NOT_META:
        raise Strange("with other conditions")
    return OtherPriority(priority=u32(compared[META.RVALUE]))
