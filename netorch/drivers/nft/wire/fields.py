"""Packet fields that netorch's rules read: their words, the expressions that load them, and the format of their values.

One table serves both directions, from words to expressions and back. A field may require a kind of packet (`ip saddr` an IPv4
packet); nft checks that first, unless the rule has already checked it.
Source: nftables 1.0.6, src/{proto,meta,ct,rt,payload}.c; expressions as shown by `nft --debug=netlink`.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Final, NamedTuple, Never

from netorch.drivers.nft.wire import expressions
from netorch.drivers.nft.wire.expressions import LINK, NETWORK, TRANSPORT, Expression
from netorch.drivers.nft.wire.messages import NotPackable


class Form(NamedTuple):
    """The format of a field's values. Both directions raise ValueError, OSError or OverflowError for an invalid value."""

    pack: Callable[[str, int], bytes]  # from a word and the field's size
    text: Callable[[bytes], str]
    is_address: bool = False
    is_ordered: bool = True  # values are ordered like their bytes: a range compares both ends


class Field(NamedTuple):
    """A field of a packet or of its metadata."""

    words: str
    load: Callable[[int], Expression]  # into this register
    size: int  # bytes
    form: Form
    needs: tuple[str, ...] = ()  # names of `facts`, in the order of their checks
    byteorder: tuple[int, int] | None = None  # in a key of intervals: size and length for the conversion to network order
    place: tuple[int, int] | None = None  # of a payload: base and offset
    within: bytes = b""  # the field's own bits, if it is not whole bytes


class Fact(NamedTuple):
    """A check that a rule makes before it reads other fields: that a field has this value."""

    field: Field
    value: bytes


def field_of(words: Sequence[str], start: int) -> tuple[Field, int]:
    """Return the field that begins at this word, and its number of words. Raises NotPackable."""
    for count in (2, 3, 1):
        text = " ".join(words[start : start + count])
        field = _BY_WORDS.get(text) or (raw_field(text) if count == 1 else None)
        if field is not None:
            return field, count
    raise NotPackable(" ".join(words))


@lru_cache(maxsize=256)
def raw_field(text: str) -> Field | None:
    """Return the field at a base, offset and length in bits, e.g. `@th,192,32`; None if netorch does not use such a field."""
    found = _RAW.fullmatch(text)
    if found is None or int(found[2]) % 8 or int(found[3]) % 8:
        return None
    base = _BASES[found[1]]
    if base == TRANSPORT and int(found[2]) < _RAW_FROM:
        return None
    return _payload(text, base, int(found[2]) // 8, int(found[3]) // 8, _HEX)


def fields_like(load: Expression) -> list[Field]:
    """Return the fields with this load expression into the first register."""
    known = _BY_LOAD.get(load, [])
    if load.kind != "payload":
        return known
    base, offset, length = (int.from_bytes(value, "big") for _, value in load.parts[1:])
    raw = raw_field(f"@{_BASE_WORDS[base]},{offset * 8},{length * 8}")
    return known if raw is None else [*known, raw]


def fields_at(base: int, offset: int) -> list[Field]:
    """Return the fields of a header that begin at this byte."""
    return _BY_PLACE.get((base, offset), [])


@lru_cache(maxsize=256)
def fact(name: str, family: str, of_ethernet: bool) -> Fact:
    """Return the check for a fact; `of_ethernet`: the rule has already checked for an Ethernet frame. Raises NotPackable."""
    if name == "ether":
        return Fact(IIFTYPE, (1).to_bytes(2, sys.byteorder))  # ARPHRD_ETHER
    if name in _TRANSPORTS:
        return Fact(L4PROTO, bytes((_TRANSPORTS[name],)))
    if family == "netdev":
        return Fact(ETHERTYPE if of_ethernet else PROTOCOL, _ETHERTYPES[name])
    if name == "arp":
        raise NotPackable("arp")  # the table sees no ARP packets
    return Fact(NFPROTO, bytes((_NFPROTOS[name],)))


def fact_in(field: Field, value: bytes) -> str:
    """Return the fact that a rule checks by comparing this field with this value; empty if the comparison checks none."""
    return _FACTS.get((field.words, value), "")


def _number(word: str, size: int) -> bytes:
    return int(word, 10).to_bytes(size, "big")


def _decimal(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _hexadecimal(value: bytes) -> str:
    return hex(int.from_bytes(value, "big"))


def _mac(word: str, size: int) -> bytes:
    return bytes.fromhex(word.replace(":", "")) if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", word) else _no(word)


def _device(word: str, size: int) -> bytes:
    return word.encode().ljust(size, b"\0") if len(word) < size else _no(word)


def _handle(word: str, size: int) -> bytes:
    major, minor = (int(part, 16) for part in word.split(":"))
    return (major << 16 | minor).to_bytes(size, sys.byteorder) if minor < 1 << 16 else _no(word)


def _handle_text(value: bytes) -> str:
    number = int.from_bytes(value, sys.byteorder)
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def _symbols(known: Mapping[str, bytes]) -> Form:
    words = {value: word for word, value in known.items()}
    return Form(lambda word, _: known.get(word) or _no(word), lambda value: words[value], is_ordered=False)


def _no(word: str) -> Never:
    raise ValueError(word)


def _address(family: int) -> Form:
    return Form(lambda word, _: socket.inet_pton(family, word), lambda value: socket.inet_ntop(family, value), is_address=True)


_NFPROTOS: Final = {"ip": 2, "ip6": 10}
_ETHERTYPES: Final = {"ip": b"\x08\x00", "arp": b"\x08\x06", "ip6": b"\x86\xdd"}
_TRANSPORTS: Final = {"icmp": 1, "icmpv6": 58}
_BASES: Final = {"ll": LINK, "nh": NETWORK, "th": TRANSPORT}
_BASE_WORDS: Final = {base: word for word, base in _BASES.items()}
_RAW: Final = re.compile(r"@(ll|nh|th),(\d+),(\d+)")
_RAW_FROM: Final = 64  # bits of the transport header: fields at lower offsets have names

_DECIMAL: Final = Form(_number, _decimal)
_HEX: Final = Form(lambda word, size: int(word, 16).to_bytes(size, "big"), _hexadecimal)
_HOST_HEX: Final = Form(
    lambda word, size: int(word, 16).to_bytes(size, sys.byteorder),
    lambda value: hex(int.from_bytes(value, sys.byteorder)),
    is_ordered=False,
)
_DEVICE_SIZE: Final = 16  # IFNAMSIZ
_DEVICE: Final = Form(_device, lambda value: value.rstrip(b"\0").decode(), is_ordered=False)
_HANDLE: Final = Form(_handle, _handle_text, is_ordered=False)  # as tc(8) writes those of queues
_MAC: Final = Form(_mac, lambda value: value.hex(":"))
_IPV4, _IPV6 = _address(socket.AF_INET), _address(socket.AF_INET6)
_VERSION: Final = _symbols({"ipv4": b"\x02", "ipv6": b"\x0a"})
_CAST: Final = _symbols({"host": b"\0", "broadcast": b"\1", "multicast": b"\2"})
_NIL: Final = Form(
    lambda word, size: bytes(size) if word == "0" else _no(word), lambda value: _no(value.hex()) if any(value) else "0"
)
_PLAIN: Final = Form(lambda word, _: _no(word), bytes.hex)  # for fields without words in netorch's rules


def _payload(words: str, base: int, offset: int, size: int, form: Form, *needs: str) -> Field:
    return Field(words, partial(expressions.payload, base, offset, size), size, form, needs, place=(base, offset))


def _meta(words: str, key: int, size: int, form: Form, byteorder: tuple[int, int] | None = None) -> Field:
    return Field(words, partial(expressions.meta, key), size, form, byteorder=byteorder)


def _ct(words: str, key: int, size: int, form: Form = _PLAIN) -> Field:
    return Field(words, partial(expressions.ct, key), size, form)


def _next_hop(words: str, key: int, size: int, form: Form, need: str) -> Field:
    return Field(words, partial(expressions.rt, key), size, form, (need,))


def _fragment(words: str, offset: int, size: int, flags: int, within: bytes = b"") -> Field:
    load = partial(expressions.exthdr, expressions.FRAGMENT_HEADER, offset, size, flags)
    return Field(words, load, size, _NIL if within else _DECIMAL, ("ip6",), within=within)


IIFTYPE: Final = _meta("meta iiftype", expressions.META_IIFTYPE, 2, _PLAIN)
PROTOCOL: Final = _meta("meta protocol", expressions.META_PROTOCOL, 2, _PLAIN)
ETHERTYPE: Final = _payload("ether type", LINK, 12, 2, _PLAIN, "ether")
NFPROTO: Final = _meta("meta nfproto", expressions.META_NFPROTO, 1, _VERSION)
L4PROTO: Final = _meta("meta l4proto", expressions.META_L4PROTO, 1, _DECIMAL, byteorder=(2, 1))
MARK: Final = _meta("meta mark", expressions.META_MARK, 4, _HOST_HEX, byteorder=(4, 4))
PRIORITY: Final = _meta("meta priority", expressions.META_PRIORITY, 4, _HANDLE)
# Loaded by nft itself; netorch's rules have no words for them.
_IMPLIED: Final = (IIFTYPE, PROTOCOL, ETHERTYPE)
_FIELDS: Final = (
    NFPROTO,
    L4PROTO,
    MARK,
    PRIORITY,
    _meta("meta pkttype", expressions.META_PKTTYPE, 1, _CAST),
    _meta("iifname", expressions.META_IIFNAME, _DEVICE_SIZE, _DEVICE),
    _meta("oifname", expressions.META_OIFNAME, _DEVICE_SIZE, _DEVICE),
    _meta("oifgroup", expressions.META_OIFGROUP, 4, _HOST_HEX),
    _ct("ct direction", expressions.CT_DIRECTION, 1, _symbols({"original": b"\0", "reply": b"\1"})),
    _ct("ct status", expressions.CT_STATUS, 4, _HOST_HEX),
    _ct("ct mark", expressions.CT_MARK, 4, _HOST_HEX),
    _next_hop("rt ip nexthop", expressions.NEXT_HOP4, 4, _IPV4, "ip"),
    _next_hop("rt ip6 nexthop", expressions.NEXT_HOP6, 16, _IPV6, "ip6"),
    _payload("ether saddr", LINK, 6, 6, _MAC, "ether"),
    _payload("arp saddr ether", NETWORK, 8, 6, _MAC, "arp"),
    _payload("arp saddr ip", NETWORK, 14, 4, _IPV4, "arp"),
    _payload("ip protocol", NETWORK, 9, 1, _DECIMAL, "ip"),
    _payload("ip frag-off", NETWORK, 6, 2, _DECIMAL, "ip"),
    _payload("ip saddr", NETWORK, 12, 4, _IPV4, "ip"),
    _payload("ip daddr", NETWORK, 16, 4, _IPV4, "ip"),
    _payload("ip6 saddr", NETWORK, 8, 16, _IPV6, "ip6"),
    _payload("ip6 daddr", NETWORK, 24, 16, _IPV6, "ip6"),
    _fragment("frag frag-off", 2, 2, 0, b"\xff\xf8"),
    _fragment("exthdr frag", 0, 1, expressions.PRESENT),
    _payload("th sport", TRANSPORT, 0, 2, _DECIMAL),
    _payload("th dport", TRANSPORT, 2, 2, _DECIMAL),
    _payload("icmp type", TRANSPORT, 0, 1, _DECIMAL, "ip", "icmp"),
    _payload("icmp code", TRANSPORT, 1, 1, _DECIMAL, "ip", "icmp"),
    _payload("icmpv6 type", TRANSPORT, 0, 1, _DECIMAL, "ip6", "icmpv6"),
    _payload("icmpv6 code", TRANSPORT, 1, 1, _DECIMAL, "ip6", "icmpv6"),
)
_BY_WORDS: Final = {field.words: field for field in _FIELDS}
_BY_LOAD: Final[dict[Expression, list[Field]]] = {}
_BY_PLACE: Final[dict[tuple[int, int], list[Field]]] = {}
for _field in (*_IMPLIED, *_FIELDS):
    _BY_LOAD.setdefault(_field.load(1), []).append(_field)
    if _field.place is not None:
        _BY_PLACE.setdefault(_field.place, []).append(_field)
_FACTS: Final = {
    (IIFTYPE.words, (1).to_bytes(2, sys.byteorder)): "ether",
    **{(L4PROTO.words, bytes((number,))): name for name, number in _TRANSPORTS.items()},
    **{(NFPROTO.words, bytes((number,))): name for name, number in _NFPROTOS.items()},
    **{(field.words, value): name for field in (PROTOCOL, ETHERTYPE) for name, value in _ETHERTYPES.items()},
}
