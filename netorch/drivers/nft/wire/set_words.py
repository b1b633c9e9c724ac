"""Sets, maps and their elements from the kernel's messages as nft words: the inverse of nft.wire.sets and nft.wire.elements.

A set's types determine the format of its elements. Unknown types are shown as bytes: a shared set without elements of VPCs
may have any type.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from netorch.drivers.netlink import attrs, each_attr
from netorch.drivers.nft.listing import NO_WORD, Block
from netorch.drivers.nft.wire.decode import TABLE, name_in
from netorch.drivers.nft.wire.messages import CHAIN, CODE, VALUE, VERDICT, VERDICTS
from netorch.drivers.nft.wire.sets import TYPES
from netorch.model.addr import BITS, format_ip

# NFTA_SET_*
_NAME, _FLAGS, _KEY_TYPE, _KEY_LENGTH, _DATA_TYPE, _DATA_LENGTH, _DESCRIPTION = 2, 3, 4, 5, 6, 7, 9
_ID, _USER_DATA, _PADDING, _HANDLE = 10, 13, 14, 16
_SIZE, _FIELDS, _LENGTH = 1, 2, 1  # NFTA_SET_DESC_SIZE, NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
_INTERVAL, _MAP, _TIMEOUT, _DYNAMIC, _CONCATENATED = 0x4, 0x8, 0x10, 0x20, 0x80  # NFT_SET_*
_COMMENT, _DATA_ORDER = 7, 1  # libnftnl include/udata.h NFTNL_UDATA_SET_*
_HOST_ORDER: Final = struct.pack("=I", 1)
_ZONE_SIZE: Final = 2
_KEY, _DATA, _ELEMENT_USER_DATA, _ELEMENT_PADDING, _KEY_END = 1, 2, 6, 8, 10  # NFTA_SET_ELEM_*
_ELEMENTS: Final = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_VERDICT_TYPE: Final = 0xFFFFFF00  # NFT_DATA_VERDICT
_WORDS: Final = {code: word for word, code in VERDICTS.items()}
_INTEGER: Final = 4  # nftables include/datatype.h TYPE_INTEGER
_WORD: Final = 4  # bytes
_NAMES: Final = {of.number: name for name, of in TYPES.items()}
_TOLD: Final = frozenset((_FLAGS, _KEY_TYPE, _KEY_LENGTH, _DATA_TYPE, _DATA_LENGTH, _DESCRIPTION, _USER_DATA))

Text = Callable[[bytes, bytes], str]  # from the first and last value


class Reading(NamedTuple):
    """How to read a set's elements."""

    fields: tuple[tuple[int, int, Text], ...]  # begin and end within the key
    value: Callable[[bytes], str] | None  # of a map


class FoundSet(NamedTuple):
    """A set or map without its elements."""

    block: Block
    lasting: bool  # elements stay until they are deleted; other elements are ignored
    reading: Reading | None  # None: unknown types


def found_set(found: Mapping[int, bytes]) -> FoundSet:
    """Return a set or map; its lines are its spec."""
    name = name_in(found, _NAME)
    spec, comment, lasting, reading = _described(tuple(sorted((number, found[number]) for number in found.keys() - _OWN)))
    return FoundSet(Block("map" if " : " in spec else "set", name, spec.split("; "), [], comment), lasting, reading)


_OWN: Final = frozenset((TABLE, _NAME, _ID, _PADDING, _HANDLE))  # attributes in which any two sets differ


@lru_cache(maxsize=256)
def _described(attributes: tuple[tuple[int, bytes], ...]) -> tuple[str, str, bool, Reading | None]:
    """Return a set's spec, its comment, whether its elements are permanent, and how to read them."""
    found = dict(attributes)
    flags, description = _number(found, _FLAGS), attrs(found.get(_DESCRIPTION, b""))
    lengths = [_number(attrs(item), _LENGTH) for _, item in each_attr(description.get(_FIELDS, b""))]
    types = _types(_number(found, _KEY_TYPE), len(lengths))
    lengths = lengths or _lengths(types, _number(found, _KEY_LENGTH))
    names = [_type_name(number, length) for number, length in zip(types, lengths, strict=True)]
    notes = _notes(found.get(_USER_DATA, b""))
    value = _value_name(found, notes) if flags & _MAP else ""
    keyword = "typeof" if any(name.startswith("@") for name in names) or value == "ct zone" else "type"
    spec = [f"{keyword} {' . '.join(names)}{' : ' if value else ''}{value}"]
    spec += ["flags interval"] if flags & _INTERVAL else []
    spec += [f"size {_number(description, _SIZE)}"] if _SIZE in description else []
    # Attributes that netorch's own sets never have, as the kernel's bytes.
    others = {number: value for number, value in found.items() if number not in _TOLD}
    spec += [f"{number}:{told.hex()}" for number, told in sorted(others.items())]
    spec += [f"flags {flags:#x}"] if flags & ~(_INTERVAL | _MAP | _CONCATENATED) else []
    known = not any(NO_WORD in name for name in (*names, value)) and not (flags & _INTERVAL and len(types) == 1)
    reading = Reading(tuple(_fields(types, lengths, flags)), _VALUES[value]) if known else None
    comment = notes.get(_COMMENT, b"")[:-1].decode(errors="replace")
    return "; ".join(spec), comment, not flags & (_TIMEOUT | _DYNAMIC), reading


def _types(number: int, count: int) -> list[int]:
    """Return the types of a key's parts; `count` is 0 if the kernel does not report it."""
    return [number >> 6 * place & 0x3F for place in reversed(range(count or -(-number.bit_length() // 6) or 1))]


def _lengths(types: list[int], whole: int) -> list[int]:
    """Return the lengths of a key's parts if only the key's total length is known.

    Of raw payload numbers, all but the last are 32-bit words, as in a VXLAN header; the last part has the remaining length.
    """
    lengths = [TYPES[_NAMES[number]].size if number in _NAMES else _WORD for number in types[:-1]]
    return [*lengths, whole - sum(length + 3 & ~3 for length in lengths)]


def _type_name(number: int, length: int) -> str:
    """Return the type name of a key's part. The offset of a raw payload number is not recorded."""
    if number == _INTEGER and length > 0:
        return f"@th,0,{8 * length}"
    name = _NAMES.get(number, "")
    return name if name and TYPES[name].size == length else f"{NO_WORD}{number},{length}"


def _value_name(found: Mapping[int, bytes], notes: Mapping[int, bytes]) -> str:
    number, length = _number(found, _DATA_TYPE), _number(found, _DATA_LENGTH)
    if number == _VERDICT_TYPE:
        return "verdict"
    if number == _INTEGER and length == _ZONE_SIZE and notes.get(_DATA_ORDER) == _HOST_ORDER:
        return "ct zone"
    return _type_name(number, length) if number == TYPES["mark"].number else f"{NO_WORD}{number},{length}"


def elements_in(body: bytes, reading: Reading | None) -> Iterator[str]:
    """Yield the elements in an answer to a request for a set's elements."""
    listed = attrs(body, 4).get(_ELEMENTS, b"")
    for _, item in each_attr(listed):
        yield _element(attrs(item), reading)


def _element(found: dict[int, bytes], reading: Reading | None) -> str:
    if reading is None or found.keys() - {_KEY, _KEY_END, _DATA, _ELEMENT_USER_DATA, _ELEMENT_PADDING}:
        return f"{NO_WORD}{' '.join(f'{number}:{value.hex()}' for number, value in sorted(found.items()))}"
    first = attrs(found[_KEY])[VALUE]
    last = attrs(found[_KEY_END])[VALUE] if _KEY_END in found else first
    key = " . ".join(text(first[begin:end], last[begin:end]) for begin, end, text in reading.fields)
    return f"{key} : {reading.value(found[_DATA])}" if reading.value is not None and _DATA in found else key


def _fields(types: list[int], lengths: list[int], flags: int) -> Iterator[tuple[int, int, Text]]:
    """Yield the position of each part of a key, and how to read it."""
    begin = 0
    for number, length in zip(types, lengths, strict=True):
        in_machine_order = number == TYPES["mark"].number and not flags & _INTERVAL
        yield begin, begin + length, _host_hex if in_machine_order else _TEXTS[number]
        begin += length + 3 & ~3


def _addresses(version: int) -> Text:
    family = socket.AF_INET if version == 4 else socket.AF_INET6

    def text(first: bytes, last: bytes) -> str:
        if first == last:
            return socket.inet_ntop(family, first)
        low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
        size = high - low + 1
        if size & (size - 1) == 0 and low % size == 0:
            return f"{socket.inet_ntop(family, first)}/{BITS[version] - size.bit_length() + 1}"
        return f"{format_ip(version, low)}-{format_ip(version, high)}"

    return text


def _decimal(first: bytes, last: bytes) -> str:
    low = int.from_bytes(first, "big")
    return str(low) if first == last else f"{low}-{int.from_bytes(last, 'big')}"


def _hex(first: bytes, last: bytes) -> str:
    low = hex(int.from_bytes(first, "big"))
    return low if first == last else f"{low}-{hex(int.from_bytes(last, 'big'))}"


def _host_hex(first: bytes, _last: bytes) -> str:
    return hex(int.from_bytes(first, sys.byteorder))


def _ifname(first: bytes, _last: bytes) -> str:
    return first.rstrip(b"\0").decode(errors="replace")


_TEXTS: Final[Mapping[int, Text]] = {
    **dict.fromkeys(_NAMES, _decimal),
    TYPES["ipv4_addr"].number: _addresses(4),
    TYPES["ipv6_addr"].number: _addresses(6),
    TYPES["mark"].number: _hex,
    _INTEGER: _hex,
    TYPES["ifname"].number: _ifname,
}


def _verdict(data: bytes) -> str:
    found = attrs(attrs(data)[VERDICT])
    code = int.from_bytes(found[CODE], "big", signed=True)
    word = _WORDS.get(code, f"{NO_WORD}{code}")
    return f"{word} {name_in(found, CHAIN)}" if CHAIN in found else word


def _in_machine_order(data: bytes) -> str:
    return hex(int.from_bytes(attrs(data)[VALUE], sys.byteorder))


_VALUES: Final[Mapping[str, Callable[[bytes], str] | None]] = {
    "": None,
    "verdict": _verdict,
    "mark": _in_machine_order,
    "ct zone": _in_machine_order,
}


def _notes(data: bytes) -> dict[int, bytes]:
    """Return libnftables' own notes for its listings: a byte of kind, a byte of length, the value."""
    notes: dict[int, bytes] = {}
    offset = 0
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        notes[kind] = data[offset + 2 : offset + 2 + length]
        offset += 2 + length
    return notes


def _number(found: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")
