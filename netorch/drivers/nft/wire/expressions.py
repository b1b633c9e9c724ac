"""nf_tables expressions: the elements of a rule in the kernel, as values and as netlink attributes.

A rule loads parts of a packet into registers, looks them up or compares them, and gives a verdict. Each of four registers has
16 bytes (numbers 1 to 4) and consists of four 4-byte ones (8 to 23). The kernel reports the first of those four by the
16-byte register's number.
Source: linux/netfilter/nf_tables.h NFTA_*, NFT_REG_*; net/netfilter/nf_tables_api.c, nft_dump_register.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from netorch.drivers.netlink import attr, attrs, each_attr
from netorch.drivers.nft.wire.messages import CHAIN, CODE, ITEM, VALUE, VERDICT

# Keys and bases. Source: NFT_META_*, NFT_CT_*, NFT_RT_*, NFT_PAYLOAD_*; exthdr: IPPROTO_FRAGMENT, NFT_EXTHDR_F_PRESENT
META_MARK, META_IIFTYPE, META_NFPROTO, META_L4PROTO, META_PROTOCOL = 3, 8, 15, 16, 1
META_PRIORITY, META_IIFNAME, META_OIFNAME, META_PKTTYPE, META_OIFGROUP = 2, 6, 7, 19, 22
CT_DIRECTION, CT_STATUS, CT_MARK = 1, 2, 3
NEXT_HOP4, NEXT_HOP6 = 1, 2  # NFT_RT_NEXTHOP4, 6
LINK, NETWORK, TRANSPORT = 0, 1, 2
FRAGMENT_HEADER: Final = 44
PRESENT: Final = 1
EQUAL, UNEQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5  # NFT_CMP_EQ, NEQ, LTE, GTE
_HTON: Final = 1  # NFT_BYTEORDER_HTON
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
FLOW_ADD: Final = "flow_offload"  # the kernel's name for nft's `flow add`
_JUDGED: Final = "verdict"  # the name in this module for an `immediate` with a verdict
# Attributes whose value is nested in another attribute.
_NESTED: Final = {("cmp", 3), ("bitwise", 4), ("bitwise", 5), ("immediate", 2)}


class Expression(NamedTuple):
    """An expression: its kind, and its attributes by number."""

    kind: str
    parts: tuple[tuple[int, bytes], ...]


def register(place: int) -> int:
    """Return the number of the register at this offset, in units of 4 bytes."""
    return 1 + place // 4 if place % 4 == 0 else 8 + place


@lru_cache(maxsize=256)
def meta(key: int, into: int) -> Expression:
    """Return an expression that loads metadata of a packet."""
    return Expression("meta", ((1, _u32(into)), (2, _u32(key))))


def set_meta(key: int, origin: int = 1) -> Expression:
    """Return an expression that sets a packet's metadata from a register."""
    return Expression("meta", ((2, _u32(key)), (3, _u32(origin))))


@lru_cache(maxsize=64)
def ct(key: int, into: int) -> Expression:
    """Return an expression that loads a property of a packet's connection."""
    return Expression("ct", ((1, _u32(into)), (2, _u32(key))))


@lru_cache(maxsize=64)
def rt(key: int, into: int) -> Expression:
    """Return an expression that loads a property of a packet's route."""
    return Expression("rt", ((1, _u32(into)), (2, _u32(key))))


@lru_cache(maxsize=1024)
def payload(base: int, offset: int, length: int, into: int) -> Expression:
    """Return an expression that loads bytes of a packet."""
    return Expression("payload", ((1, _u32(into)), (2, _u32(base)), (3, _u32(offset)), (4, _u32(length))))


@lru_cache(maxsize=64)
def exthdr(header: int, offset: int, length: int, flags: int, into: int) -> Expression:
    """Return an expression that loads bytes of an IPv6 extension header, or whether it is present."""
    parts = ((1, _u32(into)), (2, bytes((header,))), (3, _u32(offset)), (4, _u32(length)), (5, _u32(flags)), (6, _u32(0)))
    return Expression("exthdr", parts)


def compare(operator: int, value: bytes) -> Expression:
    """Return a comparison of the first register: the rule continues if it is EQUAL, UNEQUAL, AT_MOST or AT_LEAST the value."""
    return Expression("cmp", ((1, _u32(1)), (2, _u32(operator)), (3, value)))


def mask(value: bytes) -> Expression:
    """Return an expression that clears the bits of the first register that `value` does not have."""
    parts = ((1, _u32(1)), (2, _u32(1)), (3, _u32(len(value))), (4, value), (5, bytes(len(value))), (6, _u32(0)))
    return Expression("bitwise", parts)


@lru_cache(maxsize=64)
def byteorder(size: int, length: int, place: int) -> Expression:
    """Return an expression that converts a register to network order, in numbers of `size` bytes."""
    parts = ((1, _u32(place)), (2, _u32(place)), (3, _u32(_HTON)), (4, _u32(length)), (5, _u32(size)))
    return Expression("byteorder", parts)


def lookup(name: str, into: int = 0) -> Expression:
    """Return a lookup of the registers' contents: the rule continues if found; a map's value is loaded into a register."""
    target = ((3, _u32(into)),) if into else ()
    return Expression("lookup", ((1, name.encode() + b"\0"), (2, _u32(1)), *target, (5, _u32(0))))


def immediate(value: bytes) -> Expression:
    """Return an expression that loads a value into the first register."""
    return Expression("immediate", ((1, _u32(1)), (2, value)))


def flow_add(flowtable: str) -> Expression:
    """Return an expression that adds a packet's connection to a flowtable; the rule ends if the connection cannot be added."""
    return Expression(FLOW_ADD, ((1, flowtable.encode() + b"\0"),))


def verdict(code: int, chain: str = "") -> Expression:
    """Return a verdict, possibly with the chain to jump or go to."""
    return Expression(_JUDGED, ((CODE, struct.pack(">i", code)), *(((CHAIN, chain.encode() + b"\0"),) if chain else ())))


@lru_cache(maxsize=1024)
def encode(expression: Expression) -> bytes:
    """Return an expression as an item of a rule's list, with attributes in the kernel's form."""
    kind, parts = expression
    if kind == _JUDGED:
        kind, data = "immediate", attr(1, _u32(0)) + attr(2, attr(VERDICT, _joined(parts)))
    else:
        data = _joined((number, attr(VALUE, value) if (kind, number) in _NESTED else value) for number, value in parts)
    return attr(ITEM, attr(_NAME, kind.encode() + b"\0") + attr(_DATA, data))


def decode(data: bytes) -> Iterator[Expression]:
    """Yield the expressions of a rule. Raises ValueError for data without this structure."""
    return (_decode(item) for _, item in each_attr(data))


@lru_cache(maxsize=1024)
def _decode(item: bytes) -> Expression:
    found = attrs(item)
    kind = found.get(_NAME, b"\0")[:-1].decode(errors="replace")
    parts = []
    for number, value in sorted(each_attr(found.get(_DATA, b""))):
        if (kind, number) in _NESTED:
            inner = attrs(value)
            if VERDICT in inner:
                return Expression(_JUDGED, tuple(sorted(each_attr(inner[VERDICT]))))
            value = inner.get(VALUE, b"")
        parts.append((number, value))
    return Expression(kind, tuple(parts))


def _joined(parts: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(attr(number, value) for number, value in parts)


def _u32(number: int) -> bytes:
    return struct.pack(">I", number)
